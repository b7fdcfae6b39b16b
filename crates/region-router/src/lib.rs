//! Which region a call belongs to, and how it gets there: residency policy, directory, routing
//! decision and the forwarding service.
//!
//! Knows nothing of what is in an order: it reads routing fields and passes opaque bodies on.

pub mod book;
pub mod change;
pub mod core;
pub mod directory;
pub mod follow;
pub mod forward;
mod machine;
mod metrics;
pub mod ownership;
mod refusal;
pub mod registry;
pub mod service;
pub mod vouch;
pub mod wire;

#[cfg(test)]
mod testing;
