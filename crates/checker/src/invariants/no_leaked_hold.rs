//! Invariant 6: Each live stock hold names an order that is pending or compensating: with none
//! such, nothing is reserved.

use crate::verdict::Reason;

use super::Settled;

pub fn check(settled: Settled<'_>) -> Vec<Reason> {
    let shelves = settled.shelves().into_iter();
    let leaked = shelves.filter(|shelf| {
        let (reserved, used) = (shelf.seen.reserved, settled.use_of(shelf));
        reserved > used.hidden && used.open == 0
    });
    leaked
        .map(|shelf| {
            let what = format!("{} reserved, and no order is under way", shelf.seen.reserved);
            Reason::new("6 no leaked hold", shelf.name(), what)
        })
        .collect()
}
