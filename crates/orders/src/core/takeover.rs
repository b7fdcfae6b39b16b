//! Whose births a group owns, and how ownership comes and goes (ADR 0016).
//!
//! The directory's records are the cause; these rows are what this group has made of them, in its
//! own log. A command of births that are not owned here, in this epoch, moves nothing.

mod adopt;
mod again;
mod begin;
mod beside;
mod doubt;
mod drain;
mod give_back;
mod parked;
mod requests;
mod sound;
mod tail;

use std::borrow::Cow;
use std::collections::BTreeMap;

use hansa_pages::Table;
use hansa_types::hash::StateHash;
use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use super::command::{Command, Outcome, Refused};
use super::near::Near;
use super::order::Order;
use super::remote::{Origin, RemoteEvent};
use super::settings::Settings;
use super::state::State;

pub use self::adopt::{Adopted, Candidate, Facts, Moved, NotAdopted, Repaid, Standing, Stepped};
pub use self::doubt::{Doubt, Loss};
pub use self::give_back::Leftover;
pub use self::sound::VERSION_MAX;
pub use self::tail::{Decision, End, TailAction, TailRow, refund_id};

/// Orders in one command that adopts or gives back.
pub const ORDERS_MAX: usize = 256;

/// One region's births, as this group knows them. None for its own until they first move.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Birth {
    /// Of the newest record.
    pub epoch: u64,
    pub owner: RegionNumber,
    pub phase: Phase,
    /// Orders that were written here in an older epoch are no longer this group's to change: 0
    /// until the births have moved.
    pub floor: u64,
    /// The last time that this group took them over.
    pub taken: Option<Taken>,
    /// Requests that owners may have granted of which nobody heard: whoever owned since.
    pub doubt: Option<Doubt>,
    /// This group's orders of this epoch or later were handed over, as they stood, to who owned the
    /// births after it and before whoever owns them next.
    pub handed: Option<u64>,
    /// The same, but somebody may have owned them in an epoch in between: people say whether.
    pub hidden: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Phase {
    Owned,
    /// Nothing new is taken; steps up to this number may end.
    Draining {
        to: RegionNumber,
        work_upto: u64,
        since: LogTime,
        /// The directory's version in which this drain began: which of several it is.
        drain: u64,
    },
    /// Nothing of them changes: no event after `last` is of an order born there.
    Drained {
        to: RegionNumber,
        last: u64,
        drain: u64,
    },
    /// Owned, and copies are being adopted.
    Adopting,
    /// Another region's. What its former orders hold here is given back.
    Elsewhere {
        since: LogTime,
        given_back: bool,
    },
}

/// A take-over: from what, and what came of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Taken {
    pub take: TakeOver,
    pub since: LogTime,
    pub settled: Option<LogTime>,
    pub total: u64,
    pub done: u64,
    /// Per origin group: what was here of it, and the highest sequence that was heard of; of others
    /// than the former owner's only the first.
    pub lost: Vec<Lost>,
    /// Who owned them before wrote all that it went on with in this epoch or later.
    pub floor: u64,
}

/// Events in (after, upto] never came. Later ones may exist that nobody heard of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Lost {
    pub origin: Origin,
    pub after: u64,
    pub upto: u64,
}

/// What a take-over begins with.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct TakeOver {
    pub birth: RegionNumber,
    pub epoch: u64,
    /// The former owner.
    pub from: RegionNumber,
    /// The hash of the ownership record; 0 where there is none.
    pub record: u128,
    /// When that was made, wall clock ms, and how far clocks may be apart.
    pub record_ms: u64,
    pub skew_ms: u64,
    /// After a drain: every event of the births is here, and so is every request's key.
    pub complete: bool,
    /// Another owned them before who was not heard of here, nor how it ended.
    pub unheard: bool,
    /// The highest sequences that anybody here heard of.
    pub heard: Vec<(Origin, u64)>,
}

impl TakeOver {
    /// What the former owner may have granted alone.
    fn loss(&self) -> Option<Loss> {
        let loss = Loss { record_ms: self.record_ms, skew_ms: self.skew_ms };
        (self.unheard || !self.complete).then_some(loss)
    }
}

