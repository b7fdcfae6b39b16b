//! A node's host for its groups: one log, one writer, one stream per peer, many groups.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::pb::raft::raft_peer_service_server::{RaftPeerService, RaftPeerServiceServer};
use hansa_node::env::Env;
use hansa_node::peers::Peers;
use hansa_node::tasks::OnError;
use hansa_types::id::{GroupId, NodeId};
use hansa_types::identity::SpiffeId;
use hansa_types::limits::PEER_MESSAGE_BYTES_MAX;
use hansa_wal::Wal;
use hansa_wal::fs::Fs;
use openraft::ConfigError;
use parking_lot::{Mutex, RwLock};
use thiserror::Error;
use tokio::sync::watch;

use crate::archive::{Archive, ArchiveError};
use crate::checkpoints::{CheckpointError, Checkpoints};
use crate::group::Group;
use crate::grpc::{Lines, Names, Served};
use crate::identity::{Identity, IdentityError};
use crate::inbound::Inbound;
use crate::keeper::Keeper;
use crate::link::Link;
use crate::machine::Machine;
use crate::metrics;
use crate::outcome::{GroupStatus, Leadership, Role};
use crate::pending::Pending;
use crate::propose::Proposer;
use crate::queue::{Bounds, Queue};
use crate::raft::log_store::LogStore;
use crate::raft::network::Network;
use crate::raft::state_machine::StateMachine;
use crate::raft::{Raft, watcher};
use crate::reads::{Reads, Rounds};
use crate::replica::{Cell, Replica};
use crate::running::Running;
use crate::timing::Timing;
use crate::trouble::Trouble;
use crate::writer::Writer;

/// How a node hosts groups.
#[derive(Debug, Clone)]
pub struct HostConfig {
    pub node: NodeId,
    /// Everything durable lies below: `identity`, `wal/`, `groups/`.
    pub data_dir: PathBuf,
    /// The certificate name of each peer.
    pub names: BTreeMap<NodeId, SpiffeId>,
    pub timing: Timing,
    pub wal: hansa_wal::Config,
    /// Whether committed entries are archived beside the machines' records. The audit chain from
    /// genesis needs them.
    pub archive_entries: bool,
}

impl HostConfig {
    pub fn new(node: NodeId, data_dir: PathBuf) -> Self {
        let (timing, wal) = (Timing::default(), hansa_wal::Config::default());
        Self { node, data_dir, names: BTreeMap::new(), timing, wal, archive_entries: true }
    }
}

/// A group to host.
#[derive(Debug, Clone)]
pub struct GroupSpec {
    pub id: GroupId,
    /// The first members, this node among them: the group begins with them when its log is empty.
    /// Empty for a node that joins a group later and waits to be added.
    pub members: Vec<NodeId>,
}

/// Why a host did not open.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Wal(#[from] hansa_wal::OpenError),
    /// The log is gone, the rest of the folder is not: what this node promised its peers is lost.
    #[error("{}: the log is missing in a folder that was in use", dir.display())]
    LogMissing { dir: PathBuf },
}

/// Why a group did not start. The host and its other groups go on.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("group {0} is hosted already")]
    Twice(GroupId),
    #[error("group {group}: {source}")]
    Checkpoint { group: GroupId, source: CheckpointError },
    #[error("group {group}: {source}")]
    Archive { group: GroupId, source: ArchiveError },
    #[error("group {group}: {source}")]
    Log { group: GroupId, source: hansa_wal::ReadError },
    #[error("group {group}: {source}")]
    Settings { group: GroupId, source: ConfigError },
    #[error("group {group}: {what}")]
    Raft { group: GroupId, what: String },
    #[error("the node stops")]
    Stopping,
}

/// Hosts Raft groups; clones are one host.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    config: HostConfig,
    fs: Arc<dyn Fs>,
    env: Env,
    wal: Wal,
    writer: Writer,
    link: Arc<dyn Link>,
    inbound: Arc<Inbound>,
    names: Names,
    /// Groups that did not start, and why: they are shown, not hidden.
    broken: Mutex<BTreeMap<GroupId, String>>,
}

impl Host {
    /// Opens the log in the data folder and makes a host on it that reaches its peers through `peers`.
    ///
    /// # Errors
    /// A damaged log, a folder of another node, or one that lost its log: this node must not serve.
    pub fn open(
        config: HostConfig,
        fs: Arc<dyn Fs>,
        env: Env,
        peers: Peers,
    ) -> Result<Self, OpenError> {
        let lines_env = env.clone();
        Self::open_with(config, fs, env, |inbound| {
            Arc::new(Lines::new(peers, inbound.identity.clone(), lines_env))
        })
    }

