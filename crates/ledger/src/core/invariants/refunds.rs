//! 4: refunded ≤ captured ≤ authorized, per payment.

use super::Broken;
use crate::core::payments::Payments;

pub const NAME: &str = "refunds-within-captures";

pub fn check(machine: &Payments) -> Vec<Broken> {
    let look = |key| {
        let Some(books) = machine.payment(key) else {
            return Some("has no account".to_owned());
        };
        let taken = u128::from(books.captured) + u128::from(books.held);
        let kept = books.refunded <= books.captured && taken <= u128::from(books.authorized);
        (!kept).then(|| format!("{books:?}"))
    };
    machine
        .payments()
        .filter_map(|(key, _)| {
            let what = format!("payment {:032x}: {}", key.0, look(key)?);
            Some(Broken { invariant: 4, name: NAME, what })
        })
        .collect()
}