/// What happens to births; commands of the shell, each caused by the directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Step {
    /// The directory hands them over, since its version `drain`: take nothing new.
    Drain {
        birth: RegionNumber,
        to: RegionNumber,
        epoch: u64,
        drain: u64,
    },
    /// What ran has ended, or waited long enough.
    Drained {
        birth: RegionNumber,
        epoch: u64,
    },
    /// They were not handed over after all, says the directory in its version `seen`.
    Undrain {
        birth: RegionNumber,
        epoch: u64,
        seen: u64,
    },
    /// A record says that they are another region's.
    Elsewhere {
        birth: RegionNumber,
        owner: RegionNumber,
        epoch: u64,
        /// What the owner before may have granted alone, unless it handed them over.
        loss: Option<Loss>,
        /// They were this group's, and were handed over: all of it had come there before.
        handed: bool,
    },
    TakeOver(Box<TakeOver>),
    Adopt {
        birth: RegionNumber,
        epoch: u64,
        orders: Vec<Candidate>,
    },
    /// Every copy is adopted, or cannot be.
    Settled {
        birth: RegionNumber,
        epoch: u64,
    },
    /// What these former orders held here was given back; `last`: no others hold anything.
    GivenBack {
        birth: RegionNumber,
        epoch: u64,
        orders: Vec<OrderId>,
        last: bool,
    },
    /// What came of what two people decided, at that time, on an order of the unshipped tail.
    Decided {
        order: OrderId,
        since: LogTime,
        end: End,
    },
    /// What their owner in this epoch doubts of them.
    Doubted {
        birth: RegionNumber,
        epoch: u64,
        doubt: Doubt,
    },
}

/// Births, and what a take-over left to people.
pub struct Births {
    pub rows: Table<RegionNumber, Birth>,
    /// Copies that could not be adopted.
    pub failed: Table<OrderId, NotAdopted>,
    /// Decisions on the unshipped tail.
    pub tail: Table<OrderId, TailRow>,
    /// The rows again: looked at with every command.
    cached: BTreeMap<RegionNumber, Birth>,
}

impl Births {
    pub fn new() -> Self {
        Self::rebuild(Table::new("births"), Table::new("not-adopted"), Table::new("tail"))
    }

    pub fn rebuild(
        rows: Table<RegionNumber, Birth>,
        failed: Table<OrderId, NotAdopted>,
        tail: Table<OrderId, TailRow>,
    ) -> Self {
        let cached = rows.iter().map(|(birth, row)| (*birth, row.clone())).collect();
        Self { rows, failed, tail, cached }
    }

    pub fn get(&self, birth: RegionNumber) -> Option<&Birth> {
        self.cached.get(&birth)
    }

    /// In order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (RegionNumber, &Birth)> {
        self.cached.iter().map(|(birth, row)| (*birth, row))
    }

    /// What could not be adopted is looked at anew by who owns the births next.
    fn forget_failed(&mut self, birth: RegionNumber) {
        let of = |(id, _): &(&OrderId, &NotAdopted)| id.region() == birth;
        let failed: Vec<OrderId> = self.failed.iter().filter(of).map(|(id, _)| *id).collect();
        for id in failed {
            self.failed.remove(&id);
        }
    }

    fn put(&mut self, birth: RegionNumber, row: Birth) {
        self.cached.insert(birth, row.clone());
        self.rows.insert(birth, row);
    }

    pub fn digest(&self) -> StateHash {
        let mut sum = self.rows.digest();
        sum.add(self.failed.digest());
        sum.add(self.tail.digest());
        sum
    }

    pub fn digest_full(&self) -> StateHash {
        let mut sum = self.rows.recompute_digest();
        sum.add(self.failed.recompute_digest());
        sum.add(self.tail.recompute_digest());
        sum
    }

    /// Whether what its writer wrote in `epoch` comes too late: a newer epoch has begun.
    pub fn is_over(&self, birth: RegionNumber, epoch: u64) -> bool {
        self.get(birth).is_some_and(|row| epoch < row.epoch.max(row.floor))
    }
}

impl Default for Births {
    fn default() -> Self {
        Self::new()
    }
}

