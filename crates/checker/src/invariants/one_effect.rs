//! Invariant 8: One request id, one effect: no two orders of one PlaceOrder, and none that nobody
//! placed or that was refused.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::Call;
use crate::requests::requests;
use crate::verdict::Reason;

use super::Settled;

const NAME: &str = "8 one effect";

pub fn check(settled: Settled<'_>) -> Vec<Reason> {
    let mut placed: BTreeMap<&str, bool> = BTreeMap::new();
    let all = requests(settled.history);
    for request in &all {
        if let Call::Place(place) = request.call {
            *placed.entry(&place.reference).or_default() |= request.from().is_some();
        }
    }
    let mut orders: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for listed in &settled.state.listed {
        orders.entry(&listed.reference).or_default().insert(&listed.order);
    }
    for (order, seen, _) in settled.orders() {
        orders.entry(&seen.reference).or_default().insert(order);
    }
    let mut wrong = Vec::new();
    for (reference, names) in orders {
        let names: Vec<&str> = names.into_iter().collect();
        let what = match placed.get(reference) {
            None => Some("was placed by nobody"),
            Some(false) => Some("was refused, and is there"),
            Some(true) if names.len() > 1 => Some("is more than one order"),
            Some(true) => None,
        };
        if let Some(what) = what {
            wrong.push(Reason::new(NAME, reference, format!("{what}: {}", names.join(", "))));
        }
    }
    wrong
}
