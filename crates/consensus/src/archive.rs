//! The archive of a group, in `redb`: what lasts of committed entries, and the records that left
//! hot state.
//!
//! Both are packed in chunks cut by count at fixed positions, so the archives of two replicas are
//! equal byte for byte. Appended off the commit path; what lies beyond the loaded checkpoint is cut
//! off when the group opens, and replay writes it again.

mod backend;
mod chunk;
mod pages;
mod read;
mod store;
mod strays;

pub(crate) use chunk::{pack_entries, pack_records, unpack_entries, unpack_records};
pub(crate) use pages::PageReader;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use hansa_wal::fs::Fs;
use parking_lot::Mutex;
use redb::{Database, Durability, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use thiserror::Error;

use self::store::Store;
use crate::chain::Head;
use crate::pending::{ArchivedEntry, ArchivedRecord};
use crate::raft::codec;

/// Entries and records in one chunk.
pub(crate) const ENTRIES_PER_CHUNK: u64 = 64;
const RECORDS_PER_CHUNK: u64 = 256;
/// 1 had all of every entry, and a chain over that; in 2 none said what its group begins with.
const FORMAT: u32 = 3;

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
const RECORDS: TableDefinition<u64, &[u8]> = TableDefinition::new("records");
/// Every version of a record: (table, key, number).
const VERSIONS: TableDefinition<(u8, &[u8], u64), ()> = TableDefinition::new("versions");

#[derive(Debug, Error)]
pub enum ArchiveError {
    /// `what` begins with "damaged", and with the byte where one is known.
    #[error("{}: {what}", file.display())]
    Damaged { file: PathBuf, what: String },
    #[error("{}: archive format {found}, this binary knows {FORMAT}", file.display())]
    Version { file: PathBuf, found: u32 },
    #[error("{}: {source}", file.display())]
    Store { file: PathBuf, source: Box<redb::Error> },
}

impl ArchiveError {
    /// Whether it is what lies on the disk that is wrong, not the disk's answer.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }

    /// Whether the disk was full: nothing changed, and later it may fit.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Store { source, .. }
            if matches!(&**source, redb::Error::Io(e) if hansa_wal::fs::is_full(e)))
    }

    /// Whether the disk failed it, so that it takes nothing more before it is opened anew.
    pub fn is_shut(&self) -> bool {
        matches!(self, Self::Store { .. }) && !self.is_full()
    }
}

/// How far an archive reaches: as of an applied entry, like a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct End {
    /// One past the index of the last entry; 0 when there is none.
    pub next_index: u64,
    pub records: u64,
    /// The audit chain after that entry.
    pub chain: Head,
}

impl End {
    /// This end, moved on to where `other` reaches further. A snapshot that arrives brings records
    /// and entries apart, and may break off between them.
    fn reaching(self, other: Self) -> Self {
        let further = if other.next_index > self.next_index { other } else { self };
        Self { records: self.records.max(other.records), ..further }
    }

    fn encode(self) -> Bytes {
        let mut out = BytesMut::with_capacity(48);
        out.put_u64_le(self.next_index);
        out.put_u64_le(self.records);
        out.put_slice(&self.chain);
        out.freeze()
    }

    fn decode(mut from: &[u8]) -> Result<Self, codec::BadBytes> {
        let (next_index, records) = (codec::u64_of(&mut from)?, codec::u64_of(&mut from)?);
        Ok(Self { next_index, records, chain: codec::array_of(&mut from)? })
    }
}

/// One group's archive file.
pub(crate) struct Archive {
    fs: Arc<dyn Fs>,
    file: PathBuf,
    store: Store,
    /// Held while the archive changes, over its syncs.
    changing: Mutex<()>,
    /// Never held over the disk: peers' questions read it on the runtime.
    end: Mutex<End>,
}

impl Archive {
    /// Opens the archive at `file`, or makes an empty one.
    pub fn open(fs: &Arc<dyn Fs>, file: &Path) -> Result<Self, ArchiveError> {
        let archive = Self {
            fs: fs.clone(),
            file: file.to_owned(),
            store: Store::open(fs, file)?,
            changing: Mutex::default(),
            end: Mutex::default(),
        };
        archive.prepare()?;
        Ok(archive)
    }

