//! A closed chunk as the archive keeps it.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::CHUNK;
use super::tree::{self, Hash256, SPENT, Tree};

/// A record that left.
///
/// # Units
/// `note`: the number of an order's last event, zero for a payment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Row {
    pub key: u128,
    pub note: u64,
    /// Of the record; `None` once that was taken while the chunk was open.
    pub hash: Option<Hash256>,
}

impl Row {
    pub(super) fn leaf(&self, number: u64) -> Hash256 {
        self.hash.map_or(SPENT, |hash| tree::leaf(number, self.key, self.note, &hash))
    }
}

/// The rows of a chunk as they were when it closed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    pub number: u64,
    /// [`CHUNK`] of them.
    pub rows: Vec<Row>,
}

/// In front of the rows in a record of the archive.
const FORMAT: u8 = 1;

impl Chunk {
    /// The numbers of its records.
    pub fn numbers(&self) -> Range<u64> {
        Self::numbers_of(self.number)
    }

    /// The numbers of the records of a chunk.
    pub fn numbers_of(chunk: u64) -> Range<u64> {
        let first = chunk.saturating_mul(CHUNK);
        first..first.saturating_add(CHUNK)
    }

    /// Its tree as it was when it closed. Whoever wants a proof spends what was taken since:
    /// the numbers that the archive has marks for.
    pub fn tree(&self) -> Tree {
        let leaves = self.numbers().zip(&self.rows).map(|(number, row)| row.leaf(number));
        Tree::new(self.number, leaves)
    }

    /// What it has in the archive as its key: chunks lie there in their order.
    pub fn key(&self) -> [u8; 8] {
        self.number.to_be_bytes()
    }

    /// Its record in the archive, about 14 kB.
    pub fn encode(&self) -> Vec<u8> {
        match postcard::to_extend(&self.rows, vec![FORMAT]) {
            Ok(record) => record,
            Err(e) => unreachable!("rows always encode: {e}"),
        }
    }

    /// The chunk that an archive has under this key; `None` when it is not one that
    /// [`Self::encode`] made.
    pub fn decode(key: &[u8], record: &[u8]) -> Option<Self> {
        let number = u64::from_be_bytes(key.try_into().ok()?);
        let (&FORMAT, rows) = record.split_first()? else { return None };
        let (rows, rest) = postcard::take_from_bytes::<Vec<Row>>(rows).ok()?;
        let whole = rows.len() as u64 == CHUNK && rest.is_empty();
        whole.then_some(Self { number, rows })
    }
}
