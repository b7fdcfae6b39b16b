//! The handle on one group, or on a part of its machine: submit, read, peek.

use std::sync::Arc;

use bytes::Bytes;
use hansa_types::id::{GroupId, NodeId};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::archive::ArchiveError;
use crate::archived::Archived;
use crate::machine::Machine;
use crate::membership::{ChangeError, Membership};
use crate::outcome::{GroupStatus, Leadership, ReadError, SubmitError};
use crate::part::{Access, Answer, Holds, Through, Whole};
use crate::raise::RaiseError;
use crate::reads::Reads;
use crate::replica::ReadAt;
use crate::running::Running;

/// One group on this node, or a part of its machine. Clones share everything.
///
/// A handle on a part has the part's name, commands, state and archive. Everything else is the
/// log's in which it lies: who leads, who belongs to it, checkpoints, versions.
pub struct Group<M: Machine> {
    id: GroupId,
    pub(crate) access: Arc<dyn Access<M>>,
    /// Added to the numbers of archive tables.
    tables: u8,
    reads: Reads,
    pub(crate) running: Arc<Running>,
}

impl<M: Machine> Clone for Group<M> {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            access: self.access.clone(),
            tables: self.tables,
            reads: self.reads.clone(),
            running: self.running.clone(),
        }
    }
}

impl<M: Machine> Group<M> {
    pub(crate) fn new(whole: Whole<M>, reads: Reads, running: Arc<Running>) -> Self {
        Self { id: running.id, access: Arc::new(whole), tables: 0, reads, running }
    }

    /// The part `P` of the group's machine, under a name of its own; `None` where it has none.
    pub fn part<P: Machine>(&self, id: GroupId) -> Option<Group<P>>
    where
        M: Holds<P>,
    {
        self.peek(|whole| whole.part().is_some()).then(|| Group {
            id,
            access: Arc::new(Through { whole: self.access.clone() }),
            tables: self.tables + M::TABLES,
            reads: self.reads.clone(),
            running: self.running.clone(),
        })
    }

    /// The name of what this is a handle on.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// The Raft group in whose log it lies: itself, unless it is a part.
    pub fn log(&self) -> GroupId {
        self.running.id
    }

    pub fn node(&self) -> NodeId {
        self.running.node
    }

    /// Commits `command` and answers its outcome; leader only.
    ///
    /// Concurrent submits share an entry, a timestamp and a sync.
    pub async fn submit(
        &self,
        command: Bytes,
        deadline: Instant,
    ) -> Result<M::Outcome, SubmitError> {
        within(self.access.submit(command)?, deadline).await
    }

