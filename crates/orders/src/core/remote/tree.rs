//! What a set of orders adds up to: leaves, and their sums by time of creation.
//!
//! Home builds one of what a peer should have, the peer one of what it has. Equal roots mean equal
//! orders; unequal ones are followed down, bucket by bucket, to the orders that differ.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use hansa_types::id::OrderId;

/// Low bits of the creation time that a kept bucket spans: 65.5 s. Narrower ones are summed when
/// they are asked for.
pub const KEPT_SHIFT: u32 = 16;
/// Creation times are 48 bits at the top of an id.
const ID_SHIFT: u32 = 80;

/// H(order, version, shipped bytes), 128 bits of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf(pub u128);

impl Leaf {
    pub fn of(order: OrderId, version: u64, shipped: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&order.to_bytes());
        hasher.update(&version.to_le_bytes());
        hasher.update(shipped);
        let mut first = [0; 16];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(u128::from_le_bytes(first))
    }
}

/// Leaves added up, modulo 2^128.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sum {
    pub sum: u128,
    pub orders: u64,
}

impl Sum {
    fn add(&mut self, Leaf(leaf): Leaf) {
        self.sum = self.sum.wrapping_add(leaf);
        self.orders += 1;
    }

    fn remove(&mut self, Leaf(leaf): Leaf) {
        self.sum = self.sum.wrapping_sub(leaf);
        self.orders = self.orders.saturating_sub(1);
    }

    fn join(&mut self, other: Self) {
        self.sum = self.sum.wrapping_add(other.sum);
        self.orders += other.orders;
    }
}

/// The orders of one origin.
#[derive(Clone, Default)]
pub struct Tree {
    root: Sum,
    /// By creation time without its low [`KEPT_SHIFT`] bits.
    buckets: BTreeMap<u64, Sum>,
    leaves: BTreeMap<u128, Leaf>,
}

/// Ids from first to last.
pub type Span = RangeInclusive<u128>;

/// Every id there can be.
pub const EVERYTHING: Span = 0..=u128::MAX;

/// The ids of a bucket of the width that `shift` says.
pub fn span_of(bucket: u64, shift: u32) -> Span {
    let bits = ID_SHIFT + shift;
    let first = u128::from(bucket) << bits;
    first..=first | ((1_u128 << bits) - 1)
}

impl Tree {
    pub fn root(&self) -> Sum {
        self.root
    }

    pub fn get(&self, order: OrderId) -> Option<Leaf> {
        self.leaves.get(&u128::from(order)).copied()
    }

    pub fn put(&mut self, order: OrderId, leaf: Leaf) {
        let old = self.leaves.insert(u128::from(order), leaf);
        let bucket = self.buckets.entry(bucket_of(order)).or_default();
        for sum in [&mut self.root, bucket] {
            if let Some(old) = old {
                sum.remove(old);
            }
            sum.add(leaf);
        }
    }

    pub fn take(&mut self, order: OrderId) {
        let Some(old) = self.leaves.remove(&u128::from(order)) else { return };
        self.root.remove(old);
        let of = bucket_of(order);
        if let Some(bucket) = self.buckets.get_mut(&of) {
            bucket.remove(old);
            if bucket.orders == 0 {
                self.buckets.remove(&of);
            }
        }
    }

    /// Non-empty buckets in a span, ascending, at most `max` of them; `true` when there are more.
    ///
    /// The span must begin and end where buckets of this width do.
    pub fn sums(&self, span: &Span, shift: u32, max: usize) -> (Vec<(u64, Sum)>, bool) {
        let mut sums: Vec<(u64, Sum)> = Vec::new();
        let mut add = |bucket: u64, part: Sum| {
            let full = sums.len() == max;
            match sums.last_mut() {
                Some((last, sum)) if *last == bucket => sum.join(part),
                _ if full => return false,
                _ => sums.push((bucket, part)),
            }
            true
        };
        let mut more = false;
        if shift >= KEPT_SHIFT {
            let ms = |id: u128| (id >> (ID_SHIFT + KEPT_SHIFT)) as u64;
            for (bucket, sum) in self.buckets.range(ms(*span.start())..=ms(*span.end())) {
                if !add(bucket >> (shift - KEPT_SHIFT), *sum) {
                    more = true;
                    break;
                }
            }
        } else {
            for (id, leaf) in self.leaves.range(span.clone()) {
                let one = Sum { sum: leaf.0, orders: 1 };
                if !add((id >> (ID_SHIFT + shift)) as u64, one) {
                    more = true;
                    break;
                }
            }
        }
        (sums, more)
    }

    /// Orders in a span, ascending.
    pub fn leaves(&self, span: &Span) -> impl Iterator<Item = (u128, Leaf)> {
        self.leaves.range(span.clone()).map(|(id, leaf)| (*id, *leaf))
    }

    /// The narrowest buckets of which at most `max` lie between the first and last order of a span.
    pub fn shift_for(&self, span: &Span, max: u64) -> u32 {
        let ids = || self.leaves.range(span.clone());
        let (Some((first, _)), Some((last, _))) = (ids().next(), ids().next_back()) else {
            return KEPT_SHIFT;
        };
        let fits = |shift: &u32| (last >> (ID_SHIFT + shift)) - (first >> (ID_SHIFT + shift));
        (0..48).find(|shift| fits(shift) < u128::from(max)).unwrap_or(47)
    }
}

fn bucket_of(order: OrderId) -> u64 {
    order.born().ms() >> KEPT_SHIFT
}

#[cfg(test)]
mod tests;
