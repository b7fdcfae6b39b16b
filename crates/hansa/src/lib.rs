//! The binary's parts, as a library so that tests can run a node or a league in process.

pub mod replay;
