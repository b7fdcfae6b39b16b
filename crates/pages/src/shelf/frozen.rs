//! A shelf at one moment, on disk, and back.

use std::io::{self, Read, Write};

use hansa_types::hash::StateHash;

use super::{CHUNK, Head, Root, Row, Shelf, born};
use crate::{FrozenTable, ReadError, Table};

pub(super) const OPEN: &str = "shelf-open";
pub(super) const CHUNKS: &str = "shelf-chunks";

/// A view of a shelf that later changes do not reach.
#[derive(Clone)]
pub struct FrozenShelf {
    open: FrozenTable<u64, Row>,
    chunks: FrozenTable<u64, Root>,
    head: Head,
}

impl FrozenShelf {
    /// Writes four counters as `u64`, little-endian, then the rows of the open chunk and the roots.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let Head { count, taken, born_max, note_max } = self.head;
        for counter in [count, taken, born_max, note_max] {
            to.write_all(&counter.to_le_bytes())?;
        }
        self.open.write(to)?;
        self.chunks.write(to)
    }

    /// The digest computed from every row and root, as [`Shelf::recompute_digest`] does.
    pub fn recompute_digest(&self) -> StateHash {
        let mut sum = self.head.digest();
        sum.add(self.open.recompute_digest());
        sum.add(self.chunks.recompute_digest());
        sum
    }
}

impl Shelf {
    /// A view that later changes do not reach; clones one pointer per page.
    pub fn freeze(&self) -> FrozenShelf {
        FrozenShelf { open: self.open.freeze(), chunks: self.chunks.freeze(), head: self.head }
    }

    /// The shelf that [`FrozenShelf::write`] wrote.
    ///
    /// # Errors
    /// A stream that ends early or does not decode, or a shelf that lacks a number.
    pub fn read(from: &mut dyn Read) -> Result<Self, ReadError> {
        let [count, taken, born_max, note_max] = read_counters(from)?;
        let head = Head { count, taken, born_max, note_max };
        let (open, chunks) = (Table::read(OPEN, from)?, Table::read(CHUNKS, from)?);
        let shelf = Self { open, chunks, head };
        if shelf.is_whole() { Ok(shelf) } else { Err(ReadError::Shelf) }
    }

    /// Whether all numbers are there that were given and no other, and the head is as they have it.
    fn is_whole(&self) -> bool {
        let Head { count, taken, born_max, note_max } = self.head;
        let closed = count / CHUNK;
        let roots = (0..closed).map_while(|chunk| self.chunks.get(&chunk));
        let mut notes: Vec<u64> = roots.map(|root| root.note_max).collect();
        let ascend = notes.is_sorted() && notes.len() as u64 == closed;
        let rows = (closed * CHUNK..count).map_while(|number| self.open.get(&number));
        let rows: Vec<&Row> = rows.collect();
        notes.extend(rows.iter().map(|row| row.note));
        ascend
            && rows.len() as u64 == count % CHUNK
            && (self.chunks.len() as u64, self.open.len()) == (closed, rows.len())
            && taken <= count
            && notes.into_iter().max().unwrap_or(0) == note_max
            && rows.iter().all(|row| born(row.key) <= born_max)
    }
}

impl Head {
    pub(super) fn digest(&self) -> StateHash {
        StateHash::of_record("shelf", &0_u8, self)
    }
}

fn read_counters(from: &mut dyn Read) -> io::Result<[u64; 4]> {
    let mut counters = [0; 4];
    for counter in &mut counters {
        let mut bytes = [0; 8];
        from.read_exact(&mut bytes)?;
        *counter = u64::from_le_bytes(bytes);
    }
    Ok(counters)
}
