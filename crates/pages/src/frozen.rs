//! A view of a table that no longer changes, and its form on disk.

use std::io::{self, Read, Write};
use std::sync::Arc;

use hansa_types::hash::StateHash;
use thiserror::Error;

use crate::table::{PAGE_RECORDS, Page, Slot};
use crate::{Key, Record};

/// The pages of a table at one moment.
#[derive(Clone)]
pub struct Frozen<K, V> {
    pub(crate) tag: &'static str,
    pub(crate) pages: Vec<Arc<Page<K, V>>>,
}

#[derive(Debug, Error)]
pub enum ReadError {
    #[error("the table's stream ended early or could not be read")]
    Io(#[from] io::Error),
    #[error("a page does not decode")]
    Decode(#[from] postcard::Error),
    #[error("a page holds {found} records, not {PAGE_RECORDS}")]
    PageSize { found: usize },
    #[error("a page is said to be {0} bytes long, more than a page can be")]
    PageBytes(u32),
    #[error("table {table} holds one key twice")]
    DuplicateKey { table: &'static str },
    #[error("the shelf lacks numbers, or counts them wrongly")]
    Shelf,
}

/// A page longer than this is damage, not data: it bounds what a bad length can allocate.
const PAGE_BYTES_MAX: u32 = 1 << 30;

impl<K: Key, V: Record> Frozen<K, V> {
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.pages.iter().flat_map(|page| page.iter()).flatten().map(Slot::record)
    }

    /// Places for records, filled or not; see [`Self::at`].
    pub fn slots(&self) -> usize {
        self.pages.len() * PAGE_RECORDS
    }

    /// The record in a slot, for whoever visits them in an order of his own.
    pub fn at(&self, slot: usize) -> Option<(&K, &V)> {
        let page = self.pages.get(slot / PAGE_RECORDS)?;
        page.get(slot % PAGE_RECORDS)?.as_ref().map(Slot::record)
    }

    /// The digest computed from every record, as [`crate::Table::recompute_digest`] does.
    pub fn recompute_digest(&self) -> StateHash {
        let mut sum = StateHash::default();
        for (key, value) in self.iter() {
            sum.add(StateHash::of_record(self.tag, key, value));
        }
        sum
    }

    /// Writes `pages: u32`, then each page as `len: u32` and its postcard form, little-endian.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        to.write_all(&(self.pages.len() as u32).to_le_bytes())?;
        let mut buffer = Vec::new();
        for page in &self.pages {
            buffer.clear();
            buffer = postcard::to_extend(page.as_ref(), buffer).map_err(io::Error::other)?;
            to.write_all(&(buffer.len() as u32).to_le_bytes())?;
            to.write_all(&buffer)?;
        }
        Ok(())
    }

    pub(crate) fn read(tag: &'static str, from: &mut dyn Read) -> Result<Self, ReadError> {
        let count = read_u32(from)?;
        let mut pages = Vec::new();
        let mut buffer = Vec::new();
        for _ in 0..count {
            let len = read_u32(from)?;
            if len > PAGE_BYTES_MAX {
                return Err(ReadError::PageBytes(len));
            }
            buffer.clear();
            if from.take(u64::from(len)).read_to_end(&mut buffer)? < len as usize {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            let page: Page<K, V> = postcard::from_bytes(&buffer)?;
            if page.len() != PAGE_RECORDS {
                return Err(ReadError::PageSize { found: page.len() });
            }
            pages.push(Arc::new(page));
        }
        Ok(Self { tag, pages })
    }
}

fn read_u32(from: &mut dyn Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}
