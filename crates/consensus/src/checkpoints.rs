//! The checkpoints of one group: written aside, synced, renamed, the folder synced; the last two
//! kept.
//!
//! Order of durability: the archive reaches position p, then the checkpoint names p, then the log
//! is purged below the *older* kept checkpoint. So a damaged newest checkpoint loses nothing: the
//! older one and the log behind it still meet.

mod aside;
mod file;
mod forgotten;
mod rot;
pub(crate) mod stopped;

pub(crate) use aside::thaw_copy;
pub use file::FileError;
pub(crate) use file::{StateReader, open as open_file};
pub(crate) use forgotten::{FILE as FORGOTTEN, Kept, mark_of};
pub(crate) use rot::Verifying;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hansa_types::id::GroupId;
use hansa_types::seeded::{self, Bug};
use hansa_wal::Purged;
use hansa_wal::fs::{File, Fs, is_full};
use parking_lot::Mutex;
use thiserror::Error;

use crate::archive::{Archive, ArchiveError, End};
use crate::machine::ThawError;
use crate::raft::SnapshotMeta;
use crate::replica::{FrozenReplica, Position, Replica};

const KEPT: usize = 2;
const COPY_BYTES: usize = 1 << 20;
/// A snapshot on its way in.
const INCOMING: &str = "incoming.tmp";
/// What damaged checkpoints are called that were set aside.
pub(crate) const DAMAGED: &str = "damaged";

/// Why a checkpoint could not be written, loaded or installed.
#[derive(Debug, Error)]
pub enum CheckpointError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: {source}", file.display())]
    Thaw { file: PathBuf, source: ThawError },
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("{}: {source}", file.display())]
    Io { file: PathBuf, source: io::Error },
    /// This node's memory or code is broken: its running digest is not that of its records.
    #[error("the state's digest {running} is not that of its records, {full}")]
    Digest { running: String, full: String },
    #[error(
        "the log begins after {} ({} at byte {}), the newest good checkpoint in {} ends at {at:?}",
        log.upto, log.file.display(), log.offset, file.display()
    )]
    Gap {
        log: Purged,
        /// The checkpoint, or the folder that lacks one.
        file: PathBuf,
        at: Option<u64>,
    },
    #[error("{}: ends at {at:?}, a snapshot names {named}", file.display())]
    ArchiveShort { file: PathBuf, named: u64, at: Option<u64> },
}

impl CheckpointError {
    /// Damage concerns this group only; anything else is this node's disk or memory.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::File(FileError::Damaged { .. }) => true,
            Self::Thaw { source, .. } => matches!(source, ThawError::Damaged(_)),
            Self::Archive(error) => error.is_damage(),
            Self::Gap { .. } | Self::ArchiveShort { .. } => true,
            Self::File(FileError::Version { .. } | FileError::Io { .. })
            | Self::Io { .. }
            | Self::Digest { .. } => false,
        }
    }

    /// Written by another release, which this binary does not read, or under a config with other
    /// parts: nothing here is to be touched.
    pub fn is_version(&self) -> bool {
        matches!(
            self,
            Self::File(FileError::Version { .. })
                | Self::Thaw {
                    source: ThawError::Version(_) | ThawError::Behaviour(_) | ThawError::Parts,
                    ..
                }
                | Self::Archive(ArchiveError::Version { .. })
        )
    }

    /// Whether the disk was full: what was there before is there still, and later it may fit.
    pub fn is_full(&self) -> bool {
        match self {
            Self::File(FileError::Io { source, .. }) | Self::Io { source, .. } => is_full(source),
            Self::Archive(error) => error.is_full(),
            _ => false,
        }
    }
}

/// A checkpoint on disk, open for reading: it stays readable when its file is removed.
#[derive(Clone)]
pub(crate) struct Checkpoint {
    pub position: Position,
    pub bytes: u64,
    pub file: Arc<dyn File>,
    path: PathBuf,
}

impl Checkpoint {
    pub fn meta(&self) -> SnapshotMeta {
        let last_membership = self.position.membership.clone();
        SnapshotMeta { last_log_id: self.position.applied, last_membership }
    }

    pub fn index(&self) -> Option<u64> {
        self.position.applied.map(|id| id.index())
    }
}