    /// Opens the log in the data folder and makes a host on it, with the link that `link` makes.
    pub(crate) fn open_with(
        config: HostConfig,
        fs: Arc<dyn Fs>,
        env: Env,
        link: impl FnOnce(&Arc<Inbound>) -> Arc<dyn Link>,
    ) -> Result<Self, OpenError> {
        let wal_dir = config.data_dir.join("wal");
        let used = fs.exists(&config.data_dir.join("identity")).unwrap_or(false);
        let had_log = fs.exists(&wal_dir).unwrap_or(false);
        if used && !had_log {
            return Err(OpenError::LogMissing { dir: config.data_dir.clone() });
        }
        // The log first: an identity without a log would look like a node that lost one.
        let (wal, recovery) = Wal::open(fs.clone(), &wal_dir, config.wal.clone(), &env)?;
        if used && recovery.fresh {
            return Err(OpenError::LogMissing { dir: config.data_dir.clone() });
        }
        let identity =
            Identity::open(fs.clone(), &config.data_dir, config.node, env.entropy.as_ref())?;
        if let Some(cut) = &recovery.cut {
            let (file, offset) = (cut.file.display(), cut.offset);
            tracing::warn!(node = %config.node, %file, offset, bytes = cut.bytes, "torn tail cut");
        }
        let inbound = Arc::new(Inbound::new(Arc::new(identity)));
        let link = link(&inbound);
        let writer = Writer::start(&env);
        let names = Arc::new(RwLock::new(config.names.clone()));
        let broken = Mutex::default();
        let inner = Inner { config, fs, env, wal, writer, link, inbound, names, broken };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Starts a group: from its newest good checkpoint and the log behind it, or from `genesis`.
    ///
    /// # Errors
    /// Damage stops this group only; it is listed in [`Host::statuses`] as stopped.
    pub async fn start_group<M: Machine>(
        &self,
        spec: GroupSpec,
        genesis: impl FnOnce() -> M,
    ) -> Result<Group<M>, StartError> {
        let id = spec.id;
        let started = self.start(spec, genesis).await;
        if let Err(error) = &started {
            tracing::error!(group = %id, %error, "group not started");
            self.inner.broken.lock().insert(id, error.to_string());
        }
        started
    }

    async fn start<M: Machine>(
        &self,
        spec: GroupSpec,
        genesis: impl FnOnce() -> M,
    ) -> Result<Group<M>, StartError> {
        let Inner { config, env, inbound, .. } = &*self.inner;
        let id = spec.id;
        if inbound.group(id).is_some() {
            return Err(StartError::Twice(id));
        }
        let pending = Pending::new(config.archive_entries);
        let cell = Arc::new(Cell::new(id, genesis(), pending));
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
            clock: env.clock.clone(),
            leadership: running.leadership.subscribe(),
            entries_in_flight_max: config.timing.entries_in_flight_max.max(1),
            stop: running.stop.clone(),
            metrics: metrics::Group::new(id),
        };
        inbound.add(running.clone());
        running.raft.run();
        self.begin(&running, spec.members).await?;
        self.spawn_tasks(&running, rounds);
        env.tasks.spawn(format!("proposer {id}"), OnError::StopNode, proposer.run());
        Ok(Group { cell, queue, reads, running })
    }

    /// Loads what is durable and builds openraft on it, not yet running.
    async fn build(&self, id: GroupId, replica: Arc<dyn Replica>) -> Result<Running, StartError> {
        let Inner { config, env, wal, writer, link, .. } = &*self.inner;
        let (archive, checkpoints) = self.load(id, replica.clone()).await?;
        let state = wal.state(id).map_err(|source| StartError::Log { group: id, source })?;
        let purged = state.purged.map(|(index, _)| index);
        let joined = checkpoints.check_joins(purged);
        joined.map_err(|source| StartError::Checkpoint { group: id, source })?;
        let trouble = Arc::new(Trouble::default());
        let machine = StateMachine {
            replica: replica.clone(),
            checkpoints: checkpoints.clone(),
            writer: writer.clone(),
            trouble: trouble.clone(),
        };
        let network = Network {
            node: config.node,
            group: id,
            link: link.clone(),
            archive: archive.clone(),
            append_max: config.timing.election_max(),
        };
        let settings = config.timing.config(id.to_string());
        let settings = settings.map_err(|source| StartError::Settings { group: id, source })?;
        let log = LogStore::new(wal.clone(), id);
        let built = Raft::build(config.node.0, Arc::new(settings), network, log, machine).await;
        let raft = built.map_err(|e| StartError::Raft { group: id, what: e.to_string() })?;
        Ok(Running {
            id,
            node: config.node,
            raft,
            replica,
            archive,
            checkpoints,
            writer: writer.clone(),
            wal: wal.clone(),
            link: link.clone(),
            env: env.clone(),
            timing: config.timing.clone(),
            trouble,
            leadership: watch::Sender::new(Leadership::default()),
            receiving: tokio::sync::Mutex::new(()),
            checkpoint_wanted: tokio::sync::Notify::new(),
            stop: env.tasks.stop_token().child_token(),
        })
    }

