//! Accounts: four counters, a unit, and a limit that holds must respect when they are placed.

use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

/// What an account counts: the number of a SKU in its shard, or a packed ISO 4217 currency.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unit(pub u32);

/// What an account or a transfer is for. The kernel stores it and never looks at it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(pub u16);

/// How far one side of an account may run ahead of the other.
///
/// Pending amounts count on the limited side only, so a hold is paid for when it is placed, and
/// posting or voiding it later can never break the limit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Limit {
    None,
    /// Debits, pending and posted, must not exceed posted credits plus the floor.
    Debits {
        floor: i64,
    },
    /// The mirror: credits, pending and posted, must not exceed posted debits plus the floor.
    Credits {
        floor: i64,
    },
}

/// What an account is opened with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccountSpec {
    pub unit: Unit,
    pub code: Code,
    pub limit: Limit,
}

/// One account.
///
/// # Units
/// The counters are whole units: pieces of a SKU, minor units of a currency.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Account {
    pub debits_pending: u64,
    pub debits_posted: u64,
    pub credits_pending: u64,
    pub credits_posted: u64,
    pub limit: Limit,
    pub unit: Unit,
    pub code: Code,
}

impl Account {
    pub fn open(spec: AccountSpec) -> Self {
        Self {
            debits_pending: 0,
            debits_posted: 0,
            credits_pending: 0,
            credits_posted: 0,
            limit: spec.limit,
            unit: spec.unit,
            code: spec.code,
        }
    }

    /// Posted credits minus posted debits: what a bucket of stock holds.
    pub fn balance(&self) -> i128 {
        i128::from(self.credits_posted) - i128::from(self.debits_posted)
    }

    /// What may still be debited, for an account with a debit limit; holds are already taken off.
    pub fn debitable(&self) -> Option<i128> {
        match self.limit {
            Limit::Debits { floor } => {
                Some(self.balance() - i128::from(self.debits_pending) + i128::from(floor))
            }
            Limit::None | Limit::Credits { .. } => None,
        }
    }

    /// Whether both sides keep to the limit.
    pub fn within_limit(&self) -> bool {
        let (debits_pending, credits_pending) =
            (i128::from(self.debits_pending), i128::from(self.credits_pending));
        match self.limit {
            Limit::None => true,
            Limit::Debits { floor } => debits_pending <= self.balance() + i128::from(floor),
            Limit::Credits { floor } => credits_pending <= i128::from(floor) - self.balance(),
        }
    }

    /// Whether `amount` more may be debited without overflowing a counter.
    pub(super) fn debits_fit(&self, amount: u64) -> bool {
        let held = self.debits_pending.checked_add(self.debits_posted);
        held.is_some_and(|held| held.checked_add(amount).is_some())
    }

    pub(super) fn credits_fit(&self, amount: u64) -> bool {
        let held = self.credits_pending.checked_add(self.credits_posted);
        held.is_some_and(|held| held.checked_add(amount).is_some())
    }

    /// Whether the limit lets `amount` more be debited.
    pub(super) fn may_debit(&self, amount: u64) -> bool {
        self.debitable().is_none_or(|left| i128::from(amount) <= left)
    }

    /// Whether the limit lets `amount` more be credited.
    pub(super) fn may_credit(&self, amount: u64) -> bool {
        match self.limit {
            Limit::Credits { floor } => {
                let left = i128::from(floor) - self.balance() - i128::from(self.credits_pending);
                i128::from(amount) <= left
            }
            Limit::None | Limit::Debits { .. } => true,
        }
    }
}

impl Hash for Account {
    /// One write of all fields: the state digest hashes an account twice for each transfer.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (kind, floor) = match self.limit {
            Limit::None => (0u8, 0),
            Limit::Debits { floor } => (1, floor),
            Limit::Credits { floor } => (2, floor),
        };
        let mut bytes = [0u8; 47];
        bytes[0..8].copy_from_slice(&self.debits_pending.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.debits_posted.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.credits_pending.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.credits_posted.to_le_bytes());
        bytes[32..40].copy_from_slice(&floor.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.unit.0.to_le_bytes());
        bytes[44..46].copy_from_slice(&self.code.0.to_le_bytes());
        bytes[46] = kind;
        state.write(&bytes);
    }
}
