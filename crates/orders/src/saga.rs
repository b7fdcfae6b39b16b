//! The leader's runner: pulls due steps in bulk, does them, reports what came of them.
//!
//! Nothing here is the truth. A new leader starts with nothing and pulls everything outstanding
//! again: every step is idempotent by its id, so a step done twice is done once.

pub mod command;
mod hold;
mod lane;
mod provide;
mod reconcile;
mod repair;
mod runner;

pub use hold::Hold;
pub use provide::Desk;
pub use reconcile::Reconciler;
pub use repair::Repairer;
pub use runner::Runner;
