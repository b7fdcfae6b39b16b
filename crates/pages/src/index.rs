//! Where the record of a key lies.

use std::hash::{Hash, Hasher as _};

use hashbrown::HashTable;

use crate::key_hash::KeyHasher;

/// Slots by the hashes of their keys. The keys themselves lie in the slots only, so a place takes
/// nine bytes, whatever the key, and to grow costs no look at any of them.
///
/// Hashed without a secret on purpose: keys are ids that our own services mint or that a caller
/// can only choose within a grammar, and lookups must cost the same on every replica.
#[derive(Default)]
pub(crate) struct Index {
    places: HashTable<Place>,
}

#[derive(Clone, Copy)]
struct Place {
    hash: KeyHash,
    slot: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyHash(u32);

impl KeyHash {
    pub fn of(key: &impl Hash) -> Self {
        let mut hasher = KeyHasher::default();
        key.hash(&mut hasher);
        Self((hasher.finish() >> 32) as u32)
    }

    /// All 64 bits that the hash table wants: buckets go by the lowest, tags by the highest.
    fn spread(self) -> u64 {
        u64::from(self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl Index {
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// The slot under this hash of which `is` holds.
    pub fn find(&self, hash: KeyHash, is: impl Fn(u32) -> bool) -> Option<u32> {
        let found = self.places.find(hash.spread(), |at| at.hash == hash && is(at.slot));
        found.map(|at| at.slot)
    }

    /// Adds a slot that is not there yet.
    pub fn add(&mut self, hash: KeyHash, slot: u32) {
        self.places.insert_unique(hash.spread(), Place { hash, slot }, |at| at.hash.spread());
    }

    pub fn remove(&mut self, hash: KeyHash, slot: u32) {
        if let Ok(at) = self.places.find_entry(hash.spread(), |at| at.slot == slot) {
            at.remove();
        }
    }
}
