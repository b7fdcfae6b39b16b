//! Checkpoints beside the kept ones: of a cut that is copied away, of a backup that comes back.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use hansa_types::id::GroupId;
use hansa_wal::fs::Fs;

use super::{Checkpoint, CheckpointError, Checkpoints, end_of, file, thaw_error};
use crate::machine::{Machine, ThawError};
use crate::replica::{FrozenReplica, Position};
use crate::version::Unsupported;

const COPY_BYTES: usize = 1 << 20;

impl Checkpoints {
    /// Writes a frozen view to a file of its own, after archiving all that it has behind it.
    ///
    /// The file is no checkpoint of this replica: a restart removes it.
    pub fn write_aside(
        &self,
        name: &str,
        frozen: FrozenReplica,
    ) -> Result<Checkpoint, CheckpointError> {
        let FrozenReplica { position, state } = frozen;
        let full = state.digest_full();
        if full != position.digest {
            let (running, full) = (position.digest.to_string(), full.to_string());
            return Err(CheckpointError::Digest { running, full });
        }
        self.archive_to(end_of(&position))?;
        let path = self.dir.join(format!("cut-{name}.tmp"));
        let at = |source| CheckpointError::Io { file: path.clone(), source };
        // Not over one of this name that was let go: whoever reads that has it open, and reads on.
        self.remove(&path).map_err(at)?;
        let file = self.fs.create(&path).map_err(at)?;
        let bytes = file::write(&file, self.group, &position, |to| state.write(to));
        let bytes = bytes.map_err(|e| self.discard(&path, e))?;
        Ok(Checkpoint { position, bytes, file, path })
    }

    /// Removes what [`Checkpoints::write_aside`] wrote.
    pub fn remove_aside(&self, aside: &Checkpoint) -> io::Result<()> {
        self.remove(&aside.path)
    }

    /// Nothing to remove is fine.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        match self.fs.remove(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// Writes a checkpoint's bytes to `path`, reads it through its machine and checks both digests.
///
/// # Errors
/// Damage of the bytes, or what the disk says.
pub(crate) fn thaw_copy<M: Machine>(
    fs: &Arc<dyn Fs>,
    path: &Path,
    group: GroupId,
    from: &mut dyn Read,
) -> Result<(Position, M), CheckpointError> {
    let at = |source| CheckpointError::Io { file: path.to_owned(), source };
    let copy = fs.create(path).map_err(at)?;
    let (mut buffer, mut offset) = (vec![0; COPY_BYTES], 0);
    loop {
        match from.read(&mut buffer).map_err(at)? {
            0 => break,
            read => {
                copy.write_at(&buffer[..read], offset).map_err(at)?;
                offset += read as u64;
            }
        }
    }
    let (position, mut state) = file::open(copy, path, group)?;
    if !M::VERSIONS.contains(position.version) {
        let (needs, has) = (position.version, M::VERSIONS);
        let unsupported = Unsupported { group, needs, has };
        return Err(thaw_error(path, unsupported.into()));
    }
    let machine = M::thaw(&mut state).map_err(|source| thaw_error(path, source))?;
    state.finish().map_err(|e| thaw_error(path, ThawError::Io(e)))?;
    let (running, full) = (machine.digest(), machine.digest_full());
    if running != position.digest || full != position.digest {
        let (running, full) = (position.digest.to_string(), full.to_string());
        return Err(CheckpointError::Digest { running, full });
    }
    Ok((position, machine))
}
