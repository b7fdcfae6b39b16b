//! What has left hot state, as hot state knows it: one hash for 256 records.
//!
//! A record that leaves goes into the group's archive, and its hash takes the next number here.
//! [`CHUNK`] numbers make a chunk; when it is full, its rows leave, too, and a Merkle root over
//! them stays. Whoever brings a record back shows it with a [`Proof`], so that a state machine can
//! check what came out of an archive without reading one. A number is spent once: then it stands
//! for nothing, and the record, should it leave again, takes a new one.
//!
//! Everything that left is under the running digest: one bit of one record that differs on one
//! replica is another hash, another root, another digest.
//!
//! What is absent: the records, and where they lie. Their owner emits them to its group's archive
//! under their own keys, and beside them each [`Chunk`] that closed, under its number.

mod chunk;
mod frozen;
mod tree;

pub use chunk::{Chunk, Row};
pub use frozen::FrozenShelf;
pub use tree::{DEPTH, Hash256, Path, Proof, Tree};

use hansa_types::hash::StateHash;
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Table;

/// Records to a chunk.
pub const CHUNK: u64 = 1 << DEPTH;

/// The records that left, by number from 0.
///
/// # Invariant
/// The numbers below [`Self::next`] are those of the closed chunks, [`CHUNK`] each, and then those
/// of the open one, fewer than [`CHUNK`].
pub struct Shelf {
    open: Table<u64, Row>,
    chunks: Table<u64, Root>,
    head: Head,
}

/// What is left of a chunk that closed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Root {
    /// Of the tree over its leaves as they are now.
    pub root: Hash256,
    /// The largest note of all that left until it closed: it ascends with the chunk.
    pub note_max: u64,
    /// When it closed.
    pub at: LogTime,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
struct Head {
    /// Numbers that were given.
    count: u64,
    /// Of these, spent.
    taken: u64,
    born_max: u64,
    note_max: u64,
}

/// What a record was taken out of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Was {
    /// The open chunk: when that closes, its row says that it was taken.
    Open,
    /// A closed one, whose rows in the archive do not say it: the number must be marked there.
    Closed,
}

/// No such record is on the shelf under that number: it is another, it was taken, the chunk closed,
/// or something else was taken out of it since the proof was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the shelf has no such record under that number")]
pub struct NotThere;

impl Default for Shelf {
    fn default() -> Self {
        Self::new()
    }
}

impl Shelf {
    pub fn new() -> Self {
        Self {
            open: Table::new(frozen::OPEN),
            chunks: Table::new(frozen::CHUNKS),
            head: Head::default(),
        }
    }

    /// The number that the next record gets, and how many ever left.
    pub fn next(&self) -> u64 {
        self.head.count
    }

    /// How many records are on the shelf now.
    pub fn len(&self) -> u64 {
        self.head.count - self.head.taken
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The newest birth among all that ever left; zero before anything did.
    ///
    /// # Units
    /// Milliseconds since the Unix epoch: the upper 48 bits of a key.
    pub fn born_max(&self) -> u64 {
        self.head.born_max
    }

    /// The largest note among all that ever left; zero before anything did.
    pub fn note_max(&self) -> u64 {
        self.head.note_max
    }

    /// Whether a key is newer than all that left, so that no archive need be asked. One that is not
    /// *may* have left, and may have come back.
    ///
    /// Ids of orders and of payments both have their birth in the upper 48 bits.
    pub fn never_left(&self, key: u128) -> bool {
        self.head.count == 0 || born(key) > self.head.born_max
    }

    /// The row of a number in the open chunk.
    pub fn row(&self, number: u64) -> Option<&Row> {
        self.open.get(&number)
    }

    /// The root of a chunk, `None` until it closed.
    pub fn root(&self, chunk: u64) -> Option<&Root> {
        self.chunks.get(&chunk)
    }

    /// Puts a record on the shelf under [`Self::next`]; the chunk that it closed, if it did. Both
    /// are for the archive.
    ///
    /// `note` is what is looked for among all that left: the last event of an order, zero for a
    /// payment.
    pub fn put(&mut self, at: LogTime, key: u128, note: u64, record: &[u8]) -> Option<Chunk> {
        let row = Row { key, note, hash: Some(tree::hash(record)) };
        assert!(self.open.insert(self.head.count, row).is_none(), "a number is given once");
        self.head.count += 1;
        self.head.born_max = self.head.born_max.max(born(key));
        self.head.note_max = self.head.note_max.max(note);
        self.head.count.is_multiple_of(CHUNK).then(|| self.close(at))
    }

    fn close(&mut self, at: LogTime) -> Chunk {
        let number = self.head.count / CHUNK - 1;
        let rows = Chunk::numbers_of(number).map(|number| {
            let row = self.open.remove(&number);
            row.unwrap_or_else(|| unreachable!("a chunk has all its numbers"))
        });
        let chunk = Chunk { number, rows: rows.collect() };
        assert!(self.open.is_empty(), "one chunk is open at a time");
        let root = Root { root: chunk.tree().root(), note_max: self.head.note_max, at };
        assert!(self.chunks.insert(number, root).is_none(), "a chunk closes once");
        chunk
    }

    /// Whether this very record is on the shelf under the proof's number.
    pub fn vouches(&self, key: u128, note: u64, record: &[u8], proof: &Proof) -> bool {
        let row = Row { key, note, hash: Some(tree::hash(record)) };
        match &proof.path {
            None => self.open.get(&proof.number) == Some(&row),
            Some(path) => {
                let root = self.chunks.get(&(proof.number / CHUNK));
                let shown = tree::root_of(row.leaf(proof.number), proof.number, path);
                root.is_some_and(|of| of.root == shown)
            }
        }
    }

    /// Takes a record off the shelf and spends its number. Proofs that were made before for others
    /// of a closed chunk are void then: [`Tree::spend`] makes them in step.
    ///
    /// # Errors
    /// [`NotThere`] unless the shelf [vouches](Self::vouches) for it; then nothing has changed.
    pub fn take(
        &mut self,
        key: u128,
        note: u64,
        record: &[u8],
        proof: &Proof,
    ) -> Result<Was, NotThere> {
        if !self.vouches(key, note, record, proof) {
            return Err(NotThere);
        }
        let number = proof.number;
        let (was, spent) = match &proof.path {
            None => (Was::Open, self.open.update(&number, |row| row.hash = None)),
            Some(path) => {
                let root = tree::root_of(tree::SPENT, number, path);
                (Was::Closed, self.chunks.update(&(number / CHUNK), |of| of.root = root))
            }
        };
        assert!(spent.is_some(), "what is vouched for is there");
        self.head.taken += 1;
        Ok(was)
    }

    /// The running digest of the whole shelf.
    pub fn digest(&self) -> StateHash {
        let mut sum = self.head.digest();
        sum.add(self.open.digest());
        sum.add(self.chunks.digest());
        sum
    }

    /// The digest computed anew from every row and root.
    pub fn recompute_digest(&self) -> StateHash {
        self.freeze().recompute_digest()
    }
}

/// # Units
/// Milliseconds since the Unix epoch.
fn born(key: u128) -> u64 {
    (key >> 80) as u64
}

#[cfg(test)]
mod tests;
