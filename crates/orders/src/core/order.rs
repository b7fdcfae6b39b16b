//! The moving part of an order: facts, from which everything else is derived.

mod change;
mod forks;
mod goods;
mod heard;
mod refunds;

use hansa_types::id::{OrderId, TransferId, WarehouseId};
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use super::contents::Contents;
use super::effect::{Effect, Reference, Refusal, Work};
use super::status::{Face, FulfillmentStatus, OrderStatus, PaymentStatus};
use super::subjects::KeyOf;

pub use self::change::Change;
pub use self::forks::{FORKS_MAX, Fork, forked, parted};
pub use self::heard::{Heard, forgotten_before};
pub use self::refunds::refund_key;

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Order {
    pub created: LogTime,
    pub updated: LogTime,
    pub goal: Goal,
    /// Stock, one part per inventory group.
    pub parts: Vec<Part>,
    pub funds: Funds,
    pub provider: Provider,
    pub money: MoneyFacts,
    /// Stock committed and money captured: the order is confirmed.
    pub settled: bool,
    pub shipments: Vec<Movement>,
    pub returns: Vec<Movement>,
    pub refunds: Vec<Refund>,
    pub parked: Option<Parked>,
    pub cancel_reason: String,
    pub work: Vec<Work>,
    /// The next time at which something is due by itself.
    pub wake: Option<LogTime>,
    /// Steps decided so far: makes each step's id its own.
    pub attempt: u32,
    pub version: u64,
    pub last_seq: u64,
    pub history: Vec<Change>,
    /// The requests that made it what it is, and travel with it: [`Self::heard`].
    pub requests: Vec<Heard>,
    /// When this group's saga of it began: with its acceptance, or when it was taken over.
    pub began: LogTime,
    /// In which epoch of its births it came to be this group's.
    pub epoch: u64,
    /// There for an order that was taken over.
    pub adopted: Option<Adoption>,
    /// From which versions its owners went on with it, oldest first.
    pub forks: Vec<Fork>,
}

/// How an order came here from the region that owned it before.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Adoption {
    /// The copy's version: what is told of it here begins after that.
    pub version: u64,
    /// The epoch that ended with it.
    pub ended: u64,
    /// What its former owner knew the customer by.
    pub sealed: KeyOf,
    /// Of what was asked for before then, its former owner may have forgotten some.
    pub forgot: Option<LogTime>,
}

