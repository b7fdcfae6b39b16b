//! What clients did and what they were told.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::seen::{OrderSeen, PaymentSeen, StockKey, StockSeen};

/// Everything that the clients of one run did, in the order in which it was begun.
///
/// # Invariant
/// Instants are unique and come from one monotonic source ([`crate::Recorder`] makes them so):
/// `a.returned < b.invoked` means that a was over before b began.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct History {
    pub ops: Vec<Op>,
}

/// One call of one client: one attempt. A retry is another op with the same request id.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Op {
    /// Its place in the history.
    pub id: u64,
    pub client: u32,
    pub call: Call,
    /// # Units
    /// Nanoseconds of any monotonic clock.
    pub invoked: u64,
    /// `None` while it runs: judged as an unknown outcome.
    pub returned: Option<u64>,
    pub outcome: Outcome,
}

/// What was asked. Orders by name, request ids as sent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Call {
    Receive {
        stock: StockKey,
        request: String,
        quantity: i64,
    },
    Adjust {
        stock: StockKey,
        request: String,
        delta: i64,
        expected_on_hand: Option<i64>,
    },
    ReadStock {
        stock: StockKey,
    },
    Place(Place),
    Cancel {
        order: String,
        request: String,
    },
    Ship {
        order: String,
        request: String,
        lines: Vec<Units>,
    },
    Return {
        order: String,
        request: String,
        lines: Vec<Units>,
    },
    Refund {
        order: String,
        request: String,
        amount_minor: i64,
    },
    /// A linearizable read at the order's home.
    ReadOrder {
        order: String,
    },
    /// A read of a copy in another region: may lag, may not differ.
    ReadCopy {
        order: String,
        region: String,
    },
    ReadPayment {
        order: String,
    },
}

/// PlaceOrder, as far as it is checked.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Place {
    pub request: String,
    /// The caller's own reference of the order: stored and answered as it is. Put the request id
    /// here, and orders in a list can be told apart by it.
    pub reference: String,
    pub lines: Vec<PlaceLine>,
    pub total_minor: i64,
}

/// One line; `stock` says where its units are taken from, `None` for a line without stock.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct PlaceLine {
    pub stock: Option<StockKey>,
    pub quantity: u32,
    pub price_minor: i64,
}

/// Units of one line of an order. Lines count from 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Units {
    pub line: u32,
    pub quantity: u32,
}

/// How a call ended, as far as its client can know.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    Known(Answer),
    /// The reason as the server named it. Only for refusals that say that nothing happened:
    /// [`crate::seen::sure`] knows which. When in doubt it is `Unknown`.
    Refused {
        reason: String,
    },
    /// Took effect at any time after it was invoked, or will, or never.
    Unknown {
        why: String,
    },
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Of Receive and Adjust: the stock at some moment after the effect.
    Stock { seen: StockSeen, replayed: bool },
    /// Of ReadStock; `None`: the SKU or the warehouse is not known there.
    StockRead { seen: Option<StockSeen> },
    /// Of Place, Cancel and Return.
    Order { seen: Box<OrderSeen>, replayed: bool },
    /// Of ReadOrder and ReadCopy; `None`: NOT_FOUND.
    OrderRead { seen: Option<Box<OrderSeen>> },
    /// Of Ship.
    Shipped { lines: Vec<Units>, replayed: bool },
    /// Of Refund.
    Payment { seen: PaymentSeen, replayed: bool },
    /// Of ReadPayment; `None`: NOT_FOUND.
    PaymentRead { seen: Option<PaymentSeen> },
}

impl History {
    /// The stock keys that the history touches.
    pub fn stock_keys(&self) -> BTreeSet<&StockKey> {
        self.ops.iter().flat_map(|op| op.call.stock_keys()).collect()
    }

    /// Calls whose outcome nobody knows, of those that may have had an effect.
    pub fn unknown(&self) -> usize {
        self.ops.iter().filter(|op| op.is_unknown() && op.call.request().is_some()).count()
    }
}

