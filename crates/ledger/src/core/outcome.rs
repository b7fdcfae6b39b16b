//! What a command of either vocabulary comes to: one closed enum, mapped once to the wire.

use hansa_types::id::OrderId;
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use super::kernel;

/// The closed list of outcomes; names and meanings are those of `hansa.ledger.v1.OutcomeCode`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum OutcomeCode {
    Applied,
    Exists,
    ExistsWithDifferent,
    IdTooOld,
    IdTooNew,
    LinkedFailed,
    AmountInvalid,
    AccountsSame,
    UnitMismatch,
    AccountNotFound,
    UnknownSku,
    HoldNotFound,
    NotAHold,
    AlreadyPosted,
    AlreadyVoided,
    Expired,
    ExceedsHold,
    ExceedsAvailable,
    Overflow,
    CountDiffers,
    BelowHeld,
    ExtendCapReached,
    ExceedsCommitted,
    ExceedsShipped,
    ExceedsCaptured,
    PaymentNotFound,
    Malformed,
    /// The payment may have left hot state, and nobody has said what the archive has of it.
    Shelved,
}

/// The outcome of one command, with what the caller needs to act on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    pub code: OutcomeCode,
    /// The line that decided, 0 when none did.
    pub line: u32,
    /// What was left, in units or minor units, when more was asked for.
    pub available: i64,
    /// The field that differs from the first use of the id.
    pub field: Option<&'static str>,
    /// When the hold expires that was placed or extended.
    pub expires: Option<LogTime>,
    /// Orders whose holds stand in the way of an adjustment, newest first; not all of many.
    pub orders: Vec<OrderId>,
}

impl Outcome {
    pub fn of(code: OutcomeCode) -> Self {
        Self { code, line: 0, available: 0, field: None, expires: None, orders: Vec::new() }
    }

    pub fn at_line(self, line: u32) -> Self {
        Self { line, ..self }
    }

    pub fn differs(field: &'static str) -> Self {
        Self { field: Some(field), ..Self::of(OutcomeCode::ExistsWithDifferent) }
    }

    pub fn is_success(&self) -> bool {
        matches!(self.code, OutcomeCode::Applied | OutcomeCode::Exists)
    }
}

impl From<OutcomeCode> for Outcome {
    fn from(code: OutcomeCode) -> Self {
        Self::of(code)
    }
}

impl From<kernel::Outcome> for OutcomeCode {
    fn from(outcome: kernel::Outcome) -> Self {
        use kernel::Outcome as K;
        match outcome {
            K::Created => Self::Applied,
            K::AmountZero | K::TimeoutOutOfRange => Self::AmountInvalid,
            K::SameAccount => Self::AccountsSame,
            K::ChainOpen | K::ChainRepeatsId => Self::Malformed,
            K::IdTooOld => Self::IdTooOld,
            K::IdTooNew => Self::IdTooNew,
            K::ExistsWithDifferent(_) => Self::ExistsWithDifferent,
            K::Exists => Self::Exists,
            K::AccountNotFound(_) => Self::AccountNotFound,
            K::UnitsDiffer => Self::UnitMismatch,
            K::HoldNotFound => Self::HoldNotFound,
            K::NotAHold => Self::NotAHold,
            K::AlreadyPosted => Self::AlreadyPosted,
            K::AlreadyVoided => Self::AlreadyVoided,
            K::Expired => Self::Expired,
            K::ExceedsHold => Self::ExceedsHold,
            K::Overflow(_) => Self::Overflow,
            K::ExceedsAvailable | K::ExceedsCreditLimit => Self::ExceedsAvailable,
            K::LinkedFailed => Self::LinkedFailed,
        }
    }
}

impl From<kernel::Outcome> for Outcome {
    fn from(outcome: kernel::Outcome) -> Self {
        let field = match outcome {
            kernel::Outcome::ExistsWithDifferent(field) => Some(field.as_str()),
            _ => None,
        };
        Self { field, ..Self::of(outcome.into()) }
    }
}
