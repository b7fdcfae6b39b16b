//! openraft's log of one group, kept in the process's shared write-ahead log.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use bytes::{Bytes, BytesMut};
use hansa_types::id::GroupId;
use hansa_types::seeded::{self, Bug};
use hansa_wal::{Entry as Record, Wal};
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use tokio::sync::oneshot;

use super::{Entry, LogId, Types, Vote, codec, log_id, term_of};

/// Bytes of entries that one replication request carries, about: well below a peer message's cap.
const READ_BYTES: usize = 1 << 20;

/// The log of one group; clones are one log.
#[derive(Clone)]
pub(crate) struct LogStore {
    wal: Wal,
    group: GroupId,
}

impl LogStore {
    pub fn new(wal: Wal, group: GroupId) -> Self {
        Self { wal, group }
    }

    pub fn group(&self) -> GroupId {
        self.group
    }

    /// openraft's suite begins some logs at index 2 with nothing purged before, which no group does
    /// and our log refuses: here the entry before is purged first.
    #[cfg(test)]
    fn begin_where_the_suite_does(&self, entries: &[Entry]) {
        let Some(first) = entries.first().map(|entry| entry.log_id) else { return };
        let state = self.state().unwrap_or_default();
        if first.index() > 1 && state.last.is_none() && state.purged.is_none() {
            let before = log_id(term_of(&first), first.index() - 1);
            self.wal.purge(self.group, before.index(), log_id_bytes(Some(&before)));
        }
    }

    /// Waits until everything enqueued so far is durable.
    pub async fn synced(&self) -> io::Result<()> {
        let (tx, rx) = oneshot::channel();
        self.wal.append(self.group, Vec::new(), Box::new(move |result| drop(tx.send(result))));
        rx.await.unwrap_or_else(|_| Err(io::Error::other("the log has ended")))
    }

    fn state(&self) -> io::Result<hansa_wal::GroupState> {
        self.wal.state(self.group).map_err(io::Error::other)
    }

    fn read(&self, from: u64, to: u64, max_bytes: usize) -> io::Result<Vec<Entry>> {
        let mut from = from;
        loop {
            match self.wal.read(self.group, from, to, max_bytes) {
                // openraft tolerates a purged beginning of a range. It may be purged further
                // between two looks.
                Err(hansa_wal::ReadError::Purged { first }) if first < to => from = first,
                Err(hansa_wal::ReadError::Purged { .. }) => return Ok(Vec::new()),
                read => return read.map_err(io::Error::other)?.into_iter().map(decode).collect(),
            }
        }
    }
}

fn decode(record: Record) -> io::Result<Entry> {
    let (kind, term) = codec::head_of(record.head).map_err(io::Error::other)?;
    codec::entry_of(log_id(term, record.index), kind, record.payload).map_err(io::Error::other)
}

fn encode(entry: &Entry) -> Record {
    let (kind, payload) = codec::payload(entry);
    let head = codec::head(kind, term_of(&entry.log_id));
    Record { index: entry.log_id.index(), head, payload }
}

fn log_id_bytes(id: Option<&LogId>) -> Bytes {
    let mut out = BytesMut::new();
    codec::put_log_id(&mut out, id);
    out.freeze()
}

