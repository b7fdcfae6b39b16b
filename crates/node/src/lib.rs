//! What any process needs, whatever it serves: clocks, tasks, identity, listeners, peers,
//! telemetry.
//!
//! | module | gives |
//! |---|---|
//! | [`env`] | clocks, randomness, loops and the exit, injected |
//! | [`tasks`] | named tasks with a failure policy, one stop, a bounded drain |
//! | [`net`] | authenticated byte streams: TCP and TLS, or whatever a test or a simulator brings |
//! | [`https`] | requests to servers that are none of ours |
//! | [`tls`], [`devca`] | an identity that rotates; certificates for development and tests |
//! | [`listen`], [`layers`] | the mTLS listener and the one tower stack behind it |
//! | [`peers`] | other nodes as tower services, ourselves without a socket |
//! | [`config`], [`telemetry`], [`shutdown`] | how a process starts, reports and ends |
//! | [`resilience`] | breaker, retry budget, bulkhead |

pub mod config;
pub mod devca;
pub mod env;
#[cfg(test)]
mod fixture;
pub mod https;
pub mod layers;
pub mod listen;
pub mod many;
mod metrics;
pub mod net;
pub mod peers;
mod refusal;
pub mod resilience;
pub mod shutdown;
pub mod tasks;
pub mod telemetry;
pub mod tls;
