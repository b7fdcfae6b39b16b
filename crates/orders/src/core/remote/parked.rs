//! Events that could not be applied: kept, bounded, and let go by an operator.

use bytes::Bytes;
use hansa_types::id::OrderId;
use hansa_types::time::LogTime;

use super::{Asked, Fault, Held, Origin, ParkedEvent, ParkedWhy, Place, Remote, RemoteEvent};

/// Events that wait per order.
const EVENTS_MAX: usize = 16;
/// Orders of one origin with waiting events: then its stream stops, and says why.
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
    /// Whether a place may have no more orders wait; the others go on.
    pub(super) fn full(&self, place: Place) -> bool {
        self.waiting_of(place) >= ORDERS_MAX as u64
    }

    /// Orders of a place that wait.
    pub fn waiting_of(&self, place: Place) -> u64 {
        self.waits.get(&place).copied().unwrap_or(0)
    }

    /// Orders of a place whose home is to ship them again, because an operator said so.
    pub fn asked_of(&self, place: Place) -> Vec<OrderId> {
        let asked = |events: &[ParkedEvent]| {
            events.iter().any(|w| w.origin.place() == place && w.asked != Asked::No)
        };
        let parked = self.parked.iter().filter(|(_, events)| asked(events));
        parked.map(|(order, _)| *order).collect()
    }

    /// Has these events wait, and none other of the order.
    fn set_waiting(&mut self, order: OrderId, waiting: Vec<ParkedEvent>) {
        let now = waiting.first().map(|first| first.origin.place());
        let old = match now {
            Some(_) => self.parked.insert(order, waiting),
            None => self.parked.remove(&order),
        };
        let old = old.and_then(|old| Some(old.first()?.origin.place()));
        if old == now {
            return;
        }
        if let Some(now) = now {
            *self.waits.entry(now).or_default() += 1;
        }
        if let Some(old) = old {
            let left = self.waits.get(&old).copied().unwrap_or(0).saturating_sub(1);
            match left {
                0 => self.waits.remove(&old),
                left => self.waits.insert(old, left),
            };
        }
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
        waiting.push(ParkedEvent { origin, why, at, event, asked: Asked::No });
        self.set_waiting(order, waiting);
    }

    fn let_go(&mut self, parked: &ParkedEvent) {
        if !parked.event.view.is_empty() {
            self.uncount(parked.origin, parked.event.shown);
        }
    }

    pub(super) fn unpark(&mut self, order: OrderId) -> Option<Vec<ParkedEvent>> {
        let waiting = self.parked.get(&order).cloned()?;
        self.set_waiting(order, Vec::new());
        waiting.iter().for_each(|parked| self.let_go(parked));
        Some(waiting)
    }

    /// How an operator let the order's waiting events go, if this one says all that they would.
    pub(super) fn freed_by(&self, origin: Origin, event: &RemoteEvent) -> Option<Asked> {
        let waiting = self.parked.get(&event.order)?;
        let covered = |w: &ParkedEvent| {
            let goes = w.asked != Asked::No || w.why == ParkedWhy::Follows;
            goes && news(w.origin, &w.event) <= news(origin, event)
        };
        let asked = |how| waiting.iter().any(|w| w.asked == how);
        match waiting.iter().all(covered) {
            true if asked(Asked::Theirs) => Some(Asked::Theirs),
            true if asked(Asked::Again) => Some(Asked::Again),
            _ => None,
        }
    }

    /// Judges the order's waiting events anew; `found` is what the shell finds in them now. What
    /// is not kept here waits on until its home ships it again.
    pub fn retry(&mut self, order: OrderId, found: &[RemoteEvent]) -> Option<Retried> {
        let waiting = self.unpark(order)?;
        let (lost, kept): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|parked| parked.event.view.is_empty());
        for ParkedEvent { origin, at, mut event, .. } in kept {
            let now = found.iter().find(|now| {
                (now.sequence, now.version) == (event.sequence, event.version)
                    && now.view == event.view
            });
            event.fault = now.map_or(event.fault, |now| now.fault);
            // What only followed is judged as if it came first.
            self.take(at, origin, &event);
        }
        let copy = self.copies.get(&order);
        let copy = copy.map(|copy| (copy.epoch(), copy.version, copy.shown.terms));
        let missing = lost.into_iter().filter(|w| copy < Some(news(w.origin, &w.event)));
        let mut waiting = self.parked.get(&order).cloned().unwrap_or_default();
        waiting.extend(missing.map(|w| ParkedEvent { asked: Asked::Again.max(w.asked), ..w }));
        let left = waiting.len();
        let ask_home = waiting.iter().any(|parked| parked.asked != Asked::No);
        self.set_waiting(order, waiting);
        Some(Retried { left, ask_home })
    }

    /// Goes on with a parked order: with the newest that waits, or else with what is kept here and
    /// only such events as are later than that.
    pub fn resolve(&mut self, at: LogTime, order: OrderId, keep_mine: bool) -> Resolved {
        let Some(waiting) = self.unpark(order) else { return Resolved::NotParked };
        if keep_mine {
            self.keep_beyond(order, &waiting);
        }
        let copy = self.copies.get(&order).map(|copy| (copy.epoch(), copy.version));
        let first = waiting.first().map_or(0, |parked| parked.event.version);
        let (epoch, version) = copy.unwrap_or((0, first));
        let chosen = waiting.into_iter().enumerate().filter(|(n, w)| {
            let living = w.event.epoch(w.origin) >= epoch;
            let later = *n > 0 && living && w.event.version > version;
            later || !keep_mine
        });
        let newest = chosen.map(|(_, w)| w).max_by_key(|w| news(w.origin, &w.event));
        let Some(chosen) = newest else {
            return Resolved::Done(copy.map_or(0, |(_, version)| version));
        };
        if chosen.event.view.is_empty() {
            let asked = if keep_mine { Asked::Again } else { Asked::Theirs };
            self.set_waiting(order, vec![ParkedEvent { asked, ..chosen }]);
            return Resolved::AskHome;
        }
        self.keep(at, chosen.origin, &chosen.event);
        Resolved::Done(chosen.event.version)
    }

    /// The copy counts, whatever backup its writer came back from: what that writes next is not
    /// asked about again.
    fn keep_beyond(&mut self, order: OrderId, waiting: &[ParkedEvent]) {
        let back = waiting.iter().filter(|of| of.why == ParkedWhy::VersionBack);
        let Some(epoch) = back.map(|of| of.event.epoch(of.origin)).max() else { return };
        self.copies.update(&order, |copy| copy.kept = copy.kept.max(epoch));
    }

    /// Lets those of an order's waiting events go that `late` names; whether the first is one,
    /// which is why all others wait.
    pub fn let_late_go(&mut self, order: OrderId, late: impl Fn(&ParkedEvent) -> bool) -> bool {
        let Some(waiting) = self.parked.get(&order).cloned() else { return false };
        let first = waiting.first().is_some_and(&late);
        let (gone, left): (Vec<_>, Vec<_>) = waiting.into_iter().partition(late);
        gone.iter().for_each(|parked| self.let_go(parked));
        self.set_waiting(order, left);
        first
    }

    /// Takes the content from waiting events that show more than is allowed, of those that `of`
    /// names; whether there was any.
    pub(super) fn strip_parked(
        &mut self,
        order: OrderId,
        allowed: Held,
        of: impl Fn(&ParkedEvent) -> bool,
    ) -> bool {
        let Some(mut waiting) = self.parked.get(&order).cloned() else { return false };
        let mut stripped = false;
        for parked in waiting.iter_mut().filter(|parked| of(parked)) {
            if !parked.event.view.is_empty() && allowed.exceeded_by(parked.event.shown) {
                stripped = true;
                self.uncount(parked.origin, parked.event.shown);
                parked.event.view = Bytes::new();
                parked.event.fault = Some(Fault::ForbiddenClass);
            }
        }
        if stripped {
            self.set_waiting(order, waiting);
        }
        stripped
    }
}

/// Which of two events of an order says more.
fn news(origin: Origin, event: &RemoteEvent) -> (u64, u64, u64) {
    (event.epoch(origin), event.version, event.shown.terms)
}
