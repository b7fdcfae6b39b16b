//! The commands of the stock books, as they stand in the log.

use hansa_types::id::{OrderId, TransferId};
use serde::{Deserialize, Serialize};

/// One command. Text is borrowed from the log entry: decoding allocates for lines only.
///
/// Variants and fields are part of the log format: new ones go at the end, none is ever removed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command<'a> {
    #[serde(borrow)]
    Reserve(Reserve<'a>),
    Extend {
        id: TransferId,
        hold: TransferId,
        ttl_ms: u32,
    },
    Commit {
        id: TransferId,
        hold: TransferId,
    },
    Uncommit {
        id: TransferId,
        hold: TransferId,
    },
    Release {
        id: TransferId,
        hold: TransferId,
    },
    #[serde(borrow)]
    Ship(Ship<'a>),
    #[serde(borrow)]
    Return(Return<'a>),
    #[serde(borrow)]
    Receive(Receive<'a>),
    #[serde(borrow)]
    Adjust(Adjust<'a>),
    #[serde(borrow)]
    SetFloor(SetFloor<'a>),
    #[serde(borrow)]
    Rebook(Rebook<'a>),
    #[serde(borrow)]
    ReturnElsewhere(ReturnElsewhere<'a>),
}

/// A quantity of one SKU for one line of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StockLine<'a> {
    pub line: u32,
    pub sku: &'a str,
    /// `None`: the region's default warehouse.
    pub warehouse: Option<&'a str>,
    pub quantity: u32,
}

/// Holds every line or none.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reserve<'a> {
    pub id: TransferId,
    pub order: OrderId,
    pub ttl_ms: u32,
    #[serde(borrow)]
    pub lines: Vec<StockLine<'a>>,
}

/// Moves committed stock to the customer. No lines: all that is committed and not yet shipped.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ship<'a> {
    pub id: TransferId,
    pub hold: TransferId,
    #[serde(borrow)]
    pub lines: Vec<StockLine<'a>>,
}

/// Moves shipped stock from the customer to quarantine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Return<'a> {
    pub id: TransferId,
    pub order: OrderId,
    #[serde(borrow)]
    pub lines: Vec<StockLine<'a>>,
}

/// A return of which another region's books shipped a part, or all, before its orders were taken
/// over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReturnElsewhere<'a> {
    #[serde(borrow)]
    pub returned: Return<'a>,
    /// Line by line, how many of the units those were.
    pub elsewhere: Vec<u32>,
    /// The epoch of the order's births in which those books were kept.
    pub ended: u64,
}

/// Moves stock from the supplier to available; a new SKU or warehouse is known from then on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Receive<'a> {
    pub id: CommandId,
    pub sku: &'a str,
    pub warehouse: Option<&'a str>,
    pub quantity: u64,
    pub document: &'a str,
}

/// Corrects what is available.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Adjust<'a> {
    pub id: CommandId,
    pub sku: &'a str,
    pub warehouse: Option<&'a str>,
    pub delta: i64,
    /// What was counted on hand before the change; another figure refuses the command.
    pub expected_on_hand: Option<i64>,
    /// Voids the newest holds that stand in the way.
    pub force: bool,
    pub reason: &'a str,
    pub document: &'a str,
}

/// Moves units between what customers have and what is available: an approved correction, under a
/// document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rebook<'a> {
    pub id: TransferId,
    pub sku: &'a str,
    /// Positive: back to available.
    pub delta: i64,
    /// What customers had by the books when it was decided; another figure refuses the command.
    pub expected_shipped: i64,
    pub reason: &'a str,
    pub document: &'a str,
}

/// Sets how much of a SKU is kept back or sold ahead in a warehouse.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetFloor<'a> {
    pub id: CommandId,
    pub sku: &'a str,
    pub warehouse: Option<&'a str>,
    pub safety_stock: u32,
    pub backorder_limit: u32,
}

/// How a command is told from its repeats.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CommandId {
    /// Minted by one of our services.
    Given(TransferId),
    /// Derived from a caller and its request id. It carries no time, so the machine mints the
    /// transfer id when it sees the key first, and remembers which it was.
    Requested(RequestKey),
}

/// A hash of (caller, method, request id).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestKey(pub u128);

impl Command<'_> {
    pub(super) fn kind(&self) -> u8 {
        match self {
            Self::Reserve(_) => 1,
            Self::Extend { .. } => 2,
            Self::Commit { .. } => 3,
            Self::Uncommit { .. } => 4,
            Self::Release { .. } => 5,
            Self::Ship(_) => 6,
            Self::Return(_) => 7,
            Self::Receive(_) => 8,
            Self::Adjust(_) => 9,
            Self::SetFloor(_) => 10,
            Self::Rebook(_) => 11,
            Self::ReturnElsewhere(_) => 12,
        }
    }

    pub(super) fn id(&self) -> CommandId {
        match self {
            Self::Reserve(Reserve { id, .. })
            | Self::Extend { id, .. }
            | Self::Commit { id, .. }
            | Self::Uncommit { id, .. }
            | Self::Release { id, .. }
            | Self::Ship(Ship { id, .. })
            | Self::Return(Return { id, .. })
            | Self::ReturnElsewhere(ReturnElsewhere { returned: Return { id, .. }, .. })
            | Self::Rebook(Rebook { id, .. }) => CommandId::Given(*id),
            Self::Receive(Receive { id, .. })
            | Self::Adjust(Adjust { id, .. })
            | Self::SetFloor(SetFloor { id, .. }) => *id,
        }
    }
}
