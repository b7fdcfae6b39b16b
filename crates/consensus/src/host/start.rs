//! How a group starts: what is durable first, then openraft on it, then the tasks around it.

use std::sync::Arc;

use hansa_node::tasks::OnError;
use hansa_types::id::GroupId;
use tokio::sync::watch;

use super::{GroupSpec, Host, Inner, StartError};
use crate::archive::Archive;
use crate::checkpoints::{CheckpointError, Checkpoints, stopped};
use crate::fitness;
use crate::group::Group;
use crate::keeper::Keeper;
use crate::machine::Machine;
use crate::membership;
use crate::metrics;
use crate::outcome::Leadership;
use crate::part::Whole;
use crate::pending::Pending;
use crate::propose::Proposer;
use crate::queue::{Bounds, Queue};
use crate::raft::acks::Acks;
use crate::raft::log_store::LogStore;
use crate::raft::network::Network;
use crate::raft::state_machine::StateMachine;
use crate::raft::{Raft, watcher};
use crate::reads::{Reads, Rounds};
use crate::replica::{Cell, Replica};
use crate::room::{self, Reports};
use crate::running::Running;
use crate::scrub;
use crate::trouble::Trouble;

/// openraft has applied what is committed: what stopped it there says more than it can.
fn not_built(group: GroupId, trouble: &Trouble, what: String) -> StartError {
    match trouble.first() {
        Some(problem) if problem.group_only && problem.for_good => {
            StartError::Damage { group, what: problem.what }
        }
        Some(problem) => StartError::Raft { group, what: problem.what },
        None => StartError::Raft { group, what },
    }
}

/// A group that is being started; nobody starts it a second time meanwhile.
struct Starting<'a> {
    inner: &'a Inner,
    id: GroupId,
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.inner.starting.lock().remove(&self.id);
    }
}

