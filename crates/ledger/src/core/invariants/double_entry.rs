//! 1: Σ debits = Σ credits per unit, posted and pending; and pending is what holds say.

use std::collections::BTreeMap;

use super::Broken;
use crate::core::kernel::{Books, Unit};

pub const NAME: &str = "double-entry";

pub fn check(books: &Books) -> Vec<Broken> {
    let mut units: BTreeMap<Unit, Sums> = BTreeMap::new();
    for (_, account) in books.accounts() {
        let sums = units.entry(account.unit).or_default();
        sums.posted += i128::from(account.debits_posted) - i128::from(account.credits_posted);
        sums.debits_pending += i128::from(account.debits_pending);
        sums.credits_pending += i128::from(account.credits_pending);
    }
    for (_, hold) in books.holds() {
        let unit = books.account(&hold.debit).map(|account| account.unit);
        if let Some(sums) = unit.and_then(|unit| units.get_mut(&unit)) {
            sums.held += i128::from(hold.amount);
        }
    }
    let uneven = |(unit, sums): (Unit, Sums)| {
        let even = sums.posted == 0
            && sums.debits_pending == sums.held
            && sums.credits_pending == sums.held;
        let what = || format!("unit {}: {sums:?}", unit.0);
        (!even).then(|| Broken { invariant: 1, name: NAME, what: what() })
    };
    units.into_iter().filter_map(uneven).collect()
}

#[derive(Default, Debug)]
struct Sums {
    /// Posted debits minus posted credits.
    posted: i128,
    debits_pending: i128,
    credits_pending: i128,
    /// What the live holds come to.
    held: i128,
}
