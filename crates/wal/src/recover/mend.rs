//! Makes a log that was read fit to go on.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Position, io_error, zeros};
use crate::error::OpenError;
use crate::fs::Fs;
use crate::index::Place;
use crate::segment;
use crate::shared::Segment;

/// Removes segments that were made ready and never used; new ones are made in their place.
pub fn remove_spares(fs: &dyn Fs, dir: &Path, spares: &[u32]) -> Result<(), OpenError> {
    for number in spares {
        let path = segment::path(dir, *number);
        fs.remove(&path).map_err(io_error("remove", &path))?;
    }
    // Also makes durable what a killed process had renamed: its last act may not have been the
    // sync.
    fs.sync_dir(dir).map_err(io_error("sync", dir))
}

/// Makes durable all that was read, and the torn tail behind it zeros.
///
/// A process that was killed leaves bytes that can be read and were never synced; one that died of
/// a failed sync leaves pages that the kernel believes clean. So the last batch, the only one that
/// no watermark vouches for, is written once more before it is synced. The zeros make sure that
/// nothing of a torn batch is ever taken for a record behind the ones that come now.
pub fn make_durable(
    fs: &dyn Fs,
    dir: &Path,
    segments: &BTreeMap<u32, Segment>,
    last_batch: Option<Place>,
    position: Position,
    tail: &[u8],
) -> Result<(), OpenError> {
    let _ = fs;
    if let Some(batch) = last_batch
        && let Some(segment) = segments.get(&batch.segment)
    {
        let path = segment::path(dir, batch.segment);
        let mut bytes = vec![0; batch.len as usize];
        let file = &segment.file;
        let offset = u64::from(batch.offset);
        file.read_exact_at(&mut bytes, offset).map_err(io_error("read", &path))?;
        file.write_at(&bytes, offset).map_err(io_error("write", &path))?;
        file.sync_data().map_err(io_error("sync", &path))?;
    }
    let Some(active) = segments.get(&position.segment) else { return Ok(()) };
    let path = segment::path(dir, position.segment);
    let from = position.offset as usize;
    let torn = zeros::used(&tail[from..]);
    if torn > 0 {
        let zeros = vec![0; torn];
        active.file.write_at(&zeros, from as u64).map_err(io_error("write", &path))?;
    }
    active.file.sync_data().map_err(io_error("sync", &path))
}
