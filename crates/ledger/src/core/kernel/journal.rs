//! What was posted, in order: the archive keeps it, views are fed from there.

use hansa_types::id::{AccountId, TransferId};
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use super::account::Code;
use super::transfer::{Origin, Reference};

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

/// Numbers postings without gaps; keeps none of them longer than one apply.
#[derive(Default)]
pub struct Journal {
    next: u64,
    fresh: Vec<Posting>,
}

impl Journal {
    /// A journal that goes on after `next` postings.
    pub fn resume(next: u64) -> Self {
        Self { next, fresh: Vec::new() }
    }

    /// The number that the next posting gets; all below it have left through [`Self::seal`].
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

    /// Numbers what was posted since the last call and gives it to `keep` with the first number;
    /// `None` when nothing was posted.
    pub fn seal<R>(&mut self, keep: impl FnOnce(u64, &[Posting]) -> R) -> Option<R> {
        if self.fresh.is_empty() {
            return None;
        }
        let kept = keep(self.next, &self.fresh);
        self.next += self.fresh.len() as u64;
        self.fresh.clear();
        Some(kept)
    }
}
