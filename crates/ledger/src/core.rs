//! The pure half: commands in, outcomes and state out. No clock, no channel, no disk, no wire.

pub mod invariants;
pub mod inventory;
pub mod kernel;
pub mod outcome;
pub mod payments;
