//! What any process needs, whatever it serves: clocks, tasks, identity, listeners, peers, telemetry.

pub mod devca;
pub mod env;
pub mod layers;
pub mod listen;
mod metrics;
pub mod peers;
mod refusal;
pub mod tasks;
pub mod tls;
