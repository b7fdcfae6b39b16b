//! Copies of other regions' orders, as lawful views: exactly-once effect of what comes at least
//! once.

mod apply;
mod differences;
mod parked;
mod purge;
pub mod tree;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hansa_pages::Table;
use hansa_types::country::Country;
use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use super::order::Fork;

pub use self::differences::{Difference, DifferenceKind};
pub use self::parked::{Resolved, Retried};
pub use self::purge::{Reduced, Reduction};
use self::tree::Tree;

/// Whose events: sequences are gapless within it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Origin {
    pub region: RegionNumber,
    pub group: u16,
    pub epoch: u64,
}

impl Origin {
    /// Where its orders lived, in whichever epoch.
    pub fn place(&self) -> Place {
        (self.region, self.group)
    }
}

pub type Place = (RegionNumber, u16);

/// Events after `after`, in sequence. A sequence that no event here has was superseded by a later
/// one of the same order, so `upto` is reached without a gap.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Batch {
    pub origin: Origin,
    pub after: u64,
    pub upto: u64,
    /// The origin's time when it had nothing beyond `upto`; ms.
    pub current_as_of_ms: Option<u64>,
    pub events: Vec<RemoteEvent>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct RemoteEvent {
    pub sequence: u64,
    pub order: OrderId,
    pub version: u64,
    /// The view as its origin shipped it; empty where it may not be kept.
    pub view: Bytes,
    pub shown: Shown,
    /// From which versions its owners went on with the order, oldest first.
    pub forks: Vec<Fork>,
    /// What the shell found wrong with it before it was committed.
    pub fault: Option<Fault>,
}

/// What a view shows, and under which terms it was made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Shown {
    /// Whose law binds it: the customer's residence.
    pub residence: Option<Country>,
    /// The classes that its terms allowed.
    pub classes: u8,
    /// The raised fields that it was made or reduced by, as a hash.
    pub raised: u32,
    /// The version of the terms.
    pub terms: u64,
    /// Made less here, not by its origin: it is not the bytes that these terms make at home.
    pub reduced: bool,
    /// In which its sender owned the order's births; 0 for the stream's own.
    pub epoch: u64,
}

impl Shown {
    /// Whether terms like these make the same bytes of one version.
    pub fn alike(self, other: Self) -> bool {
        (self.classes, self.raised) == (other.classes, other.raised)
    }
}

/// Why an event cannot be applied, whatever is here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Fault {
    Undecodable,
    /// The view is of another order or version than the envelope says.
    WrongOrder,
    /// Data that this region may not hold.
    ForbiddenClass,
    /// Fields that this release does not know, and so not their class either.
    UnknownField,
}

/// Why an event waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum ParkedWhy {
    /// One version with two contents.
    Conflict,
    /// Of an epoch that another has replaced: its writer was no longer the one.
    OldEpoch,
    /// A newer epoch knows less, or knew when it began: the home came back from a backup.
    VersionBack,
    Fault(Fault),
    /// Comes after one that waits.
    Follows,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ParkedEvent {
    pub origin: Origin,
    pub why: ParkedWhy,
    pub at: LogTime,
    pub event: RemoteEvent,
    pub asked: Asked,
}

/// Whether an operator let a waiting event go whose content its home must ship again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Asked {
    No,
    /// It is judged as any other when it comes.
    Again,
    /// Whatever its home says then is what counts.
    Theirs,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Cursor {
    pub applied: u64,
    pub current_as_of_ms: u64,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Copy {
    pub origin: Origin,
    pub sequence: u64,
    pub version: u64,
    pub view: Bytes,
    pub shown: Shown,
    pub forks: Vec<Fork>,
    pub received: LogTime,
    /// Up to this epoch its writer came back from backups that knew less, and somebody said that
    /// the copy counts.
    pub kept: u64,
}

impl Copy {
    /// The epoch of its births in which it was written.
    pub fn epoch(&self) -> u64 {
        if self.shown.epoch == 0 { self.origin.epoch } else { self.shown.epoch }
    }
}

impl RemoteEvent {
    /// The epoch of its births in which its sender owned them.
    pub fn epoch(&self, origin: Origin) -> u64 {
        if self.shown.epoch == 0 { origin.epoch } else { self.shown.epoch }
    }
}

/// Which classes a region may hold of whose data, by residence.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Terms {
    /// The policy's version.
    pub version: u64,
    /// Ascending; a country that is not here may not be held at all.
    pub of: Vec<(Country, Held)>,
}

