//! Invariant 6: Each live stock hold names an order that is pending or compensating: with none
//! such, nothing is reserved.

use crate::verdict::Reason;

use super::Settled;

pub fn check(settled: Settled<'_>) -> Vec<Reason> {
    let leaked = settled
        .state
        .stock
        .iter()
        .filter(|(key, stock)| stock.reserved > 0 && settled.use_of(key).open == 0);
    leaked
        .map(|(key, stock)| {
            let what = format!("{} reserved, and no order is under way", stock.reserved);
            Reason::new("6 no leaked hold", key, what)
        })
        .collect()
}
