//! Which orders leave, and when: by the log's time and the state alone.

use std::collections::BTreeMap;

use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;

use super::{INDEX, ORDERS, Shelved};
use crate::core::contents::Contents;
use crate::core::effect::RefusalCode;
use crate::core::order::{Funds, Order, Stock};
use crate::core::state::State;
use crate::core::subjects::under_way;
use crate::core::takeover::Phase;

/// Orders that leave in one entry, and that are looked at of one birth and epoch.
const LEAVE_MAX: usize = 256;
const LOOK_MAX: usize = 512;
/// What is due within this time is so at its end: a trickle costs an idle group few entries.
const TICK_MS: u64 = 10_000;

/// Orders that are over, of each birth and epoch by their last events: in order of time.
#[derive(PartialEq, Eq, Default, Debug)]
pub struct Ready(BTreeMap<(RegionNumber, u64), BTreeMap<u64, OrderId>>);

impl Ready {
    fn put(&mut self, id: OrderId, order: &Order) {
        self.0.entry((id.region(), order.epoch)).or_default().insert(order.last_seq, id);
    }

    fn remove(&mut self, id: OrderId, order: &Order) {
        let place = (id.region(), order.epoch);
        let Some(of) = self.0.get_mut(&place) else { return };
        of.remove(&order.last_seq);
        if of.is_empty() {
            self.0.remove(&place);
        }
    }
}

/// Whether nothing of an order that was accepted here is left to do, to wait for, or to undo.
fn is_over(order: &Order, contents: &Contents, here: RegionNumber) -> bool {
    order.closed()
        && !under_way(order, contents)
        && order.work.is_empty()
        && order.wake.is_none()
        && order.parked.is_none()
        // Who had it before may have done what nobody here heard of, and its earlier holds may run.
        && !order.came()
        && contents.sealed_with.subject.home == here
        && holds_nothing(order)
}

/// Whether no books can hold anything for it. After an odd answer they may.
fn holds_nothing(order: &Order) -> bool {
    let stock = order.parts.iter().all(|part| match &part.stock {
        Stock::Committed | Stock::Gone => true,
        Stock::Refused(why) => why.code != RefusalCode::Other,
        Stock::Reserving
        | Stock::Held { .. }
        | Stock::Releasing
        | Stock::Uncommitting
        | Stock::Unallocated => false,
    });
    stock
        && match &order.funds {
            Funds::NotNeeded | Funds::Captured | Funds::Void => true,
            Funds::Refused(why) => why.code != RefusalCode::Other,
            Funds::Holding | Funds::Held | Funds::Voiding | Funds::Opening => false,
        }
}

impl State {
    /// Whether orders leave this group at all.
    fn shelves(&self) -> bool {
        self.meta.settings.evict_after_ms > 0
    }

    /// Made anew from the tables.
    pub(in crate::core) fn ready_of_tables(&self) -> Ready {
        let mut ready = Ready::default();
        if !self.shelves() {
            return ready;
        }
        let over = self.orders.iter().filter(|(id, order)| self.is_over(**id, order));
        over.for_each(|(id, order)| ready.put(*id, order));
        ready
    }

    fn is_over(&self, id: OrderId, order: &Order) -> bool {
        let contents = self.contents.get(&id);
        contents.is_some_and(|contents| is_over(order, contents, self.meta.settings.region))
    }

    /// Before an order changes.
    pub(in crate::core) fn unready(&mut self, id: OrderId) {
        if self.shelves()
            && let Some(order) = self.orders.get(&id)
        {
            self.ready.remove(id, order);
        }
    }

    /// Once it has.
    pub(in crate::core) fn ready_again(&mut self, id: OrderId) {
        if self.shelves()
            && let Some(order) = self.orders.get(&id).filter(|order| self.is_over(id, order))
        {
            self.ready.put(id, order);
        }
    }

    /// Those of which nothing else keeps one here, for a birth and an epoch.
    fn may_leave(&self) -> impl Iterator<Item = &BTreeMap<u64, OrderId>> {
        let restoring = self.restored.as_ref().is_some_and(|now| now.restoring);
        let owned = |birth: &RegionNumber, epoch: u64| {
            let row = self.births.get(*birth);
            row.is_none_or(|row| row.phase == Phase::Owned && epoch >= row.floor)
        };
        let fits = move |((birth, epoch), _): &(&(RegionNumber, u64), _)| owned(birth, *epoch);
        self.ready.0.iter().filter(move |of| !restoring && fits(of)).map(|(_, of)| of)
    }

    /// Whether people are at work on it.
    fn is_kept(&self, id: OrderId) -> bool {
        self.repairs.is_busy(id) || self.births.tail.contains(&id)
    }

    fn leaves_at(&self, id: OrderId) -> Option<LogTime> {
        let order = self.orders.get(&id)?;
        Some(order.updated.plus_ms(self.meta.settings.evict_after_ms))
    }

    /// When the first of them leaves.
    pub(in crate::core) fn next_leaving(&self) -> Option<LogTime> {
        let first = |of: &BTreeMap<u64, OrderId>| {
            let first = of.values().take(LOOK_MAX).find(|id| !self.is_kept(**id));
            first.and_then(|id| self.leaves_at(*id))
        };
        let due = self.may_leave().filter_map(first).min()?;
        Some(LogTime(due.ms().checked_next_multiple_of(TICK_MS).unwrap_or(due.ms())))
    }

    /// Lets those leave to which nothing has happened for long enough.
    pub(in crate::core) fn let_leave(&mut self, at: LogTime) {
        let due = self.may_leave().flat_map(|of| {
            let looked = of.values().take(LOOK_MAX);
            let due = looked.take_while(|id| self.leaves_at(**id).is_some_and(|due| due <= at));
            due.filter(|id| !self.is_kept(**id))
        });
        let due: Vec<OrderId> = due.take(LEAVE_MAX).copied().collect();
        due.into_iter().for_each(|id| self.shelve(at, id));
    }

    /// The order goes whole: no event, no version.
    fn shelve(&mut self, at: LogTime, id: OrderId) {
        let Some((order, contents)) = self.take_away(id) else { return };
        let here = self.meta.settings.region;
        let number = self.shelf.records.next();
        self.meta.left_versions += order.version - order.base();
        self.shelf.count(here, &order, &contents, 1);
        let kept = (&order, &contents);
        self.subjects.left(contents.sealed_with, |left| left.add(here, id, kept));
        let last_seq = order.last_seq;
        let record = Shelved { number, order, contents }.encode();
        let closed = self.shelf.records.put(at, id.into(), last_seq, &record);
        self.shelf.send(ORDERS, &id.to_bytes(), record);
        if let Some(chunk) = closed {
            self.shelf.send(INDEX, &chunk.key(), chunk.encode());
        }
    }
}
