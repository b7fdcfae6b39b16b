//! An editor of archives behind a node's back, who makes every checksum good again.

use std::path::Path;
use std::sync::Arc;

use hansa_wal::fs::{Fs, RealFs};

use crate::archive::Archive;

/// Flips one bit in the last byte of an archived entry about the middle of a stopped node's
/// archive; which one.
///
/// # Panics
/// There is no such archive, or nothing in it.
pub fn edit_entry(archive: &Path) -> u64 {
    let fs: Arc<dyn Fs> = Arc::new(RealFs);
    let archive = Archive::open(&fs, archive).expect("an archive");
    let end = archive.end();
    let mut entries = archive.read_entries(0, end.next_index, usize::MAX).expect("entries");
    let records = archive.read_records(0, end.records, usize::MAX).expect("records");
    let middle = entries.len() / 2;
    let found = entries[middle..].iter_mut().find(|entry| !entry.payload.is_empty());
    let edited = found.expect("an entry with a payload");
    let mut bytes = edited.payload.to_vec();
    *bytes.last_mut().expect("not empty") ^= 1;
    edited.payload = bytes.into();
    let index = edited.index;
    archive.forge(&entries, &records, end).expect("written");
    index
}
