//! A snapshot on its way in: the archive range that this node lacks, then the checkpoint's bytes.
//!
//! Nothing that arrived well arrives twice: archived chunks are kept at once, and of the state what
//! a broken transfer brought is kept for the next one from the same sender.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hansa_api::pb::raft::{PeerErrorKind, SnapshotChunk, SnapshotHeader};
use hansa_types::id::GroupId;
use tokio::time::Instant;

use crate::archive::{Archive, ArchiveError, End, unpack_entries, unpack_records};
use crate::chain::{self, Link};
use crate::checkpoints::{Checkpoint, Incoming};
use crate::inbound::{Refusal, disk, malformed};
use crate::outgoing;
use crate::pending::ArchivedEntry;
use crate::raft::codec;
use crate::raft::wire::Held;
use crate::running::Running;

/// What a broken transfer brought waits so long for the next. A replica that has caught up by the
/// log is sent none.
const PARTIAL_KEPT: Duration = Duration::from_secs(20);

/// The beginning of a snapshot's state.
pub(crate) struct Partial {
    /// Names the bytes: sender, position, length.
    id: Bytes,
    incoming: Incoming,
    received: u64,
    /// When it last grew.
    grew: Instant,
}

impl Partial {
    /// Nobody goes on with it.
    pub fn is_left(&self) -> bool {
        self.grew.elapsed() >= PARTIAL_KEPT
    }
}

/// What this node holds of the snapshot `id`.
pub(crate) fn held(running: &Running, arriving: &Option<Partial>, id: &Bytes) -> Held {
    let end = running.archive.end();
    let begun = arriving.as_ref().filter(|partial| partial.id == *id);
    Held {
        archived_index: end.next_index,
        archived_records: end.records,
        state_bytes: begun.map_or(0, |partial| partial.received),
    }
}

/// Puts a snapshot together from its chunks.
pub(crate) struct Receiver<'a> {
    running: &'a Running,
    arriving: &'a mut Option<Partial>,
    total: u64,
}

impl<'a> Receiver<'a> {
    /// Goes on where a transfer of the same snapshot broke off, or begins anew.
    pub fn new(
        running: &'a Running,
        arriving: &'a mut Option<Partial>,
        header: &SnapshotHeader,
    ) -> Result<Self, Refusal> {
        let (id, total) = (header.snapshot_id.clone(), header.total_bytes);
        let begun = arriving.as_ref().filter(|partial| partial.id == id);
        if begun.is_none_or(|partial| partial.received > total) {
            let incoming = running.checkpoints.incoming().map_err(disk)?;
            *arriving = Some(Partial { id, incoming, received: 0, grew: Instant::now() });
        }
        Ok(Self { running, arriving, total })
    }

    pub async fn take(&mut self, chunk: SnapshotChunk) -> Result<(), Refusal> {
        if crc32c::crc32c(&chunk.data) != chunk.checksum {
            return Err(bad("checksum"));
        }
        let mut data = chunk.data;
        match codec::u8_of(&mut data).map_err(malformed)? {
            outgoing::RECORDS => {
                let records = unpack_records(data, chunk.offset).map_err(malformed)?;
                let end = records.last().map_or(0, |last| last.number + 1);
                self.append(move |archive, held| {
                    archive.append(&[], &records, End { records: end, ..held })
                })
                .await
            }
            outgoing::ENTRIES => {
                let entries = unpack_entries(data).map_err(malformed)?;
                let Some(last) = entries.last() else { return Ok(()) };
                let next_index = last.index.checked_add(1).ok_or_else(|| bad("index"))?;
                check_history(self.running.id, &entries)?;
                let chain = last.heads.1;
                self.append(move |archive, held| {
                    archive.append(&entries, &[], End { next_index, chain, ..held })
                })
                .await
            }
            outgoing::STATE => self.write(chunk.offset, data).await,
            _ => Err(bad("kind")),
        }
    }