/// What may be held of the data of one country's residents.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Held {
    /// 1 OPERATIONAL, 2 PERSONAL, 4 FINANCIAL, summed.
    pub classes: u8,
    /// Fields that count as a stricter class, as a hash; 0 for none.
    pub raised: u32,
}

impl Terms {
    pub fn of(&self, residence: Option<Country>) -> Held {
        let Some(residence) = residence else { return Held::default() };
        let found = self.of.binary_search_by_key(&residence, |(country, _)| *country);
        found.map_or_else(|_| Held::default(), |at| self.of[at].1)
    }

    /// Countries of whom these terms may show more than `held` did.
    pub fn wider_than(&self, held: &Self) -> BTreeSet<Country> {
        let wider = |(country, now): &&(Country, Held)| now.wider_than(held.of(Some(*country)));
        self.of.iter().filter(wider).map(|(country, _)| *country).collect()
    }
}

/// Under which terms an origin's copies were made.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Views {
    /// Every copy shows all that these allow.
    pub held: Terms,
    /// Until when that is not so yet for later ones.
    pub sweep: Option<Sweep>,
    /// How often copies were made less here. What was planned before the last time does not know
    /// what is missing.
    pub lowered: u64,
    /// [`Self::lowered`] as it was when `held` was last found to be so.
    pub whole: u64,
}

/// Copies are being replaced by wider ones, in the order of their last events.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Sweep {
    /// Into the terms of this version.
    pub terms: u64,
    pub swept: u64,
    /// What came later came in these terms.
    pub end: u64,
}

/// A part of a sweep, or what was asked for again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refill {
    pub origin: Origin,
    /// How far the sweep is with this; `None` for what was asked for.
    pub sweep: Option<Sweep>,
    /// [`Views::lowered`] as it was when the sweep was planned.
    pub lowered: u64,
    /// With the last part: what everything is as wide as from now on.
    pub held: Option<Terms>,
    pub events: Vec<RemoteEvent>,
}

/// What happens to copies beside batches; commands of the shell.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RemoteStep {
    Refill(Box<Refill>),
    /// Everything of this origin is as these terms allow.
    Held {
        origin: Origin,
        terms: Terms,
        /// [`Views::lowered`] as it was when that was found.
        lowered: u64,
    },
    /// Copies become less, or go.
    Purge(Vec<Reduced>),
    /// The parked events as the shell finds them now.
    Retry {
        order: OrderId,
        events: Vec<RemoteEvent>,
    },
    /// An operator chooses; who and why stand in the log for the audit chain.
    Resolve {
        order: OrderId,
        keep_mine: bool,
        by: String,
        reason: String,
    },
    /// Copies and waiting events become less, and the keys of what goes are given back.
    Reduce(Vec<Reduction>),
    /// A copy that is not what anybody shipped, so that a test has something to find.
    #[cfg(test)]
    Plant(OrderId, Option<Box<Copy>>),
}

/// What became of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Received {
    /// How far this origin is now applied.
    pub applied: u64,
    /// The batch began after a gap: the sender must go back to `applied`.
    pub gap: bool,
    pub parked: u32,
    /// Too much is parked for one more: nothing of the batch was applied.
    pub full: bool,
}

pub struct Remote {
    pub cursors: Table<Origin, Cursor>,
    pub copies: Table<OrderId, Copy>,
    pub views: Table<Origin, Views>,
    /// Events that wait for an operator, by order: the first one is why.
    pub parked: Table<OrderId, Vec<ParkedEvent>>,
    /// What the copies of each origin add up to.
    trees: BTreeMap<Place, Tree>,
    /// How many contents are kept of whom, showing what.
    kinds: BTreeMap<Kind, u64>,
    /// Orders with waiting events, by where the first one came from.
    waits: BTreeMap<Place, u64>,
}

impl Remote {
    pub fn new() -> Self {
        Self::rebuild(
            Table::new("cursors"),
            Table::new("copies"),
            Table::new("views"),
            Table::new("parked"),
        )
    }

