//! Orders: the order machine, its saga, provider connectors, replication and tracking, and the
//! public OrderService and PaymentService. Knows nothing of how the ledger stores things.

pub mod core;