/// The state that `end` of an archive belongs to.
pub(crate) fn end_of(position: &Position) -> End {
    let next_index = position.applied.map_or(0, |id| id.index() + 1);
    End { next_index, records: position.records, chain: position.chain }
}

/// Writes, keeps and loads the checkpoints of one group.
pub(crate) struct Checkpoints {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    group: GroupId,
    replica: Arc<dyn Replica>,
    archive: Arc<Archive>,
    /// Oldest first.
    kept: Mutex<Vec<Checkpoint>>,
    /// What somebody's read came upon, for the scrubber to act on.
    noticed: Mutex<Option<(Checkpoint, CheckpointError)>>,
}

impl Checkpoints {
    /// Loads the newest good checkpoint in `dir` into `replica` and cuts the archive back to it.
    ///
    /// # Errors
    /// Damage when there are checkpoints and none is good, or the archive does not reach the loaded
    /// one.
    pub fn load(
        fs: Arc<dyn Fs>,
        dir: PathBuf,
        group: GroupId,
        replica: Arc<dyn Replica>,
        archive: Arc<Archive>,
    ) -> Result<Self, CheckpointError> {
        let at = |source| CheckpointError::Io { file: dir.clone(), source };
        fs.create_dir_all(&dir).map_err(at)?;
        let mut names = fs.list(&dir).map_err(at)?;
        for left in names.iter().filter(|name| name.ends_with(".tmp")) {
            fs.remove(&dir.join(left)).map_err(at)?;
        }
        // The last act of a process that was killed may have been a rename without its sync.
        fs.sync_dir(&dir).map_err(at)?;
        names.retain(|name| name.ends_with(".ckpt"));
        let (kept, noticed) = Default::default();
        let this = Self { fs, dir, group, replica, archive, kept, noticed };
        let mut damage = None;
        for name in names.iter().rev() {
            let path = this.dir.join(name);
            if this.kept.lock().is_empty() {
                match this.load_one(&path) {
                    Ok(good) => this.kept.lock().push(good),
                    Err(error) if error.is_damage() => {
                        tracing::error!(%group, %error, "checkpoint unusable, trying an older one");
                        damage.get_or_insert((error, path));
                    }
                    // An older one would be a guess at what a newer release has done since, or
                    // leave one behind that a disk's bad moment has hidden.
                    Err(error) => return Err(error),
                }
                continue;
            }
            // Only one that could be loaded allows a purge of the log behind it.
            match this.open(&path).and_then(|older| this.verify(&older).map(|()| older)) {
                Ok(older) => this.kept.lock().insert(0, older),
                Err(error) if error.is_damage() => this.set_aside(&path, &error)?,
                Err(error) => return Err(error),
            }
        }
        match (this.kept.lock().is_empty(), damage) {
            (true, Some((damage, _))) => return Err(damage),
            (false, Some((damage, path))) => this.set_aside(&path, &damage)?,
            (_, None) => {}
        }
        this.archive.cut(end_of(&this.replica.position()))?;
        Ok(this)
    }

    fn load_one(&self, path: &Path) -> Result<Checkpoint, CheckpointError> {
        let checkpoint = self.open(path)?;
        self.thaw(&checkpoint)?;
        Ok(checkpoint)
    }

    fn open(&self, path: &Path) -> Result<Checkpoint, CheckpointError> {
        let at = |source| CheckpointError::Io { file: path.to_owned(), source };
        let file = self.fs.open(path).map_err(at)?;
        let (position, _) = file::open(file.clone(), path, self.group)?;
        Ok(Checkpoint { position, bytes: file.len().map_err(at)?, file, path: path.to_owned() })
    }

    /// Reads a checkpoint's state into the replica, every block and the digest checked.
    fn thaw(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        let path = &checkpoint.path;
        let (position, mut state) = file::open(checkpoint.file.clone(), path, self.group)?;
        let thawed = self.replica.thaw(&position, &mut state);
        thawed.map_err(|source| thaw_error(path, source))?;
        state.finish().map_err(|e| thaw_error(path, ThawError::Io(e)))
    }

    /// The checkpoints that are kept, oldest first.
    pub fn kept(&self) -> Vec<Checkpoint> {
        self.kept.lock().clone()
    }

    /// Notes durably that this group must not serve on this node any more.
    pub fn stop_for_good(&self, why: &str) -> io::Result<()> {
        stopped::write(self.fs.as_ref(), &self.dir, why)
    }

