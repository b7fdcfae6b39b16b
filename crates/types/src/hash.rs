//! The hash of a replicated state: a sum, so that one changed record costs one update.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

/// A running sum of record hashes. Two replicas at one index must have the same.
///
/// It finds divergence, not tampering: the audit chain does that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StateHash(pub u128);

impl StateHash {
    pub fn add(&mut self, record: Self) {
        self.0 = self.0.wrapping_add(record.0);
    }

    pub fn remove(&mut self, record: Self) {
        self.0 = self.0.wrapping_sub(record.0);
    }

    /// The hash of one record in the table named `tag`.
    pub fn of_record<K: Hash, V: Hash>(tag: &str, key: &K, value: &V) -> Self {
        let mut hasher = Stable(Xxh3::new());
        tag.hash(&mut hasher);
        key.hash(&mut hasher);
        value.hash(&mut hasher);
        Self(hasher.0.digest128())
    }
}

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Feeds integers little-endian and lengths as 64 bits, so that the same record hashes alike on
/// every machine that a replica may run on.
struct Stable(Xxh3);

impl Hasher for Stable {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    fn write_u16(&mut self, i: u16) {
        self.0.update(&i.to_le_bytes());
    }
    fn write_u32(&mut self, i: u32) {
        self.0.update(&i.to_le_bytes());
    }
    fn write_u64(&mut self, i: u64) {
        self.0.update(&i.to_le_bytes());
    }
    fn write_u128(&mut self, i: u128) {
        self.0.update(&i.to_le_bytes());
    }
    fn write_usize(&mut self, i: usize) {
        self.0.update(&(i as u64).to_le_bytes());
    }
    fn finish(&self) -> u64 {
        self.0.digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_record_leaves_no_trace() {
        let (a, b) = (StateHash::of_record("t", &1, &"x"), StateHash::of_record("t", &2, &"y"));
        let mut sum = StateHash::default();
        sum.add(a);
        let before = sum;
        sum.add(b);
        assert_ne!(sum, before);
        sum.remove(b);
        assert_eq!(sum, before);
    }

    #[test]
    fn table_key_and_value_all_count() {
        let base = StateHash::of_record("t", &1, &"x");
        assert_ne!(base, StateHash::of_record("u", &1, &"x"));
        assert_ne!(base, StateHash::of_record("t", &2, &"x"));
        assert_ne!(base, StateHash::of_record("t", &1, &"y"));
    }
}
