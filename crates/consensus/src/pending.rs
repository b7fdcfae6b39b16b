//! What was applied and waits for a durable archive: readable from memory until then.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::chain::Head;
use crate::machine::Records;
use crate::raft::codec::Kind;
use crate::raft::{LogId, term_of};

/// Above this much, apply waits for the archive: memory is bounded, a slow disk slows the group.
const BYTES_MAX: usize = if cfg!(test) { 2 << 20 } else { 64 << 20 };
/// What one entry or record costs beside its bytes.
const ITEM_BYTES: usize = 128;

/// A committed entry on its way to the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArchivedEntry {
    pub index: u64,
    pub term: u64,
    pub kind: Kind,
    /// What lasts of it.
    pub payload: Bytes,
    /// The audit chain before and after the entry.
    pub heads: (Head, Head),
    /// Records emitted since genesis, this entry's included.
    pub records: u64,
}

/// A record on its way to the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArchivedRecord {
    /// Its place among all records of the group, from 0.
    pub number: u64,
    /// The entry that emitted it.
    pub index: u64,
    pub table: u8,
    pub key: Bytes,
    pub value: Bytes,
}

/// An entry as it was applied.
pub(crate) struct Applied {
    pub id: LogId,
    pub kind: Kind,
    pub payload: Bytes,
    pub heads: (Head, Head),
}

/// The queue between apply and archive, with the newest version of each waiting record on top.
pub(crate) struct Pending {
    /// Whether committed entries are archived too, or records only.
    keep_entries: bool,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<ArchivedEntry>,
    records: VecDeque<ArchivedRecord>,
    newest: BTreeMap<(u8, Bytes), (u64, Bytes)>,
    bytes: usize,
}

impl Pending {
    pub fn new(keep_entries: bool) -> Self {
        Self { keep_entries, queue: Mutex::default() }
    }

    pub fn keeps_entries(&self) -> bool {
        self.keep_entries
    }

    /// Takes an applied entry and its records; returns the number of records since genesis.
    pub fn push(&self, applied: Applied, records: Records, mut number: u64) -> u64 {
        if !self.keep_entries && records.is_empty() {
            return number;
        }
        let Applied { id, kind, payload, heads } = applied;
        let mut records = records;
        let mut queue = self.queue.lock();
        for record in records.take() {
            let (key, value) = (Bytes::from(record.key), Bytes::from(record.value));
            let (table, index) = (record.table, id.index());
            queue.bytes += ITEM_BYTES + key.len() + value.len();
            queue.newest.insert((table, key.clone()), (number, value.clone()));
            queue.records.push_back(ArchivedRecord { number, index, table, key, value });
            number += 1;
        }
        if self.keep_entries {
            queue.bytes += ITEM_BYTES + payload.len();
            let (index, term) = (id.index(), term_of(&id));
            let entry = ArchivedEntry { index, term, kind, payload, heads, records: number };
            queue.entries.push_back(entry);
        }
        number
    }

    /// What waits up to and with entry `index`, oldest first. It stays until [`Pending::archived`].
    pub fn upto(&self, index: u64) -> (Vec<ArchivedEntry>, Vec<ArchivedRecord>) {
        let queue = self.queue.lock();
        let entries = queue.entries.iter().take_while(|entry| entry.index <= index);
        let records = queue.records.iter().take_while(|record| record.index <= index);
        (entries.cloned().collect(), records.cloned().collect())
    }

    /// Forgets what is durable in the archive: everything up to and with entry `index`.
    pub fn archived(&self, index: u64) {
        let mut queue = self.queue.lock();
        let queue = &mut *queue;
        while let Some(entry) = queue.entries.pop_front_if(|entry| entry.index <= index) {
            queue.bytes -= ITEM_BYTES + entry.payload.len();
        }
        while let Some(record) = queue.records.pop_front_if(|record| record.index <= index) {
            queue.bytes -= ITEM_BYTES + record.key.len() + record.value.len();
            let key = (record.table, record.key);
            if queue.newest.get(&key).is_some_and(|(number, _)| *number == record.number) {
                queue.newest.remove(&key);
            }
        }
    }

    /// The newest waiting version of a record.
    pub fn get(&self, table: u8, key: &[u8]) -> Option<Bytes> {
        let queue = self.queue.lock();
        let key = (table, Bytes::copy_from_slice(key));
        queue.newest.get(&key).map(|(_, value)| value.clone())
    }

    /// Waiting records of `table` from `from` on, in order of key.
    pub fn scan(&self, table: u8, from: &[u8], max: usize) -> Vec<(Bytes, Bytes)> {
        let queue = self.queue.lock();
        let start = Bound::Included((table, Bytes::copy_from_slice(from)));
        let found = queue.newest.range((start, Bound::Unbounded));
        found
            .take_while(|((found, _), _)| *found == table)
            .take(max)
            .map(|((_, key), (_, value))| (key.clone(), value.clone()))
            .collect()
    }

    /// First and last waiting entry.
    pub fn span(&self) -> Option<(u64, u64)> {
        let queue = self.queue.lock();
        Some((queue.entries.front()?.index, queue.entries.back()?.index))
    }

    pub fn bytes(&self) -> usize {
        self.queue.lock().bytes
    }

    pub fn is_full(&self) -> bool {
        self.queue.lock().bytes > BYTES_MAX
    }

    pub fn clear(&self) {
        *self.queue.lock() = Queue::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::GENESIS;
    use crate::raft::log_id;

    fn push(pending: &Pending, index: u64, keys: &[&str], number: u64) -> u64 {
        let mut records = Records::new();
        for key in keys {
            records.archive(1, key.as_bytes(), format!("{key}@{index}").into_bytes());
        }
        let applied = Applied {
            id: log_id(1, index),
            kind: Kind::Commands,
            payload: Bytes::from_static(b"payload"),
            heads: (GENESIS, GENESIS),
        };
        pending.push(applied, records, number)
    }

    #[test]
    fn a_record_is_readable_until_its_archive_is_durable() {
        let pending = Pending::new(true);
        let number = push(&pending, 1, &["a", "b"], 0);
        let number = push(&pending, 2, &["a"], number);
        assert_eq!(number, 3);
        assert_eq!(pending.get(1, b"a").unwrap(), "a@2");
        pending.archived(1);
        assert_eq!(pending.get(1, b"a").unwrap(), "a@2", "its newer version still waits");
        assert_eq!(pending.get(1, b"b"), None);
        assert_eq!(pending.span(), Some((2, 2)));
        pending.archived(2);
        assert_eq!(pending.get(1, b"a"), None);
        assert_eq!(pending.queue.lock().bytes, 0);
    }

    #[test]
    fn a_cut_falls_between_entries() {
        let pending = Pending::new(true);
        let number = push(&pending, 1, &["a"], 0);
        push(&pending, 2, &["b", "c"], number);
        let (entries, records) = pending.upto(1);
        assert_eq!((entries.len(), records.len()), (1, 1));
        assert_eq!(entries[0].records, 1);
    }
}
