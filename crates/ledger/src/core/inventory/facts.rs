//! The stock books as reconciliation reads them: pointers to pages, taken in one moment.

use std::sync::Arc;

use hansa_pages::FrozenTable;
use hansa_types::id::{AccountId, TransferId};
use hansa_types::time::LogTime;

use super::{Bucket, Inventory, Reservation, ReservationState};
use crate::core::kernel::{Account, Known};
use crate::core::outcome::OutcomeCode;

/// Stock at one moment.
pub struct StockFrozen {
    pub reservations: FrozenTable<TransferId, Reservation>,
    pub accounts: FrozenTable<AccountId, Account>,
    skus: FrozenTable<u32, Arc<str>>,
}

/// What the stock books know of a command by its id alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remembered {
    /// The id is older than what is remembered.
    Forgotten,
    Never,
    /// What it came to first; of a reservation also how that ended, once it has.
    Came {
        code: OutcomeCode,
        ended: Option<OutcomeCode>,
    },
}

impl Inventory {
    pub fn remembered(&self, id: TransferId) -> Remembered {
        match self.done.look(self.now, id) {
            Known::TooOld => Remembered::Forgotten,
            Known::New | Known::TooNew => Remembered::Never,
            Known::Seen(done) => Remembered::Came { code: done.code, ended: done.spent },
        }
    }

    pub fn freeze_stock(&self) -> StockFrozen {
        StockFrozen {
            reservations: self.reservations.freeze(),
            accounts: self.books.freeze_accounts(),
            skus: self.skus.table().freeze(),
        }
    }
}

impl Reservation {
    /// `None` once it is committed.
    pub fn expires(&self) -> Option<LogTime> {
        match self.state {
            ReservationState::Held { expires } => Some(expires),
            ReservationState::Committed => None,
        }
    }
}

impl StockFrozen {
    /// Numbers are slots: none is ever forgotten.
    pub fn sku(&self, number: u32) -> &str {
        let named = self.skus.at(number as usize).filter(|(known, _)| **known == number);
        named.map_or("?", |(_, name)| name)
    }
}

/// What the accounts of one SKU come to, in pieces.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SkuTotals {
    pub reserved: i64,
    pub committed: i64,
    /// What customers have.
    pub shipped: i64,
    /// What came back that another region shipped.
    pub elsewhere: i64,
    pub on_hand: i64,
    /// What came in less what went out.
    pub came_in: i64,
}

impl SkuTotals {
    pub fn add(&mut self, account: &Account) {
        let balance = i64::try_from(account.balance()).unwrap_or(i64::MAX);
        let bucket = Bucket::from_code(account.code);
        match bucket {
            Some(Bucket::Available) => {
                self.reserved += i64::try_from(account.debits_pending).unwrap_or(i64::MAX);
            }
            Some(Bucket::Committed) => self.committed += balance,
            Some(Bucket::Customer) => self.shipped += balance,
            Some(Bucket::Elsewhere) => self.elsewhere -= balance,
            _ => {}
        }
        match bucket {
            Some(bucket) if Bucket::PHYSICAL.contains(&bucket) => self.on_hand += balance,
            _ => self.came_in -= balance,
        }
    }
}
