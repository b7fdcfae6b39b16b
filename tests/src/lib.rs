//! What the tests of the whole share: a league in this process or one of real processes, and
//! requests that are right unless a test makes them wrong.

pub mod after;
pub mod canary;
pub mod copies;
pub mod customers;
pub mod dice;
pub mod figures;
pub mod folder;
pub mod leak;
pub mod links;
pub mod load;
pub mod local;
pub mod lossy;
pub mod metrics;
pub mod network;
pub mod power;
pub mod probe;
pub mod processes;
pub mod request;
pub mod scale;
pub mod slow;
pub mod small;
pub mod steady;
pub mod suite;
pub mod tap;
pub mod usage;
