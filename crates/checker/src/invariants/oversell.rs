//! Invariant 3: Sellable never below zero; nothing is sold that was not there.

use crate::verdict::Reason;

use super::Settled;
use super::stock_conserved::brought_in;

pub fn check(settled: Settled<'_>) -> Vec<Reason> {
    let mut wrong = Vec::new();
    let name = "3 no oversell";
    for shelf in settled.shelves() {
        let (key, stock) = (shelf.name(), &shelf.seen);
        let (_, most) = brought_in(settled, &shelf);
        let used = settled.use_of(&shelf);
        if used.sold > most {
            let what = format!("{} sold of at most {most}", used.sold);
            wrong.push(Reason::new(name, &key, what));
        }
        let buckets = [stock.sellable, stock.reserved, stock.committed, stock.on_hand];
        if buckets.iter().any(|n| *n < 0) {
            wrong.push(Reason::new(name, &key, format!("below zero: {stock:?}")));
        }
        // What confirmed orders still wait for lies in committed, and nothing else does.
        let owed = used.sold - used.shipped;
        let held = owed..=owed + used.hidden;
        if used.open == 0 && !held.contains(&stock.committed) {
            let what = format!("committed {}, confirmed orders wait for {owed}", stock.committed);
            wrong.push(Reason::new(name, &key, what));
        }
    }
    wrong
}
