//! The invariants of domain.md §7 over the final state: one file each.
//!
//! Those that cross groups are promised 60 s after the last fault has healed: harnesses wait until
//! the reports hold or that time is over, then fill a [`FinalState`]. Invariant 10 (no byte where
//! the law forbids it) is checked on files and wires by other suites.

mod acknowledged_found;
mod cancels_kept;
mod captured_belongs;
mod chain_heads;
mod copies_converge;
mod equal_hashes;
mod no_early_expiry;
mod no_leaked_hold;
mod one_effect;
mod oversell;
mod refunds_capped;
mod reported;
mod sagas_over;
mod stock_conserved;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::final_state::FinalState;
use crate::history::History;
use crate::life::Life;
use crate::seen::{OrderSeen, OrderState, StockKey};
use crate::verdict::{Reason, Verdict};

/// What the settled checks look at.
#[derive(Clone, Copy)]
pub struct Settled<'a> {
    pub history: &'a History,
    pub lives: &'a [Life<'a>],
    pub state: &'a FinalState,
}

/// One invariant: what is wrong with it.
type Check = fn(Settled<'_>) -> Vec<Reason>;

/// By name; the number is that of domain.md §7, where it has one.
pub const ALL: &[(&str, Check)] = &[
    ("reported", reported::check),
    ("2 stock conserved", stock_conserved::check),
    ("3 no oversell", oversell::check),
    ("4 refunds capped", refunds_capped::check),
    ("5 captured belongs", captured_belongs::check),
    ("6 no leaked hold", no_leaked_hold::check),
    ("7 acknowledged found", acknowledged_found::check),
    ("8 one effect", one_effect::check),
    ("9 equal hashes", equal_hashes::check),
    ("11 chain heads", chain_heads::check),
    ("sagas over", sagas_over::check),
    ("cancels kept", cancels_kept::check),
    ("copies converge", copies_converge::check),
    ("no early expiry", no_early_expiry::check),
];

/// All of them; what could not be read is unknown.
#[must_use]
pub fn check(settled: Settled<'_>) -> Verdict {
    let wrong = ALL.iter().flat_map(|(_, check)| check(settled)).collect();
    let mut unread = settled.state.unread.clone();
    unread.extend(reported::unknown(settled.state));
    let read = if unread.is_empty() { Verdict::Pass } else { Verdict::Unknown(unread) };
    Verdict::of(wrong).and(read)
}

impl<'a> Settled<'a> {
    /// Orders that exist, with their lives where the history tells them.
    fn orders(&self) -> impl Iterator<Item = (&'a str, &'a OrderSeen, Option<&'a Life<'a>>)> {
        let lives: BTreeMap<&str, &Life<'_>> =
            self.lives.iter().filter_map(|life| Some((life.name?, life))).collect();
        let found = self.state.orders.iter();
        found.filter_map(move |(name, seen)| {
            Some((name.as_str(), seen.as_ref()?, lives.get(name.as_str()).copied()))
        })
    }

    /// What the orders of a key's stock make of it.
    fn use_of(&self, key: &StockKey) -> Use {
        let mut used = Use::default();
        // What no listing shows never became an order.
        let listed = !self.state.listed.is_empty();
        let nameless = self.lives.iter().filter(|life| life.name.is_none() && !listed);
        used.open = nameless.filter(|life| life.units_at(key).0 > 0).count();
        for (_, seen, life) in self.orders() {
            let Some(place) = life.and_then(|life| life.place) else { continue };
            let here = place.lines.iter().zip(&seen.lines);
            let here = here.filter(|(placed, _)| placed.stock.as_ref() == Some(key));
            let sums = here.fold((0, 0, 0), |(units, shipped, returned), (_, line)| {
                (
                    units + i64::from(line.quantity),
                    shipped + i64::from(line.shipped),
                    returned + i64::from(line.returned),
                )
            });
            let (units, shipped, returned) = sums;
            used.shipped += shipped;
            used.returned += returned;
            match seen.state {
                OrderState::Confirmed | OrderState::Completed => used.sold += units,
                OrderState::Rejected | OrderState::Cancelled => {}
                OrderState::Pending | OrderState::Parked => {
                    used.open += usize::from(units > 0);
                }
            }
        }
        used
    }
}

/// # Units
/// Pieces of one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Use {
    /// In orders that are confirmed or completed, shipped or not.
    sold: i64,
    shipped: i64,
    returned: i64,
    /// Orders with units here of which it is not known what they hold.
    open: usize,
}
