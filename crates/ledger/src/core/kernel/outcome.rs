//! What becomes of a transfer: one closed enum, checked in one fixed order.

use serde::{Deserialize, Serialize};

/// The outcome of one transfer.
///
/// The variants stand in the order of the checks: the first that applies is the answer, on every
/// replica and in every version. The groups:
/// 1. the transfer by itself (`AmountZero` to `ChainRepeatsId`): nothing is stored, the same bytes
///    fail for ever anyway;
/// 2. the id (`IdTooOld` to `Exists`);
/// 3. the state (`AccountNotFound` to `ExceedsCreditLimit`): burns the id, so that a retry answers
///    the same for ever, whatever the state has become.
///
/// `LinkedFailed` is the answer of the other links of a chain that failed. It burns their ids when
/// the link that failed burnt its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// Applied now.
    Created,
    /// The amount is zero.
    AmountZero,
    /// Debit and credit name one account.
    SameAccount,
    /// A hold's timeout is zero or longer than [`super::TIMEOUT_MS_MAX`].
    TimeoutOutOfRange,
    /// The last transfer of a batch is linked to a next one that is not there.
    ChainOpen,
    /// Two links of a chain have one id.
    ChainRepeatsId,
    /// The id was minted longer ago than the dedup window: whether it was seen is not known.
    IdTooOld,
    /// The id claims a time further ahead than the dedup window: it was not minted by us.
    IdTooNew,
    /// The id is known with other content; names the first field that differs.
    ExistsWithDifferent(Field),
    /// The same transfer was applied before: a repeat, which is a success.
    Exists,
    /// An account was never opened.
    AccountNotFound(Side),
    /// The accounts count different things.
    UnitsDiffer,
    /// No such hold, or it was resolved longer ago than the dedup window.
    HoldNotFound,
    /// The id names a transfer that is no hold.
    NotAHold,
    /// The hold was posted already.
    AlreadyPosted,
    /// The hold was voided already.
    AlreadyVoided,
    /// The hold expired.
    Expired,
    /// More is posted than was held.
    ExceedsHold,
    /// A counter would overflow.
    Overflow(Side),
    /// The debit account's limit refuses: not that much is available.
    ExceedsAvailable,
    /// The credit account's limit refuses.
    ExceedsCreditLimit,
    /// Another link of the same chain failed.
    LinkedFailed,
}

/// A field of a transfer, in the order in which a repeat is compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Field {
    /// What is done: move, hold, post or void.
    Act,
    Debit,
    Credit,
    Hold,
    Amount,
    Timeout,
    Code,
    Reference,
    /// Some links of a chain are known and others are not.
    Chain,
}

impl Field {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Act => "act",
            Self::Debit => "debit",
            Self::Credit => "credit",
            Self::Hold => "hold",
            Self::Amount => "amount",
            Self::Timeout => "timeout",
            Self::Code => "code",
            Self::Reference => "reference",
            Self::Chain => "chain",
        }
    }
}

/// One of the two accounts of a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Side {
    Debit,
    Credit,
}

impl Outcome {
    /// Whether the transfer is in the books, by this call or an earlier one.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Created | Self::Exists)
    }

    /// Whether this failure depended on the state, so that the id must answer it for ever.
    pub fn burns(self) -> bool {
        match self {
            Self::AccountNotFound(_)
            | Self::UnitsDiffer
            | Self::HoldNotFound
            | Self::NotAHold
            | Self::AlreadyPosted
            | Self::AlreadyVoided
            | Self::Expired
            | Self::ExceedsHold
            | Self::Overflow(_)
            | Self::ExceedsAvailable
            | Self::ExceedsCreditLimit => true,
            Self::Created
            | Self::AmountZero
            | Self::SameAccount
            | Self::TimeoutOutOfRange
            | Self::ChainOpen
            | Self::ChainRepeatsId
            | Self::IdTooOld
            | Self::IdTooNew
            | Self::ExistsWithDifferent(_)
            | Self::Exists
            | Self::LinkedFailed => false,
        }
    }
}
