//! Reading the archive: records by key, entries and records by position.

use std::collections::BTreeMap;

use bytes::Bytes;
use redb::{ReadableDatabase as _, ReadableTableMetadata as _, TableDefinition};

use super::chunk::{unpack_entries, unpack_records};
use super::{
    Archive, ArchiveError, ENTRIES, ENTRIES_PER_CHUNK, RECORDS, RECORDS_PER_CHUNK, VERSIONS,
};
use crate::pending::{ArchivedEntry, ArchivedRecord};

impl Archive {
    /// The newest version of a record that was archived before `records` of them were.
    pub fn get(&self, table: u8, key: &[u8]) -> Result<Option<Bytes>, ArchiveError> {
        Ok(self.get_many(table, &[key])?.pop().flatten())
    }

    /// The same of many, in the order of `keys`.
    pub fn get_many(&self, table: u8, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, ArchiveError> {
        let numbers = self.store(|store| {
            let versions = store.begin_read()?.open_table(VERSIONS)?;
            let newest = |key: &&[u8]| {
                let mut found = versions.range((table, *key, 0)..=(table, *key, u64::MAX))?;
                Ok(found.next_back().transpose()?.map(|(version, _)| version.value().2))
            };
            keys.iter().map(newest).collect::<Result<Vec<_>, redb::Error>>()
        })?;
        let known: Vec<u64> = numbers.iter().flatten().copied().collect();
        let mut values = self.values(&known)?.into_iter();
        Ok(numbers.into_iter().map(|number| number.and_then(|_| values.next())).collect())
    }

    /// Up to `max` records of `table` in order of key, from `from` on, each in its newest version.
    pub fn scan(
        &self,
        table: u8,
        from: &[u8],
        max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ArchiveError> {
        let found = self.newest(table, from, max)?;
        let (keys, numbers): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        Ok(keys.into_iter().zip(self.values(&numbers)?).collect())
    }

    /// The keys alone that [`Archive::scan`] finds: no chunk is read.
    pub fn keys(&self, table: u8, from: &[u8], max: usize) -> Result<Vec<Bytes>, ArchiveError> {
        let found = self.newest(table, from, max)?;
        Ok(found.into_iter().map(|(key, _)| key).collect())
    }

    /// Keys of `table` in their order, and the number of each one's newest version.
    fn newest(
        &self,
        table: u8,
        from: &[u8],
        max: usize,
    ) -> Result<Vec<(Bytes, u64)>, ArchiveError> {
        self.store(|store| {
            let read = store.begin_read()?;
            let versions = read.open_table(VERSIONS)?;
            let mut found: Vec<(Bytes, u64)> = Vec::new();
            for version in versions.range((table, from, 0)..)? {
                let (version, _) = version?;
                let (in_table, key, number) = version.value();
                if in_table != table {
                    break;
                }
                let full = found.len() == max;
                match found.last_mut().filter(|(last, _)| last == key) {
                    Some(last) => last.1 = number,
                    None if full => break,
                    None => found.push((Bytes::copy_from_slice(key), number)),
                }
            }
            Ok(found)
        })
    }

    /// The values of records, in the order of their numbers here: a chunk is unpacked once, not for
    /// each of its own.
    fn values(&self, numbers: &[u64]) -> Result<Vec<Bytes>, ArchiveError> {
        let mut values = vec![Bytes::new(); numbers.len()];
        for (number, places) in by_chunk(numbers) {
            let chunk = self.record_chunk(number)?;
            for at in places {
                let found = chunk.get((numbers[at] % RECORDS_PER_CHUNK) as usize);
                let found = found.ok_or_else(|| self.missing("records", numbers[at]))?;
                // A copy: whoever keeps one value must not keep its chunk.
                values[at] = Bytes::copy_from_slice(&found.value);
            }
        }
        Ok(values)
    }

    /// Entries from `from` until before `to`, at least one if there is any, about `max_bytes` in
    /// all.
    pub fn read_entries(
        &self,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<Vec<ArchivedEntry>, ArchiveError> {
        let (mut out, mut bytes) = (Vec::new(), 0);
        for number in from / ENTRIES_PER_CHUNK..to.div_ceil(ENTRIES_PER_CHUNK) {
            for entry in self.entry_chunk(number)? {
                if (from..to).contains(&entry.index) {
                    bytes += entry.payload.len();
                    out.push(entry);
                    if bytes >= max_bytes {
                        return Ok(out);
                    }
                }
            }
        }
        Ok(out)
    }

    /// Records from number `from` until before `to`, like [`Archive::read_entries`].
    pub fn read_records(
        &self,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<Vec<ArchivedRecord>, ArchiveError> {
        let (mut out, mut bytes) = (Vec::new(), 0);
        for number in from / RECORDS_PER_CHUNK..to.div_ceil(RECORDS_PER_CHUNK) {
            for record in self.record_chunk(number)? {
                if (from..to).contains(&record.number) {
                    bytes += record.key.len() + record.value.len();
                    out.push(record);
                    if bytes >= max_bytes {
                        return Ok(out);
                    }
                }
            }
        }
        Ok(out)
    }

    /// The first of these records that is not found by its key.
    pub fn unindexed(&self, records: &[ArchivedRecord]) -> Result<Option<u64>, ArchiveError> {
        self.store(|store| {
            let versions = store.begin_read()?.open_table(VERSIONS)?;
            for record in records {
                let version = (record.table, &record.key[..], record.number);
                if versions.get(version)?.is_none() {
                    return Ok(Some(record.number));
                }
            }
            Ok(None)
        })
    }

    /// How many keys lead to records.
    pub fn versions(&self) -> Result<u64, ArchiveError> {
        self.store(|store| Ok(store.begin_read()?.open_table(VERSIONS)?.len()?))
    }

    /// How many chunks of entries and of records there are.
    pub fn chunks(&self) -> (u64, u64) {
        let end = self.end();
        (end.next_index.div_ceil(ENTRIES_PER_CHUNK), end.records.div_ceil(RECORDS_PER_CHUNK))
    }

    /// A chunk of entries as it is stored.
    pub fn entry_bytes(&self, number: u64) -> Result<Option<Bytes>, ArchiveError> {
        self.chunk_bytes(ENTRIES, number)
    }

    /// A chunk of records as it is stored, and the number of its first.
    pub fn record_bytes(&self, number: u64) -> Result<Option<(Bytes, u64)>, ArchiveError> {
        let bytes = self.chunk_bytes(RECORDS, number)?;
        Ok(bytes.map(|bytes| (bytes, number * RECORDS_PER_CHUNK)))
    }

    pub(super) fn entry_chunk(&self, number: u64) -> Result<Vec<ArchivedEntry>, ArchiveError> {
        let bytes = self.chunk_bytes(ENTRIES, number)?;
        bytes.map_or(Ok(Vec::new()), |bytes| {
            let what = format!("entry chunk {number}");
            unpack_entries(bytes).map_err(|e| self.found_damaged(&what, e))
        })
    }

    pub(super) fn record_chunk(&self, number: u64) -> Result<Vec<ArchivedRecord>, ArchiveError> {
        let bytes = self.chunk_bytes(RECORDS, number)?;
        bytes.map_or(Ok(Vec::new()), |bytes| {
            let what = format!("record chunk {number}");
            let first = number * RECORDS_PER_CHUNK;
            unpack_records(bytes, first).map_err(|e| self.found_damaged(&what, e))
        })
    }

    fn chunk_bytes(
        &self,
        table: TableDefinition<'_, u64, &'static [u8]>,
        number: u64,
    ) -> Result<Option<Bytes>, ArchiveError> {
        self.store(|store| {
            let read = store.begin_read()?;
            let found = read.open_table(table)?.get(number)?;
            Ok(found.map(|bytes| Bytes::copy_from_slice(bytes.value())))
        })
    }
}

/// Which chunks have the records with these numbers, and at which places they are wanted.
pub(super) fn by_chunk(numbers: &[u64]) -> BTreeMap<u64, Vec<usize>> {
    let mut chunks: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (at, number) in numbers.iter().enumerate() {
        chunks.entry(number / RECORDS_PER_CHUNK).or_default().push(at);
    }
    chunks
}
