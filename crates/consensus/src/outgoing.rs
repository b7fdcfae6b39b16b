//! A snapshot on its way out: the archive range that the peer lacks, then the checkpoint's bytes.
//!
//! Each chunk is one piece of one kind, so that what a broken transfer brought of the archive is
//! kept: the next transfer begins behind it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use hansa_api::pb::raft::SnapshotChunk;
use hansa_types::seeded::{self, Bug};

use crate::archive::{Archive, ArchiveError, pack_entries, pack_records};
use crate::checkpoints::{Checkpoint, end_of};

/// Bytes of one chunk, about.
const CHUNK_BYTES: usize = 256 << 10;
/// Longest that a whole transfer may take.
pub(crate) const WHOLE_MAX: Duration = Duration::from_secs(1_800);

/// What a chunk holds: its first byte.
pub(crate) const RECORDS: u8 = 1;
pub(crate) const ENTRIES: u8 = 2;
pub(crate) const STATE: u8 = 3;

/// Where the sender is.
struct Cursor {
    archive: Arc<Archive>,
    snapshot: Checkpoint,
    record: u64,
    entry: u64,
    offset: u64,
}

/// The chunks of a snapshot for a peer whose archive reaches entry `index` and record `records`.
///
/// An error ends the stream early; the receiver then misses bytes and refuses the whole.
pub(crate) fn chunks(
    archive: Arc<Archive>,
    snapshot: Checkpoint,
    index: u64,
    records: u64,
) -> BoxStream<'static, SnapshotChunk> {
    let cursor = Cursor { archive, snapshot, record: records, entry: index, offset: 0 };
    let next = |mut cursor: Cursor| async move {
        match cursor.next() {
            Ok(chunk) => chunk.map(|chunk| (chunk, cursor)),
            Err(error) => {
                tracing::error!(error, "snapshot transfer ends early");
                None
            }
        }
    };
    stream::unfold(cursor, next).boxed()
}

impl Cursor {
    fn next(&mut self) -> Result<Option<SnapshotChunk>, String> {
        let end = end_of(&self.snapshot.position);
        let archived = |e: ArchiveError| e.to_string();
        let bare = seeded::on(Bug::SnapshotWithoutArchiveRange);
        if self.record < end.records && !bare {
            let records = self.archive.read_records(self.record, end.records, CHUNK_BYTES);
            let records = records.map_err(archived)?;
            let last = records.last().ok_or("the archive lacks records")?;
            let from = std::mem::replace(&mut self.record, last.number + 1);
            return Ok(Some(chunk(RECORDS, from, &pack_records(&records))));
        }
        if self.entry < end.next_index && !bare {
            let entries = self.archive.read_entries(self.entry, end.next_index, CHUNK_BYTES);
            let entries = entries.map_err(archived)?;
            // An archive of records only has no entries to send.
            let next = entries.last().map_or(end.next_index, |last| last.index + 1);
            let from = std::mem::replace(&mut self.entry, next);
            if !entries.is_empty() {
                return Ok(Some(chunk(ENTRIES, from, &pack_entries(&entries))));
            }
        }
        let mut buffer = vec![0; CHUNK_BYTES];
        let read = self.snapshot.file.read_at(&mut buffer, self.offset);
        let read = read.map_err(|e| e.to_string())?;
        let from = self.offset;
        self.offset += read as u64;
        Ok((read > 0).then(|| chunk(STATE, from, &buffer[..read])))
    }
}

fn chunk(kind: u8, offset: u64, bytes: &[u8]) -> SnapshotChunk {
    let mut data = BytesMut::with_capacity(1 + bytes.len());
    data.put_u8(kind);
    data.put_slice(bytes);
    let checksum = crc32c::crc32c(&data);
    SnapshotChunk { offset, data: Bytes::from(data), checksum }
}
