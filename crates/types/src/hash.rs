//! The hash of a replicated state: a sum, so that one changed record costs one update.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

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
        let mut hasher = Stable::new();
        tag.hash(&mut hasher);
        key.hash(&mut hasher);
        value.hash(&mut hasher);
        Self(hasher.digest128())
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
///
/// Almost every record fits the buffer and is hashed in one call, which costs a fifth of streaming
/// it; both give the same hash.
struct Stable {
    buffer: [u8; BUFFER_BYTES],
    len: usize,
    long: Option<Box<Xxh3>>,
}

/// What `xxh3_128` hashes on its fastest path.
const BUFFER_BYTES: usize = 240;

impl Stable {
    fn new() -> Self {
        Self { buffer: [0; BUFFER_BYTES], len: 0, long: None }
    }

    fn digest128(&self) -> u128 {
        match &self.long {
            None => xxh3_128(&self.buffer[..self.len]),
            Some(long) => long.digest128(),
        }
    }

    #[cold]
    fn spill(&mut self, bytes: &[u8]) {
        let buffered = &self.buffer[..self.len];
        let long = self.long.get_or_insert_with(|| {
            let mut long = Box::new(Xxh3::new());
            long.update(buffered);
            long
        });
        long.update(bytes);
    }
}

impl Hasher for Stable {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        match self.buffer.get_mut(self.len..end) {
            Some(room) if self.long.is_none() => {
                room.copy_from_slice(bytes);
                self.len = end;
            }
            _ => self.spill(bytes),
        }
    }
    fn write_u16(&mut self, i: u16) {
        self.write(&i.to_le_bytes());
    }
    fn write_u32(&mut self, i: u32) {
        self.write(&i.to_le_bytes());
    }
    fn write_u64(&mut self, i: u64) {
        self.write(&i.to_le_bytes());
    }
    fn write_u128(&mut self, i: u128) {
        self.write(&i.to_le_bytes());
    }
    fn write_usize(&mut self, i: usize) {
        self.write(&(i as u64).to_le_bytes());
    }
    fn finish(&self) -> u64 {
        self.digest128() as u64
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

    #[test]
    fn buffered_and_streamed_records_hash_alike() {
        for len in [0, 1, 239, 240, 241, 500, 5_000] {
            let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
            for cut in [0, len / 3, len] {
                let mut hasher = Stable::new();
                hasher.write(&bytes[..cut]);
                hasher.write(&bytes[cut..]);
                assert_eq!(hasher.digest128(), xxh3_128(&bytes), "{len} bytes cut at {cut}");
            }
        }
    }
}