    fn prepare(&self) -> Result<(), ArchiveError> {
        let end = self.store(|store| {
            // A full disk must not keep a node from starting: what is there is not written again.
            if let Ok(meta) = store.begin_read()?.open_table(META) {
                let read = |key| Ok(meta.get(key)?.map(|v| v.value().to_vec()));
                let format: Result<_, redb::Error> = read("format");
                if let Some(format) = format? {
                    return Ok((Some(format), read("end")?));
                }
            }
            let mut write = store.begin_write()?;
            in_two_phases(&mut write)?;
            let (format, end) = {
                let mut meta = write.open_table(META)?;
                let format = meta.get("format")?.map(|v| v.value().to_vec());
                if format.is_none() {
                    meta.insert("format", &FORMAT.to_le_bytes()[..])?;
                }
                write.open_table(ENTRIES)?;
                write.open_table(RECORDS)?;
                write.open_table(VERSIONS)?;
                (format, meta.get("end")?.map(|v| v.value().to_vec()))
            };
            write.commit()?;
            Ok((format, end))
        })?;
        if let Some(format) = end.0 {
            let found = codec::u32_of(&mut &format[..]).map_err(|e| self.damaged("format", e))?;
            if found != FORMAT {
                return Err(ArchiveError::Version { file: self.file.clone(), found });
            }
        }
        if let Some(end) = end.1 {
            *self.end.lock() = End::decode(&end).map_err(|e| self.damaged("end", e))?;
        }
        Ok(())
    }

    pub fn end(&self) -> End {
        *self.end.lock()
    }

    /// The same archive as it lies on the disk, past all that is remembered of it. Nothing may be
    /// written to it as long as that is read.
    pub fn on_disk(&self) -> Result<Self, ArchiveError> {
        let store = Store::reader(&self.fs, &self.file)?;
        let (fs, file) = (self.fs.clone(), self.file.clone());
        Ok(Self { fs, file, store, changing: Mutex::default(), end: Mutex::new(self.end()) })
    }

    /// The archive at `file`, read without whoever has it open for writing.
    pub fn reader(fs: &Arc<dyn Fs>, file: &Path) -> Result<Self, ArchiveError> {
        let store = Store::reader(fs, file)?;
        let (fs, file) = (fs.clone(), file.to_owned());
        let (changing, end) = Default::default();
        let archive = Self { fs, file, store, changing, end };
        archive.prepare()?;
        Ok(archive)
    }

    /// See [`Store::pages_in_use`].
    pub fn pages_in_use(
        fs: &Arc<dyn Fs>,
        file: &Path,
    ) -> Result<Option<BTreeSet<u64>>, ArchiveError> {
        Store::pages_in_use(fs, file)
    }

    /// Remembers damage that was found in it.
    pub fn note(&self, error: &ArchiveError) {
        self.store.note(error);
    }

    /// What a read came upon: nothing is served from this archive any more.
    pub fn damage(&self) -> Option<ArchiveError> {
        let what = self.store.damage()?;
        Some(ArchiveError::Damaged { file: self.file.clone(), what })
    }

