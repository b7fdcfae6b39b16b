//! The binary's parts, as a library so that tests can run a node or a league in process.
//!
//! - [`node`]: one node, composed: identity first, listeners early, drain last.
//! - [`league`]: twelve nodes in one process, each with its folder, ports and certificate.
//! - [`replay`]: real orders, mapped honestly and driven into any running league.
//! - [`cli`]: `serve`, `dev`, `demo`, `replay`, and their exit codes.
//!
//! Absent on purpose: rules of any kind. Whatever an order, a stock or a payment may do is decided
//! in the service crates; here they are put together.

pub mod cli;
pub mod config;
pub mod invariants;
pub mod league;
pub mod node;
pub mod profile;
pub mod replay;
pub mod sweep;

/// The system's own takes a sixth of what an order costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
