//! The ledger: stock and money as one kind of book-keeping.
//!
//! - [`core`]: the kernel, the inventory and payments vocabularies on it, and their invariants.
//! - [`machine`]: the log format, and the bridge from consensus to the core.
//! - [`Ledger`]: the `inventory` and `payments` roles of a node; [`config`] starts them.
//! - `service`: the gRPC verbs, one file each.
//! - `entries`: the read view of account entries, fed from the archive.
//! - [`facts`]: what the books say of orders, for reconciliation.
//! - `metrics`: what is counted.
//!
//! What is absent: the ledger dials nobody. It answers its gRPC services and nothing else.

pub mod config;
pub mod core;
mod entries;
pub mod facts;
pub mod machine;
mod metrics;
mod role;
mod service;

/// Commands and outcomes as our own nodes send them.
pub mod wire {
    pub use crate::service::wire::{Malformed, encode, outcome, outcome_code};
}

pub use entries::{SCHEMA as ENTRY_SCHEMA, row as entry_row};
pub use role::{Check, Ledger, StartError, Verdict};
