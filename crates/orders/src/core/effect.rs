//! What the shell must do for an order, and what came of it.

use hansa_types::id::{GroupKind, OrderId, Sku, TransferId};
use hansa_types::money::Currency;
use serde::{Deserialize, Serialize};

use super::contents::Token;

/// One outstanding step. Its number is the runner's handle: a result for a number that is no
/// longer outstanding is late or repeated and moves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Work {
    pub no: u64,
    pub effect: Effect,
}

/// A step of the saga. Numbers point into the order's own lists.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Effect {
    Reserve(u8),
    Extend(u8),
    Release(u8),
    Uncommit(u8),
    HoldFunds,
    VoidFunds,
    /// Asks the provider; sent again under the same key until it answers.
    Authorize,
    /// Cancels at the provider by the same key.
    CancelPayment,
    /// Asks the provider what it knows, at the settle time.
    Lookup,
    /// Commit every part, capture at the provider, capture in the books: one durable intent.
    Settle,
    /// Refund at the provider, then in the books.
    Refund(u16),
    Ship(u16),
    Restock(u16),
    /// Opens the books of a payment that another region's books had.
    Open,
}

/// An outstanding step with all that the shell needs to do it, and to repeat it exactly.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    pub order: OrderId,
    pub no: u64,
    pub todo: Todo,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Todo {
    Book(Booking),
    Authorize { token: Token, money: Amount },
    CancelPayment { reference: Reference },
    Lookup,
    Settle(Settle),
    Refund(Repayment),
}

/// One step in the books of one group: what a lane sends, and what books in the order's own log do
/// at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Booking {
    Stock(StockCall),
    HoldFunds { books: Books, id: TransferId, money: Amount, timeout_ms: u64 },
    VoidFunds { books: Books, id: TransferId, hold: TransferId },
    Capture { books: Books, id: TransferId, hold: TransferId, money: Amount },
    Refund { books: Books, id: TransferId, money: Amount },
    Open(Open),
}

impl Booking {
    /// Whose books they are.
    pub fn group(&self) -> (GroupKind, u16) {
        match self {
            Self::Stock(call) => (GroupKind::Inventory, call.group),
            Self::HoldFunds { books, .. }
            | Self::VoidFunds { books, .. }
            | Self::Capture { books, .. }
            | Self::Refund { books, .. }
            | Self::Open(Open { books, .. }) => (GroupKind::Payments, books.group),
        }
    }
}

/// What another region's books said of a payment when it was taken over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Open {
    pub books: Books,
    pub id: TransferId,
    /// The epoch in which those books were kept.
    pub ended: u64,
    pub currency: Currency,
    pub authorized_minor: i64,
    pub captured_minor: i64,
    pub refunded_minor: i64,
}

/// Where a payment's books are: the payments group, and the payment's id there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Books {
    pub group: u16,
    pub payment: TransferId,
}

/// Minor units of a currency.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Amount {
    pub minor: i64,
    pub currency: Currency,
}

/// A command for one inventory group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StockCall {
    pub group: u16,
    pub id: TransferId,
    pub verb: StockVerb,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StockVerb {
    Reserve {
        lines: Vec<StockLine>,
        ttl_ms: u64,
    },
    Extend {
        hold: TransferId,
        ttl_ms: u64,
    },
    Release {
        hold: TransferId,
    },
    Commit {
        hold: TransferId,
    },
    Uncommit {
        hold: TransferId,
    },
    Ship {
        hold: TransferId,
        lines: Vec<StockLine>,
    },
    /// `elsewhere`: of these lines, what another region's books shipped, in the epoch that ended.
    Restock {
        hold: TransferId,
        lines: Vec<StockLine>,
        elsewhere: Vec<StockLine>,
        ended: u64,
    },
}

impl StockVerb {
    /// What the step is called wherever it is counted.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Reserve { .. } => "reserve",
            Self::Extend { .. } => "extend",
            Self::Release { .. } => "release",
            Self::Commit { .. } => "commit",
            Self::Uncommit { .. } => "uncommit",
            Self::Ship { .. } => "ship",
            Self::Restock { .. } => "restock",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StockLine {
    /// Place in the order, counted from 1.
    pub line: u32,
    pub sku: Sku,
    pub quantity: u32,
}

/// The folded last leg: all of it was decided by one entry, so the runner may go through it
/// without coming back in between.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settle {
    pub commits: Vec<StockCall>,
    /// Which of the order's parts each of them is for.
    pub parts: Vec<u8>,
    /// `None` when there is nothing to pay.
    pub capture: Option<Capture>,
}

/// The provider first, then the books.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Capture {
    pub reference: Reference,
    pub books: Books,
    pub id: TransferId,
    pub hold: TransferId,
    pub money: Amount,
    /// The books are in the order's own log: who reports the provider's answer has done his part.
    pub near: bool,
}

impl Capture {
    /// What follows in the books.
    pub fn booking(&self) -> Booking {
        let Self { books, id, hold, money, .. } = *self;
        Booking::Capture { books, id, hold, money }
    }
}

/// The provider first, then the books: they know it by its id, the provider by its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Repayment {
    pub books: Books,
    pub id: TransferId,
    pub key: TransferId,
    pub money: Amount,
    pub reference: Reference,
    /// As of a capture.
    pub near: bool,
}

impl Repayment {
    /// What follows in the books.
    pub fn booking(&self) -> Booking {
        let Self { books, id, money, .. } = *self;
        Booking::Refund { books, id, money }
    }
}

/// What came of a step.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Report {
    pub order: OrderId,
    pub no: u64,
    pub result: StepResult,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum StepResult {
    /// Done now or before: `EXISTS` is success.
    Done,
    /// A lasting refusal: a retry would answer the same for ever.
    Refused(Refusal),
    /// The provider holds the money.
    Authorized(Reference),
    Declined(String),
    /// The request left and no answer came: never "failed". The step stays outstanding.
    InDoubt,
    /// The provider knows nothing by this key; proves nothing before the settle time.
    NotFound,
    Settled(SettleResult),
    /// The provider did it, and the books refused it for good.
    Unbooked(Refusal),
}

/// How far the folded last leg came.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SettleResult {
    /// Bit n: part n is committed.
    pub committed: u64,
    /// The provider captured.
    pub captured: bool,
    /// The books captured.
    pub booked: bool,
    /// What stopped it, if anything did.
    pub refusal: Option<Refusal>,
}

/// The provider's own name of a payment; financial, so never printed.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Reference(pub String);

impl std::fmt::Debug for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Why a ledger or a provider will never do a step.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Refusal {
    pub code: RefusalCode,
    /// The line that decided, from 1; 0 when none did.
    pub line: u32,
    pub sku: String,
    /// Units that were sellable.
    pub available: i64,
    /// Said to operators; holds no personal data.
    pub detail: String,
}

impl Refusal {
    pub fn new(code: RefusalCode, detail: &str) -> Self {
        Self { code, line: 0, sku: String::new(), available: 0, detail: detail.to_owned() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum RefusalCode {
    UnknownSku,
    OutOfStock,
    /// The hold ran out before it was committed.
    Expired,
    /// What should be undone is not there any more, or never was.
    Gone,
    /// The hold was resolved the other way.
    Resolved,
    Declined,
    Other,
}
