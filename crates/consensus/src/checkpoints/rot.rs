//! Checkpoints that are read again before they are needed, and what becomes of those that rot.

use std::path::{Path, PathBuf};

use super::{Checkpoint, CheckpointError, Checkpoints, DAMAGED, file, thaw_error};
use crate::machine::ThawError;

impl Checkpoints {
    /// Reads all blocks of a checkpoint.
    ///
    /// # Errors
    /// Damage, by file and offset.
    pub fn verify(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        let whole = self.begin_verifying(checkpoint)?.step(usize::MAX)?;
        debug_assert!(whole.is_none(), "read to its end");
        Ok(())
    }

    /// Begins to read all blocks of a checkpoint, its header now.
    pub fn begin_verifying(&self, checkpoint: &Checkpoint) -> Result<Verifying, CheckpointError> {
        let path = checkpoint.path.clone();
        let (_, state) = file::open(checkpoint.file.clone(), &path, self.group)?;
        Ok(Verifying { path, state })
    }

    /// Takes a damaged checkpoint out of the way, for people to look at: it never counts again.
    pub(super) fn set_aside(
        &self,
        path: &Path,
        why: &CheckpointError,
    ) -> Result<(), CheckpointError> {
        let at = |source| CheckpointError::Io { file: path.to_owned(), source };
        let aside = path.with_extension(DAMAGED);
        tracing::error!(group = %self.group, %why, aside = %aside.display(), "checkpoint damaged");
        crate::metrics::checkpoint_damaged(self.group);
        self.fs.rename(path, &aside).map_err(at)?;
        self.fs.sync_dir(&self.dir).map_err(at)
    }

    /// Lets go of a kept checkpoint that turned out to be damaged; `false` when it was the last.
    pub fn drop_damaged(
        &self,
        checkpoint: &Checkpoint,
        why: &CheckpointError,
    ) -> Result<bool, CheckpointError> {
        let mut kept = self.kept.lock();
        if !kept.iter().any(|other| other.path == checkpoint.path) {
            // A newer one has taken its place meanwhile.
            return Ok(true);
        }
        if kept.len() < 2 {
            return Ok(false);
        }
        kept.retain(|other| other.path != checkpoint.path);
        drop(kept);
        self.set_aside(&checkpoint.path, why)?;
        Ok(true)
    }

    /// Notes what a read has found wrong with a checkpoint: whoever read it is not the one to act.
    pub fn notice(&self, checkpoint: &Checkpoint, error: CheckpointError) {
        self.noticed.lock().get_or_insert_with(|| (checkpoint.clone(), error));
    }

    /// What was noted first since this was last asked.
    pub fn noticed(&self) -> Option<(Checkpoint, CheckpointError)> {
        self.noticed.lock().take()
    }
}

/// A checkpoint whose blocks are being read, piece by piece.
pub(crate) struct Verifying {
    path: PathBuf,
    state: file::StateReader,
}

impl Verifying {
    /// Reads about `bytes` more; `None` when all was read and is good.
    pub fn step(mut self, bytes: usize) -> Result<Option<Self>, CheckpointError> {
        match self.state.check(bytes) {
            Ok(true) => Ok(None),
            Ok(false) => Ok(Some(self)),
            Err(e) => Err(thaw_error(&self.path, ThawError::Io(e))),
        }
    }
}