impl Birth {
    /// Whether new orders and new steps are taken.
    pub fn open(&self) -> bool {
        matches!(self.phase, Phase::Owned | Phase::Adopting)
    }

    /// Whether region `here`, whose row this is, owns them.
    pub fn held_by(&self, here: RegionNumber) -> bool {
        self.owner == here && !matches!(self.phase, Phase::Elsewhere { .. })
    }

    /// Owned, and no copy waits to be adopted.
    pub fn settled(&self) -> bool {
        !matches!(self.phase, Phase::Adopting | Phase::Elsewhere { .. })
    }

    /// Whether anything of them may change here.
    pub fn moves(&self) -> bool {
        self.open() || matches!(self.phase, Phase::Draining { .. })
    }
}

impl State {
    /// The epoch in which this group takes orders of a region's births; `None` if it does not.
    pub fn owned(&self, birth: RegionNumber) -> Option<u64> {
        match self.births.get(birth) {
            None => (birth == self.meta.settings.region).then_some(self.meta.settings.epoch),
            Some(row) => row.open().then_some(row.epoch),
        }
    }

    /// The epoch in which this group ships its orders of these births, drained ones included.
    pub fn ships(&self, birth: RegionNumber) -> Option<u64> {
        match self.births.get(birth) {
            None => (birth == self.meta.settings.region).then_some(self.meta.settings.epoch),
            Some(row) => (!matches!(row.phase, Phase::Elsewhere { .. })).then_some(row.epoch),
        }
    }