impl Host {
    /// Reserves a group's id: two openings of one folder would write over each other.
    fn reserve(&self, id: GroupId) -> Result<Starting<'_>, StartError> {
        let mut starting = self.inner.starting.lock();
        if self.inner.inbound.group(id).is_some() || !starting.insert(id) {
            return Err(StartError::Twice(id));
        }
        Ok(Starting { inner: &self.inner, id })
    }

    pub(super) async fn start<M: Machine>(
        &self,
        spec: GroupSpec,
        genesis: impl FnOnce() -> M,
    ) -> Result<Group<M>, StartError> {
        let Inner { config, env, inbound, .. } = &*self.inner;
        let id = spec.id;
        let _starting = self.reserve(id)?;
        let pending = Pending::new(config.archive_entries);
        let cell = Cell::new(id, genesis(), pending);
        #[cfg(any(test, feature = "testing"))]
        let cell = cell.of_release(config.versions);
        let cell = Arc::new(cell);
        let running = Arc::new(self.build(id, cell.clone()).await?);
        let bounds = Bounds {
            commands: config.timing.queue_commands_max,
            bytes: config.timing.queue_bytes_max,
        };
        let queue = Arc::new(Queue::new(bounds));
        let (reads, rounds) = Reads::new();
        let proposer = Proposer {
            cell: cell.clone(),
            queue: queue.clone(),
            raft: running.raft.clone(),
            running: running.clone(),
            clock: env.clock.clone(),
            leadership: running.leadership.subscribe(),
            entries_in_flight_max: config.timing.entries_in_flight_max.max(1),
            stop: running.stop.clone(),
            metrics: metrics::Group::new(id),
        };
        inbound.add(running.clone());
        running.raft.run();
        if let Err(error) = self.begin(&running, spec.members).await {
            inbound.remove(id);
            running.shut_down().await;
            return Err(error);
        }
        self.spawn_tasks(&running, rounds);
        let door = queue.clone();
        let guarded = room::guard(running.clone(), move |full| door.set_full(full));
        env.tasks.spawn(format!("room {id}"), OnError::StopNode, guarded);
        env.tasks.spawn(format!("proposer {id}"), OnError::StopNode, proposer.run());
        Ok(Group::new(Whole { cell, queue }, reads, running))
    }

    /// Loads what is durable and builds openraft on it, not yet running.
    async fn build(&self, id: GroupId, replica: Arc<dyn Replica>) -> Result<Running, StartError> {
        let Inner { config, env, wal, writer, reader, room, link, .. } = &*self.inner;
        let stop = env.tasks.stop_token().child_token();
        let (reports, acks) = (Arc::new(Reports::default()), Arc::new(Acks::default()));
        let (archive, checkpoints) = self.load(id, replica.clone()).await?;
        let trouble = Arc::new(Trouble::default());
        let log = LogStore::new(wal.clone(), id);
        let machine = StateMachine {
            replica: replica.clone(),
            checkpoints: checkpoints.clone(),
            log: log.clone(),
            writer: writer.clone(),
            trouble: trouble.clone(),
            room: room.clone(),
            stop: stop.clone(),
        };
        let network = Network {
            node: config.node,
            group: id,
            link: link.clone(),
            archive: archive.clone(),
            checkpoints: checkpoints.clone(),
            writer: writer.clone(),
            append_max: config.timing.election_max(),
            reports: reports.clone(),
            acks: acks.clone(),
        };
        let settings = config.timing.config(id, config.node);
        let settings =
            settings.map_err(|e| StartError::Settings { group: id, source: e.into() })?;
        let built = Raft::build(config.node.0, Arc::new(settings), network, log, machine).await;
        let raft = built.map_err(|e| not_built(id, &trouble, e.to_string()))?;
        Ok(Running {
            id,
            node: config.node,
            raft,
            replica,
            archive,
            checkpoints,
            writer: writer.clone(),
            reader: reader.clone(),
            wal: wal.clone(),
            link: link.clone(),
            env: env.clone(),
            timing: config.timing.clone(),
            trouble,
            leadership: watch::Sender::new(Leadership::default()),
            receiving: Arc::default(),
            wanted: self.wanted_of(id),
            members_next: Default::default(),
            draining: Default::default(),
            checkpoint_wanted: tokio::sync::Notify::new(),
            stop,
            room: room.clone(),
            reports,
            acks,
        })
    }

    /// Opens archive and checkpoints on the writer's loop, for both read and write the disk at
    /// length; and looks whether they and the log meet.
    async fn load(
        &self,
        id: GroupId,
        replica: Arc<dyn Replica>,
    ) -> Result<(Arc<Archive>, Arc<Checkpoints>), StartError> {
        let dir = self.inner.config.data_dir.join("groups").join(id.to_string());
        let fs = self.inner.fs.clone();
        let loaded = self.inner.writer.run(move || {
            let archive = |cause| StartError::Archive { group: id, cause };
            let checkpoint = |cause| StartError::Checkpoint { group: id, cause };
            fs.create_dir_all(&dir)
                .map_err(|source| checkpoint(CheckpointError::Io { file: dir.clone(), source }))?;
            let why = stopped::read(fs.as_ref(), &dir)
                .map_err(|source| checkpoint(CheckpointError::Io { file: dir.clone(), source }))?;
            if let Some(why) = why {
                return Err(StartError::ForGood { group: id, why });
            }
            let opened = Archive::open(&fs, &dir.join("archive.redb")).map_err(archive)?;
            let opened = Arc::new(opened);
            let loaded = Checkpoints::load(fs, dir, id, replica, opened.clone());
            Ok((opened, Arc::new(loaded.map_err(checkpoint)?)))
        });
        let (archive, checkpoints) = loaded.await.map_err(|_| StartError::Stopping)??;
        let wal = &self.inner.wal;
        // Reads the last entry: what is wrong with it is the log's, and not found by openraft.
        wal.state(id).map_err(|cause| StartError::Log { group: id, cause })?;
        let joined = checkpoints.check_joins(wal.purged(id));
        joined.map_err(|cause| StartError::Checkpoint { group: id, cause })?;
        Ok((archive, checkpoints))
    }

    fn spawn_tasks(&self, running: &Arc<Running>, rounds: Rounds) {
        let (tasks, id) = (&self.inner.env.tasks, running.id);
        tasks.spawn(format!("watcher {id}"), OnError::StopNode, watcher::run(running.clone()));
        let (reader, stop) = (running.clone(), running.stop.clone());
        tasks.spawn(format!("reads {id}"), OnError::StopNode, async move {
            stop.run_until_cancelled(rounds.run(&reader)).await;
        });
        let (members, fitness) = (running.clone(), running.clone());
        tasks.spawn(format!("members {id}"), OnError::StopNode, membership::run(members));
        tasks.spawn(format!("fitness {id}"), OnError::StopNode, fitness::run(fitness));
        let scrubbed = scrub::run(running.clone());
        tasks.spawn(format!("scrub {id}"), OnError::StopNode, scrubbed);
        let keeper = Keeper::new(running.clone());
        tasks.spawn(format!("keeper {id}"), OnError::StopNode, keeper.run());
    }
}
