//! What goes into the log and what comes out.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;

use crate::record;

/// Called once, from the log loop, when everything enqueued up to its call is durable or never will
/// be.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// One entry of a group's log; the log looks into neither part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub index: u64,
    /// Log id and kind: what [`GroupState::last`] answers without the payload. At most 64 KiB.
    pub head: Bytes,
    pub payload: Bytes,
}

impl Entry {
    /// Bytes in the log.
    pub(crate) fn record_bytes(&self) -> usize {
        record::size(self.head.len(), self.payload.len())
    }

    /// Bytes in memory, about.
    pub(crate) fn cache_cost(&self) -> usize {
        size_of::<Self>() + self.head.len() + self.payload.len()
    }
}

/// What the log knows of one group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GroupState {
    pub vote: Option<Bytes>,
    pub committed: Option<Bytes>,
    /// The last purged index and its log id.
    pub purged: Option<(u64, Bytes)>,
    /// The first entry's index.
    pub first: Option<u64>,
    /// The last entry's index and head.
    pub last: Option<(u64, Bytes)>,
}

/// How opening went.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovery {
    /// There was no log in the folder: a first start, or a wiped volume.
    pub fresh: bool,
    /// The torn tail that was removed, if there was one. Nothing in it had been acknowledged,
    /// except for the limit that architecture.md states.
    pub cut: Option<Cut>,
    pub segments: usize,
    pub records: u64,
    /// Live entries of all groups.
    pub entries: usize,
    /// Files that a crash left behind, now removed.
    pub removed: usize,
}

/// A torn tail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    pub file: PathBuf,
    /// Where the first bad record began.
    pub offset: u64,
    /// Bytes from there to the last one written.
    pub bytes: u64,
    /// Sequence of the last record kept.
    pub after: u64,
}

/// Where a group's log begins, and the record that says so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Purged {
    /// The last index that is gone.
    pub upto: u64,
    /// The record's segment; the log's folder while it waits to be written.
    pub file: PathBuf,
    /// The record's first byte there.
    pub offset: u64,
}

/// Counters since the open, and sizes now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    pub batches: u64,
    pub syncs: u64,
    /// Bytes written in batches.
    pub bytes: u64,
    pub entries: u64,
    /// Entries copied forward so that a segment could go.
    pub copied: u64,
    pub segments_removed: u64,
    /// Segments that hold records.
    pub segments: usize,
    /// Bytes that all files take, with spares and those about to be removed.
    pub disk_bytes: u64,
    pub live_bytes: u64,
    /// Bytes that can be appended before another segment is needed: they are allocated already.
    pub ready_bytes: u64,
    /// Entries that the index knows.
    pub indexed: usize,
    pub queue_bytes: usize,
    pub cache_bytes: usize,
    /// Too much is live to get below the size limit by copying: some group must purge.
    pub pinned: bool,
    /// Why no further segment could be made ready, usually a full disk. What is ready still serves.
    pub spare_error: Option<String>,
}