    /// The newest checkpoint.
    pub fn newest(&self) -> Option<Checkpoint> {
        self.kept.lock().last().cloned()
    }

    /// The index up to which the log may be purged: that of the older kept checkpoint.
    pub fn purgeable(&self) -> Option<u64> {
        let kept = self.kept.lock();
        if kept.len() < KEPT { None } else { kept.first().and_then(Checkpoint::index) }
    }

    /// Archives what was applied up to entry `index`; durable on return.
    pub fn archive_upto(&self, index: u64) -> Result<(), ArchiveError> {
        let pending = self.replica.pending();
        let (entries, records) = pending.upto(index);
        let Some(last) = entries.last() else { return Ok(()) };
        let end = End { next_index: last.index + 1, records: last.records, chain: last.heads.1 };
        self.archive.append(&entries, &records, end)?;
        pending.archived(last.index);
        Ok(())
    }

    /// Archives everything that was applied; durable on return. Nothing may be applied meanwhile.
    pub fn archive_all(&self) -> Result<(), ArchiveError> {
        self.archive_to(end_of(&self.replica.position()))
    }

    fn archive_to(&self, end: End) -> Result<(), ArchiveError> {
        let Some(index) = end.next_index.checked_sub(1) else { return Ok(()) };
        let (entries, records) = self.replica.pending().upto(index);
        self.archive.append(&entries, &records, end)?;
        self.replica.pending().archived(index);
        Ok(())
    }

    /// Writes a checkpoint of a frozen view; durable on return. Runs on the writer's thread.
    pub fn write(&self, frozen: FrozenReplica) -> Result<Checkpoint, CheckpointError> {
        let FrozenReplica { position, state } = frozen;
        // There already, or a snapshot was installed since the view was frozen.
        let applied = position.applied;
        if let Some(newest) = self.newest().filter(|newest| newest.position.applied >= applied) {
            return Ok(newest);
        }
        let full = state.digest_full();
        if full != position.digest {
            let (running, full) = (position.digest.to_string(), full.to_string());
            return Err(CheckpointError::Digest { running, full });
        }
        self.archive_to(end_of(&position))?;
        let aside = self.dir.join("writing.tmp");
        let at = |source| CheckpointError::Io { file: aside.clone(), source };
        let file = self.fs.create(&aside).map_err(at)?;
        let bytes = file::write(&file, self.group, &position, |to| state.write(to));
        let bytes = bytes.map_err(|e| self.discard(&aside, e))?;
        self.publish(&aside, position, file, bytes)
    }

    /// Removes what could not be written to its end: a full disk needs its space.
    fn discard(&self, unfinished: &Path, source: io::Error) -> CheckpointError {
        if let Err(error) = self.fs.remove(unfinished) {
            tracing::warn!(file = %unfinished.display(), %error, "unfinished file not removed");
        }
        CheckpointError::Io { file: unfinished.to_owned(), source }
    }

    /// Gives a synced file its name, and lets go of what is older than the last two.
    fn publish(
        &self,
        aside: &Path,
        position: Position,
        file: Arc<dyn File>,
        bytes: u64,
    ) -> Result<Checkpoint, CheckpointError> {
        let next = position.applied.map_or(0, |id| id.index() + 1);
        let path = self.dir.join(format!("{next:020}.ckpt"));
        let at = |source| CheckpointError::Io { file: path.clone(), source };
        self.fs.rename(aside, &path).map_err(at)?;
        self.fs.sync_dir(&self.dir).map_err(at)?;
        let checkpoint = Checkpoint { position, bytes, file, path: path.clone() };
        let mut kept = self.kept.lock();
        kept.retain(|older| older.path != path);
        kept.push(checkpoint.clone());
        while kept.len() > KEPT {
            let old = kept.remove(0);
            self.fs.remove(&old.path).map_err(at)?;
        }
        Ok(checkpoint)
    }

    /// Where a snapshot from a peer is received.
    pub fn incoming(&self) -> Result<Incoming, CheckpointError> {
        let path = self.dir.join(INCOMING);
        let at = |source| CheckpointError::Io { file: path.clone(), source };
        let file = self.fs.create(&path).map_err(at)?;
        Ok(Incoming { path, file })
    }

