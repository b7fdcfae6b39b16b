//! 1: what payments had that have left is in the books once: closed accounts have something only
//! while something is on the shelf, and which may leave next is what the tables say.

use super::Broken;
use crate::core::payments::{House, Payments};

pub const NAME: &str = "closed-as-shelved";

pub fn check(machine: &Payments) -> Vec<Broken> {
    let empty = machine.shelf().is_empty();
    let accounts = machine.kernel().books().accounts();
    let closed = accounts.filter_map(|(id, account)| match House::of_account(*id)? {
        (House::Closed, unit) => Some((unit, account)),
        _ => None,
    });
    let mut broken = Vec::new();
    let mut refuse = |what: String| broken.push(Broken { invariant: 1, name: NAME, what });
    for (unit, account) in closed {
        let (refunded, captured) = (account.debits_posted, account.credits_posted);
        let held = (account.debits_pending, account.credits_pending) != (0, 0);
        if held || refunded > captured || (empty && captured > 0) {
            refuse(format!("unit {}, {} on the shelf: {account:?}", unit.0, machine.shelf().len()));
        }
    }
    if !machine.idle_agrees() {
        refuse("which payments may leave is not what the tables say".to_owned());
    }
    broken
}