    async fn write(&mut self, offset: u64, data: Bytes) -> Result<(), Refusal> {
        let partial = self.arriving.as_mut().ok_or_else(|| bad("without a beginning"))?;
        if offset != partial.received {
            return Err(bad("out of order"));
        }
        if data.len() as u64 > self.total - partial.received {
            return Err(bad("more bytes than were announced"));
        }
        let (file, length) = (partial.incoming.file.clone(), data.len() as u64);
        let written = self.running.writer.run(move || file.write_at(&data, offset)).await;
        written.map_err(disk)?.map_err(disk)?;
        partial.received += length;
        partial.grew = Instant::now();
        Ok(())
    }

    /// Appends to the archive at once: it is committed history, and a broken transfer resumes
    /// behind it.
    async fn append(
        &self,
        work: impl FnOnce(&Archive, End) -> Result<(), ArchiveError> + Send + 'static,
    ) -> Result<(), Refusal> {
        let archive = self.running.archive.clone();
        let done = self.running.writer.run(move || work(&archive, archive.end())).await;
        let done = done.map_err(disk)?;
        // It refuses all that follows until it is opened anew: the sender would go on for ever.
        if let Err(error) = &done
            && error.is_shut()
        {
            self.running.trouble.note(error.to_string(), false);
            self.running.give_up().await;
        }
        done.map_err(disk)
    }

    pub async fn finish(self) -> Result<Checkpoint, Refusal> {
        let received = self.arriving.as_ref().map_or(0, |partial| partial.received);
        if received != self.total {
            let what = format!("{received} of {} bytes arrived", self.total);
            return Err((PeerErrorKind::Malformed, what));
        }
        // From here on it is installed, or bad and begun anew.
        let partial = self.arriving.take().ok_or_else(|| bad("without a beginning"))?;
        let checkpoints = Arc::clone(&self.running.checkpoints);
        let opened = self.running.writer.run(move || checkpoints.received(partial.incoming)).await;
        opened.map_err(disk)?.map_err(|error| match error.is_damage() {
            // The sender's disk or ours: this replica is as sound as before, and asks again.
            true => {
                tracing::error!(group = %self.running.id, %error, "a snapshot arrived damaged");
                (PeerErrorKind::Malformed, format!("arrived damaged: {error}"))
            }
            false => disk(error),
        })
    }
}

fn bad(what: &str) -> Refusal {
    (PeerErrorKind::Malformed, format!("chunk: {what}"))
}

/// Walks the audit chain over entries that arrived: a peer's disk is trusted no more than ours.
fn check_history(group: GroupId, entries: &[ArchivedEntry]) -> Result<(), Refusal> {
    let follows = |pair: &[ArchivedEntry]| {
        pair[0].index.checked_add(1) == Some(pair[1].index) && pair[0].heads.1 == pair[1].heads.0
    };
    if !entries.windows(2).all(follows) {
        return Err(bad("entries out of order"));
    }
    for entry in entries {
        let (term, index, kind) = (entry.term, entry.index, entry.kind as u8);
        let link = Link { group, term, index, kind, payload: &entry.payload };
        if chain::extend(&entry.heads.0, link) != entry.heads.1 {
            return Err(bad(&format!("the audit chain breaks at entry {index}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hansa_types::id::GroupKind;

    use super::*;
    use crate::raft::codec::Kind;

    fn entry(group: GroupId, index: u64, before: chain::Head) -> ArchivedEntry {
        let payload = Bytes::from(format!("entry {index}"));
        let kind = Kind::Commands;
        let link = Link { group, term: 1, index, kind: kind as u8, payload: &payload };
        let heads = (before, chain::extend(&before, link));
        ArchivedEntry { index, term: 1, kind, payload, heads, records: 0 }
    }

    #[test]
    fn an_edited_dropped_or_foreign_entry_is_found_on_arrival() {
        let group = GroupId::new(GroupKind::Orders, 1);
        let mut entries = vec![entry(group, 0, chain::GENESIS)];
        for index in 1..5 {
            entries.push(entry(group, index, entries[index as usize - 1].heads.1));
        }
        assert!(check_history(group, &entries).is_ok());
        let other = GroupId::new(GroupKind::Orders, 2);
        assert!(check_history(other, &entries).is_err());
        let mut dropped = entries.clone();
        dropped.remove(2);
        assert!(check_history(group, &dropped).is_err());
        let mut edited = entries.clone();
        edited[3].payload = Bytes::from_static(b"another");
        assert!(check_history(group, &edited).is_err());
    }
}