/// What the saga works towards.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Goal {
    Confirm,
    Undo { why: Why, since: LogTime },
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Why {
    Rejected(Reject, Refusal),
    Cancelled,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Reject {
    UnknownSku,
    OutOfStock,
    StockExpired,
    StockRefused,
    PaymentDeclined,
    PaymentRefused,
    /// No answer by the cap of the stock hold; the payment is still being resolved.
    PaymentInDoubt,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Part {
    pub group: u16,
    /// The hold's id; what commits, extends or releases it names it.
    pub hold: TransferId,
    /// The id of the last step decided about it.
    pub step: TransferId,
    pub stock: Stock,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Stock {
    Reserving,
    Held {
        until: LogTime,
    },
    Refused(Refusal),
    Committed,
    Releasing,
    Uncommitting,
    /// Released, uncommitted or run out: nothing is held.
    Gone,
    /// Lies in the warehouses of the region that had the order before: to be reserved here.
    Unallocated,
}

/// The hold in the payment books.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Funds {
    NotNeeded,
    Holding,
    Held,
    Refused(Refusal),
    Captured,
    Voiding,
    Void,
    /// Captured in another region's books: these are being opened with what those said.
    Opening,
}

/// What the provider is known to have done.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Provider {
    NotNeeded,
    Untouched,
    Asked,
    InDoubt {
        since: LogTime,
    },
    Authorized,
    Declined(String),
    Captured,
    /// The intent to cancel is durable. `settle` is set when the charge was in doubt.
    Cancelling {
        settle: Option<LogTime>,
    },
    /// The key stays on watch: a charge may still appear.
    Watching {
        until: LogTime,
    },
    Looking,
    /// Nothing is charged, nor will be.
    Void,
}

impl Provider {
    /// Whether the provider holds none of the buyer's money and never will by this key.
    pub fn clear(&self) -> bool {
        match self {
            Self::NotNeeded | Self::Untouched | Self::Declined(_) | Self::Void => true,
            Self::Asked | Self::InDoubt { .. } | Self::Authorized | Self::Captured => false,
            Self::Cancelling { .. } | Self::Watching { .. } | Self::Looking => false,
        }
    }

    pub fn doubtful(&self) -> bool {
        match self {
            Self::InDoubt { .. } | Self::Watching { .. } | Self::Looking => true,
            Self::Cancelling { settle } => settle.is_some(),
            _ => false,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct MoneyFacts {
    pub authorized_minor: i64,
    pub captured_minor: i64,
    pub refunded_minor: i64,
    pub reference: Reference,
    /// The payment's id in the books, its hold's, and that of the step that resolves the hold.
    pub payment: Option<TransferId>,
    pub hold: Option<TransferId>,
    pub step: Option<TransferId>,
}

/// Units that left the house or came back: one per inventory group and request.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Movement {
    pub id: TransferId,
    pub group: u16,
    pub at: LogTime,
    /// Places in the order, and units.
    pub lines: Vec<(u16, u32)>,
    pub state: Done,
    /// The order's version that first showed it as done; 0 before.
    pub version: u64,
    pub note: Note,
    /// The region whose books have it; `None` where nobody can say whether any do.
    pub booked: Option<RegionNumber>,
    /// Of a return: units that other books than those had shipped.
    pub elsewhere: Vec<(u16, u32)>,
}

/// What the caller said of a movement or refund: kept with its event, never interpreted. Each part
/// is bounded where a request is checked.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Note {
    pub reason: String,
    pub carrier: String,
    pub tracking_code: String,
    pub warehouse: Option<WarehouseId>,
}

impl Note {
    pub fn of_reason(reason: String) -> Self {
        Self { reason, ..Self::default() }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Refund {
    pub id: TransferId,
    pub at: LogTime,
    pub amount_minor: i64,
    pub cause: RefundCause,
    /// The return that it was decided with; of any other refund the key under which it goes out,
    /// where that is not its own: somebody else may have given the same back under it.
    pub with: Option<TransferId>,
    pub state: Done,
    /// As a movement's.
    pub version: u64,
    pub note: Note,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum RefundCause {
    Cancel,
    Return,
    Asked,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Done {
    Outstanding,
    Done,
    Refused(Refusal),
}

impl Done {
    pub fn counts(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Parked {
    pub at: LogTime,
    pub why: ParkedWhy,
    pub detail: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ParkedWhy {
    /// A step back was refused for good.
    CompensationRefused,
    /// The provider captured and the books refused.
    BooksDiffer,
    RefundRefused,
    /// Still not resolved after the longest time that is normal; the step goes on.
    Stuck,
    /// Taken over, and this region has not the stock that it needs.
    Unallocated,
    /// Taken over from who had not gone on with it: what was charged may have been given back.
    LeftBehind,
}

impl Parked {
    /// Other words are another version: one version has one content, in a list and in a copy.
    fn print(&self) -> u32 {
        let words = std::iter::once(self.why as u8).chain(self.detail.bytes());
        let print = words
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        print.max(1)
    }
}

impl ParkedWhy {
    /// Whether nothing more is decided until an operator says so. Where one step back was refused,
    /// the others go on: a charge in doubt must stay on watch whatever the stock books say.
    pub fn stops(self) -> bool {
        match self {
            Self::BooksDiffer | Self::RefundRefused | Self::LeftBehind => true,
            Self::CompensationRefused | Self::Stuck | Self::Unallocated => false,
        }
    }
}

impl Order {
    /// Units of a line that had moved when the order was at `version`.
    pub fn moved_at(list: &[Movement], line: u16, version: u64) -> u32 {
        let shown = list.iter().filter(|movement| (1..=version).contains(&movement.version));
        let units = shown.flat_map(|movement| &movement.lines);
        units.filter(|(place, _)| *place == line).map(|(_, units)| units).sum()
    }

    /// Where the last units of a line that `version` shows as shipped came from, if that was said.
    pub fn shipped_from(&self, line: u16, version: u64) -> Option<&WarehouseId> {
        let shown = self.shipments.iter().filter(|m| (1..=version).contains(&m.version));
        let of_line = |m: &&Movement| m.lines.iter().any(|(place, _)| *place == line);
        shown.filter(of_line).filter_map(|m| m.note.warehouse.as_ref()).next_back()
    }

    /// What callers said of that which the event `version` made known.
    pub fn notes_at(&self, version: u64) -> impl Iterator<Item = &Note> {
        let moved = self.shipments.iter().chain(&self.returns).map(|m| (m.version, &m.note));
        let refunded = self.refunds.iter().map(|refund| (refund.version, &refund.note));
        let told = moved.chain(refunded).filter(move |(shown, _)| *shown == version);
        told.map(|(_, note)| note).filter(|note| **note != Note::default())
    }

    /// The version of the copy that it was taken over from; 0 for one that was accepted here.
    pub fn base(&self) -> u64 {
        self.adopted.map_or(0, |adopted| adopted.version)
    }

    pub fn outstanding(&self, effect: Effect) -> bool {
        self.work.iter().any(|work| work.effect == effect)
    }

    pub fn cancel_asked(&self) -> bool {
        matches!(&self.goal, Goal::Undo { why: Why::Cancelled, .. })
    }

    /// Units of a line in movements that happened or may yet happen.
    pub fn moved(list: &[Movement], line: u16) -> u32 {
        let counted = list.iter().filter(|movement| movement.state.counts());
        let units = counted.flat_map(|movement| &movement.lines);
        units.filter(|(place, _)| *place == line).map(|(_, units)| units).sum()
    }

    /// Units of a line in movements of any state: a refused restock is parked and tried again, so
    /// its units are not there to be returned, and refunded, a second time.
    pub fn asked(list: &[Movement], line: u16) -> u32 {
        let units = list.iter().flat_map(|movement| &movement.lines);
        units.filter(|(place, _)| *place == line).map(|(_, units)| units).sum()
    }

    /// Units of movements that are facts.
    pub fn moved_done(list: &[Movement]) -> u64 {
        let done = list.iter().filter(|movement| movement.state == Done::Done);
        done.flat_map(|movement| &movement.lines).map(|(_, units)| u64::from(*units)).sum()
    }

    /// What is captured and neither refunded nor about to be.
    pub fn refundable_minor(&self) -> i64 {
        let open = self.refunds.iter().filter(|refund| refund.state.counts());
        self.money.captured_minor - open.map(|refund| refund.amount_minor).sum::<i64>()
    }

    /// At most 1,000 of each kind, so it fits.
    fn refused(&self) -> u16 {
        let movements = self.shipments.iter().chain(&self.returns).map(|m| &m.state);
        let states = movements.chain(self.refunds.iter().map(|refund| &refund.state));
        states.filter(|state| !state.counts()).count() as u16
    }

    /// At most 1,000 of each kind, so it fits.
    fn asked_for(&self) -> u16 {
        (self.shipments.len() + self.returns.len() + self.refunds.len()) as u16
    }

    fn refunds_open(&self) -> bool {
        self.refunds.iter().any(|refund| refund.state == Done::Outstanding)
    }

    /// Whether everything that the saga took is given back, as far as it can be known.
    ///
    /// A charge in doubt does not hold the answer back: its cancel intent is durable, and the key
    /// stays on watch until the settle time.
    pub fn undone(&self) -> bool {
        let stock =
            self.parts.iter().all(|part| matches!(part.stock, Stock::Gone | Stock::Refused(_)));
        let funds = matches!(
            self.funds,
            Funds::NotNeeded | Funds::Voiding | Funds::Void | Funds::Refused(_)
        );
        let repaid = self.provider == Provider::Captured
            && self.refundable_minor() == 0
            && !self.refunds_open();
        let given_up =
            self.provider.doubtful() && !matches!(self.provider, Provider::InDoubt { .. });
        stock && ((self.provider.clear() && funds) || repaid || given_up)
    }

    /// Whether nothing is left to do or to wait for.
    pub fn closed(&self) -> bool {
        match &self.goal {
            Goal::Confirm => self.settled && self.work.is_empty(),
            Goal::Undo { .. } => self.undone() && self.work.is_empty() && !self.provider.doubtful(),
        }
    }

    pub fn order_status(&self, contents: &Contents) -> OrderStatus {
        if self.parked.is_some() {
            return OrderStatus::Parked;
        }
        match &self.goal {
            Goal::Undo { why, .. } if self.undone() => match why {
                Why::Rejected(..) => OrderStatus::Rejected,
                Why::Cancelled => OrderStatus::Cancelled,
            },
            _ if !self.settled => OrderStatus::Pending,
            _ => {
                let units = contents.stock_units();
                let shipped = Self::moved_done(&self.shipments);
                match units > 0 && shipped == units {
                    true => OrderStatus::Completed,
                    false => OrderStatus::Confirmed,
                }
            }
        }
    }

    pub fn payment_status(&self) -> PaymentStatus {
        let money = &self.money;
        if self.provider.doubtful() {
            return PaymentStatus::InDoubt;
        }
        if money.captured_minor > 0 {
            return match money.refunded_minor {
                0 if money.captured_minor < money.authorized_minor => {
                    PaymentStatus::PartiallyCaptured
                }
                0 => PaymentStatus::Captured,
                n if n < money.captured_minor => PaymentStatus::PartiallyRefunded,
                _ => PaymentStatus::Refunded,
            };
        }
        match self.provider {
            Provider::Authorized | Provider::Cancelling { .. } => PaymentStatus::Authorized,
            Provider::Void => PaymentStatus::Voided,
            _ => PaymentStatus::None,
        }
    }

    pub fn fulfillment_status(&self, contents: &Contents) -> FulfillmentStatus {
        let units = contents.stock_units();
        let shipped = Self::moved_done(&self.shipments);
        let returned = Self::moved_done(&self.returns);
        let held = |part: &Part| matches!(part.stock, Stock::Held { .. } | Stock::Committed);
        match (shipped, returned) {
            (0, _) if units > 0 && self.parts.iter().all(held) => FulfillmentStatus::Allocated,
            (0, _) => FulfillmentStatus::Unallocated,
            (_, 0) if shipped < units => FulfillmentStatus::PartiallyShipped,
            (_, 0) => FulfillmentStatus::Shipped,
            _ if returned < units => FulfillmentStatus::PartiallyReturned,
            _ => FulfillmentStatus::Returned,
        }
    }

    pub fn face(&self, contents: &Contents) -> Face {
        Face {
            order: self.order_status(contents),
            payment: self.payment_status(),
            fulfillment: self.fulfillment_status(contents),
            authorized_minor: self.money.authorized_minor,
            captured_minor: self.money.captured_minor,
            refunded_minor: self.money.refunded_minor,
            shipped: Self::moved_done(&self.shipments),
            returned: Self::moved_done(&self.returns),
            cancel_asked: self.cancel_asked(),
            refused: self.refused(),
            asked: self.asked_for(),
            parked: self.parked.as_ref().map_or(0, Parked::print),
            settled: self.settled,
        }
    }
}

/// What every payment's key begins with.
pub const PROVIDER_KEY: &str = "pay-";

/// The payment's key at the provider: one per order, so a repeat can never charge twice.
pub fn provider_key(order: OrderId) -> String {
    format!("{PROVIDER_KEY}{order}")
}
