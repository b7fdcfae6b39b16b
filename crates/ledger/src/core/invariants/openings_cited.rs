//! 1: what the books began with is what the payments that were taken over say, per unit.

use std::collections::BTreeMap;

use super::Broken;
use crate::core::kernel::Unit;
use crate::core::payments::{House, Payments};

pub const NAME: &str = "openings-cited";

pub fn check(machine: &Payments) -> Vec<Broken> {
    let mut units: BTreeMap<Unit, (u128, u128)> = BTreeMap::new();
    for (_, payment) in machine.payments() {
        let Some(opened) = payment.opened else { continue };
        let (captured, refunded) = units.entry(payment.unit).or_default();
        *captured += u128::from(opened.captured);
        *refunded += u128::from(opened.refunded);
    }
    let books = machine.kernel().books();
    let differs = |(unit, told): (Unit, (u128, u128))| {
        let account = books.account(&House::Opening.account(unit));
        let found = account.map_or((0, 0), |account| {
            (u128::from(account.debits_posted), u128::from(account.credits_posted))
        });
        let what = || format!("unit {}: the books began with {found:?}, not {told:?}", unit.0);
        (found != told).then(|| Broken { invariant: 1, name: NAME, what: what() })
    };
    units.into_iter().filter_map(differs).collect()
}
