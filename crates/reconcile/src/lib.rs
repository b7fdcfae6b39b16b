//! Reconciliation: what a difference is, how the sides are compared, and what a plan is.
//!
//! - [`judge`]: one order's facts on every side, and what differs.
//! - [`merge`]: facts of many groups, walked side by side, an order at a time.
//! - [`drift`]: units in the books and units by movements, per SKU.
//! - [`statement`]: a provider's file, read strictly, sorted outside of memory.
//! - [`repairs`]: which differences have a safe repair, and which.
//! - [`tree`]: a plan's hash, and the proof that an entry is part of it.
//!
//! Absent: nodes, clocks, sockets. It reads facts that others fetched, and a file.

pub mod drift;
pub mod judge;
pub mod merge;
pub mod repairs;
pub mod statement;
pub mod tree;

#[cfg(test)]
mod tests;
