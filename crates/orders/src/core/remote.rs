//! Copies of other regions' orders, as lawful views: exactly-once effect of what comes at least
//! once.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hansa_pages::Table;
use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

/// Events held back behind a parked one, per order.
const HELD_MAX: usize = 64;

/// Whose events: sequences are gapless within it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Origin {
    pub region: RegionNumber,
    pub group: u16,
    pub epoch: u64,
}

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
    /// The view as its origin shipped it.
    pub view: Bytes,
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
    pub received: LogTime,
    /// Events that wait for an operator: the first one conflicts, the others only follow it.
    pub parked: Vec<(Origin, RemoteEvent)>,
}

/// What became of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// How far this origin is now applied.
    pub applied: u64,
    /// The batch began after a gap: the sender must go back to `applied`.
    pub gap: bool,
    pub parked: u32,
}

/// How a copy differs from its home.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Difference {
    pub kind: DifferenceKind,
    pub copy_version: u64,
    pub copy_epoch: u64,
    /// 0 when the home does not know the order.
    pub home_version: u64,
    pub home_epoch: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DifferenceKind {
    /// One version with two contents, or a writer that was replaced.
    Conflict,
    /// The copy knows a newer version than its home.
    Ahead,
    OnlyHere,
}

pub struct Remote {
    pub cursors: Table<Origin, Cursor>,
    pub copies: Table<OrderId, Copy>,
    /// Orders with parked events.
    pub parked: BTreeSet<OrderId>,
}

impl Remote {
    pub fn new() -> Self {
        Self {
            cursors: Table::new("cursors"),
            copies: Table::new("copies"),
            parked: BTreeSet::new(),
        }
    }

    pub fn rebuild(cursors: Table<Origin, Cursor>, copies: Table<OrderId, Copy>) -> Self {
        let waiting = copies.iter().filter(|(_, copy)| !copy.parked.is_empty());
        let parked = waiting.map(|(order, _)| *order).collect();
        Self { cursors, copies, parked }
    }

    pub fn apply(&mut self, at: LogTime, batch: &Batch) -> Received {
        let mut cursor = self.cursors.get(&batch.origin).copied().unwrap_or_default();
        if batch.after > cursor.applied {
            return Received { applied: cursor.applied, gap: true, parked: 0 };
        }
        let mut parked = 0;
        for event in &batch.events {
            let fresh = event.sequence > cursor.applied && event.sequence <= batch.upto;
            if fresh && !self.take(at, batch.origin, event) {
                parked += 1;
            }
        }
        cursor.applied = cursor.applied.max(batch.upto);
        if let Some(ms) = batch.current_as_of_ms.filter(|_| cursor.applied == batch.upto) {
            cursor.current_as_of_ms = cursor.current_as_of_ms.max(ms);
        }
        self.cursors.insert(batch.origin, cursor);
        Received { applied: cursor.applied, gap: false, parked }
    }

    /// Applies one event, or parks it: `false`.
    fn take(&mut self, at: LogTime, origin: Origin, event: &RemoteEvent) -> bool {
        let fresh = Copy {
            origin,
            sequence: event.sequence,
            version: event.version,
            view: event.view.clone(),
            received: at,
            parked: Vec::new(),
        };
        let Some(copy) = self.copies.get(&event.order) else {
            self.copies.insert(event.order, fresh);
            return true;
        };
        // One writer per order and epoch: versions grow with sequences. The same version with two
        // contents is a conflict for an operator, and holds back this order only.
        // So is news from an epoch that another has replaced: its writer was no longer the one.
        let stale = origin.epoch < copy.origin.epoch;
        // And an older version in a newer epoch: a home that came back from a backup has lost what
        // this copy still knows.
        let lost = origin.epoch > copy.origin.epoch;
        let conflict = match event.version.cmp(&copy.version) {
            Ordering::Less => lost,
            Ordering::Equal => event.view != copy.view,
            Ordering::Greater => stale,
        };
        if copy.parked.is_empty() && !conflict {
            if event.version > copy.version || origin.epoch > copy.origin.epoch {
                self.copies.insert(event.order, fresh);
            }
            return true;
        }
        self.parked.insert(event.order);
        self.copies.update(&event.order, |copy| {
            if copy.parked.len() == HELD_MAX {
                // The conflict itself stays first; of its followers the newest matter.
                copy.parked.remove(1);
            }
            copy.parked.push((origin, event.clone()));
        });
        false
    }

    /// Copies that are not what their home says after it came back in a newer epoch, at most `max`.
    ///
    /// An order that only this copy knows shows once the newer epoch's events were all here.
    pub fn differences(&self, of: Option<RegionNumber>, max: usize) -> Vec<(OrderId, Difference)> {
        let wanted = |origin: &Origin| of.is_none_or(|of| of == origin.region);
        let mut newest: BTreeMap<(RegionNumber, u16), (u64, Cursor)> = BTreeMap::new();
        for (origin, cursor) in self.cursors.iter().filter(|(origin, _)| wanted(origin)) {
            let held = newest.entry((origin.region, origin.group)).or_default();
            if origin.epoch >= held.0 {
                *held = (origin.epoch, *cursor);
            }
        }
        let differs = |(order, copy): (&OrderId, &Copy)| {
            let Origin { region, group, epoch: copy_epoch } = copy.origin;
            let (epoch, cursor) = newest.get(&(region, group)).copied().unwrap_or_default();
            let (home_version, home_epoch) = match copy.parked.last() {
                Some((origin, last)) => (last.version, origin.epoch),
                None if copy_epoch < epoch && cursor.current_as_of_ms > 0 => (0, epoch),
                None => return None,
            };
            let first = copy.parked.first().map_or(0, |(_, event)| event.version);
            let kind = match first.cmp(&copy.version) {
                _ if first == 0 => DifferenceKind::OnlyHere,
                Ordering::Less => DifferenceKind::Ahead,
                Ordering::Equal | Ordering::Greater => DifferenceKind::Conflict,
            };
            let copy_version = copy.version;
            Some((*order, Difference { kind, copy_version, copy_epoch, home_version, home_epoch }))
        };
        let copies = self.copies.iter().filter(|(_, copy)| wanted(&copy.origin));
        copies.filter_map(differs).take(max).collect()
    }

    /// Goes on with a parked order: `false` when nothing was parked.
    pub fn resolve(&mut self, at: LogTime, order: OrderId, keep_mine: bool) -> bool {
        if !self.parked.remove(&order) {
            return false;
        }
        self.copies.update(&order, |copy| {
            let mut waiting = std::mem::take(&mut copy.parked);
            let first = waiting.first().map_or(0, |(_, event)| event.version);
            waiting.retain(|(_, event)| !keep_mine || event.version > first);
            if let Some((origin, last)) = waiting.pop() {
                copy.origin = origin;
                copy.sequence = last.sequence;
                copy.version = last.version;
                copy.view = last.view;
                copy.received = at;
            }
        });
        true
    }
}

impl Default for Remote {
    fn default() -> Self {
        Self::new()
    }
}
