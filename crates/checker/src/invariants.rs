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

use crate::final_state::{FinalState, Held};
use crate::history::History;
use crate::life::Life;
use crate::seen::{OrderSeen, OrderState, StockKey, StockSeen};
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

/// Those that had anything to look at, and what the servers decided themselves, by name and number:
/// not every harness reads chains and copies, or lets holds run out.
#[must_use]
pub fn looked_at(state: &FinalState) -> BTreeMap<String, usize> {
    let mut replicas = state.groups.iter().flat_map(|group| &group.replicas);
    let chains = replicas.any(|replica| !replica.chain_head.is_empty());
    let something = |name: &str| match name {
        "reported" => false,
        "11 chain heads" => chains,
        "copies converge" => !state.copies.is_empty(),
        "no early expiry" => state.hold_ms > 0,
        _ => true,
    };
    let here = ALL.iter().map(|(name, _)| *name).filter(|name| something(name));
    let reports = state.reports.iter().filter(|report| report.held != Held::Unknown);
    let there = reports.map(|report| match report.number {
        0 => format!("{}, by the servers", report.name),
        number => format!("{number} {}, by the servers", report.name),
    });
    let mut looked = BTreeMap::new();
    for name in here.map(str::to_owned).chain(there) {
        *looked.entry(name).or_default() += 1;
    }
    looked
}

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

    /// Orders whose end follows from what their answers showed.
    fn followed(&self) -> impl Iterator<Item = (&'a str, &'a OrderSeen, Option<&'a Life<'a>>)> {
        let loss = &self.state.loss;
        self.orders().filter(|(name, ..)| !loss.listed(name))
    }

    /// The stock of every key; keys of which a region's orders may use another's are one.
    fn shelves(&self) -> Vec<Shelf<'a>> {
        let mut shelves: Vec<Shelf<'a>> = Vec::new();
        for (key, seen) in &self.state.stock {
            let shared = self.state.loss.shares(key);
            let same = shelves.iter_mut().find(|shelf| {
                let first = shelf.keys[0];
                let both = shared && self.state.loss.shares(first);
                both && (&first.sku, &first.warehouse) == (&key.sku, &key.warehouse)
            });
            match same {
                Some(shelf) => shelf.add(key, seen),
                None => shelves.push(Shelf { keys: vec![key], seen: *seen }),
            }
        }
        shelves
    }

    /// What the orders of a shelf's stock make of it.
    fn use_of(&self, shelf: &Shelf<'_>) -> Use {
        let mut used = Use::default();
        let has = |key: Option<&StockKey>| key.is_some_and(|key| shelf.keys.contains(&key));
        // What no listing shows never became an order.
        let listed = !self.state.listed.is_empty();
        let nameless = self.lives.iter().filter(|life| life.name.is_none() && !listed);
        let units =
            |life: &Life<'_>| -> i64 { shelf.keys.iter().map(|key| life.units_at(key).0).sum() };
        used.open = nameless.filter(|life| units(life) > 0).count();
        for life in self.lives.iter().filter(|life| life.name.is_some_and(|n| self.lost(n))) {
            used.open += usize::from(units(life) > 0);
            used.slack += 2 * units(life);
        }
        used.hidden = self.hidden(units);
        for (_, seen, life) in self.followed() {
            let Some(place) = life.and_then(|life| life.place) else { continue };
            let here = place.lines.iter().zip(&seen.lines);
            let here = here.filter(|(placed, _)| has(placed.stock.as_ref()));
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

    /// What orders of the tail may hold that no answer ever named: until two people have decided on
    /// one, nobody gives back what it holds (domain.md §6, docs/region-loss.md). Nobody could ship
    /// them, either.
    fn hidden(&self, units: impl Fn(&Life<'_>) -> i64) -> i64 {
        let named = |order: &&String| self.lives.iter().any(|life| life.name == Some(order));
        let tail = &self.state.loss.tail;
        let unseen = tail.keys().filter(|order| !named(order)).count();
        let nameless = self.lives.iter().filter(|life| life.name.is_none());
        let mut asked: Vec<i64> = nameless.map(units).collect();
        asked.sort_unstable_by_key(|units| std::cmp::Reverse(*units));
        asked.iter().take(unseen).sum()
    }

    fn lost(&self, order: &str) -> bool {
        self.state.loss.listed(order)
    }
}

/// Stock that the same orders draw on.
struct Shelf<'a> {
    keys: Vec<&'a StockKey>,
    seen: StockSeen,
}

impl<'a> Shelf<'a> {
    fn add(&mut self, key: &'a StockKey, more: &StockSeen) {
        let sum = &mut self.seen;
        sum.available += more.available;
        sum.reserved += more.reserved;
        sum.committed += more.committed;
        sum.picked += more.picked;
        sum.quarantine += more.quarantine;
        sum.damaged += more.damaged;
        sum.on_hand += more.on_hand;
        sum.sellable += more.sellable;
        self.keys.push(key);
    }

    fn name(&self) -> String {
        let names: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        names.join(" + ")
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
    /// What orders of an unshipped tail may have moved, or not, either way.
    slack: i64,
    /// What orders of an unshipped tail that nobody ever saw may hold, at most.
    hidden: i64,
}
