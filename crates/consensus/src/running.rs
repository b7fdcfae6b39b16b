//! A group as it runs on this node: everything about it that does not depend on its machine's type.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use hansa_api::pb::raft::PeerMessageKind;
use hansa_node::env::Env;
use hansa_types::id::{GroupId, NodeId};
use hansa_wal::Wal;
use openraft::ServerState;
use openraft::async_runtime::Instant as _;
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::sync::{Mutex, Notify, OwnedMutexGuard, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::archive::Archive;
use crate::checkpoints::{Checkpoints, Kept};
use crate::incoming::Partial;
use crate::link::{Ask, Link, LinkError};
use crate::membership::Wanted;
use crate::outcome::{GroupStatus, Leadership, Role};
use crate::raft::acks::Acks;
use crate::raft::{Raft, wire};
use crate::reader::Reader;
use crate::replica::Replica;
use crate::room::{Reports, Room};
use crate::timing::Timing;
use crate::trouble::Trouble;
use crate::writer::Writer;

/// A purge that was put off is asked for again.
const PURGE_AGAIN: Duration = Duration::from_millis(250);
/// How long one may be put off before something is done about it.
const PURGE_STUCK: Duration = Duration::from_secs(3);
/// How long openraft may take to stop.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);

pub(crate) struct Running {
    pub id: GroupId,
    pub node: NodeId,
    pub raft: Raft,
    pub replica: Arc<dyn Replica>,
    pub archive: Arc<Archive>,
    pub checkpoints: Arc<Checkpoints>,
    pub writer: Writer,
    pub reader: Reader,
    pub wal: Wal,
    pub link: Arc<dyn Link>,
    pub env: Env,
    pub timing: Timing,
    pub trouble: Arc<Trouble>,
    pub leadership: watch::Sender<Leadership>,
    /// Held while a snapshot is received: one at a time. What a broken transfer brought stays here.
    pub receiving: Arc<Mutex<Option<Partial>>>,
    /// Whom the group is to have as members; `None` until somebody says.
    pub wanted: watch::Sender<Option<Wanted>>,
    /// What this node, leading, does next about the members.
    pub members_next: parking_lot::Mutex<String>,
    /// This node is about to stop: it stands for no election.
    pub draining: AtomicBool,
    /// Rung to have a checkpoint written now.
    pub checkpoint_wanted: Notify,
    pub stop: CancellationToken,
    /// The node's disk.
    pub room: Arc<Room>,
    /// Which members said that theirs is short of room.
    pub reports: Arc<Reports>,
    pub acks: Arc<Acks>,
}

impl Running {
    /// Why the group does not serve, when it does not.
    pub fn stopped(&self) -> Option<String> {
        let problem = self.trouble.first().map(|problem| problem.what);
        // Whoever read it said so to its caller; the scrubber acts on it soon.
        let problem = problem.or_else(|| self.archive.damage().map(|error| error.to_string()));
        problem.or_else(|| self.stop.is_cancelled().then(|| "stopped".to_owned()))
    }

    pub fn status(&self) -> GroupStatus {
        let position = self.replica.position();
        let server = self.raft.server_metrics().borrow_watched().clone();
        let data = self.raft.data_metrics().borrow_watched().clone();
        let membership = server.membership_config.membership();
        let stopped = self.stopped();
        let role = match server.state {
            _ if stopped.is_some() => Role::Stopped,
            ServerState::Leader => Role::Leader,
            ServerState::Candidate => Role::Candidate,
            ServerState::Follower => Role::Follower,
            ServerState::Learner => Role::Learner,
            ServerState::Shutdown => Role::Stopped,
        };
        GroupStatus {
            group: self.id,
            node: self.node,
            role,
            term: server.vote.leader_id.term,
            leader: server.current_leader.map(NodeId),
            voters: membership.voter_ids().map(NodeId).collect(),
            learners: membership.learner_ids().map(NodeId).collect(),
            last_index: data.last_log.map_or(0, |id| id.index()),
            applied: position.applied.map_or(0, |id| id.index()),
            state_hash: position.digest,
            chain_head: position.chain,
            log_time: position.time,
            version: position.version,
            versions: self.replica.versions(),
            checkpoint: self.checkpoints.newest().and_then(|newest| newest.index()),
            purged: data.purged.map(|id| id.index()),
            stopped,
        }
    }

    /// How long ago the last request was sent that a quorum has answered, while this node leads.
    ///
    /// Nothing unsafe comes of a leader without followers: it commits nothing and no read passes.
    /// But every call would wait for it until its deadline, and the gateway beside it, which
    /// answers nobody, would keep the clients that a working one has lost.
    pub fn unheard_for(&self) -> Duration {
        let server = self.raft.server_metrics().borrow_watched().clone();
        if server.membership_config.membership().voter_ids().count() < 2 {
            return Duration::ZERO;
        }
        let acked = self.raft.metrics().borrow_watched().last_quorum_acked;
        acked.map_or(Duration::ZERO, |at| at.into_inner().elapsed())
    }

    /// Asks another replica what it can say of itself, its clock and its binary, and whether its
    /// state is `digest` at that index.
    pub async fn ask_digest(
        &self,
        to: NodeId,
        digest: wire::Digest,
        within: Duration,
    ) -> Result<Bytes, LinkError> {
        let (group, kind) = (self.id, PeerMessageKind::Digest);
        let body = wire::digest(&digest);
        self.link.call(to, Ask { group, kind, body, entries: Vec::new(), within }).await
    }

    /// Writes a checkpoint of everything applied so far; returns when it is durable or the group
    /// stops.
    pub async fn checkpoint_now(&self) {
        let Some(applied) = self.replica.position().applied else { return };
        let mut progress = self.raft.data_metrics();
        loop {
            if progress.borrow_watched().snapshot.is_some_and(|at| at >= applied) {
                return;
            }
            self.checkpoint_wanted.notify_one();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                changed = progress.changed() => if changed.is_err() { return },
            }
        }
    }

    /// See [`crate::Group::forget`].
    pub async fn forget(&self, mark: u64) -> bool {
        let Some(applied) = self.replica.position().applied else { return true };
        self.checkpoint_now().await;
        // What has stopped over its disk or its state is for people to look at, all of it.
        if self.stopped().is_some() {
            return false;
        }
        let checkpoints = self.checkpoints.clone();
        let kept = self.writer.run(move || checkpoints.keep_newest(applied.index())).await;
        let upto = match kept {
            Ok(Ok(Kept::Alone(upto))) => upto,
            Ok(Ok(Kept::TooOld)) | Err(_) => return false,
            Ok(Ok(Kept::Damaged)) => {
                self.checkpoint_wanted.notify_one();
                return false;
            }
            Ok(Err(error)) => {
                tracing::error!(group = %self.id, %error, "found while forgetting");
                self.trouble.note(error.to_string(), error.is_damage());
                self.give_up().await;
                return false;
            }
        };
        if !self.purge(upto).await {
            return false;
        }
        self.wal.roll();
        tokio::select! {
            biased;
            () = self.stop.cancelled() => return false,
            rolled = self.wal.rolled() => if rolled.is_err() { return false },
        }
        self.stop.run_until_cancelled(self.note_forgotten(mark)).await == Some(true)
    }

    /// Purges the log up to entry `upto`; `false` when the group stops first.
    async fn purge(&self, upto: u64) -> bool {
        let mut progress = self.raft.data_metrics();
        let mut asked = Instant::now();
        while progress.borrow_watched().purged.is_none_or(|purged| purged.index() < upto) {
            // Put off while somebody is sent what is to go.
            let _stopping = self.raft.trigger().purge_log(upto).await;
            // A leader that has put it off and leads no more takes it for done until it has
            // another checkpoint.
            let leads = self.raft.server_metrics().borrow_watched().state == ServerState::Leader;
            if !leads && asked.elapsed() >= PURGE_STUCK {
                asked = Instant::now();
                self.checkpoint_wanted.notify_one();
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return false,
                changed = progress.changed() => if changed.is_err() { return false },
                () = tokio::time::sleep(PURGE_AGAIN) => {}
            }
        }
        true
    }

    async fn note_forgotten(&self, mark: u64) -> bool {
        // Of a snapshot that is on its way in when this begins a part may be from before. One that
        // begins later has all that this replica has.
        let mut arriving = self.receiving.clone().lock_owned().await;
        *arriving = None;
        let note = move |checkpoints: &Checkpoints| checkpoints.note_forgotten(mark);
        self.without_incoming(arriving, "forgotten, but not noted", note).await
    }

    /// Lets go of what a broken transfer brought, once nobody goes on with it.
    pub async fn drop_left_snapshot(&self) {
        let Ok(mut arriving) = self.receiving.clone().try_lock_owned() else { return };
        if arriving.as_ref().is_some_and(Partial::is_left) {
            *arriving = None;
            self.drop_incoming(arriving).await;
        }
    }

    /// Removes the file of a snapshot that nobody installs any more.
    pub async fn drop_incoming(&self, arriving: OwnedMutexGuard<Option<Partial>>) {
        let failed = "what arrived of a snapshot is not removed";
        self.without_incoming(arriving, failed, |_| Ok(())).await;
    }

    /// The same, and `then` while no other one can begin; whether both are done.
    async fn without_incoming(
        &self,
        arriving: OwnedMutexGuard<Option<Partial>>,
        failed: &str,
        then: impl FnOnce(&Checkpoints) -> io::Result<()> + Send + 'static,
    ) -> bool {
        let checkpoints = self.checkpoints.clone();
        let done = self.writer.run(move || {
            let done = checkpoints.drop_incoming().and_then(|()| then(&checkpoints));
            drop(arriving);
            done
        });
        let done = done.await;
        if let Ok(Err(error)) = &done {
            tracing::warn!(group = %self.id, %error, "{failed}");
        }
        matches!(done, Ok(Ok(())))
    }

    /// See [`crate::Group::forgotten`].
    pub async fn forgotten(&self) -> u64 {
        let checkpoints = self.checkpoints.clone();
        self.writer.run(move || checkpoints.forgotten()).await.unwrap_or(0)
    }

    /// Stops serving over a noted problem; the watcher acts on it.
    pub async fn give_up(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(group = %self.id, %error, "raft task ended badly");
        }
    }

    /// Stops the group on this node for good.
    pub async fn shut_down(&self) {
        self.stop.cancel();
        match tokio::time::timeout(SHUTDOWN_MAX, self.raft.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(group = %self.id, %error, "raft task ended badly"),
            Err(_) => tracing::warn!(group = %self.id, "raft did not stop in time"),
        }
    }
}
