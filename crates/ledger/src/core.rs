//! The pure half: commands in, outcomes and state out. No clock, no channel, no disk, no wire.

pub mod kernel;
