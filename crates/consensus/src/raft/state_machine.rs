//! openraft's view of a replica: apply, checkpoint, install.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use openraft::{OptionalSend, alias::SnapshotOf};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::log_store::LogStore;
use super::{LogId, SnapshotMeta, StoredMembership, Types};
use crate::checkpoints::{Checkpoint, CheckpointError, Checkpoints};
use crate::metrics;
use crate::replica::{FrozenReplica, Replica};
use crate::room::Room;
use crate::trouble::Trouble;
use crate::writer::Writer;

/// The state machine of one group, its machine's type erased.
#[derive(Clone)]
pub(crate) struct StateMachine {
    pub replica: Arc<dyn Replica>,
    pub checkpoints: Arc<Checkpoints>,
    pub log: LogStore,
    pub writer: Writer,
    pub trouble: Arc<Trouble>,
    pub room: Arc<Room>,
    pub stop: CancellationToken,
}

impl StateMachine {
    /// Notes an error before openraft stops over it, so that the watcher knows what it was.
    fn failed(&self, error: CheckpointError) -> io::Error {
        match error.is_version() {
            true => self.trouble.note_version(error.to_string()),
            false => self.trouble.note(error.to_string(), error.is_damage()),
        }
        io::Error::other(error)
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = Checkpoint;
    type SnapshotBuilder = Builder;

    /// What a loaded checkpoint holds, and what was replayed since: durable as checkpoint and log.
    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let position = self.replica.position();
        Ok((position.applied, position.membership))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            self.make_room().await?;
            let applied = self.replica.apply(entry);
            let reply = applied.map_err(|unsupported| {
                self.trouble.note_version(unsupported.to_string());
                io::Error::other(unsupported)
            })?;
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        Ok(())
    }

    /// Freezes between two entries: later ones do not change the view.
    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Builder> {
        Some(Builder { frozen: Some(self.replica.freeze()), machine: self.clone() })
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { frozen: Some(self.replica.freeze()), machine: self.clone() }
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta,
        snapshot: Checkpoint,
    ) -> io::Result<()> {
        // openraft has cut a conflicting tail off the log. That must be durable before a checkpoint
        // is that contradicts it: a log at odds with its checkpoint does not open.
        self.log.synced().await?;
        let checkpoints = self.checkpoints.clone();
        let installed = self.writer.run(move || checkpoints.install(&snapshot)).await?;
        installed.map_err(|e| self.failed(e))
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, Checkpoint>>> {
        Ok(self.checkpoints.newest().map(snapshot_of))
    }
}

impl StateMachine {
    /// Slows apply down to the archive's pace when too much waits for it.
    ///
    /// Apply sees to it itself: while a group starts, openraft replays the log before any other
    /// task of the group runs.
    async fn make_room(&self) -> io::Result<()> {
        while self.replica.pending().is_full() {
            metrics::apply_waits(self.log.group());
            let checkpoints = self.checkpoints.clone();
            let archived = self.writer.run(move || checkpoints.archive_all()).await?;
            match archived {
                Ok(()) => return Ok(()),
                // The log still has it all: the group waits, and may lead or vote meanwhile.
                Err(error) if error.is_full() => {
                    tracing::warn!(%error, "apply waits for room on the disk");
                    self.wait_for_room().await?;
                }
                Err(error) => return Err(self.failed(error.into())),
            }
        }
        Ok(())
    }

    /// # Errors
    /// The group stops.
    async fn wait_for_room(&self) -> io::Result<()> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(io::Error::other("the group stops")),
            () = sleep(FULL_RETRY) => Ok(()),
        }
    }

    /// Whether a checkpoint as large as the last one would fit.
    fn may_write(&self) -> bool {
        let last = self.checkpoints.newest().map_or(0, |newest| newest.bytes);
        let pending = self.replica.pending().bytes() as u64;
        self.room.admit(last + last / 4 + 2 * pending).is_ok()
    }
}

/// How long after a full disk was met its next try comes.
const FULL_RETRY: Duration = Duration::from_secs(2);

/// Writes the checkpoint of one frozen view.
pub(crate) struct Builder {
    frozen: Option<FrozenReplica>,
    machine: StateMachine,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Checkpoint;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, Checkpoint>> {
        let mut frozen = self.frozen.take().ok_or_else(|| io::Error::other("built twice"))?;
        loop {
            if self.machine.may_write() {
                // openraft applies what it has submitted to the log. A checkpoint that is ahead of
                // that after a power cut has the log begin behind it, and no older one counts.
                self.machine.log.synced().await?;
                let checkpoints = self.machine.checkpoints.clone();
                match self.machine.writer.run(move || checkpoints.write(frozen)).await? {
                    Err(error) if error.is_full() => {
                        tracing::warn!(%error, "checkpoint waits for room on the disk");
                    }
                    written => return written.map(snapshot_of).map_err(|e| self.machine.failed(e)),
                }
            } else {
                // Pages that nobody writes out are let go meanwhile.
                drop(frozen);
            }
            self.machine.wait_for_room().await?;
            frozen = self.machine.replica.freeze();
        }
    }
}

fn snapshot_of(checkpoint: Checkpoint) -> SnapshotOf<Types, Checkpoint> {
    Snapshot { meta: checkpoint.meta(), snapshot: checkpoint }
}
