//! The leader's runner: pulls due steps in bulk, does them, reports what came of them.
//!
//! Nothing here is the truth. A new leader starts with nothing and pulls everything outstanding
//! again: every step is idempotent by its id, so a step done twice is done once.

mod command;
mod lane;
mod provide;
mod runner;

pub use provide::Desk;
pub use runner::Runner;
