//! The order machine: commands in, facts, events and steps out. Pure: no clock, no chance, no wire.

pub mod command;
pub mod contents;
pub mod effect;
pub mod invariants;
pub mod keys;
pub mod lasting;
pub mod lease;
pub mod moves;
pub mod near;
pub mod order;
pub mod remote;
pub mod repair;
pub mod restored;
pub mod saga;
pub mod settings;
pub mod shelf;
pub mod state;
pub mod status;
pub mod subjects;
pub mod takeover;

#[cfg(test)]
pub(crate) mod tests;
