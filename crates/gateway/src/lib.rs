//! The way in: who calls, may he, is there room, where does it belong; then the call is passed on.
//!
//! Stores nothing and knows nothing of Raft. It reads the routing fields of a request and no
//! others.

pub mod admit;
pub mod chains;
pub mod config;
pub mod copies;
pub mod core;
pub mod door;
mod gateway;
pub mod internal;
mod metrics;
pub mod nodes;
mod service;

pub use gateway::{AUTHZ, Gateway, StartError};

#[cfg(test)]
mod testing;