    /// Opens archive and checkpoints on the writer's loop: both read and write the disk at length.
    async fn load(
        &self,
        id: GroupId,
        replica: Arc<dyn Replica>,
    ) -> Result<(Arc<Archive>, Arc<Checkpoints>), StartError> {
        let dir = self.inner.config.data_dir.join("groups").join(id.to_string());
        let fs = self.inner.fs.clone();
        let loaded = self.inner.writer.run(move || {
            let archive = |source| StartError::Archive { group: id, source };
            let checkpoint = |source| StartError::Checkpoint { group: id, source };
            fs.create_dir_all(&dir)
                .map_err(|source| checkpoint(CheckpointError::Io { file: dir.clone(), source }))?;
            let opened = Archive::open(&fs, &dir.join("archive.redb")).map_err(archive)?;
            let opened = Arc::new(opened);
            let loaded = Checkpoints::load(fs, dir, id, replica, opened.clone());
            Ok((opened, Arc::new(loaded.map_err(checkpoint)?)))
        });
        loaded.await.map_err(|_| StartError::Stopping)?
    }

    /// Begins a new group with its first members. All of them may do so: the first entry is the same.
    async fn begin(&self, running: &Running, members: Vec<NodeId>) -> Result<(), StartError> {
        let group = running.id;
        let failed = |what: String| StartError::Raft { group, what };
        let begun = running.raft.is_initialized().await.map_err(|e| failed(e.to_string()))?;
        if begun || members.is_empty() {
            return Ok(());
        }
        let members: BTreeMap<u64, ()> = members.into_iter().map(|node| (node.0, ())).collect();
        match running.raft.initialize(members).await {
            Ok(()) => Ok(()),
            // A peer that began first has already sent us the first entry.
            Err(_) if running.raft.is_initialized().await.unwrap_or(false) => Ok(()),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    fn spawn_tasks(&self, running: &Arc<Running>, rounds: Rounds) {
        let (tasks, id) = (&self.inner.env.tasks, running.id);
        tasks.spawn(format!("watcher {id}"), OnError::StopNode, watcher::run(running.clone()));
        let (raft, stop) = (running.raft.clone(), running.stop.clone());
        tasks.spawn(format!("reads {id}"), OnError::StopNode, async move {
            stop.run_until_cancelled(rounds.run(raft)).await;
        });
        let keeper = Keeper::new(running.clone());
        tasks.spawn(format!("keeper {id}"), OnError::StopNode, keeper.run());
    }

    pub fn node(&self) -> NodeId {
        self.inner.config.node
    }

    /// The peer service, for this node's internal port. It needs the caller's
    /// [`hansa_node::tls::PeerIdentity`] in the request's extensions, as the node's listener puts it.
    pub fn service(&self) -> RaftPeerServiceServer<impl RaftPeerService> {
        RaftPeerServiceServer::new(self.served())
            .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX)
    }

    pub(crate) fn served(&self) -> Served {
        let Inner { inbound, env, names, .. } = &*self.inner;
        Served { inbound: inbound.clone(), names: names.clone(), env: env.clone() }
    }

    /// Learns the name by which a node's certificate knows it: frames of that node are accepted from
    /// no other.
    pub fn set_name(&self, node: NodeId, name: SpiffeId) {
        self.inner.names.write().insert(node, name);
    }

    /// Forgets a node's name: its streams are refused from now on.
    pub fn remove_name(&self, node: NodeId) {
        self.inner.names.write().remove(&node);
    }

    /// Every group on this node, those that did not start included.
    pub fn statuses(&self) -> Vec<GroupStatus> {
        let hosted = self.inner.inbound.groups();
        let mut all: Vec<_> = hosted.iter().map(|running| running.status()).collect();
        let broken = self.inner.broken.lock();
        all.extend(broken.iter().map(|(id, why)| broken_status(self.node(), *id, why)));
        all.sort_by_key(|status| status.group);
        all
    }

    /// What the log counts.
    pub fn log_stats(&self) -> hansa_wal::Stats {
        self.inner.wal.stats()
    }

    /// Hands every leadership over, each within a bounded time; the groups go on as followers.
    pub async fn drain(&self) {
        let groups = self.inner.inbound.groups();
        futures::future::join_all(groups.iter().map(|running| running.hand_over())).await;
    }

    /// Stops every group, then closes the log. Bounded; call [`Host::drain`] first to spare clients an
    /// election.
    pub async fn stop(self) {
        const CLOSE_MAX: Duration = Duration::from_secs(5);
        let groups = self.inner.inbound.groups();
        futures::future::join_all(groups.iter().map(|running| running.shut_down())).await;
        let closed = tokio::time::timeout(CLOSE_MAX, self.inner.wal.clone().close()).await;
        match closed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(node = %self.node(), %error, "log closed badly"),
            Err(_) => tracing::warn!(node = %self.node(), "log did not close in time"),
        }
    }
}

fn broken_status(node: NodeId, group: GroupId, why: &str) -> GroupStatus {
    GroupStatus {
        group,
        node,
        role: Role::Stopped,
        term: 0,
        leader: None,
        voters: Vec::new(),
        learners: Vec::new(),
        last_index: 0,
        applied: 0,
        state_hash: Default::default(),
        chain_head: [0; 32],
        log_time: Default::default(),
        checkpoint: None,
        purged: None,
        stopped: Some(why.to_owned()),
    }
}
