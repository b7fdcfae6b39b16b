//! What is over leaves hot state: the whole order becomes a record of the group's archive, and here
//! stays its hash, 256 of them as one. Whoever needs it again brings the record back, and shows
//! that it is the one that left. No step here reads an archive.
//!
//! An id that is newer than all that left never left; of any other that is not here only an
//! archive can say whether it did. So a command about one is told to look, never that there is no
//! such order.

mod counts;
mod frozen;
pub mod leave;
pub mod recall;

use hansa_pages::{Shelf, Table};
use hansa_types::hash::StateHash;
use hansa_types::id::{OrderId, Sku};
use hansa_types::money::Currency;
use serde::{Deserialize, Serialize};

use super::command::Refused;
use super::contents::Contents;
use super::order::Order;
use super::state::State;

pub use self::counts::{LeftOf, Paid, Sold};
pub use self::frozen::FrozenShelf;

/// Archive table of orders that left: key = order id, value = [`Shelved`].
pub const ORDERS: u8 = 1;
/// Archive table of full chunks: key and value are [`hansa_pages::shelf::Chunk`]'s.
pub const INDEX: u8 = 2;
/// Archive table of numbers that were spent after their chunk was full: key = number (8 bytes,
/// big-endian), no value.
pub const SPENT: u8 = 3;

/// In front of a shelved order.
const FORMAT: u8 = 1;

/// An order as it left.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Shelved {
    /// Under which it left: another each time.
    pub number: u64,
    pub order: Order,
    pub contents: Contents,
}

impl Shelved {
    pub fn encode(&self) -> Vec<u8> {
        // Serializing into memory fails only for values that postcard cannot express: none here.
        postcard::to_extend(self, vec![FORMAT]).unwrap_or_default()
    }

    /// `None` for bytes that are none.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (&FORMAT, rest) = record.split_first()? else { return None };
        let (shelved, rest) = postcard::take_from_bytes(rest).ok()?;
        rest.is_empty().then_some(shelved)
    }
}

/// A record for the group's archive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Archived {
    pub table: u8,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// The books of a payment, and what they count in.
pub type Account = (u16, Currency);

/// What left, as far as the group still knows it.
pub struct OrderShelf {
    pub records: Shelf,
    /// Units that this region's books moved for orders that left.
    pub sold: Table<Sku, Sold>,
    /// Money that books have of orders that left, by payments group.
    pub paid: Table<Account, Paid>,
    /// For the archive, since it was last taken out.
    out: Vec<Archived>,
}

impl OrderShelf {
    pub fn new() -> Self {
        Self::rebuild(Shelf::new(), Table::new(frozen::SOLD), Table::new(frozen::PAID))
    }

    fn rebuild(records: Shelf, sold: Table<Sku, Sold>, paid: Table<Account, Paid>) -> Self {
        Self { records, sold, paid, out: Vec::new() }
    }

    /// What this entry sends to the archive.
    pub fn take_out(&mut self) -> Vec<Archived> {
        std::mem::take(&mut self.out)
    }

    fn send(&mut self, table: u8, key: &[u8], value: Vec<u8>) {
        self.out.push(Archived { table, key: key.to_vec(), value });
    }

    pub fn digest(&self) -> StateHash {
        let mut sum = self.records.digest();
        sum.add(self.sold.digest());
        sum.add(self.paid.digest());
        sum
    }

    pub fn digest_full(&self) -> StateHash {
        self.freeze().recompute_digest()
    }
}

impl Default for OrderShelf {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    /// Whether an order that is not here may be in the archive. One that may have left may have
    /// been here never, too.
    pub fn may_have_left(&self, id: OrderId) -> bool {
        !self.orders.contains(&id) && !self.shelf.records.never_left(id.into())
    }

    /// Why nothing becomes of an order that may not change here, or is not here.
    pub(in crate::core) fn not_here(&self, id: OrderId) -> Refused {
        match self.may_have_left(id) {
            true => Refused::Shelved,
            false => Refused::OrderNotFound,
        }
    }
}
