//! Invariant 2: Per SKU the sum of the buckets is what came in less what went out.

use crate::history::Call;
use crate::requests::requests;
use crate::seen::StockKey;
use crate::verdict::Reason;

use super::{Settled, Shelf};

pub fn check(settled: Settled<'_>) -> Vec<Reason> {
    let mut wrong = Vec::new();
    for shelf in settled.shelves() {
        let (least, most) = brought_in(settled, &shelf);
        let (used, stock) = (settled.use_of(&shelf), &shelf.seen);
        let moved = used.returned - used.shipped;
        let range = least + moved - used.slack..=most + moved + used.slack;
        if !range.contains(&stock.on_hand) {
            let what = format!(
                "on hand {}; received and adjusted {least}..={most}, shipped {}, returned {}",
                stock.on_hand, used.shipped, used.returned
            );
            wrong.push(Reason::new("2 stock conserved", shelf.name(), what));
        }
    }
    wrong
}

/// What was received and adjusted at least and at most: unknown outcomes count either way.
pub fn brought_in(settled: Settled<'_>, shelf: &Shelf<'_>) -> (i64, i64) {
    let mut range = (0, 0);
    let here = |key: Option<&StockKey>| key.is_some_and(|key| shelf.keys.contains(&key));
    for request in requests(settled.history).iter().filter(|r| here(r.call.stock())) {
        let n = match request.call {
            Call::Receive { quantity, .. } => *quantity,
            Call::Adjust { delta, .. } => *delta,
            _ => continue,
        };
        match (request.from(), request.by()) {
            (None, _) => {}
            (Some(_), Some(_)) => range = (range.0 + n, range.1 + n),
            (Some(_), None) => range = (range.0 + n.min(0), range.1 + n.max(0)),
        }
    }
    range
}
