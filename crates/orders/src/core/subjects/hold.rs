//! The table of subjects and the indexes rebuilt from it.

use std::collections::{BTreeMap, BTreeSet};

use hansa_pages::Table;
use hansa_types::id::OrderId;

use super::{
    Erased, KeyOf, KeyState, Next, RegionKey, SubjectId, SubjectRow, Wrapped, first_generation,
};

/// Tombstones kept of one subject, newest last: who erases more often repeats himself.
const ERASED_MAX: usize = 16;

pub struct Subjects {
    pub table: Table<SubjectId, SubjectRow>,
    /// Living keys by the region key that wraps them.
    under: BTreeMap<RegionKey, BTreeSet<SubjectId>>,
    /// Erasures by the event that says so.
    by_seq: BTreeMap<u64, SubjectId>,
    /// The newest region key that wraps something erased, in logs and backups.
    erased_under: Option<RegionKey>,
    /// Each subject's orders, oldest first.
    orders: BTreeSet<(SubjectId, [u8; 16])>,
}

impl Subjects {
    pub fn new() -> Self {
        Self::rebuild(Table::new("subjects"), std::iter::empty())
    }

    /// From the table, and every order with its subject.
    pub fn rebuild(
        table: Table<SubjectId, SubjectRow>,
        orders: impl Iterator<Item = (SubjectId, OrderId)>,
    ) -> Self {
        let mut under: BTreeMap<RegionKey, BTreeSet<SubjectId>> = BTreeMap::new();
        let (mut by_seq, mut erased_under) = (BTreeMap::new(), None);
        for (id, row) in table.iter() {
            erased_under = row.erased.iter().map(|erased| erased.under).max().max(erased_under);
            if let Some(key) = &row.key {
                under.entry(key.by).or_default().insert(*id);
            }
            let told = row.erased.iter().filter(|erased| erased.seq > 0);
            by_seq.extend(told.map(|erased| (erased.seq, *id)));
        }
        let orders = orders.map(|(subject, order)| (subject, order.to_bytes())).collect();
        Self { table, under, by_seq, erased_under, orders }
    }

    /// What there is to open a block with.
    pub fn key(&self, of: KeyOf) -> KeyState {
        let Some(row) = self.table.get(&of.subject) else { return KeyState::Unknown };
        match &row.key {
            Some(key) if row.generation == of.generation => KeyState::Living(key.clone()),
            _ if row.generation >= of.generation => KeyState::Erased,
            _ => KeyState::Unknown,
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

    /// The tombstone that a request made, if it made one.
    pub fn erased_by(&self, subject: SubjectId, request: super::Scope) -> Option<&Erased> {
        let row = self.table.get(&subject)?;
        row.erased.iter().find(|erased| erased.request == request)
    }

    pub fn orders_of(&self, subject: SubjectId) -> impl Iterator<Item = OrderId> {
        let range = self.orders.range((subject, [0; 16])..=(subject, [u8::MAX; 16]));
        range.filter_map(|(_, order)| OrderId::from_bytes(*order).ok())
    }

    /// Living keys under region keys older than `key`, oldest first, at most `max`.
    pub fn under_older(&self, key: RegionKey, max: usize) -> Vec<(KeyOf, Wrapped)> {
        let older = self.under.range(..key).flat_map(|(_, subjects)| subjects);
        let living = |subject: &SubjectId| {
            let row = self.table.get(subject)?;
            Some((KeyOf { subject: *subject, generation: row.generation }, row.key.clone()?))
        };
        older.filter_map(living).take(max).collect()
    }

    /// The newest region key that wraps something erased: its place is to be taken by another.
    pub fn erased_under(&self) -> Option<RegionKey> {
        self.erased_under
    }

    /// How many living keys each region key wraps.
    pub fn counts(&self) -> Vec<(RegionKey, usize)> {
        self.under.iter().map(|(key, subjects)| (*key, subjects.len())).collect()
    }

    /// Erasures after event `after`, in order.
    pub fn erased_after(&self, after: u64) -> impl Iterator<Item = (u64, SubjectId)> {
        self.by_seq.range(after + 1..).map(|(seq, subject)| (*seq, *subject))
    }

    pub(super) fn under(&self, key: RegionKey, max: usize) -> Vec<SubjectId> {
        self.under.get(&key).into_iter().flatten().take(max).copied().collect()
    }

    pub(crate) fn put(&mut self, of: KeyOf, key: Wrapped) {
        self.take_off(of.subject);
        self.under.entry(key.by).or_default().insert(of.subject);
        let erased = self.table.get(&of.subject).map(|row| row.erased.clone()).unwrap_or_default();
        let row = SubjectRow { generation: of.generation, key: Some(key), erased };
        self.table.insert(of.subject, row);
    }

    /// Drops the key and leaves the tombstone; also for a generation that never was here.
    pub(super) fn drop_key(&mut self, subject: SubjectId, erased: Erased) {
        self.take_off(subject);
        let empty = SubjectRow { generation: 0, key: None, erased: Vec::new() };
        let mut row = self.table.get(&subject).cloned().unwrap_or(empty);
        self.erased_under = self.erased_under.max(Some(erased.under));
        row.key = None;
        row.generation = row.generation.max(erased.generation);
        if erased.seq > 0 {
            self.by_seq.insert(erased.seq, subject);
        }
        row.erased.push(erased);
        if row.erased.len() > ERASED_MAX {
            let oldest = row.erased.remove(0);
            self.by_seq.remove(&oldest.seq);
        }
        self.table.insert(subject, row);
    }

    /// Drops a key without a tombstone; its region key counts as one that an erased key was under.
    pub(super) fn give_back(&mut self, of: KeyOf) {
        let Some(row) = self.table.get(&of.subject).cloned() else { return };
        let Some(key) = row.key.as_ref().filter(|_| row.generation == of.generation) else {
            return;
        };
        self.erased_under = self.erased_under.max(Some(key.by));
        self.take_off(of.subject);
        // As if it had never come: only what was erased stays so.
        match row.erased.iter().map(|erased| erased.generation).max() {
            None => self.table.remove(&of.subject),
            Some(generation) => {
                self.table.insert(of.subject, SubjectRow { generation, key: None, ..row })
            }
        };
    }

    pub(in crate::core) fn own(&mut self, subject: SubjectId, order: OrderId) {
        self.orders.insert((subject, order.to_bytes()));
    }

    pub(in crate::core) fn disown(&mut self, subject: SubjectId, order: OrderId) {
        self.orders.remove(&(subject, order.to_bytes()));
    }

    fn take_off(&mut self, subject: SubjectId) {
        let by = self.table.get(&subject).and_then(|row| row.key.as_ref()).map(|key| key.by);
        let Some(by) = by else { return };
        if let Some(subjects) = self.under.get_mut(&by) {
            subjects.remove(&subject);
            if subjects.is_empty() {
                self.under.remove(&by);
            }
        }
    }

    /// Whether the indexes say what the tables say.
    pub fn consistent(&self, orders: usize) -> bool {
        let living = self.table.iter().filter(|(_, row)| row.key.is_some()).count();
        let told: usize = self.under.values().map(BTreeSet::len).sum();
        let under = self.table.iter().all(|(id, row)| {
            row.key.as_ref().is_none_or(|key| {
                self.under.get(&key.by).is_some_and(|subjects| subjects.contains(id))
            })
        });
        under && living == told && self.orders.len() == orders
    }
}

impl Default for Subjects {
    fn default() -> Self {
        Self::new()
    }
}