    /// The order as it is told: a group that came back from a backup writes in a newer epoch than
    /// what it has came from, for the versions that it lost were told in that.
    pub fn as_told<'a>(&self, id: OrderId, order: &'a Order) -> Cow<'a, Order> {
        let Settings { region, epoch, .. } = self.meta.settings;
        match order.adopted.is_none() && id.region() == region && order.epoch < epoch {
            true => Cow::Owned(Order { epoch, ..order.clone() }),
            false => Cow::Borrowed(order),
        }
    }

    /// Whether what this group may know of these births is of this epoch, or newer. Of births that
    /// it never had it knows nothing, in any.
    pub fn has_followed(&self, birth: RegionNumber, epoch: u64) -> bool {
        let settings = &self.meta.settings;
        match self.births.get(birth) {
            Some(row) => row.epoch >= epoch,
            None => birth != settings.region || settings.epoch >= epoch,
        }
    }

    /// Whether an order of this group is its own still: not one that moved away, nor what is left
    /// of one here.
    pub fn is_own(&self, id: OrderId, order: &Order) -> bool {
        self.births.get(id.region()).is_none_or(|row| {
            !matches!(row.phase, Phase::Elsewhere { .. }) && order.epoch >= row.floor
        })
    }

    /// Whether a step of the order's saga may be taken in, and its timers run.
    pub fn moves(&self, id: OrderId, order: &Order) -> bool {
        let row = self.births.get(id.region());
        row.is_none_or(Birth::moves) && self.is_own(id, order)
    }

    pub(super) fn takeover_step(&mut self, at: LogTime, step: Step, near: Near<'_>) -> Outcome {
        let done = match step {
            Step::Drain { birth, to, epoch, drain } => self.drain(at, birth, epoch, (to, drain)),
            Step::Drained { birth, epoch } => self.drained(birth, epoch),
            Step::Undrain { birth, epoch, seen } => self.undrain(birth, epoch, seen),
            Step::Elsewhere { birth, owner, epoch, loss, handed } => {
                self.elsewhere(at, birth, (owner, epoch), (loss, handed))
            }
            Step::TakeOver(take) => self.take_over(at, *take),
            Step::Adopt { birth, epoch, orders } => {
                return match self.adopt(at, (birth, epoch), orders, near) {
                    Ok(adopted) => Outcome::Adopted(adopted),
                    Err(why) => Outcome::Refused(why),
                };
            }
            Step::Settled { birth, epoch } => self.settled(at, birth, epoch),
            Step::GivenBack { birth, epoch, orders, last } => {
                self.given_back(birth, epoch, &orders, last)
            }
            Step::Decided { order, since, end } => self.decided(at, (order, since), end),
            Step::Doubted { birth, epoch, doubt } => self.hear_doubt(birth, epoch, doubt),
        };
        match done {
            Ok(()) => Outcome::Noted,
            Err(why) => Outcome::Refused(why),
        }
    }

    /// Another region's record: the births are not, or no longer, this group's.
    fn elsewhere(
        &mut self,
        at: LogTime,
        birth: RegionNumber,
        (owner, epoch): (RegionNumber, u64),
        (loss, handed): (Option<Loss>, bool),
    ) -> Result<(), Refused> {
        if owner == self.meta.settings.region {
            return Err(Refused::Malformed);
        }
        let old = self.births.get(birth).cloned();
        let known = old.as_ref().map(|row| row.epoch).or(self.owned(birth)).unwrap_or(0);
        if epoch <= known {
            let same = old.is_some_and(|row| (row.epoch, row.owner) == (epoch, owner));
            return if same { Ok(()) } else { Err(Refused::EpochNotNewer) };
        }
        let was_mine = old.as_ref().map_or(birth == self.meta.settings.region, |row| {
            !matches!(row.phase, Phase::Elsewhere { given_back: true, .. })
        });
        let phase = Phase::Elsewhere { since: at, given_back: !was_mine };
        let doubt = self.doubt_after(birth, at, loss);
        // An owner that goes on by itself in a newer epoch keeps its orders as they are.
        let before = old.as_ref().map_or((birth, 0), |row| (row.owner, row.floor));
        let same = before.0 == owner && loss.is_none_or(|loss| loss.record_ms == 0);
        // In an epoch in between another may have owned them. The first is 1.
        let alone = same && (loss.is_none() || epoch == known.max(1) + 1);
        let floor = if alone { before.1 } else { epoch };
        let handed = match &old {
            // Also one that came back from a backup: what it told since is in copies, and wherever
            // it went on from, its tail begins there.
            Some(row) if alone => row.handed,
            Some(Birth { phase: Phase::Drained { to, .. }, floor, .. }) => {
                Some(*floor).filter(|_| handed && *to == owner)
            }
            _ => None,
        };
        let hidden = old.as_ref().filter(|_| same).and_then(|row| row.handed.or(row.hidden));
        let hidden = hidden.filter(|_| handed.is_none());
        let taken = old.and_then(|row| row.taken);
        self.births.put(birth, Birth { epoch, owner, phase, floor, taken, doubt, handed, hidden });
        self.births.forget_failed(birth);
        self.unindex();
        self.release_late(birth);
        Ok(())
    }

    /// What another owner's event is worth: nothing, once its epoch is over.
    pub(super) fn is_late(&self, origin: Origin, event: &RemoteEvent) -> bool {
        self.births.is_over(event.order.region(), event.epoch(origin))
    }

    /// A group that came back from a backup owns what it owned in a new epoch.
    pub(super) fn renew_births(&mut self, epoch: u64) {
        let here = self.meta.settings.region;
        if let Some(row) = self.births.get(here).filter(|row| row.owner == here).cloned() {
            let epoch = row.epoch.max(epoch);
            self.births.put(here, Birth { epoch, ..row });
        }
    }

    /// Why a command about births that move is not looked at, if it is not.
    pub(super) fn not_owned(&self, command: &Command) -> Option<Refused> {
        let order = match command {
            Command::Cancel { order, .. }
            | Command::Ship { order, .. }
            | Command::Return { order, .. }
            | Command::Refund { order, .. }
            | Command::Resume { order } => order,
            _ => return None,
        };
        let row = self.births.get(order.region())?;
        if !row.open() {
            return Some(Refused::NotOwner);
        }
        match self.orders.get(order) {
            Some(known) if self.is_own(*order, known) => None,
            _ if self.births.failed.contains(order) => Some(Refused::NotAdopted),
            _ if self.blocked(*order) => Some(Refused::NotAdopted),
            // Adopted first by who asks.
            _ if self.remote.copies.contains(order) => Some(Refused::NotOwner),
            // As it stands, in a moment.
            Some(_) if self.waits(*order) => Some(Refused::NotOwner),
            // A former order that its owner in between never knew.
            Some(_) => Some(Refused::NotAdopted),
            None => None,
        }
    }
}
