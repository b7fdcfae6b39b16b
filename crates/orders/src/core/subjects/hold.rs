//! The table of subjects and the indexes rebuilt from it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use hansa_pages::Table;
use hansa_types::id::OrderId;

use super::{
    Erased, KeyOf, KeyState, Next, RegionKey, SubjectId, SubjectRow, Wrapped, first_generation,
};
use crate::core::shelf::LeftOf;
use crate::core::state::listing::Listed;

/// Tombstones kept of one subject, newest last: who erases more often repeats himself.
const ERASED_MAX: usize = 16;
/// Living keys that are kept beside the newest.
const OLDER_MAX: usize = 16;

pub struct Subjects {
    pub table: Table<SubjectId, SubjectRow>,
    /// Living keys by the region key that wraps them.
    under: BTreeMap<RegionKey, BTreeSet<KeyOf>>,
    /// Erasures by the event that says so.
    by_seq: BTreeMap<u64, SubjectId>,
    /// The newest region key that wraps something erased, in logs and backups.
    erased_under: Option<RegionKey>,
    /// Each subject's orders, oldest first.
    orders: BTreeSet<(SubjectId, Listed)>,
}

impl Subjects {
    pub fn new() -> Self {
        Self::rebuild(Table::new("subjects"), std::iter::empty())
    }

    /// From the table, and every order with its subject.
    pub fn rebuild(
        table: Table<SubjectId, SubjectRow>,
        orders: impl Iterator<Item = (SubjectId, Listed)>,
    ) -> Self {
        let mut under: BTreeMap<RegionKey, BTreeSet<KeyOf>> = BTreeMap::new();
        let (mut by_seq, mut erased_under) = (BTreeMap::new(), None);
        for (id, row) in table.iter() {
            erased_under = row.erased.iter().map(|erased| erased.under).max().max(erased_under);
            for (generation, key) in row.living() {
                under.entry(key.by).or_default().insert(KeyOf { subject: *id, generation });
            }
            let told = row.erased.iter().filter(|erased| erased.seq > 0);
            by_seq.extend(told.map(|erased| (erased.seq, *id)));
        }
        Self { table, under, by_seq, erased_under, orders: orders.collect() }
    }

    /// What there is to open a block with.
    pub fn key(&self, of: KeyOf) -> KeyState {
        let Some(row) = self.table.get(&of.subject) else { return KeyState::Unknown };
        match row.living().find(|(generation, _)| *generation == of.generation) {
            Some((_, key)) => KeyState::Living(key.clone()),
            None if of.generation <= dead(row) => KeyState::Erased,
            None => KeyState::Unknown,
        }
    }

    /// What the subject's next order is sealed with, in a group of this epoch.
    pub fn next(&self, subject: SubjectId, wraps: Option<RegionKey>, epoch: u64) -> Next {
        let first = first_generation(epoch);
        match self.table.get(&subject) {
            None => Next::Mint(first, wraps),
            Some(SubjectRow { generation, key: Some(key), .. }) => {
                Next::Use(*generation, key.clone())
            }
            Some(SubjectRow { generation, key: None, .. }) => {
                Next::Mint(generation.saturating_add(1).max(first), wraps)
            }
        }
    }

    /// The last generation of his key that an erasure ended; 0 where none did.
    pub fn dead(&self, subject: SubjectId) -> u32 {
        self.table.get(&subject).map_or(0, dead)
    }

    /// The newest tombstone that a request made, if it made one.
    pub fn erased_by(&self, subject: SubjectId, request: super::Scope) -> Option<&Erased> {
        let row = self.table.get(&subject)?;
        row.erased.iter().rfind(|erased| erased.request == request)
    }

    /// Whether this erasure of the key was carried out here, as its home's stream told it.
    pub fn heard_of(&self, of: KeyOf, request: super::Scope) -> bool {
        let row = self.table.get(&of.subject);
        let mut erased = row.into_iter().flat_map(|row| &row.erased);
        erased.any(|one| one.request == request && one.generation >= of.generation)
    }

    pub fn orders_of(&self, subject: SubjectId) -> impl Iterator<Item = OrderId> {
        self.listed(subject, None).map(|of| of.id())
    }