    pub fn rebuild(
        cursors: Table<Origin, Cursor>,
        copies: Table<OrderId, Copy>,
        views: Table<Origin, Views>,
        parked: Table<OrderId, Vec<ParkedEvent>>,
    ) -> Self {
        let (mut trees, mut kinds) = (BTreeMap::new(), BTreeMap::new());
        let mut waits: BTreeMap<Place, u64> = BTreeMap::new();
        for (order, copy) in copies.iter() {
            let tree: &mut Tree = trees.entry(copy.origin.place()).or_default();
            tree.put(*order, tree::Leaf::of(*order, copy.version, &copy.view));
            *kinds.entry(kind(copy.origin, copy.shown)).or_default() += 1;
        }
        for first in parked.iter().filter_map(|(_, events)| events.first()) {
            *waits.entry(first.origin.place()).or_default() += 1;
        }
        let waiting = parked.iter().flat_map(|(_, events)| events);
        for parked in waiting.filter(|parked| !parked.event.view.is_empty()) {
            *kinds.entry(kind(parked.origin, parked.event.shown)).or_default() += 1;
        }
        Self { cursors, copies, views, parked, trees, kinds, waits }
    }

    /// What an origin's copies add up to.
    pub fn tree(&self, place: Place) -> Option<&Tree> {
        self.trees.get(&place)
    }

    pub fn copies_of(&self, place: Place) -> u64 {
        self.trees.get(&place).map_or(0, |tree| tree.root().orders)
    }

    /// Whether the indexes say what the tables say; for tests and after a checkpoint is read.
    pub fn consistent(&self) -> bool {
        let kept: u64 = self.kinds.values().sum();
        let waiting = self.parked.iter().flat_map(|(_, events)| events);
        let contents = waiting.filter(|parked| !parked.event.view.is_empty()).count();
        let orders: u64 = self.trees.values().map(|tree| tree.root().orders).sum();
        let waits: u64 = self.waits.values().sum();
        kept == (self.copies.len() + contents) as u64
            && orders == self.copies.len() as u64
            && waits == self.parked.len() as u64
    }

    /// Puts a copy in its place, and keeps the indexes in step.
    fn put(&mut self, order: OrderId, copy: Copy) {
        let leaf = tree::Leaf::of(order, copy.version, &copy.view);
        let (place, new) = (copy.origin.place(), kind(copy.origin, copy.shown));
        let old = self.copies.insert(order, copy);
        *self.kinds.entry(new).or_default() += 1;
        if let Some(old) = old {
            self.uncount(old.origin, old.shown);
            if old.origin.place() != place
                && let Some(tree) = self.trees.get_mut(&old.origin.place())
            {
                tree.take(order);
            }
        }
        self.trees.entry(place).or_default().put(order, leaf);
    }

    /// The orders of which there are copies.
    pub fn ids(&self) -> impl Iterator<Item = OrderId> {
        let ids = self.trees.values().flat_map(|tree| tree.leaves(&tree::EVERYTHING));
        ids.filter_map(|(id, _)| OrderId::try_from(id).ok())
    }

    pub(in crate::core) fn drop_copy(&mut self, order: OrderId) {
        let Some(old) = self.copies.remove(&order) else { return };
        self.uncount(old.origin, old.shown);
        if let Some(tree) = self.trees.get_mut(&old.origin.place()) {
            tree.take(order);
        }
    }

    #[cfg(test)]
    pub fn plant(&mut self, order: OrderId, copy: Option<Copy>) {
        self.drop_copy(order);
        if let Some(copy) = copy {
            self.put(order, copy);
        }
    }

    fn uncount(&mut self, origin: Origin, shown: Shown) {
        let of = kind(origin, shown);
        let left = self.kinds.get_mut(&of).map(|count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == Some(0) {
            self.kinds.remove(&of);
        }
    }
}

/// Whose content, from where, showing what.
type Kind = (Place, Option<Country>, u8, u32);

fn kind(origin: Origin, shown: Shown) -> Kind {
    (origin.place(), shown.residence, shown.classes, shown.raised)
}

impl Default for Remote {
    fn default() -> Self {
        Self::new()
    }
}
