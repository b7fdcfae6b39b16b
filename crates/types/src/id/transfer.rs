//! Ids of the books: accounts and transfers.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::time::LogTime;

/// The id of a transfer: 48 bits of milliseconds, then 80 bits of hash, so ids are time-ordered
/// and a repeat of the same step is the same id. Minted by our services only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TransferId(u128);

const HASH_BITS: u32 = 80;
const HASH_MASK: u128 = (1 << HASH_BITS) - 1;

impl TransferId {
    /// The id of what was decided `at`, told apart by `parts` (order, step, line, attempt).
    pub fn derive(at: LogTime, parts: &[&[u8]]) -> Self {
        let mut hasher = Xxh3::new();
        for part in parts {
            // Lengths keep ("ab", "c") and ("a", "bc") apart.
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(u128::from(at.ms()) << HASH_BITS | (hasher.digest128() & HASH_MASK))
    }

    /// The id of part `n` of this (a line of a step): same time, another hash.
    pub fn child(self, n: u32) -> Self {
        let hash = &self.0.to_le_bytes();
        Self::derive(self.at(), &[hash, &n.to_le_bytes()])
    }

    /// When the step was decided.
    pub fn at(self) -> LogTime {
        LogTime((self.0 >> HASH_BITS) as u64)
    }

    /// The same of another time: what was decided, whenever that was.
    #[must_use]
    pub fn timeless(self) -> Self {
        Self(self.0 & HASH_MASK)
    }

    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The id of an account: a hash of what it is for, so it needs no table of names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccountId(u128);

impl AccountId {
    pub fn derive(parts: &[&[u8]]) -> Self {
        let mut hasher = Xxh3::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(hasher.digest128())
    }

    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_their_time_and_tell_parts_apart() {
        let at = LogTime(1_700_000_000_123);
        let id = TransferId::derive(at, &[b"ab", b"c"]);
        assert_eq!(id.at(), at);
        assert_eq!(id, TransferId::derive(at, &[b"ab", b"c"]));
        assert_ne!(id, TransferId::derive(at, &[b"a", b"bc"]));
        assert_ne!(id.child(1), id.child(2));
        assert_eq!(id.child(1).at(), at);
        assert!(TransferId::derive(at.plus_ms(1), &[]) > id);
        assert_eq!(TransferId::from_bytes(id.to_bytes()), id);
    }
}
