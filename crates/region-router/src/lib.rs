//! Which region a call belongs to, and how it gets there: residency policy, directory, routing
//! decision and the forwarding service.
//!
//! Knows nothing of what is in an order: it reads routing fields and passes opaque bodies on.

pub mod core;

#[cfg(test)]
mod testing;
