//! Events that could not be applied: kept, bounded, and let go by an operator.

use bytes::Bytes;
use hansa_types::id::OrderId;
use hansa_types::time::LogTime;

use super::{Copy, Fault, Held, Origin, ParkedEvent, ParkedWhy, Remote, RemoteEvent};

/// Events that wait per order.
const EVENTS_MAX: usize = 16;
/// Orders with waiting events: then the origin's stream stops, and says why.
pub const ORDERS_MAX: usize = 10_000;

/// What became of an operator's choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolved {
    NotParked,
    /// The copy's version now.
    Done(u64),
    /// What was chosen is not kept here: its home must ship it again.
    AskHome,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retried {
    /// Events that wait still.
    pub left: usize,
    /// Something of it is not kept here: its home must ship it again.
    pub ask_home: bool,
}

impl Remote {
    pub(super) fn full(&self) -> bool {
        self.parked.len() >= ORDERS_MAX
    }

    pub(super) fn park(
        &mut self,
        at: LogTime,
        origin: Origin,
        event: &RemoteEvent,
        why: ParkedWhy,
    ) {
        let mut event = event.clone();
        if matches!(why, ParkedWhy::Fault(_)) {
            // Its classes are not known, or not allowed: nothing of it is kept.
            event.view = Bytes::new();
        }
        let mut waiting = self.parked.get(&event.order).cloned().unwrap_or_default();
        let known = |old: &ParkedEvent| {
            old.origin == origin
                && old.event.sequence == event.sequence
                && old.event.shown.terms >= event.shown.terms
        };
        if waiting.iter().any(known) {
            return;
        }
        if waiting.len() == EVENTS_MAX {
            // Why it waits stays first; of its followers the newest matter.
            let old = waiting.remove(1);
            self.let_go(&old);
        }
        if !event.view.is_empty() {
            *self.kinds.entry(super::kind(origin, event.shown)).or_default() += 1;
        }
        let order = event.order;
        waiting.push(ParkedEvent { origin, why, at, event });
        self.parked.insert(order, waiting);
    }

    fn let_go(&mut self, parked: &ParkedEvent) {
        if !parked.event.view.is_empty() {
            self.uncount(parked.origin, parked.event.shown);
        }
    }

    fn unpark(&mut self, order: OrderId) -> Option<Vec<ParkedEvent>> {
        let waiting = self.parked.remove(&order)?;
        waiting.iter().for_each(|parked| self.let_go(parked));
        Some(waiting)
    }

    /// Judges the order's waiting events anew; `found` is what the shell finds in them now.
    pub fn retry(&mut self, order: OrderId, found: &[RemoteEvent]) -> Option<Retried> {
        let waiting = self.unpark(order)?;
        let mut ask_home = false;
        for ParkedEvent { origin, at, mut event, why } in waiting {
            let now = found.iter().find(|now| {
                (now.sequence, now.version) == (event.sequence, event.version)
                    && now.view == event.view
            });
            match event.view.is_empty() {
                true => ask_home = true,
                false => {
                    event.fault = now.map_or(event.fault, |now| now.fault);
                    // What only followed is judged as if it came first.
                    let _ = (why, self.take(at, origin, &event));
                }
            }
        }
        let left = self.parked.get(&order).map_or(0, Vec::len);
        Some(Retried { left, ask_home })
    }

    /// Goes on with a parked order.
    pub fn resolve(&mut self, at: LogTime, order: OrderId, keep_mine: bool) -> Resolved {
        let Some(mut waiting) = self.unpark(order) else { return Resolved::NotParked };
        let first = waiting.first().map_or(0, |parked| parked.event.version);
        waiting.retain(|parked| !keep_mine || parked.event.version > first);
        let Some(ParkedEvent { origin, event, .. }) = waiting.pop() else {
            return Resolved::Done(self.copies.get(&order).map_or(0, |copy| copy.version));
        };
        if event.view.is_empty() {
            return Resolved::AskHome;
        }
        let RemoteEvent { sequence, version, view, shown, .. } = event;
        self.put(order, Copy { origin, sequence, version, view, shown, received: at });
        Resolved::Done(version)
    }

    /// Takes the content from waiting events that show more than is allowed.
    pub(super) fn strip_parked(&mut self, order: OrderId, allowed: Held) {
        let Some(mut waiting) = self.parked.get(&order).cloned() else { return };
        for parked in &mut waiting {
            if !parked.event.view.is_empty() && allowed.exceeded_by(parked.event.shown) {
                self.uncount(parked.origin, parked.event.shown);
                parked.event.view = Bytes::new();
                parked.event.fault = Some(Fault::ForbiddenClass);
            }
        }
        self.parked.insert(order, waiting);
    }
}
