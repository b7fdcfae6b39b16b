//! What must always hold, as far as one orders group can tell: one file each, run in tests, online,
//! and by RPC.

mod captured_belongs;
mod closed_is_clean;
mod events_gapless;
mod goods_booked;
mod holds_are_named;
mod indexes;
mod keys_fit;
mod left_counted;
mod moves_fit;
mod one_effect;
mod refunds;

use super::contents::Contents;
use super::order::Order;
use super::state::State;
use hansa_types::id::OrderId;

/// A broken invariant, said so that an operator can look it up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Its number in domain.md §7; 0 for one of the machine's own.
    pub number: u32,
    pub name: &'static str,
    pub order: Option<OrderId>,
    pub detail: String,
}

type OrderCheck = fn(&Order, &Contents) -> Result<(), String>;
type StateCheck = fn(&State) -> Result<(), String>;

const ORDER_CHECKS: [(u32, &str, OrderCheck); 5] = [
    (2, "returns-within-shipments", goods_booked::check),
    (4, "refunds-within-captures", refunds::check),
    (5, "captures-belong", captured_belongs::check),
    (6, "holds-are-named", holds_are_named::check),
    (0, "closed-is-clean", closed_is_clean::check),
];

const STATE_CHECKS: [(u32, &str, StateCheck); 6] = [
    (8, "one-effect-per-key", one_effect::check),
    (0, "events-gapless", events_gapless::check),
    (0, "indexes-agree", indexes::check),
    (0, "keys-fit", keys_fit::check),
    (0, "moves-fit", moves_fit::check),
    (0, "left-counted", left_counted::check),
];

/// The names and numbers of all, for a report that also lists what holds.
pub fn all() -> impl Iterator<Item = (u32, &'static str)> {
    let orders = ORDER_CHECKS.iter().map(|(number, name, _)| (*number, *name));
    orders.chain(STATE_CHECKS.iter().map(|(number, name, _)| (*number, *name)))
}

/// Everything that does not hold, at most `max`.
pub fn check(state: &State, max: usize) -> Vec<Violation> {
    let mut found = Vec::new();
    for (id, order) in state.orders.iter() {
        let Some(contents) = state.contents.get(id) else { continue };
        // What another region owns by now is as it was left.
        if !state.is_own(*id, order) {
            continue;
        }
        for (number, name, check) in ORDER_CHECKS {
            if let Err(detail) = check(order, contents) {
                found.push(Violation { number, name, order: Some(*id), detail });
            }
        }
        if found.len() >= max {
            return found;
        }
    }
    for (number, name, check) in STATE_CHECKS {
        if let Err(detail) = check(state) {
            found.push(Violation { number, name, order: None, detail });
        }
    }
    found
}
