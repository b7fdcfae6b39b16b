//! The hash of a key for finding its slot: a few instructions for an id, xxh3 for text.

use std::hash::Hasher;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Multiplies and folds, as wyhash and xxh3 do with short input. Lives in memory only: no two
/// processes need agree on it.
#[derive(Clone, Copy, Default)]
pub struct KeyHasher(u64);

const SECRET: u64 = 0x9e37_79b9_7f4a_7c15;
const START: u64 = 0xa076_1d64_78bd_642f;

impl KeyHasher {
    #[inline]
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ START) * u128::from(SECRET);
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }
    #[inline]
    fn write_u8(&mut self, i: u8) {
        self.mix(u64::from(i));
    }
    #[inline]
    fn write_u16(&mut self, i: u16) {
        self.mix(u64::from(i));
    }
    #[inline]
    fn write_u32(&mut self, i: u32) {
        self.mix(u64::from(i));
    }
    #[inline]
    fn write_u64(&mut self, i: u64) {
        self.mix(i);
    }
    #[inline]
    fn write_u128(&mut self, i: u128) {
        self.mix(i as u64);
        self.mix((i >> 64) as u64);
    }
    #[inline]
    fn write_usize(&mut self, i: usize) {
        self.mix(i as u64);
    }
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
