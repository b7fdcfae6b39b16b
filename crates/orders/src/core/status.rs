//! The three axes that callers see. Each is derived from facts; nobody sets one.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum OrderStatus {
    Pending,
    Confirmed,
    Completed,
    Rejected,
    Cancelled,
    /// Needs an operator.
    Parked,
}

impl OrderStatus {
    /// Whether PlaceOrder's wait is over.
    pub fn decided(self) -> bool {
        self != Self::Pending
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum PaymentStatus {
    None,
    Authorized,
    PartiallyCaptured,
    Captured,
    PartiallyRefunded,
    Refunded,
    InDoubt,
    Disputed,
    Voided,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum FulfillmentStatus {
    Unallocated,
    Allocated,
    PartiallyShipped,
    Shipped,
    Delivered,
    PartiallyReturned,
    Returned,
}

/// All that a caller can see change. An event is published exactly when it differs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Face {
    pub order: OrderStatus,
    pub payment: PaymentStatus,
    pub fulfillment: FulfillmentStatus,
    pub authorized_minor: i64,
    pub captured_minor: i64,
    pub refunded_minor: i64,
    pub shipped: u64,
    pub returned: u64,
    pub cancel_asked: bool,
    /// Shipments, returns and refunds that were refused: whoever asked for one is waiting to hear.
    pub refused: u16,
    /// Shipments, returns and refunds that were asked for, whatever came of them: a region that
    /// takes the order over must know of those under way.
    pub asked: u16,
    /// What the order is parked for, as a hash of the words; 0 when it is not.
    pub parked: u32,
    /// Whether it was ever confirmed.
    pub settled: bool,
}
