//! What was posted, in order: the archive keeps it, views are fed from it.

use std::collections::VecDeque;
use std::sync::Arc;

use hansa_types::id::{AccountId, TransferId};
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use super::account::Code;
use super::transfer::{Origin, Reference};

/// How many postings are kept at hand for views; older ones come from the archive.
pub const RECENT_MAX: usize = 65_536;

/// One posted amount.
///
/// # Units
/// `amount`: whole units of both accounts' unit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Posting {
    pub id: TransferId,
    pub at: LogTime,
    pub debit: AccountId,
    pub credit: AccountId,
    pub amount: u64,
    pub code: Code,
    pub reference: Reference,
    pub origin: Origin,
}

/// The postings of one apply, numbered from `first`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Chunk {
    pub first: u64,
    pub postings: Vec<Posting>,
}

/// Numbers postings and keeps the latest.
///
/// Only `next` is state that replicas must agree on; what is at hand is lost in a restart and
/// then read from the archive.
#[derive(Default)]
pub struct Journal {
    next: u64,
    fresh: Vec<Posting>,
    recent: VecDeque<Arc<Chunk>>,
    recent_len: usize,
}

impl Journal {
    /// A journal that goes on after `next` postings.
    pub fn resume(next: u64) -> Self {
        Self { next, ..Self::default() }
    }

    /// The number that the next posting gets.
    pub fn next(&self) -> u64 {
        self.next
    }

    pub fn post(&mut self, posting: Posting) {
        self.fresh.push(posting);
    }

    /// How many postings wait to be sealed: where a chain begins.
    pub fn mark(&self) -> usize {
        self.fresh.len()
    }

    /// Forgets the postings of a chain that was taken back.
    pub fn take_back(&mut self, mark: usize) {
        self.fresh.truncate(mark);
    }

    /// Numbers what was posted since the last call, as one chunk; `None` when nothing was.
    pub fn seal(&mut self) -> Option<Arc<Chunk>> {
        if self.fresh.is_empty() {
            return None;
        }
        let chunk = Arc::new(Chunk { first: self.next, postings: self.fresh.clone() });
        self.next += self.fresh.len() as u64;
        self.fresh.clear();
        self.recent_len += chunk.postings.len();
        self.recent.push_back(Arc::clone(&chunk));
        while self.recent_len > RECENT_MAX && self.recent.len() > 1 {
            let oldest = self.recent.pop_front();
            self.recent_len -= oldest.map_or(0, |chunk| chunk.postings.len());
        }
        Some(chunk)
    }

    /// The chunks from the one that begins at `from`, at most `chunks_max` of them.
    ///
    /// # Outcomes
    /// `None` when what comes at `from` is no longer at hand: read it from the archive.
    pub fn recent(&self, from: u64, chunks_max: usize) -> Option<Vec<Arc<Chunk>>> {
        if from >= self.next {
            return Some(Vec::new());
        }
        let start = self.recent.partition_point(|chunk| chunk.first < from);
        let known = self.recent.get(start).is_some_and(|chunk| chunk.first == from);
        known.then(|| self.recent.iter().skip(start).take(chunks_max).cloned().collect())
    }
}
