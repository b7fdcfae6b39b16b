//! What must always hold inside a group: one file per invariant of `domain.md` §7.
//!
//! Each is a pure look at a machine, and the same code runs in tests, online and by RPC. They cost
//! time in proportion to the state, so online they run on a reader's turn, never within apply.

mod closed;
mod double_entry;
mod held_lines;
mod limits_kept;
mod openings_cited;
mod refunds;
mod stock_conserved;

use super::inventory::Inventory;
use super::payments::Payments;

/// A broken invariant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// The number in `domain.md` §7.
    pub invariant: u8,
    pub name: &'static str,
    /// What is wrong, with ids and figures; never personal data, for the ledger holds none.
    pub what: String,
}

/// The names of all invariants checked on a stock group, with their numbers.
pub const OF_INVENTORY: [(u8, &str); 4] = [
    (1, double_entry::NAME),
    (2, stock_conserved::NAME),
    (3, limits_kept::NAME),
    (6, held_lines::NAME),
];

/// The names of all invariants checked on a payments group, with their numbers.
pub const OF_PAYMENTS: [(u8, &str); 5] = [
    (1, double_entry::NAME),
    (1, openings_cited::NAME),
    (1, closed::NAME),
    (3, limits_kept::NAME),
    (4, refunds::NAME),
];

/// Everything that is broken in a stock group.
pub fn of_inventory(machine: &Inventory) -> Vec<Broken> {
    let mut broken = double_entry::check(machine.books());
    broken.extend(stock_conserved::check(machine));
    broken.extend(limits_kept::check(machine.books()));
    broken.extend(held_lines::check(machine));
    broken
}

/// Everything that is broken in a payments group.
pub fn of_payments(machine: &Payments) -> Vec<Broken> {
    let mut broken = double_entry::check(machine.kernel().books());
    broken.extend(limits_kept::check(machine.kernel().books()));
    broken.extend(refunds::check(machine));
    broken.extend(openings_cited::check(machine));
    broken.extend(closed::check(machine));
    broken
}
