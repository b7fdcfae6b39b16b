//! Orders: the order machine and its saga, provider connectors, replication and tracking, and the
//! public OrderService and PaymentService. Knows nothing of how the ledger stores things.
//!
//! - [`core`]: the machine; pure.
//! - [`machine`]: the machine as consensus runs it.
//! - [`service`]: the verbs, one file each; [`wire`] makes their answers.
//! - `saga`: the leader's runner; [`provider`]: what it dials.
//! - `replicate`: events to and from other regions.
//! - `takeover`: orders that change their owner.
//! - `reconcile`: facts for reconciliation, and repairs.
//! - [`crosscheck`]: invariants that lie between orders and the ledger.
//! - [`vault`]: seals what is personal before it reaches the log.

pub mod config;
pub mod core;
pub mod crosscheck;
pub mod machine;
mod map;
mod metrics;
#[cfg(feature = "version-2-test")]
mod next_version;
pub mod provider;
mod reconcile;
mod replicate;
mod saga;
mod service;
mod shell;
mod start;
mod takeover;
#[cfg(test)]
mod tests;
pub mod vault;
mod wire;

/// Steps in books as a lane carries them.
pub mod carried {
    pub use crate::saga::command::{booking, came_to, result};
}

pub use replicate::Lag;
pub use start::{Around, Opens, Orders, RestoreStatus, StartError};