    /// Opens a received file after syncing it, once all of it was read back.
    ///
    /// # Errors
    /// Damage: it came so, or this disk has changed it. The file is gone then, and nothing else
    /// here is any worse for it.
    pub fn received(&self, incoming: Incoming) -> Result<Checkpoint, CheckpointError> {
        let at = |source| CheckpointError::Io { file: incoming.path.clone(), source };
        incoming.file.sync_data().map_err(at)?;
        let opened = self.open(&incoming.path);
        let opened = opened.and_then(|opened| self.verify(&opened).map(|()| opened));
        if opened.as_ref().is_err_and(CheckpointError::is_damage) {
            self.drop_incoming().map_err(at)?;
        }
        opened
    }

    /// Puts a received snapshot in place of the state, its archive range being there already.
    ///
    /// Thawed first, so that a bad one is never given a name; durable on return, before openraft
    /// purges the log that it replaces.
    pub fn install(&self, snapshot: &Checkpoint) -> Result<(), CheckpointError> {
        let end = end_of(&snapshot.position);
        let held = self.archive.end();
        let lacks_entries =
            self.replica.pending().keeps_entries() && held.next_index < end.next_index;
        let lacks = lacks_entries || held.records < end.records;
        if lacks && !seeded::on(Bug::SnapshotWithoutArchiveRange) {
            return Err(CheckpointError::ArchiveShort {
                file: self.dir.join("archive.redb"),
                named: end.next_index,
                at: held.next_index.checked_sub(1),
            });
        }
        // An archive of records only must reach as far as the checkpoint that will name it.
        self.archive.append(&[], &[], end)?;
        let aside = self.take_over(snapshot)?;
        self.thaw(&aside)?;
        let older: Vec<_> = std::mem::take(&mut *self.kept.lock());
        let Checkpoint { position, bytes, file, path } = aside;
        let installed = self.publish(&path, position, file, bytes)?;
        // The log that joined them to the present is about to be purged.
        for old in older.iter().filter(|old| old.path != installed.path) {
            let at = |source| CheckpointError::Io { file: old.path.clone(), source };
            self.fs.remove(&old.path).map_err(at)?;
        }
        Ok(())
    }

    /// The snapshot as a file of ours: received ones are, others are copied.
    fn take_over(&self, snapshot: &Checkpoint) -> Result<Checkpoint, CheckpointError> {
        if snapshot.path.parent() == Some(self.dir.as_path()) {
            return Ok(snapshot.clone());
        }
        let incoming = self.incoming()?;
        let at = |source| CheckpointError::Io { file: incoming.path.clone(), source };
        let (mut buffer, mut offset) = (vec![0; COPY_BYTES], 0);
        loop {
            let read = snapshot.file.read_at(&mut buffer, offset).map_err(at)?;
            if read == 0 {
                break;
            }
            incoming.file.write_at(&buffer[..read], offset).map_err(at)?;
            offset += read as u64;
        }
        self.received(incoming)
    }

    /// Checks that the log and the loaded checkpoint meet.
    pub fn check_joins(&self, purged: Option<Purged>) -> Result<(), CheckpointError> {
        let at = self.replica.position().applied.map(|id| id.index());
        match purged {
            Some(log) if at.is_none_or(|applied| applied < log.upto) => {
                let file = self.newest().map_or_else(|| self.dir.clone(), |newest| newest.path);
                Err(CheckpointError::Gap { log, file, at })
            }
            _ => Ok(()),
        }
    }
}

/// A snapshot that is being received.
pub(crate) struct Incoming {
    path: PathBuf,
    pub file: Arc<dyn File>,
}

/// A thaw's error, with damage that the reader found told apart from a broken disk.
fn thaw_error(path: &Path, source: ThawError) -> CheckpointError {
    let file = path.to_owned();
    let error = match source {
        ThawError::Io(error) => error,
        source => return CheckpointError::Thaw { file, source },
    };
    if error.kind() == io::ErrorKind::UnexpectedEof {
        let source = ThawError::Damaged("the state ends early".to_owned());
        return CheckpointError::Thaw { file, source };
    }
    match error.downcast::<FileError>() {
        Ok(found) => found.into(),
        Err(source) => CheckpointError::Thaw { file, source: ThawError::Io(source) },
    }
}

#[cfg(test)]
mod tests;
