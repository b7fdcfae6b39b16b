//! The archive as it lies on the disk: what its tables hold, and what its unused pages remember.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use hansa_wal::fs::Fs;

use super::{Archived, Entry, entry_of};
use crate::archive::{self, Archive, ArchiveError, PageReader};

/// Entries of a chunk.
///
/// # Errors
/// Bytes that are no chunk, or more than one.
pub fn entries(chunk: &Bytes) -> Result<Vec<Entry>, String> {
    let read = archive::unpack_entries(chunk.clone()).map_err(|bad| bad.to_string())?;
    super::whole(archive::pack_entries(&read) == *chunk, "a chunk of entries")?;
    read.into_iter().map(entry_of).collect()
}

/// Records of a chunk, the first of which has this number.
///
/// # Errors
/// As [`entries`].
pub fn records(chunk: &Bytes, first: u64) -> Result<Vec<Archived>, String> {
    let read = archive::unpack_records(chunk.clone(), first).map_err(|bad| bad.to_string())?;
    super::whole(archive::pack_records(&read) == *chunk, "a chunk of records")?;
    Ok(read.into_iter().map(Archived::from).collect())
}

/// An archive opened for reading, past whoever has it open for writing. Nothing may be written to
/// it as long as this lives: open it for a piece, on the loop that does the slow disk work.
pub struct ArchiveReader {
    archive: Archive,
}

impl ArchiveReader {
    /// # Errors
    /// Damage, or what the disk says.
    pub fn open(fs: &Arc<dyn Fs>, file: &Path) -> Result<Self, ArchiveError> {
        Ok(Self { archive: Archive::reader(fs, file)? })
    }

    /// How many chunks of entries and of records there are, none missing.
    pub fn chunks(&self) -> (u64, u64) {
        self.archive.chunks()
    }

    /// Numbers of chunks and keys that are not where the archive's end says.
    ///
    /// # Errors
    /// Damage.
    pub fn strays(&self) -> Result<Vec<String>, ArchiveError> {
        self.archive.strays()
    }

    /// A chunk of entries, as bytes.
    ///
    /// # Errors
    /// Damage.
    pub fn entries(&self, chunk: u64) -> Result<Option<Bytes>, ArchiveError> {
        self.archive.entry_bytes(chunk)
    }

    /// A chunk of records, and the number of its first.
    ///
    /// # Errors
    /// Damage.
    pub fn records(&self, chunk: u64) -> Result<Option<(Bytes, u64)>, ArchiveError> {
        self.archive.record_bytes(chunk)
    }
}

/// The pages that the store of an archive uses. Any other may be half written, since the power went
/// when it was written last, until it is taken again. Reads all of what is used. `None` where the
/// store finds itself in disorder.
///
/// # Errors
/// Damage of a page in use, or what the disk says.
pub fn pages_in_use(fs: &Arc<dyn Fs>, file: &Path) -> Result<Option<BTreeSet<u64>>, ArchiveError> {
    Archive::pages_in_use(fs, file)
}

/// The pages of an archive, in use or not, each under its checksum.
pub struct Pages(PageReader);

impl Pages {
    /// # Errors
    /// Damage of the header, or what the disk says.
    pub fn open(fs: &Arc<dyn Fs>, file: &Path) -> io::Result<Self> {
        PageReader::open(fs, file).map(Self)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.count()
    }

    /// The file's bytes that pages and header take.
    pub fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    /// Pages from `first` on, without their checksums, and which of them are damaged.
    ///
    /// # Errors
    /// What the disk says.
    pub fn read(&self, first: u64, pages: u64) -> io::Result<(Vec<u8>, Vec<u64>)> {
        self.0.read(first, pages)
    }
}