impl Op {
    /// Whether it may have taken effect without anybody knowing.
    pub fn is_unknown(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown { .. }) || self.returned.is_none()
    }

    /// The answer and when it came.
    pub fn answer(&self) -> Option<(&Answer, u64)> {
        match (&self.outcome, self.returned) {
            (Outcome::Known(answer), Some(at)) => Some((answer, at)),
            _ => None,
        }
    }

    /// The order that the answer shows, and when it came.
    pub fn order_seen(&self) -> Option<(&OrderSeen, u64)> {
        match self.answer()? {
            (Answer::Order { seen, .. } | Answer::OrderRead { seen: Some(seen) }, at) => {
                Some((seen, at))
            }
            _ => None,
        }
    }

    /// The payment that the answer shows, and when it came.
    pub fn payment_seen(&self) -> Option<(&PaymentSeen, u64)> {
        match self.answer()? {
            (Answer::Payment { seen, .. } | Answer::PaymentRead { seen: Some(seen) }, at) => {
                Some((seen, at))
            }
            _ => None,
        }
    }

    /// The stock that the answer shows, and when it came.
    pub fn stock_seen(&self) -> Option<(&StockSeen, u64)> {
        match self.answer()? {
            (Answer::Stock { seen, .. } | Answer::StockRead { seen: Some(seen) }, at) => {
                Some((seen, at))
            }
            _ => None,
        }
    }
}

impl Call {
    /// The method's name; with the request id, the scope in which one request has one effect.
    pub fn method(&self) -> &'static str {
        match self {
            Self::Receive { .. } => "ReceiveStock",
            Self::Adjust { .. } => "AdjustStock",
            Self::ReadStock { .. } => "GetStock",
            Self::Place(_) => "PlaceOrder",
            Self::Cancel { .. } => "CancelOrder",
            Self::Ship { .. } => "RecordShipment",
            Self::Return { .. } => "ReturnItems",
            Self::Refund { .. } => "RefundPayment",
            Self::ReadOrder { .. } => "GetOrder",
            Self::ReadCopy { .. } => "GetOrder (copy)",
            Self::ReadPayment { .. } => "GetPayment",
        }
    }

    /// The request id of a call that changes something.
    pub fn request(&self) -> Option<&str> {
        match self {
            Self::Receive { request, .. }
            | Self::Adjust { request, .. }
            | Self::Cancel { request, .. }
            | Self::Ship { request, .. }
            | Self::Return { request, .. }
            | Self::Refund { request, .. } => Some(request),
            Self::Place(place) => Some(&place.request),
            Self::ReadStock { .. }
            | Self::ReadOrder { .. }
            | Self::ReadCopy { .. }
            | Self::ReadPayment { .. } => None,
        }
    }

    /// The order that the call names.
    pub fn order(&self) -> Option<&str> {
        match self {
            Self::Cancel { order, .. }
            | Self::Ship { order, .. }
            | Self::Return { order, .. }
            | Self::Refund { order, .. }
            | Self::ReadOrder { order }
            | Self::ReadCopy { order, .. }
            | Self::ReadPayment { order } => Some(order),
            Self::Receive { .. }
            | Self::Adjust { .. }
            | Self::ReadStock { .. }
            | Self::Place(_) => None,
        }
    }

    /// The stock key of a call on stock itself.
    pub fn stock(&self) -> Option<&StockKey> {
        match self {
            Self::Receive { stock, .. }
            | Self::Adjust { stock, .. }
            | Self::ReadStock { stock } => Some(stock),
            _ => None,
        }
    }

    fn stock_keys(&self) -> Vec<&StockKey> {
        match self {
            Self::Receive { stock, .. }
            | Self::Adjust { stock, .. }
            | Self::ReadStock { stock } => {
                vec![stock]
            }
            Self::Place(place) => {
                place.lines.iter().filter_map(|line| line.stock.as_ref()).collect()
            }
            _ => Vec::new(),
        }
    }
}
