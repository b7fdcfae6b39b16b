//! Stock of one key: is what was read of it what was done to it?
//!
//! # The model
//! A key (region, SKU, warehouse) is one object of its ledger group, so a linearizable house has a
//! linearizable history of each key (P-compositionality). Its state is four numbers: *free*
//! (sellable), *reserved*, *committed*, *quarantine*; on hand is their sum. It changes by
//! - `Receive n`, `Adjust d` (free; a deduction below zero, or with another count on hand than was
//!   expected, cannot have been granted),
//! - what an order's lines at the key do, taken together, for the ledger holds them all or none:
//!   `Hold n` (needs n free), then `Release n` or `Commit n`, then `Uncommit n`, `Ship k`, `Return
//! k`.
//!
//! The saga does these in its own time, so each has a window: not before the request that may cause
//! it was begun, and by the first answer that proves it:
//!
//! | what was seen | proves |
//! |---|---|
//! | CONFIRMED, COMPLETED, a granted shipment, return or refund | held and committed |
//! | ALLOCATED | held |
//! | REJECTED, CANCELLED | whatever was held is released, or committed and uncommitted |
//! | REJECTED, OUT_OF_STOCK on this SKU | at some moment too few were free; never held here |
//! | as many shipped (returned) as all requests so far asked for | all of these have happened |
//! | nothing (PENDING, PARKED, unknown) | nothing: every step may happen, at any time or never |
//!
//! A read must find all four numbers as they are at one moment of its own window, and the read in
//! an answer to Receive or Adjust at a moment after its effect.
//!
//! # Soundness
//! Windows only contain what an honest house may do, so a refutation is a violation: no false
//! alarms, given that (a) every PlaceOrder, Receive, Adjust, Ship, Return and Cancel that touches
//! the key is in the history, each attempt with its true instants, (b) refusals are recorded as
//! such only when [`crate::seen::sure`] says so, (c) no order names a warehouse, no floor (safety
//! stock, backorder) is set, nothing is picked or scrapped, and (d) the history is shorter than the
//! lifetime of request ids.
//!
//! It catches: lost and doubled receipts, adjustments, holds, releases, shipments and returns, once
//! a later read of the key shows them; oversell; a stale read that misses what an answered request
//! had done; refusals although there was enough; values that come back. It cannot tell apart what
//! differs in time only inside a window, nor see a wrong step of an order whose end nobody saw.

mod entries;
#[cfg(test)]
mod tests;

use crate::history::History;
use crate::life::Life;
use crate::seen::{StockKey, StockSeen};
use crate::trace::Labelled;
use crate::verdict::{Reason, Verdict};
use crate::wgl::{Measures, Model, NO_FLOOR};

/// # Units
/// Pieces.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Stock {
    pub free: i64,
    pub reserved: i64,
    pub committed: i64,
    pub quarantine: i64,
    /// Whether the key ever received anything.
    pub known: bool,
}

/// One step of one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Receive(i64),
    Adjust {
        delta: i64,
        expected: Option<i64>,
    },
    /// Refused: fewer were free.
    TooFew {
        asked: i64,
        free: Option<i64>,
    },
    /// Refused: the count differed.
    CountDiffered {
        expected: i64,
    },
    Hold(i64),
    Release(i64),
    Commit(i64),
    Uncommit(i64),
    Ship(i64),
    Return(i64),
    Read(StockSeen),
    /// A read that found nothing of the kind.
    ReadNothing,
}

/// The stock of one key.
#[derive(Clone, Copy, Debug)]
pub struct OneKey;

impl Stock {
    fn on_hand(&self) -> i64 {
        self.free + self.reserved + self.committed + self.quarantine
    }

    fn after(mut self, step: &Step) -> Option<Self> {
        let granted = match *step {
            Step::Receive(n) => {
                self.free += n;
                self.known = true;
                true
            }
            Step::Adjust { delta, expected } => {
                let counted = expected.is_none_or(|expected| expected == self.on_hand());
                self.free += delta;
                counted && (self.free >= 0 || delta > 0)
            }
            Step::TooFew { asked, free } => {
                self.free < asked && free.is_none_or(|free| free == self.free)
            }
            Step::CountDiffered { expected } => self.on_hand() != expected,
            Step::Hold(n) => {
                self.free -= n;
                self.reserved += n;
                self.free >= 0
            }
            Step::Release(n) => {
                self.free += n;
                self.reserved -= n;
                true
            }
            Step::Commit(n) => {
                self.reserved -= n;
                self.committed += n;
                true
            }
            Step::Uncommit(n) => {
                self.committed -= n;
                self.free += n;
                self.committed >= 0
            }
            Step::Ship(n) => {
                self.committed -= n;
                self.committed >= 0
            }
            Step::Return(n) => {
                self.quarantine += n;
                true
            }
            Step::Read(seen) => {
                (seen.sellable, seen.reserved, seen.committed, seen.quarantine)
                    == (self.free, self.reserved, self.committed, self.quarantine)
            }
            Step::ReadNothing => !self.known,
        };
        granted.then_some(self)
    }
}

