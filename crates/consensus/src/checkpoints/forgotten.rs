//! What a group's disk lets go of before its time: older checkpoints, and how far it has forgotten.

use std::io;
use std::path::PathBuf;

use hansa_wal::fs;

use super::{CheckpointError, Checkpoints, DAMAGED, INCOMING};

/// Its name in the group's folder.
pub(crate) const FILE: &str = "FORGOTTEN";
const BYTES_MAX: u64 = 32;

/// What became of an attempt to keep the newest checkpoint alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is the only one, durably: up to here the log may be purged.
    Alone(u64),
    /// What it should have is in no checkpoint yet.
    TooOld,
    /// It was damaged: it is set aside, and the older one stays. Another is to be written.
    Damaged,
}

impl Checkpoints {
    /// Removes all but the newest checkpoint, those that were set aside too, once it was read to
    /// its end and if it has everything up to `upto`; durable on return.
    ///
    /// # Errors
    /// The newest is damaged, and there is no older one; or what the disk says.
    pub fn keep_newest(&self, upto: u64) -> Result<Kept, CheckpointError> {
        let Some(newest) = self.newest() else { return Ok(Kept::TooOld) };
        let Some(index) = newest.index().filter(|index| *index >= upto) else {
            return Ok(Kept::TooOld);
        };
        match self.verify(&newest) {
            Ok(()) => {}
            Err(error) if error.is_damage() => {
                return match self.drop_damaged(&newest, &error)? {
                    true => Ok(Kept::Damaged),
                    false => Err(error),
                };
            }
            Err(error) => return Err(error),
        }
        let mut kept = self.kept.lock();
        while kept.len() > 1 && kept.last().is_some_and(|last| last.path == newest.path) {
            let old = kept.remove(0);
            let at = |source| CheckpointError::Io { file: old.path.clone(), source };
            self.fs.remove(&old.path).map_err(at)?;
        }
        drop(kept);
        let at = |source| CheckpointError::Io { file: self.dir.clone(), source };
        // What was set aside is kept for people to look at; what is to be forgotten is not. Nor is
        // a checkpoint that nobody knows of.
        let paths =
            self.fs.list(&self.dir).map_err(at)?.into_iter().map(|name| self.dir.join(name));
        let goes = |path: &PathBuf| match path.extension() {
            Some(ending) if ending == DAMAGED => true,
            Some(ending) => ending == "ckpt" && *path != newest.path,
            None => false,
        };
        for path in paths.filter(goes) {
            self.fs.remove(&path).map_err(at)?;
        }
        self.fs.sync_dir(&self.dir).map_err(at)?;
        Ok(Kept::Alone(index))
    }

    /// Removes what has arrived of a snapshot; durable on return. Nobody may be writing to it.
    pub fn drop_incoming(&self) -> io::Result<()> {
        self.remove(&self.dir.join(INCOMING))?;
        self.fs.sync_dir(&self.dir)
    }

    /// Notes durably how far this disk has forgotten.
    pub fn note_forgotten(&self, mark: u64) -> io::Result<()> {
        fs::replace(self.fs.as_ref(), &self.dir, FILE, mark.to_string().as_bytes())
    }

    /// What was noted last; 0 before that, and where it does not read.
    pub fn forgotten(&self) -> u64 {
        let noted = fs::read_start(self.fs.as_ref(), &self.dir.join(FILE), BYTES_MAX);
        noted.ok().flatten().and_then(|bytes| mark_of(&bytes)).unwrap_or(0)
    }
}

/// The mark in such a file.
pub(crate) fn mark_of(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mark: u64 = text.parse().ok()?;
    (mark.to_string() == text).then_some(mark)
}
