//! What an answer shows: the plain values that harnesses read off the wire.

use serde::{Deserialize, Serialize};

/// Where stock lies. Orders name no warehouse and draw on their region's first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct StockKey {
    pub region: String,
    pub sku: String,
    pub warehouse: String,
}

impl std::fmt::Display for StockKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.region, self.sku, self.warehouse)
    }
}

/// The stock of one key. `available` counts what is reserved too; `sellable` does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StockSeen {
    pub available: i64,
    pub reserved: i64,
    pub committed: i64,
    pub picked: i64,
    pub quarantine: i64,
    pub damaged: i64,
    pub on_hand: i64,
    pub sellable: i64,
}

/// An order at one of its versions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OrderSeen {
    pub name: String,
    /// Grows by one with each change that a reader can see.
    pub version: u64,
    pub state: OrderState,
    pub payment_state: PaymentState,
    pub fulfillment: Fulfillment,
    pub rejected: Option<Rejected>,
    /// As the caller of Place gave it.
    pub reference: String,
    pub lines: Vec<LineSeen>,
    pub total_minor: i64,
    /// `None` where the law keeps money facts from the reader, or nothing is to be paid.
    pub money: Option<Money>,
    pub parked: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LineSeen {
    pub line: u32,
    pub sku: String,
    pub quantity: u32,
    pub price_minor: i64,
    pub shipped: u32,
    pub returned: u32,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rejected {
    pub reason: RejectReason,
    pub line: u32,
    pub sku: String,
    pub available: i64,
}

/// # Units
/// Minor units of the order's currency.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Money {
    pub authorized: i64,
    pub captured: i64,
    pub refunded: i64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PaymentSeen {
    /// The name of its order.
    pub order: String,
    pub state: PaymentState,
    pub money: Money,
    pub reference: String,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum OrderState {
    Pending,
    Confirmed,
    Completed,
    Rejected,
    Cancelled,
    Parked,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum PaymentState {
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
pub enum Fulfillment {
    Unallocated,
    Allocated,
    PartiallyShipped,
    Shipped,
    Delivered,
    PartiallyReturned,
    Returned,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum RejectReason {
    UnknownSku,
    OutOfStock,
    PaymentDeclined,
    PaymentInDoubt,
    HoldExpired,
    PaymentUnavailable,
    StockRefused,
    PaymentRefused,
}

/// Refusals that say that this attempt had no effect and never will. Whatever is not here
/// (`UNAVAILABLE`, `NOT_LEADER`, `DEADLINE_EXCEEDED`, `OVERLOADED`, `INTERNAL`, …) may have been
/// said after the effect: an unknown outcome.
const SURE: &[&str] = &[
    "FIELD_INVALID",
    "FIELD_EMPTY",
    "FIELD_TOO_LONG",
    "QUANTITY_INVALID",
    "LINE_COUNT_INVALID",
    "LINE_INVALID",
    "MONEY_INVALID",
    "CURRENCY_UNKNOWN",
    "CURRENCY_MIXED",
    "COUNTRY_UNKNOWN",
    "REQUEST_ID_MISSING",
    "REQUEST_ID_REUSED",
    "PAN_REFUSED",
    "ORDER_NAME_INVALID",
    "MESSAGE_MALFORMED",
    "DEADLINE_MALFORMED",
    "MESSAGE_TOO_LARGE",
    "ORDER_NOT_FOUND",
    "PAYMENT_NOT_FOUND",
    "UNKNOWN_SKU",
    "UNKNOWN_REGION",
    "NOT_CANCELLABLE",
    "NOT_RETURNABLE",
    "NOT_REFUNDABLE",
    "NOT_SHIPPABLE",
    "STOCK_TOO_LOW",
    "COUNT_DIFFERS",
    "WRONG_REGION",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "FORWARD_REFUSED",
    "RATE_LIMITED",
    "REQUEST_IN_DOUBT",
    "UNIMPLEMENTED",
];

/// Whether a refusal by this reason (docs/reasons.md) is an [`crate::Outcome::Refused`]; of any
/// other a harness records [`crate::Outcome::Unknown`].
#[must_use]
pub fn sure(reason: &str) -> bool {
    SURE.contains(&reason)
}
