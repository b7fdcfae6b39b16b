//! Commands: requests in the replicated log, and the closed set of what becomes of them.

use hansa_types::id::OrderId;
use serde::{Deserialize, Serialize};

use super::contents::Contents;
use super::effect::Report;
use super::keys::Key;
use super::lasting::Form;
use super::moves;
use super::order::Note;
use super::remote::{Batch, Received, RemoteStep, Retried};
use super::repair::{Answer, RepairStep};
use super::restored::Step;
use super::shelf;
use super::subjects::{Erase, Erased, KeyStep, Wrapped};
use super::takeover;

/// The version byte in front of every encoded command. 1 knew no keys of customers, 2 no take-over,
/// 3 not whose books have what a copy shows as moved, 4 not what former owners knew whom by, 5 not
/// from where blocks of somebody come who moves, 6 not which decision on a tail has ended, 7
/// not whether an owner before was lost, 8 not whether births that went were handed over, 9
/// not from which versions each owner of a copy's order had gone on; by 10 a claim hid who had
/// owned in between, what two people had given back went on, and a restore was no fork; by 11 a
/// disk did not forget a key that was given back by itself, what was given back beside an order was
/// forgotten, and a cancel gave it back under a key of its own; 12 did not say why a key goes;
/// by 13 what was ordered since turned a wish that was owed, 14 did not say whether an
/// order was looked for where what left is.
pub const VERSION: u8 = 15;

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    Accept(Box<Accept>),
    /// What came of steps, of many orders at once.
    Report(Vec<Report>),
    Cancel {
        order: OrderId,
        key: Key,
        reason: String,
    },
    Ship {
        order: OrderId,
        key: Key,
        lines: Vec<(u16, u32)>,
        note: Note,
    },
    Return {
        order: OrderId,
        key: Key,
        lines: Vec<(u16, u32)>,
        note: Note,
    },
    Refund {
        order: OrderId,
        key: Key,
        amount_minor: i64,
        note: Note,
    },
    /// An operator lets a parked order try again.
    Resume {
        order: OrderId,
    },
    ApplyRemote(Box<Batch>),
    /// An operator chooses what a parked remote copy goes on with.
    ResolveRemote {
        order: OrderId,
        keep_mine: bool,
    },
    /// The first vault that is named stays the group's: blocks and fingerprints need its key.
    BindVault {
        vault: u64,
    },
    /// Of a group that came back from a backup.
    Restore(Step),
    /// A keyed command with the time at which its caller first sent it; wall clock ms.
    Dated {
        first_sent_ms: u64,
        command: Box<Command>,
    },
    /// Of data keys and what wraps them.
    Keys(KeyStep),
    /// Forgets a customer.
    Erase(Erase),
    /// Of copies, beside their batches.
    Remote(RemoteStep),
    /// Of repairs that two people agreed on.
    Repair(RepairStep),
    /// A command whose place was found by this version of the residency policy; without one, only
    /// says that no older version counts any more.
    UnderPolicy {
        version: u64,
        command: Option<Box<Command>>,
    },
    /// Of whose births this group owns.
    Takeover(takeover::Step),
    /// Of customers who move.
    Moves(moves::Step),
    /// A new order of somebody who has moved, by who knows that he lives here since that move.
    Resident {
        epoch: u64,
        command: Box<Command>,
    },
    /// Of orders that left hot state.
    Shelf(shelf::recall::Step),
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Accept {
    pub order: OrderId,
    pub key: Key,
    /// In which its birth region's orders are owned, by who made the command.
    pub epoch: u64,
    pub contents: Contents,
    /// The subject's next data key, if the shell knew of none.
    pub mint: Option<Wrapped>,
}

impl Command {
    pub fn encode(&self) -> Vec<u8> {
        let to = vec![VERSION];
        // Serializing into memory fails only for values that postcard cannot express: none here.
        postcard::to_extend(self, to).unwrap_or_default()
    }

    /// `None` for bytes that are no command of a version we know: an outcome, never a panic.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match Form::read(bytes)? {
            Form::Whole(command) | Form::Blinded(_, command) => Some(command),
            // What became of one is none.
            Form::Kept(..) => None,
        }
    }

    /// The command of bytes without a frame.
    pub(super) fn bare(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&VERSION, rest) => postcard::from_bytes(rest).ok(),
            _ => None,
        }
    }
}

/// What became of a command; every replica computes the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Done for the first time.
    Done(Target),
    /// The key was seen before with the same body: this is what it did then.
    Replayed(Target),
    Refused(Refused),
    Received(Received),
    /// Results were taken in.
    Noted,
    /// A customer is forgotten; `true` if he was before this request.
    Erased(Box<Erased>, bool),
    /// Parked events were judged anew.
    Retried(Retried),
    /// A parked copy goes on at this version.
    Resolved(u64),
    Repair(Box<Answer>),
    /// How many orders were adopted, and how many copies wait still or cannot be adopted.
    Adopted(u32),
}

/// What a keyed command made: its order and, for one that made several things, which.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Target {
    pub order: OrderId,
    /// Range into the order's list of shipments, returns or refunds.
    pub first: u16,
    pub count: u16,
}

/// Why a command changed nothing. Checked in this order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Refused {
    Malformed,
    /// Another epoch, a slot that another group owns, or a home found by an older policy.
    NotOwner,
    /// The key was used with another body.
    RequestIdReused,
    OrderNotFound,
    /// An order with this id exists already: the shell mints another and tries again.
    OrderIdTaken,
    /// Shipped, or a shipment is on its way: use a return.
    NotCancellable,
    /// Not confirmed, or being cancelled.
    NotConfirmed,
    NoSuchLine,
    /// More than is left to ship.
    ExceedsOrdered,
    /// More than was shipped and not yet returned.
    ExceedsShipped,
    /// More than was captured and not yet refunded.
    ExceedsCaptured,
    NotParked,
    /// The order's list of movements or refunds is full.
    TooMany,
    /// The group's blocks are sealed with another vault's keys.
    OtherVault,
    /// Came from a backup, and does not know whether this was done before that.
    InDoubt,
    /// Came from a backup, and settles what was under way before it takes anything new.
    Restoring,
    /// Nothing is being restored, or not all of it is settled.
    NotRestoring,
    /// An epoch that was there already.
    EpochNotNewer,
    /// Not the subject's living key, or not under the region key in use: the shell looks again.
    KeyChanged,
    /// The request's order was erased, and with it what its repeat could be compared with.
    Erased,
    /// Cannot be forgotten while this order of his is under way.
    OrderOpen(OrderId),
    /// No order of his was ever here.
    SubjectNotFound,
    /// What was chosen is not kept here: its home has to ship it again.
    NotKept,
    /// Its region's orders were taken over, and this one's copy was not enough.
    NotAdopted,
    /// Copies wait still, or steps are under way.
    NotSettled,
    /// The customer lives in another region.
    Moved,
    /// The request made this order, and what its repeat could be compared with was deleted when
    /// its customer had moved.
    Left(OrderId),
    /// Taken over, and its stock is being reserved in this region's books.
    NotAllocated,
    /// This order came home since the erasure that is repeated, and shares its key with what its
    /// customer has ordered, or brought along, since.
    ServedSince(OrderId),
    /// Not here, and may have left: the shell looks, and brings it back first.
    Shelved,
    /// Not what left, or not as it left: the shell looks again.
    ShelfChanged,
}