    /// Appends entries and records up to `end`; durable on return. What is there already is
    /// skipped.
    pub fn append(
        &self,
        entries: &[ArchivedEntry],
        records: &[ArchivedRecord],
        end: End,
    ) -> Result<(), ArchiveError> {
        let _changing = self.changing.lock();
        let held = self.end();
        if end.next_index <= held.next_index && end.records <= held.records {
            return Ok(());
        }
        let new_entries = &entries[entries.partition_point(|e| e.index < held.next_index)..];
        let new_records = &records[records.partition_point(|r| r.number < held.records)..];
        self.check_joins(held, new_entries.first(), new_records.first())?;
        let end = held.reaching(end);
        let chunks = self.grown_chunks(new_entries, new_records)?;
        self.store(|store| {
            let mut write = store.begin_write()?;
            in_two_phases(&mut write)?;
            {
                let mut table = write.open_table(ENTRIES)?;
                for (chunk, bytes) in &chunks.entries {
                    table.insert(chunk, &bytes[..])?;
                }
                let mut table = write.open_table(RECORDS)?;
                for (chunk, bytes) in &chunks.records {
                    table.insert(chunk, &bytes[..])?;
                }
                let mut versions = write.open_table(VERSIONS)?;
                for record in new_records {
                    versions.insert((record.table, &record.key[..], record.number), ())?;
                }
                write.open_table(META)?.insert("end", &end.encode()[..])?;
            }
            write.commit()?;
            Ok(())
        })?;
        *self.end.lock() = end;
        Ok(())
    }

    /// Puts another history in place of this one, its checksums and its end made good: what an
    /// editor behind the node's back would do.
    #[cfg(any(test, feature = "testing"))]
    pub fn forge(
        &self,
        entries: &[ArchivedEntry],
        records: &[ArchivedRecord],
        end: End,
    ) -> Result<(), ArchiveError> {
        self.store(|store| {
            let write = store.begin_write()?;
            {
                let mut table = write.open_table(ENTRIES)?;
                table.retain(|_, _| false)?;
                for part in entries.chunk_by(|a, b| entry_chunk_of(a) == entry_chunk_of(b)) {
                    table.insert(entry_chunk_of(&part[0]), &chunk::pack_entries(part)[..])?;
                }
                let mut table = write.open_table(RECORDS)?;
                table.retain(|_, _| false)?;
                for (number, part) in records.chunks(RECORDS_PER_CHUNK as usize).enumerate() {
                    table.insert(number as u64, &chunk::pack_records(part)[..])?;
                }
                let mut versions = write.open_table(VERSIONS)?;
                versions.retain(|_, ()| false)?;
                for (number, record) in (0..).zip(records) {
                    versions.insert((record.table, &record.key[..], number), ())?;
                }
                write.open_table(META)?.insert("end", &end.encode()[..])?;
            }
            write.commit()?;
            Ok(())
        })
    }

    /// What comes next must follow what is there, in number and in the audit chain.
    fn check_joins(
        &self,
        held: End,
        entry: Option<&ArchivedEntry>,
        record: Option<&ArchivedRecord>,
    ) -> Result<(), ArchiveError> {
        if let Some(entry) = entry {
            let joins = entry.index == held.next_index && entry.heads.0 == held.chain;
            if !joins {
                let (next, index) = (held.next_index, entry.index);
                return Err(self.damaged("entries", format!("{index} does not follow at {next}")));
            }
        }
        match record.filter(|record| record.number != held.records) {
            Some(record) => {
                let (next, number) = (held.records, record.number);
                Err(self.damaged("records", format!("{number} does not follow at {next}")))
            }
            None => Ok(()),
        }
    }

    /// Cuts off what lies beyond `end`; durable on return.
    ///
    /// # Errors
    /// `Damaged` when the archive does not reach `end`, or holds another history than it names.
    pub fn cut(&self, end: End) -> Result<(), ArchiveError> {
        let _changing = self.changing.lock();
        let held = self.end();
        if held == end {
            return Ok(());
        }
        if held.next_index < end.next_index || held.records < end.records {
            let what = format!("reaches {held:?}, the checkpoint names {end:?}");
            return Err(self.damaged("end", what));
        }
        let (last_entries, last_records) =
            (end.next_index / ENTRIES_PER_CHUNK, end.records / RECORDS_PER_CHUNK);
        let mut entries = self.entry_chunk(last_entries)?;
        entries.retain(|entry| entry.index < end.next_index);
        let mut records = self.record_chunk(last_records)?;
        records.retain(|record| record.number < end.records);
        let dropped = self.read_records(end.records, held.records, usize::MAX)?;
        self.store(|store| {
            let mut write = store.begin_write()?;
            in_two_phases(&mut write)?;
            {
                let mut table = write.open_table(ENTRIES)?;
                table.retain_in(last_entries.., |_, _| false)?;
                if !entries.is_empty() {
                    table.insert(last_entries, &chunk::pack_entries(&entries)[..])?;
                }
                let mut table = write.open_table(RECORDS)?;
                table.retain_in(last_records.., |_, _| false)?;
                if !records.is_empty() {
                    table.insert(last_records, &chunk::pack_records(&records)[..])?;
                }
                let mut versions = write.open_table(VERSIONS)?;
                for record in &dropped {
                    versions.remove((record.table, &record.key[..], record.number))?;
                }
                write.open_table(META)?.insert("end", &end.encode()[..])?;
            }
            write.commit()?;
            Ok(())
        })?;
        *self.end.lock() = end;
        self.check_head(end)
    }

