//! A shelf at one moment, on disk, and back.

use std::io::{self, Read, Write};

use hansa_pages::shelf::FrozenShelf as FrozenRecords;
use hansa_pages::{FrozenTable, ReadError, Shelf, Table};
use hansa_types::hash::StateHash;
use hansa_types::id::Sku;

use super::{Account, OrderShelf, Paid, Sold};

pub(super) const SOLD: &str = "sold";
pub(super) const PAID: &str = "paid";

/// A view that later changes do not reach.
#[derive(Clone)]
pub struct FrozenShelf {
    records: FrozenRecords,
    sold: FrozenTable<Sku, Sold>,
    paid: FrozenTable<Account, Paid>,
}

impl FrozenShelf {
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        self.records.write(to)?;
        self.sold.write(to)?;
        self.paid.write(to)
    }

    pub fn recompute_digest(&self) -> StateHash {
        let mut sum = self.records.recompute_digest();
        sum.add(self.sold.recompute_digest());
        sum.add(self.paid.recompute_digest());
        sum
    }
}

impl OrderShelf {
    pub fn freeze(&self) -> FrozenShelf {
        FrozenShelf {
            records: self.records.freeze(),
            sold: self.sold.freeze(),
            paid: self.paid.freeze(),
        }
    }

    /// # Errors
    /// A stream that ends early, or does not decode.
    pub fn read(from: &mut dyn Read) -> Result<Self, ReadError> {
        let records = Shelf::read(from)?;
        Ok(Self::rebuild(records, Table::read(SOLD, from)?, Table::read(PAID, from)?))
    }
}