    /// Commits `commands` in order, in one entry, and answers their outcomes in that order.
    pub async fn submit_many(
        &self,
        commands: Vec<Bytes>,
        deadline: Instant,
    ) -> Result<Vec<M::Outcome>, SubmitError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        within(self.access.submit_many(commands)?, deadline).await
    }

    /// Looks at the state as a linearizable read; leader only.
    ///
    /// Joins a ReadIndex round that starts after this call did, so it sees every command
    /// acknowledged before. Never a log write, never a lease. `look` holds up apply: keep it short.
    pub async fn read<R>(
        &self,
        deadline: Instant,
        look: impl FnOnce(&M) -> R,
    ) -> Result<R, ReadError> {
        let index = self.reads.index(deadline).await?;
        let mut applied = self.applied();
        let reached = timeout_at(deadline, applied.wait_for(|at| *at >= index)).await;
        match reached {
            Err(_) => Err(ReadError::Deadline),
            Ok(Err(_)) => Err(ReadError::Stopped),
            Ok(Ok(_)) if self.running.stopped().is_some() => Err(ReadError::Stopped),
            Ok(Ok(_)) => Ok(self.peek(look)),
        }
    }

    /// The same, and as of where: what is looked at and the place are of one moment.
    pub async fn read_at<R>(
        &self,
        deadline: Instant,
        look: impl FnOnce(&M, ReadAt) -> R,
    ) -> Result<R, ReadError> {
        self.read(deadline, |_| ()).await?;
        let (mut look, mut seen) = (Some(look), None);
        self.access.look_at(&mut |machine, at| seen = look.take().map(|look| look(machine, at)));
        Ok(once(seen))
    }

    /// Looks at this replica's applied state: never for an answer that must be linearizable.
    pub fn peek<R>(&self, look: impl FnOnce(&M) -> R) -> R {
        let (mut look, mut seen) = (Some(look), None);
        self.access.look(&mut |machine| seen = look.take().map(|look| look(machine)));
        once(seen)
    }

    /// Index of the last applied entry, as it grows.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.running.replica.applied()
    }

    /// Who leads, as it changes. `mine` turns true once this node has applied its first entry in
    /// office.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.running.leadership.subscribe()
    }

    /// Whether this replica may be looked at: damage and divergence stop it.
    pub fn serves(&self) -> bool {
        self.running.stopped().is_none()
    }

    pub fn status(&self) -> GroupStatus {
        self.running.status()
    }

    /// The newest version of an archived record, durable or still in memory.
    pub fn archive_get(&self, table: u8, key: &[u8]) -> Result<Option<Bytes>, ArchiveError> {
        self.archive().get(table, key)
    }

    /// Up to `max` archived records of `table` in order of key, from `from` on.
    pub fn archive_scan(
        &self,
        table: u8,
        from: &[u8],
        max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ArchiveError> {
        self.archive().scan(table, from, max)
    }

    /// What `read` finds in the archive, on the node's loop for such reads: for whoever must not
    /// wait for the disk, and answers a caller. The way to records of what has left hot state.
    ///
    /// # Errors
    /// More wait than may, the deadline passed, or the group has stopped: over damage, for one.
    pub async fn archived<T: Send + 'static>(
        &self,
        deadline: Instant,
        read: impl FnOnce(&Archived) -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        let archive = self.archive();
        let read = move || match archive.running.stopped() {
            Some(_) => Err(ReadError::Stopped),
            None => Ok(read(&archive)),
        };
        self.running.reader.run(deadline, read).await?
    }

    fn archive(&self) -> Archived {
        Archived { running: self.running.clone(), tables: self.tables }
    }

    /// Writes a checkpoint now rather than when it is due.
    pub async fn checkpoint(&self) {
        self.running.checkpoint_now().await;
    }

    /// Has this replica's disk forget what its state has let go of: one checkpoint of everything
    /// applied so far and none before it, no log behind it, and no segment that had any of it.
    /// Whether that is done: then `mark` is what [`Group::forgotten`] says from now on, after a
    /// restart too. Dropped or cut off in between, it is begun again by the next call. A replica
    /// that is behind is sent a snapshot. A checkpoint that does not read back stops the group, or
    /// is set aside where an older one is left.
    pub async fn forget(&self, mark: u64) -> bool {
        self.running.forget(mark).await
    }

    /// How far this replica's disk has forgotten: the mark of the last [`Group::forget`] that was
    /// done, 0 without one.
    pub async fn forgotten(&self) -> u64 {
        self.running.forgotten().await
    }

    /// Adds a node that receives everything and does not vote; leader only.
    ///
    /// # Errors
    /// As for every change of members: one at a time, each on the members seen before it.
    pub async fn add_learner(&self, node: NodeId, deadline: Instant) -> Result<(), ChangeError> {
        self.running.add_learner(node, deadline).await
    }

    /// Makes a learner a voter, whether it has caught up or not; leader only.
    ///
    /// # Errors
    /// As [`Group::add_learner`].
    pub async fn promote(&self, node: NodeId, deadline: Instant) -> Result<(), ChangeError> {
        self.running.promote(node, deadline).await
    }

    /// Removes a voter or a learner; leader only.
    ///
    /// # Errors
    /// As [`Group::add_learner`].
    pub async fn remove(&self, node: NodeId, deadline: Instant) -> Result<(), ChangeError> {
        self.running.remove(node, deadline).await
    }

    /// The group's members as this node sees them.
    pub fn membership(&self) -> Membership {
        self.running.membership().1
    }

    /// Raises the group's version of behaviour; leader only.
    ///
    /// # Errors
    /// A member does not apply that version, or does not answer; else as for every command.
    pub async fn raise_version(&self, to: u32, deadline: Instant) -> Result<u32, RaiseError> {
        self.running.raise_version(to, deadline).await
    }

    /// Hands leadership to `to`. Returns at once; watch [`Group::leadership`] for what comes of it.
    pub async fn transfer_leadership(&self, to: NodeId) {
        self.running.transfer_leadership(to).await;
    }
}

/// Waits for an answer within the deadline; what was queued may have been proposed by then.
async fn within<T>(answer: Answer<T>, deadline: Instant) -> Result<T, SubmitError> {
    timeout_at(deadline, answer).await.unwrap_or(Err(SubmitError::Unknown))
}

/// What one look has seen.
fn once<R>(seen: Option<R>) -> R {
    match seen {
        Some(seen) => seen,
        None => unreachable!("a machine is looked at once"),
    }
}