    /// The entry before `end`, where there is one, must leave the chain's head that `end` names.
    fn check_head(&self, end: End) -> Result<(), ArchiveError> {
        let Some(last) = end.next_index.checked_sub(1) else { return Ok(()) };
        let entries = self.entry_chunk(last / ENTRIES_PER_CHUNK)?;
        let head = entries.iter().find(|entry| entry.index == last).map(|entry| entry.heads.1);
        if head.is_some_and(|head| head != end.chain) {
            return Err(self.damaged("entries", format!("the chain differs at entry {last}")));
        }
        Ok(())
    }

    /// The chunks that change when these are appended, each whole.
    fn grown_chunks(
        &self,
        entries: &[ArchivedEntry],
        records: &[ArchivedRecord],
    ) -> Result<Chunks, ArchiveError> {
        let mut chunks = Chunks::default();
        for part in entries.chunk_by(|a, b| entry_chunk_of(a) == entry_chunk_of(b)) {
            let number = entry_chunk_of(&part[0]);
            let mut whole = self.entry_chunk(number)?;
            whole.retain(|entry| entry.index < part[0].index);
            whole.extend_from_slice(part);
            chunks.entries.push((number, chunk::pack_entries(&whole)));
        }
        for part in records.chunk_by(|a, b| record_chunk_of(a) == record_chunk_of(b)) {
            let number = record_chunk_of(&part[0]);
            let mut whole = self.record_chunk(number)?;
            whole.retain(|record| record.number < part[0].number);
            whole.extend_from_slice(part);
            chunks.records.push((number, chunk::pack_records(&whole)));
        }
        Ok(chunks)
    }

    fn store<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, ArchiveError> {
        self.store.with(&self.fs, &self.file, work)
    }

    fn damaged(&self, part: &str, what: impl std::fmt::Display) -> ArchiveError {
        ArchiveError::Damaged { file: self.file.clone(), what: format!("damaged: {part}: {what}") }
    }

    /// What ought to lie here and does not.
    pub fn missing(&self, what: &str, number: u64) -> ArchiveError {
        self.found_damaged(what, format!("{number} is missing"))
    }

    /// The same, of what lies here rather than of what was to be added.
    fn found_damaged(&self, part: &str, what: impl std::fmt::Display) -> ArchiveError {
        let error = self.damaged(part, what);
        self.store.note(&error);
        error
    }
}

#[derive(Default)]
struct Chunks {
    entries: Vec<(u64, Bytes)>,
    records: Vec<(u64, Bytes)>,
}

/// Commits so that after a crash the newest commit is whole: redb then neither walks the pages nor
/// looks at one that was being written, which our checksums would take for damage.
fn in_two_phases(write: &mut redb::WriteTransaction) -> Result<(), redb::Error> {
    write.set_durability(Durability::Immediate)?;
    write.set_quick_repair(true);
    Ok(())
}

fn entry_chunk_of(entry: &ArchivedEntry) -> u64 {
    entry.index / ENTRIES_PER_CHUNK
}

fn record_chunk_of(record: &ArchivedRecord) -> u64 {
    record.number / RECORDS_PER_CHUNK
}

#[cfg(test)]
mod tests;
