//! The commands of the money books, as they stand in the log.

use hansa_types::id::{OrderId, TransferId};
use hansa_types::money::Currency;
use serde::{Deserialize, Serialize};

use super::chart::PaymentKey;
use super::leave::{Looked, Recalled};

/// One command.
///
/// Variants and fields are part of the log format: new ones go at the end, none is ever removed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    Authorize(Authorize),
    Capture(Capture),
    Void(Void),
    Refund(Refund),
    Open(Open),
    Recall(Box<Recalled>),
    Looked(Looked),
}

impl Command {
    /// The payment that is booked on; `None` for what brings one back, or says that there is none.
    pub fn payment(&self) -> Option<PaymentKey> {
        match self {
            Self::Authorize(Authorize { payment, .. })
            | Self::Capture(Capture { payment, .. })
            | Self::Void(Void { payment, .. })
            | Self::Refund(Refund { payment, .. })
            | Self::Open(Open { payment, .. }) => Some(*payment),
            Self::Recall(_) | Self::Looked(_) => None,
        }
    }
}

/// # Units
/// `amount`: minor units. `timeout_ms`: 0 holds until it is resolved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Authorize {
    pub id: TransferId,
    pub payment: PaymentKey,
    pub order: OrderId,
    pub amount: u64,
    pub currency: Currency,
    pub timeout_ms: u64,
}

/// # Units
/// `amount`: minor units, `None` for all that is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Capture {
    pub id: TransferId,
    pub hold: TransferId,
    pub payment: PaymentKey,
    pub amount: Option<u64>,
    /// The id under which what is left is held again; `None` releases it.
    pub remainder: Option<TransferId>,
}

/// What another region's books said of a payment when this one took its order over.
///
/// # Units
/// Minor units.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Open {
    pub id: TransferId,
    pub payment: PaymentKey,
    pub order: OrderId,
    pub currency: Currency,
    pub authorized: u64,
    pub captured: u64,
    pub refunded: u64,
    /// The epoch in which those books were kept.
    pub ended: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Void {
    pub id: TransferId,
    pub hold: TransferId,
    pub payment: PaymentKey,
}

/// # Units
/// `amount`: minor units.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refund {
    pub id: TransferId,
    pub payment: PaymentKey,
    pub amount: u64,
}
