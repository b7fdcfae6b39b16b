//! The live table.

use std::collections::BTreeSet;
use std::sync::Arc;

use hansa_types::hash::StateHash;
use serde::{Deserialize, Serialize};

use crate::frozen::{Frozen, ReadError};
use crate::index::{Index, KeyHash};
use crate::{Key, Record};

/// One change in so many hashes the record before it, too.
const REHASHED: u128 = 16;
/// Records to a page: small enough that the copy a frozen page costs stays in microseconds.
pub(crate) const PAGE_RECORDS: usize = 32;

pub(crate) type Page<K, V> = Vec<Option<Slot<K, V>>>;

/// A record in its place. On disk it is key and value.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Slot<K, V> {
    pub key: K,
    pub value: V,
    /// What the digest has of it: the record is hashed once for each change, and not twice.
    #[serde(skip)]
    hash: StateHash,
}

/// A map from `K` to `V` with a running digest and a cheap frozen view.
///
/// # Invariant
/// Equal contents reached by equal command sequences give equal slots, so iteration order is the
/// same on every replica, also on one that was read back from a checkpoint: freed slots are
/// reused lowest first.
pub struct Table<K, V> {
    tag: &'static str,
    index: Index,
    pages: Vec<Arc<Page<K, V>>>,
    /// Slots below `fresh` that hold nothing.
    free: BTreeSet<u32>,
    /// Slots from here on were never used, or stand as if they had not been.
    fresh: u32,
    digest: StateHash,
}

impl<K: Key, V: Record> Table<K, V> {
    /// An empty table. `tag` tells its records apart from those of other tables in the digest.
    pub fn new(tag: &'static str) -> Self {
        Self {
            tag,
            index: Index::default(),
            pages: Vec::new(),
            free: BTreeSet::new(),
            fresh: 0,
            digest: StateHash::default(),
        }
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.index.len() == 0
    }

    pub fn contains(&self, key: &K) -> bool {
        self.find(key).is_some()
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        let slot = self.find(key)?;
        self.slot(slot).map(|of| &of.value)
    }

    /// Puts `value` under `key`; the value that was there before, if any.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let hash = StateHash::of_record(self.tag, &key, &value);
        self.digest.add(hash);
        if let Some(slot) = self.find(&key) {
            let old = self.slot_mut(slot).replace(Slot { key, value, hash })?;
            self.digest.remove(old.hash);
            return Some(old.value);
        }
        let slot = self.take_free_slot();
        self.index.add(KeyHash::of(&key), slot);
        *self.slot_mut(slot) = Some(Slot { key, value, hash });
        None
    }

    /// Changes the record under `key` in place; what `change` returned, `None` without a record.
    pub fn update<R>(&mut self, key: &K, change: impl FnOnce(&mut V) -> R) -> Option<R> {
        let slot = self.find(key)?;
        let tag = self.tag;
        let of = self.slot_mut(slot).as_mut()?;
        // Made anew now and then: what memory lost of a record must not be taken for its change.
        let before = match of.hash.0.is_multiple_of(REHASHED) {
            true => StateHash::of_record(tag, key, &of.value),
            false => of.hash,
        };
        let result = change(&mut of.value);
        let after = StateHash::of_record(tag, key, &of.value);
        of.hash = after;
        self.digest.remove(before);
        self.digest.add(after);
        Some(result)
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let slot = self.find(key)?;
        self.index.remove(KeyHash::of(key), slot);
        let old = self.slot_mut(slot).take()?;
        self.free.insert(slot);
        self.digest.remove(old.hash);
        Some(old.value)
    }

    /// Every record, in slot order: the same on every replica.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.pages.iter().flat_map(|page| page.iter()).flatten().map(Slot::record)
    }

    /// The running digest of all records. Costs nothing: it is kept with each write.
    pub fn digest(&self) -> StateHash {
        self.digest
    }

    /// The digest computed anew from every record, to check the running one.
    pub fn recompute_digest(&self) -> StateHash {
        let mut sum = StateHash::default();
        for (key, value) in self.iter() {
            sum.add(StateHash::of_record(self.tag, key, value));
        }
        sum
    }

    /// A view that later writes do not change; clones one pointer per page.
    pub fn freeze(&self) -> Frozen<K, V> {
        Frozen { tag: self.tag, pages: self.pages.clone() }
    }

    /// The table that [`Frozen::write`] wrote.
    ///
    /// # Errors
    /// A stream that ends early, does not decode, or holds one key twice.
    pub fn read(tag: &'static str, from: &mut dyn std::io::Read) -> Result<Self, ReadError> {
        let pages = Frozen::read(tag, from)?.pages;
        let mut table = Self { pages, ..Self::new(tag) };
        for slot in 0..(table.pages.len() * PAGE_RECORDS) as u32 {
            let Some(Slot { key, value, hash }) = table.slot_mut(slot) else { continue };
            *hash = StateHash::of_record(tag, key, value);
            let (key, hash) = (key.clone(), *hash);
            if table.find(&key).is_some() {
                return Err(ReadError::DuplicateKey { table: tag });
            }
            table.digest.add(hash);
            table.index.add(KeyHash::of(&key), slot);
            table.free.extend(table.fresh..slot);
            table.fresh = slot + 1;
        }
        Ok(table)
    }

    fn find(&self, key: &K) -> Option<u32> {
        let is = |slot| self.slot(slot).is_some_and(|of| of.key == *key);
        self.index.find(KeyHash::of(key), is)
    }

    fn slot(&self, slot: u32) -> Option<&Slot<K, V>> {
        let (page, at) = place(slot);
        self.pages.get(page)?.get(at)?.as_ref()
    }

    /// The slot for writing; its page is copied first if a frozen view still holds it.
    fn slot_mut(&mut self, slot: u32) -> &mut Option<Slot<K, V>> {
        let (page, at) = place(slot);
        &mut Arc::make_mut(&mut self.pages[page])[at]
    }

    fn take_free_slot(&mut self) -> u32 {
        if let Some(slot) = self.free.pop_first() {
            return slot;
        }
        let slot = self.fresh;
        self.fresh += 1;
        if place(slot).0 == self.pages.len() {
            self.pages.push(Arc::new(vec![None; PAGE_RECORDS]));
        }
        slot
    }
}

impl<K, V> Slot<K, V> {
    pub fn record(&self) -> (&K, &V) {
        (&self.key, &self.value)
    }
}

fn place(slot: u32) -> (usize, usize) {
    (slot as usize / PAGE_RECORDS, slot as usize % PAGE_RECORDS)
}

#[cfg(test)]
mod tests;