    /// The subject's orders before `before`, if it is given, oldest first.
    pub fn listed(
        &self,
        subject: SubjectId,
        before: Option<Listed>,
    ) -> impl DoubleEndedIterator<Item = Listed> {
        let end = match before {
            Some(before) => Bound::Excluded((subject, before)),
            None => Bound::Included((subject, Listed::LAST)),
        };
        let range = self.orders.range((Bound::Included((subject, Listed::FIRST)), end));
        range.map(|(_, of)| *of)
    }

    /// Living keys under region keys older than `key`, oldest first, at most `max`.
    pub fn under_older(&self, key: RegionKey, max: usize) -> Vec<(KeyOf, Wrapped)> {
        let older = self.under.range(..key).flat_map(|(_, keys)| keys);
        let living = |of: &KeyOf| match self.key(*of) {
            KeyState::Living(wrapped) => Some((*of, wrapped)),
            KeyState::Erased | KeyState::Unknown => None,
        };
        older.filter_map(living).take(max).collect()
    }

    /// The newest region key that wraps something erased: its place is to be taken by another.
    pub fn erased_under(&self) -> Option<RegionKey> {
        self.erased_under
    }

    /// How many living keys each region key wraps.
    pub fn counts(&self) -> Vec<(RegionKey, usize)> {
        self.under.iter().map(|(key, keys)| (*key, keys.len())).collect()
    }

    /// Erasures after event `after`, in order.
    pub fn erased_after(&self, after: u64) -> impl Iterator<Item = (u64, SubjectId)> {
        self.by_seq.range(after + 1..).map(|(seq, subject)| (*seq, *subject))
    }

    pub(super) fn under(&self, key: RegionKey, max: usize) -> Vec<KeyOf> {
        self.under.get(&key).into_iter().flatten().take(max).copied().collect()
    }

    /// The newest region key over the subject's living keys up to this one.
    pub(super) fn under_of(&self, of: KeyOf) -> Option<RegionKey> {
        let living = self.table.get(&of.subject)?.living();
        living.filter(|(at, _)| *at <= of.generation).map(|(_, key)| key.by).max()
    }

    /// Puts a key in its place, beside living ones of other generations.
    pub(crate) fn put(&mut self, of: KeyOf, key: Wrapped) {
        let mut row = self.row(of.subject);
        let mut living: BTreeMap<u32, Wrapped> =
            row.living().map(|(generation, key)| (generation, key.clone())).collect();
        let by = key.by;
        if let Some(old) = living.insert(of.generation, key) {
            self.take_off(of, old.by);
        }
        self.under.entry(by).or_default().insert(of);
        set(&mut row, living);
        self.table.insert(of.subject, row);
    }

    /// Puts a copy of another home's key in its place; beside too many the oldest goes, which that
    /// home has.
    pub(super) fn put_copy(&mut self, of: KeyOf, key: Wrapped) {
        self.put(of, key);
        let mut row = self.row(of.subject);
        let more = row.older.len().saturating_sub(OLDER_MAX);
        for (generation, old) in row.older.drain(..more) {
            self.erased_under = self.erased_under.max(Some(old.by));
            self.take_off(KeyOf { generation, ..of }, old.by);
        }
        self.table.insert(of.subject, row);
    }

    /// Whether there is room for a key beside those that live. No own one gives way: what it opens
    /// nobody else could.
    pub(in crate::core) fn has_room(&self, subject: SubjectId) -> bool {
        self.table.get(&subject).is_none_or(|row| row.living().count() <= OLDER_MAX)
    }

    /// Drops the keys up to a generation and leaves the tombstone; also for one that never was
    /// here.
    pub(super) fn drop_key(&mut self, subject: SubjectId, erased: Erased) {
        let mut row = self.row(subject);
        self.erased_under = self.erased_under.max(Some(erased.under));
        let mut living = BTreeMap::new();
        for (generation, key) in row.living() {
            if generation > erased.generation {
                living.insert(generation, key.clone());
                continue;
            }
            self.erased_under = self.erased_under.max(Some(key.by));
            self.take_off(KeyOf { subject, generation }, key.by);
        }
        if living.is_empty() {
            row.generation = row.generation.max(erased.generation);
        }
        set(&mut row, living);
        if erased.seq > 0 {
            self.by_seq.insert(erased.seq, subject);
        }
        row.erased.push(erased);
        if row.erased.len() > ERASED_MAX {
            // The last generation that is dead stays known.
            let (dead, places) = (dead(&row), 0..row.erased.len());
            let oldest = places.into_iter().find(|at| row.erased[*at].generation < dead);
            let oldest = row.erased.remove(oldest.unwrap_or(0));
            self.by_seq.remove(&oldest.seq);
        }
        self.table.insert(subject, row);
    }

