//! What a group has archived, read by key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::archive::ArchiveError;
use crate::running::Running;

/// The archive of a group, or of a part of its machine, with what waits in memory for it: a record
/// is found from the apply that emitted it on, always in its newest version.
///
/// Each look reads the disk, and waits for it.
#[derive(Clone)]
pub struct Archived {
    pub(crate) running: Arc<Running>,
    /// Added to the numbers of tables.
    pub(crate) tables: u8,
}

impl Archived {
    pub fn get(&self, table: u8, key: &[u8]) -> Result<Option<Bytes>, ArchiveError> {
        let table = self.tables + table;
        // Memory first: a record leaves it only after the archive has it.
        match self.running.replica.pending().get(table, key) {
            Some(value) => Ok(Some(value)),
            None => self.running.archive.get(table, key),
        }
    }

    /// The records under `keys`, in their order; of records that lie together only the first costs
    /// a read.
    pub fn get_many(&self, table: u8, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, ArchiveError> {
        let table = self.tables + table;
        let pending = self.running.replica.pending();
        let mut found: Vec<_> = keys.iter().map(|key| pending.get(table, key)).collect();
        let places: Vec<usize> = (0..keys.len()).filter(|at| found[*at].is_none()).collect();
        let lacked: Vec<&[u8]> = places.iter().map(|at| keys[*at]).collect();
        for (at, value) in places.into_iter().zip(self.running.archive.get_many(table, &lacked)?) {
            found[at] = value;
        }
        Ok(found)
    }

    /// Up to `max` records of `table` in order of key, from `from` on, with their keys.
    pub fn scan(
        &self,
        table: u8,
        from: &[u8],
        max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ArchiveError> {
        let table = self.tables + table;
        let newer = self.running.replica.pending().scan(table, from, max);
        let mut found: BTreeMap<Bytes, Bytes> =
            self.running.archive.scan(table, from, max)?.into_iter().collect();
        found.extend(newer);
        Ok(found.into_iter().take(max).collect())
    }

    /// The keys alone: where a record says by being there all that it says, as of a number that was
    /// spent on a shelf. Nothing else is read.
    pub fn keys(&self, table: u8, from: &[u8], max: usize) -> Result<Vec<Bytes>, ArchiveError> {
        let table = self.tables + table;
        let newer = self.running.replica.pending().scan(table, from, max);
        let found = self.running.archive.keys(table, from, max)?.into_iter();
        let found: BTreeSet<Bytes> = found.chain(newer.into_iter().map(|(key, _)| key)).collect();
        Ok(found.into_iter().take(max).collect())
    }
}
