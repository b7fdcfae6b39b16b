//! The ledger: stock and money as one kind of book-keeping.
//!
//! - [`core`]: the kernel, the inventory and payments vocabularies on it, and their invariants.
//!
//! What is absent: the ledger dials nobody. It answers its gRPC services and nothing else.

pub mod core;
