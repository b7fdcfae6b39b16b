//! Transfers: the one thing that can be done to the books.

use hansa_types::id::{AccountId, TransferId};
use serde::{Deserialize, Serialize};

use super::account::Code;
use super::outcome::{Field, Outcome};

/// The longest that a hold may last by itself: 400 days, beyond any card authorization.
pub const TIMEOUT_MS_MAX: u64 = 400 * 24 * 60 * 60 * 1_000;

/// What a transfer was made for: an order, a document, a reservation. Stored, never looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reference(pub u128);

/// What a transfer does.
///
/// # Units
/// Amounts are whole units of the accounts' unit; timeouts are milliseconds of group time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Act {
    /// Moves at once.
    Move { debit: AccountId, credit: AccountId, amount: u64 },
    /// Holds until it is posted, voided, or the timeout has passed.
    Hold { debit: AccountId, credit: AccountId, amount: u64, timeout_ms: Option<u64> },
    /// Moves what is held, or a part of it; the rest is released.
    Post { hold: TransferId, amount: Option<u64> },
    /// Releases what is held.
    Void { hold: TransferId },
}

/// One transfer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Transfer {
    pub id: TransferId,
    pub act: Act,
    pub code: Code,
    pub reference: Reference,
    /// Whether the next transfer of the batch belongs to the same chain, which applies all or none.
    pub linked: bool,
}

impl Transfer {
    /// A refusal that needs no state to be seen.
    pub(super) fn refused_by_itself(&self) -> Option<Outcome> {
        match self.act {
            Act::Move { amount: 0, .. }
            | Act::Hold { amount: 0, .. }
            | Act::Post { amount: Some(0), .. } => Some(Outcome::AmountZero),
            Act::Move { debit, credit, .. } | Act::Hold { debit, credit, .. }
                if debit == credit =>
            {
                Some(Outcome::SameAccount)
            }
            Act::Hold { timeout_ms: Some(timeout_ms), .. }
                if timeout_ms == 0 || timeout_ms > TIMEOUT_MS_MAX =>
            {
                Some(Outcome::TimeoutOutOfRange)
            }
            Act::Move { .. } | Act::Hold { .. } | Act::Post { .. } | Act::Void { .. } => None,
        }
    }

    /// The first field in which `self` and `other` differ.
    pub(super) fn differs_from(&self, other: &Self) -> Option<Field> {
        let first =
            |pairs: &[(bool, Field)]| pairs.iter().find(|(same, _)| !same).map(|&(_, field)| field);
        let act = match (self.act, other.act) {
            (
                Act::Move { debit, credit, amount },
                Act::Move { debit: debit2, credit: credit2, amount: amount2 },
            ) => first(&[
                (debit == debit2, Field::Debit),
                (credit == credit2, Field::Credit),
                (amount == amount2, Field::Amount),
            ]),
            (
                Act::Hold { debit, credit, amount, timeout_ms },
                Act::Hold {
                    debit: debit2,
                    credit: credit2,
                    amount: amount2,
                    timeout_ms: timeout_ms2,
                },
            ) => first(&[
                (debit == debit2, Field::Debit),
                (credit == credit2, Field::Credit),
                (amount == amount2, Field::Amount),
                (timeout_ms == timeout_ms2, Field::Timeout),
            ]),
            (Act::Post { hold, amount }, Act::Post { hold: hold2, amount: amount2 }) => {
                first(&[(hold == hold2, Field::Hold), (amount == amount2, Field::Amount)])
            }
            (Act::Void { hold }, Act::Void { hold: hold2 }) => {
                first(&[(hold == hold2, Field::Hold)])
            }
            _ => Some(Field::Act),
        };
        act.or_else(|| {
            first(&[
                (self.code == other.code, Field::Code),
                (self.reference == other.reference, Field::Reference),
            ])
        })
    }
}

/// What a posting came from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Origin {
    /// Moved at once.
    Move,
    /// A hold, of which `released` was not taken.
    Hold { hold: TransferId, released: u64 },
}
