//! A snapshot on its way out: the archive range that the peer lacks, then the checkpoint's bytes.
//!
//! Each chunk is one piece of one kind, so that what a broken transfer brought is kept: the next
//! transfer begins behind it, in the archive and in the state.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use hansa_api::pb::raft::SnapshotChunk;
use hansa_types::id::NodeId;
use hansa_types::seeded::{self, Bug};

use crate::archive::{Archive, ArchiveError, pack_entries, pack_records};
use crate::checkpoints::{Checkpoint, CheckpointError, Checkpoints, end_of};
use crate::raft::codec::put_log_id;
use crate::raft::wire::Held;
use crate::writer::Writer;

/// Bytes of one chunk, about.
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes that are read back at a time before they are sent.
const PIECE_BYTES: usize = 4 << 20;
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

/// Names the bytes of a snapshot: those of two senders, or of two positions, are never mixed.
pub(crate) fn id(sender: NodeId, snapshot: &Checkpoint) -> Bytes {
    let position = &snapshot.position;
    let mut out = BytesMut::with_capacity(90);
    out.put_u64_le(sender.0);
    put_log_id(&mut out, position.applied.as_ref());
    out.put_u64_le(snapshot.bytes);
    out.put_u128_le(position.digest.0);
    out.put_slice(&position.chain);
    out.freeze()
}

/// Reads a snapshot to its end: what rots on this disk is to harm no other.
///
/// # Errors
/// It does not read back, and whoever scrubs this disk is told; or the node stops.
pub(crate) async fn read_back(
    writer: &Writer,
    checkpoints: &Arc<Checkpoints>,
    snapshot: &Checkpoint,
) -> Result<(), String> {
    let mut begun = None;
    loop {
        let (all, what) = (checkpoints.clone(), snapshot.clone());
        let piece = move || -> Result<_, CheckpointError> {
            let begun = begun.map_or_else(|| all.begin_verifying(&what), Ok)?;
            begun.step(PIECE_BYTES)
        };
        match writer.run(piece).await.map_err(|e| e.to_string())? {
            Ok(None) => return Ok(()),
            Ok(more) => begun = more,
            Err(error) => {
                let what = format!("not sent: {error}");
                checkpoints.notice(snapshot, error);
                return Err(what);
            }
        }
    }
}

/// The chunks of a snapshot for a peer that holds some of it already. Each is read when the one
/// before it is on its way, on the writer's loop.
///
/// An error ends the stream early; the receiver then misses bytes and refuses the whole.
pub(crate) fn chunks(
    writer: Writer,
    archive: Arc<Archive>,
    snapshot: Checkpoint,
    held: Held,
) -> BoxStream<'static, SnapshotChunk> {
    let Held { archived_index: entry, archived_records: record, state_bytes: offset } = held;
    let cursor = Cursor { archive, snapshot, record, entry, offset };
    let next = |(writer, mut cursor): (Writer, Cursor)| async move {
        let read = writer.run(move || (cursor.next(), cursor)).await;
        match read {
            Ok((Ok(chunk), cursor)) => chunk.map(|chunk| (chunk, (writer, cursor))),
            Ok((Err(error), _)) => {
                tracing::error!(error, "snapshot transfer ends early");
                None
            }
            // The node stops.
            Err(_) => None,
        }
    };
    stream::unfold((writer, cursor), next).boxed()
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