impl Model for OneKey {
    type State = Stock;
    type Op = Step;

    fn initial(&self) -> Stock {
        Stock::default()
    }

    fn step(&self, state: &Stock, step: &Step, next: &mut Vec<Stock>) {
        next.extend(state.after(step));
    }

    /// Free, reserved, committed, quarantine, on hand.
    fn adds(&self, step: &Step) -> Measures {
        match *step {
            Step::Receive(n) | Step::Adjust { delta: n, .. } => [n, 0, 0, 0, n],
            Step::Hold(n) => [-n, n, 0, 0, 0],
            Step::Release(n) => [n, -n, 0, 0, 0],
            Step::Commit(n) => [0, -n, n, 0, 0],
            Step::Uncommit(n) => [n, 0, -n, 0, 0],
            Step::Ship(n) => [0, 0, -n, 0, -n],
            Step::Return(n) => [0, 0, 0, n, n],
            Step::TooFew { .. }
            | Step::CountDiffered { .. }
            | Step::Read(_)
            | Step::ReadNothing => Measures::default(),
        }
    }

    fn may(&self, state: &Stock, step: &Step, least: &Measures, most: &Measures) -> bool {
        let becomes =
            |n: usize, now: i64, then: i64| now + least[n] <= then && then <= now + most[n];
        match *step {
            Step::Read(StockSeen { sellable, reserved, committed, quarantine, .. }) => {
                let on_hand = sellable + reserved + committed + quarantine;
                becomes(0, state.free, sellable)
                    && becomes(1, state.reserved, reserved)
                    && becomes(2, state.committed, committed)
                    && becomes(3, state.quarantine, quarantine)
                    && becomes(4, state.on_hand(), on_hand)
            }
            Step::TooFew { free: Some(free), .. } => becomes(0, state.free, free),
            Step::TooFew { asked, .. } => state.free + least[0] < asked,
            Step::ReadNothing => !state.known,
            _ => true,
        }
    }

    fn observes(&self, step: &Step) -> bool {
        match step {
            Step::Adjust { expected, .. } => expected.is_some(),
            Step::TooFew { .. } | Step::CountDiffered { .. } => true,
            Step::Read(_) | Step::ReadNothing => true,
            _ => false,
        }
    }

    fn room(&self, state: &Stock) -> Option<Measures> {
        Some([state.free, NO_FLOOR, state.committed, NO_FLOOR, NO_FLOOR])
    }
}

/// Checks one key.
#[must_use]
pub fn check(history: &History, lives: &[Life<'_>], key: &StockKey, budget: u64) -> Verdict {
    let odd = contradictions(history, key);
    if !odd.is_empty() {
        return Verdict::Fail(odd);
    }
    match entries::of(history, lives, key) {
        Ok(entries) => Labelled::verdict("stock", key, &OneKey, &entries, budget),
        Err(why) => Verdict::unknown(format!("stock {key}: {why}")),
    }
}

/// Answers whose own numbers do not add up.
fn contradictions(history: &History, key: &StockKey) -> Vec<Reason> {
    let adds_up = |seen: &StockSeen| {
        let StockSeen { available, reserved, committed, picked, quarantine, damaged, .. } = *seen;
        let on_hand = available + committed + picked + quarantine + damaged;
        on_hand == seen.on_hand && available - reserved == seen.sellable && seen.sellable >= 0
    };
    let here = history.ops.iter().filter(|op| op.call.stock() == Some(key));
    let odd = here.filter_map(|op| op.stock_seen().map(|(seen, _)| (op, seen)));
    odd.filter(|(_, seen)| !adds_up(seen))
        .map(|(op, seen)| {
            Reason::new("stock", key, format!("an answer contradicts itself: {seen:?}"))
                .with(vec![crate::trace::line(op)])
        })
        .collect()
}