    /// Drops a key without a tombstone; its region key counts as one that an erased key was under.
    /// Whether it was there.
    pub(super) fn give_back(&mut self, of: KeyOf) -> bool {
        let KeyState::Living(key) = self.key(of) else { return false };
        self.erased_under = self.erased_under.max(Some(key.by));
        self.take_off(of, key.by);
        let mut row = self.row(of.subject);
        let living = row.living().filter(|(at, _)| *at != of.generation);
        let living: BTreeMap<u32, Wrapped> = living.map(|(at, key)| (at, key.clone())).collect();
        // As if it had never come: only what was erased stays so.
        if living.is_empty() && row.erased.is_empty() && row.left.is_empty() {
            self.table.remove(&of.subject);
            return true;
        }
        row.generation = dead(&row);
        set(&mut row, living);
        self.table.insert(of.subject, row);
        true
    }

    fn row(&self, subject: SubjectId) -> SubjectRow {
        let (key, older, erased, left) = (None, Vec::new(), Vec::new(), Vec::new());
        let none = SubjectRow { generation: 0, key, older, erased, left };
        self.table.get(&subject).cloned().unwrap_or(none)
    }

    pub(in crate::core) fn own(&mut self, subject: SubjectId, order: Listed) {
        self.orders.insert((subject, order));
    }

    pub(in crate::core) fn disown(&mut self, subject: SubjectId, order: Listed) {
        self.orders.remove(&(subject, order));
    }

    /// Orders of his that left, by generation, ascending.
    pub fn left_of(&self, subject: SubjectId) -> impl Iterator<Item = &LeftOf> {
        self.table.get(&subject).into_iter().flat_map(|row| &row.left)
    }

    /// Those that this key of his sealed, or one before it.
    pub(in crate::core) fn left_upto(&self, of: KeyOf) -> impl Iterator<Item = &LeftOf> {
        let left = self.left_of(of.subject);
        left.filter(move |left| left.generation <= of.generation)
    }

    /// Changes what is known of orders under this key that left; of none nothing is.
    pub(in crate::core) fn left(&mut self, of: KeyOf, how: impl FnOnce(&mut LeftOf)) {
        let mut row = self.row(of.subject);
        let at = row.left.partition_point(|left| left.generation < of.generation);
        if row.left.get(at).is_none_or(|left| left.generation != of.generation) {
            row.left.insert(at, LeftOf::none(of.generation));
        }
        how(&mut row.left[at]);
        if row.left[at].orders == 0 {
            row.left.remove(at);
        }
        self.table.insert(of.subject, row);
    }

    fn take_off(&mut self, of: KeyOf, by: RegionKey) {
        if let Some(keys) = self.under.get_mut(&by) {
            keys.remove(&of);
            if keys.is_empty() {
                self.under.remove(&by);
            }
        }
    }

    /// Whether the indexes say what the tables say.
    pub fn consistent(&self, orders: usize) -> bool {
        let living: usize = self.table.iter().map(|(_, row)| row.living().count()).sum();
        let told: usize = self.under.values().map(BTreeSet::len).sum();
        let under = self.table.iter().all(|(id, row)| {
            row.living().all(|(generation, key)| {
                let of = KeyOf { subject: *id, generation };
                self.under.get(&key.by).is_some_and(|keys| keys.contains(&of))
            })
        });
        under && living == told && self.orders.len() == orders
    }
}

/// The last generation that an erasure ended; none has the number 0.
fn dead(row: &SubjectRow) -> u32 {
    row.erased.iter().map(|erased| erased.generation).max().unwrap_or(0)
}

/// The living keys of a row; its generation stays where none is.
fn set(row: &mut SubjectRow, mut living: BTreeMap<u32, Wrapped>) {
    let newest = living.pop_last();
    row.older = living.into_iter().collect();
    if let Some((generation, _)) = newest {
        row.generation = generation;
    }
    row.key = newest.map(|(_, key)| key);
}

impl Default for Subjects {
    fn default() -> Self {
        Self::new()
    }
}
