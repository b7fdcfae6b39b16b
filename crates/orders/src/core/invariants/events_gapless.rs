//! Versions of an order grow by one; sequences of the group are used once, none beyond the last.

use std::collections::BTreeSet;

use crate::core::order::Order;
use crate::core::state::State;

pub fn check(state: &State) -> Result<(), String> {
    // What was taken over had its first versions elsewhere.
    let own = |order: &Order| order.version - order.base();
    let versions: u64 = state.orders.iter().map(|(_, order)| own(order)).sum();
    let gone = state.meta.superseded + state.meta.left_versions;
    if versions + gone + state.meta.erasures != state.meta.seq {
        let erasures = state.meta.erasures;
        let events = state.meta.seq;
        return Err(format!("{versions} changes of orders, {erasures} erasures, {events} events"));
    }
    let mut seen = BTreeSet::new();
    for (id, order) in state.orders.iter() {
        for pair in order.history.windows(2) {
            if pair[1].version != pair[0].version + 1 || pair[1].seq <= pair[0].seq {
                return Err(format!("{id}: a gap after version {}", pair[0].version));
            }
        }
        let last = order.history.last().map(|change| (change.version, change.seq));
        if last != Some((order.version, order.last_seq)) || order.last_seq > state.meta.seq {
            return Err(format!("{id}: history ends at {last:?}"));
        }
        if !order.history.iter().all(|change| seen.insert(change.seq)) {
            return Err(format!("{id}: a sequence was used twice"));
        }
    }
    Ok(())
}
