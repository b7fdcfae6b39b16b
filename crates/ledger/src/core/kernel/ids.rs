//! Ids that were seen lately, so that a repeat has no second effect.

use std::collections::BTreeMap;
use std::hash::Hash;

use hansa_pages::{Record, Table};
use hansa_types::id::TransferId;
use hansa_types::time::LogTime;

/// Ids are dropped in runs of this length: a power of two, short against any window.
const RUN_MS: u64 = 64;

/// A table of ids, kept as long as the dedup window lasts.
///
/// Ids carry the time at which they were minted, so "older than the window" is known without
/// having kept the id, and what leaves the window leaves in runs, never by a scan.
///
/// # Invariant
/// `runs` lists exactly the ids of `table`, each under its own time.
pub struct Ids<R: Record> {
    table: Table<TransferId, R>,
    runs: BTreeMap<u64, Vec<TransferId>>,
    window_ms: u64,
}

/// What is known of an id.
pub enum Known<'a, R> {
    TooOld,
    TooNew,
    New,
    Seen(&'a R),
}

impl<R: Record + Clone + Hash> Ids<R> {
    pub fn new(tag: &'static str, window_ms: u64) -> Self {
        Self { table: Table::new(tag), runs: BTreeMap::new(), window_ms }
    }

    /// Rebuilds the runs of a table that was read from a checkpoint.
    pub fn from_table(table: Table<TransferId, R>, window_ms: u64) -> Self {
        let mut ids = Self { table: Table::new(""), runs: BTreeMap::new(), window_ms };
        for (id, _) in table.iter() {
            ids.runs.entry(run_of(*id)).or_default().push(*id);
        }
        ids.table = table;
        ids
    }

    pub fn table(&self) -> &Table<TransferId, R> {
        &self.table
    }

    /// What is known of `id` at time `at`. The bounds hold whether or not the id is still stored.
    pub fn look(&self, at: LogTime, id: TransferId) -> Known<'_, R> {
        let minted = id.at().ms();
        if minted.saturating_add(self.window_ms) < at.ms() {
            return Known::TooOld;
        }
        if minted > at.ms().saturating_add(self.window_ms) {
            return Known::TooNew;
        }
        self.table.get(&id).map_or(Known::New, Known::Seen)
    }

    pub fn get(&self, id: &TransferId) -> Option<&R> {
        self.table.get(id)
    }

    /// Remembers `id`, which must be new.
    pub fn insert(&mut self, id: TransferId, record: R) {
        let before = self.table.insert(id, record);
        assert!(before.is_none(), "an id is remembered once");
        self.runs.entry(run_of(id)).or_default().push(id);
    }

    /// Changes what is remembered of `id`, if it is still remembered.
    pub fn update<T>(&mut self, id: &TransferId, change: impl FnOnce(&mut R) -> T) -> Option<T> {
        self.table.update(id, change)
    }

    /// Forgets what has left the window.
    pub fn advance(&mut self, at: LogTime) {
        let oldest_kept = at.ms().saturating_sub(self.window_ms) / RUN_MS;
        while let Some(run) = self.runs.first_entry() {
            if *run.key() >= oldest_kept {
                break;
            }
            for id in run.remove() {
                self.table.remove(&id);
            }
        }
    }
}

fn run_of(id: TransferId) -> u64 {
    id.at().ms() / RUN_MS
}
