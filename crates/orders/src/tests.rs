//! The whole role on a real cluster of one or three nodes, with a ledger that is not real.

mod asked_first;
mod books;
mod compare;
mod edges;
mod erase;
pub(crate) mod fake_vault;
mod flow;
mod leaders;
mod million;
mod moves;
pub(crate) mod regions;
mod repair;
pub(crate) mod rig;
#[cfg(feature = "seeded-bugs")]
mod seeded;
mod takeover;
mod validation;
mod vaults;
pub(crate) mod views;