fn log_id_from(mut bytes: Bytes) -> io::Result<Option<LogId>> {
    codec::log_id_of(&mut bytes).map_err(io::Error::other)
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<Entry>> {
        let (from, to) = bounds(&range);
        let mut out = self.read(from, to, usize::MAX)?;
        // The log may answer fewer for reasons of its own; openraft must see all that are there.
        while let Some(last) = out.last().map(|entry| entry.log_id.index()) {
            let more =
                if last + 1 < to { self.read(last + 1, to, usize::MAX)? } else { Vec::new() };
            if more.is_empty() {
                break;
            }
            out.extend(more);
        }
        Ok(out)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let vote = self.wal.vote(self.group);
        vote.map(|mut bytes| codec::vote_of(&mut bytes).map_err(io::Error::other)).transpose()
    }

    /// As many as fit a replication request; at least one, however large.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let entries = self.read(start, end, READ_BYTES)?;
        // Purged meanwhile, under a stream of a term that is over: a batch with a hole before it
        // would end the follower, an error this node. openraft takes none for a heartbeat.
        // Of a log that has forgotten all of its entries no first one is left to say so.
        if start < self.wal.begins(self.group) {
            return Ok(Vec::new());
        }
        if entries.is_empty() && start < end {
            let what = format!("{}: entry {start} is not in the log", self.group);
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        }
        Ok(entries)
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(at) => *at,
        Bound::Excluded(at) => at.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(at) => at.saturating_add(1),
        Bound::Excluded(at) => *at,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let state = self.state()?;
        let purged = state.purged.map(|(_, id)| log_id_from(id)).transpose()?.flatten();
        let last = state.last.map(|(index, head)| {
            codec::head_of(head).map(|(_, term)| log_id(term, index)).map_err(io::Error::other)
        });
        let last = last.transpose()?;
        Ok(LogState { last_purged_log_id: purged, last_log_id: last.max(purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    /// Synced before it returns. Enqueued before its first wait, so it keeps the order of the
    /// calls.
    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        if seeded::on(Bug::ForgetVote) {
            return Ok(());
        }
        let mut bytes = BytesMut::new();
        codec::put_vote(&mut bytes, vote);
        let (tx, rx) = oneshot::channel();
        let done = Box::new(move |result| drop(tx.send(result)));
        self.wal.save_vote(self.group, bytes.freeze(), done);
        rx.await.unwrap_or_else(|_| Err(io::Error::other("the log has ended")))
    }

    /// Rides the next batch: openraft waits for this call before each apply.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.wal.save_committed(self.group, log_id_bytes(committed.as_ref()));
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        self.wal.committed(self.group).map_or(Ok(None), log_id_from)
    }

    /// Readable on return; the log's loop calls back in order, once durable.
    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        #[cfg(test)]
        self.begin_where_the_suite_does(&entries);
        let records = entries.iter().map(encode).collect();
        // Back-pressure before the call, never between it and what it enqueues.
        self.wal.admit().await;
        self.wal.append(self.group, records, Box::new(move |done| callback.io_completed(done)));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.wal.truncate_after(self.group, last.map(|id| id.index()));
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let last = self.wal.span(self.group).map_or(0, |(_, last)| last);
        let upto = match seeded::on(Bug::PurgeTooFar) {
            true => log_id(term_of(&upto), last.max(upto.index())),
            false => upto,
        };
        self.wal.purge(self.group, upto.index(), log_id_bytes(Some(&upto)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use hansa_node::env::test::seeded;
    use hansa_types::time::WallTime;
    use hansa_wal::fs::SimFs;
    use openraft::EntryPayload;

    use super::*;
    use crate::testing::group_id;

    #[tokio::test(start_paused = true)]
    async fn a_log_that_forgot_all_its_entries_is_asked_for_them_and_does_not_fail() {
        let (env, _) = seeded("a", 1, WallTime(0));
        let config = hansa_wal::Config {
            segment_bytes: 128 << 10,
            disk_bytes_max: 4 << 20,
            ..hansa_wal::Config::default()
        };
        let opened = Wal::open(Arc::new(SimFs::new(1)), Path::new("/wal"), config, &env);
        let (wal, _) = opened.unwrap();
        let mut log = LogStore::new(wal.clone(), group_id());
        let blank = |index| Entry { log_id: log_id(1, index), payload: EntryPayload::Blank };
        let records = (1..=3).map(|index| encode(&blank(index))).collect();
        wal.append(group_id(), records, Box::new(|_| {}));
        assert_eq!(log.limited_get_log_entries(2, 4).await.unwrap().len(), 2);
        log.purge(log_id(1, 3)).await.unwrap();
        assert_eq!(log.limited_get_log_entries(2, 4).await.unwrap(), vec![]);
        assert!(log.limited_get_log_entries(4, 5).await.is_err(), "what was never there");
    }
}
