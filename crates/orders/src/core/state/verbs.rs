//! The commands that callers cause: each checks in a fixed order, then changes facts.

use std::collections::BTreeMap;

use hansa_types::id::OrderId;
use hansa_types::limits::ORDER_LINES_MAX;
use hansa_types::time::LogTime;

use crate::core::command::{Accept, Outcome, Refused, Target};
use crate::core::contents::Contents;
use crate::core::effect::Effect;
use crate::core::keys::{Key, Seen};
use crate::core::near::Near;
use crate::core::order::{
    Done, Funds, Goal, Heard, MoneyFacts, Movement, Note, Order, ParkedWhy, Part, Provider,
    RefundCause, Stock, Why,
};
use crate::core::saga::{self, Now};

use super::State;

/// Movements and refunds of one order, each.
const LIST_MAX: usize = 1_000;

/// What a verb did, or why not.
type Verdict = Result<Target, Refused>;

impl State {
    pub(super) fn accept(&mut self, at: LogTime, accept: Accept, near: Near<'_>) -> Outcome {
        let Accept { order: id, key, epoch, contents, mint } = accept;
        if contents.lines.len() > ORDER_LINES_MAX {
            return Outcome::Refused(Refused::Malformed);
        }
        let settings = &self.meta.settings;
        let mine = id.slot().get() % settings.groups.max(1) == settings.index;
        let owner = mine && self.owned(id.region()) == Some(epoch);
        if !owner {
            return Outcome::Refused(Refused::NotOwner);
        }
        let seen = self.keys.seen(key);
        if let Seen::Same(target) = seen {
            return Outcome::Replayed(target);
        }
        if let Some(why) = self.erased_since(key) {
            return Outcome::Refused(why);
        }
        // Before another body is called that: a fingerprint under a key that lost says nothing.
        if let Err(why) = self.key_fits(contents.sealed_with, mint.as_ref()) {
            return Outcome::Refused(why);
        }
        match seen {
            Seen::Other => return Outcome::Refused(Refused::RequestIdReused),
            Seen::Lost => return Outcome::Refused(Refused::InDoubt),
            Seen::Never | Seen::Same(_) => {}
        }
        if self.orders.contains(&id) || self.may_have_left(id) {
            return Outcome::Refused(Refused::OrderIdTaken);
        }
        if contents.groups().len() > 64 {
            // One bit per part in a settle result.
            return Outcome::Refused(Refused::TooMany);
        }
        let mut order = self.begun((id, at), &contents, near, |now| open(&contents, epoch, now));
        let target = Target { order: id, first: 0, count: 0 };
        order.heard(heard(at, key, target));
        if let Some(wrapped) = mint {
            self.meta.wraps.get_or_insert(wrapped.by);
            self.subjects.put(contents.sealed_with, wrapped);
        }
        self.insert(at, id, contents, order);
        self.keys.remember(key, at, target);
        Outcome::Done(target)
    }

    pub(super) fn cancel(
        &mut self,
        at: LogTime,
        id: OrderId,
        key: Key,
        reason: String,
        near: Near<'_>,
    ) -> Outcome {
        self.keyed(at, id, key, near, |order, _, now| {
            match &order.goal {
                // Asking twice under another key is the same wish.
                Goal::Undo { why: Why::Cancelled, .. } => {}
                Goal::Undo { .. } => return Err(Refused::NotCancellable),
                Goal::Confirm => {
                    let open = |list: &[Movement]| list.iter().any(|m| m.state.counts());
                    if open(&order.shipments) || open(&order.returns) {
                        return Err(Refused::NotCancellable);
                    }
                    order.goal = Goal::Undo { why: Why::Cancelled, since: now.at };
                    order.cancel_reason = reason;
                }
            }
            Ok(Target { order: now.id, first: 0, count: 0 })
        })
    }

    pub(super) fn ship(
        &mut self,
        at: LogTime,
        id: OrderId,
        key: Key,
        (lines, note): (Vec<(u16, u32)>, Note),
        near: Near<'_>,
    ) -> Outcome {
        self.keyed(at, id, key, near, |order, contents, now| {
            confirmed(order)?;
            let lines = match lines.is_empty() {
                true => unshipped(order, contents),
                false => lines,
            };
            let groups = by_group(contents, &lines)?;
            allocated(order, groups.keys())?;
            for (line, units) in sum(&lines) {
                let ordered = contents.lines.get(usize::from(line)).map_or(0, |l| l.quantity);
                if units > ordered.saturating_sub(Order::moved(&order.shipments, line)) {
                    return Err(Refused::ExceedsOrdered);
                }
            }
            if lines.is_empty() {
                return Err(Refused::ExceedsOrdered);
            }
            let first = order.shipments.len();
            if first + groups.len() > LIST_MAX {
                return Err(Refused::TooMany);
            }
            for (group, lines) in groups {
                let n = order.shipments.len() as u16;
                let id = now.mint(order, "ship", n);
                order
                    .shipments
                    .push(Movement { note: note.clone(), ..movement(id, group, now, lines) });
                now.push(order, Effect::Ship(n));
            }
            Ok(target(now.id, first, order.shipments.len()))
        })
    }

    pub(super) fn take_back(
        &mut self,
        at: LogTime,
        id: OrderId,
        key: Key,
        (lines, note): (&[(u16, u32)], Note),
        near: Near<'_>,
    ) -> Outcome {
        self.keyed(at, id, key, near, |order, contents, now| {
            confirmed(order)?;
            let groups = by_group(contents, lines)?;
            let mut worth = 0_i64;
            for (line, units) in sum(lines) {
                let shipped = order.shipments.iter().filter(|m| m.state == Done::Done);
                let shipped: u32 = shipped
                    .flat_map(|m| &m.lines)
                    .filter(|(place, _)| *place == line)
                    .map(|(_, units)| units)
                    .sum();
                if units > shipped.saturating_sub(Order::asked(&order.returns, line)) {
                    return Err(Refused::ExceedsShipped);
                }
                let price = contents.lines.get(usize::from(line)).map_or(0, |l| l.price_minor);
                worth = worth.saturating_add(price.saturating_mul(i64::from(units)));
            }
            if lines.is_empty() {
                return Err(Refused::NoSuchLine);
            }
            let first = order.returns.len();
            if first + groups.len() > LIST_MAX || order.refunds.len() == LIST_MAX {
                return Err(Refused::TooMany);
            }
            for (group, lines) in groups {
                let n = order.returns.len() as u16;
                let id = now.mint(order, "return", n);
                let elsewhere = order.from_elsewhere(now.settings.region, &lines, None);
                let note = note.clone();
                let back = Movement { note, elsewhere, ..movement(id, group, now, lines) };
                order.returns.push(back);
                now.push(order, Effect::Restock(n));
            }
            // Part of it may have been refunded before, for goodwill.
            let worth = worth.min(order.refundable_minor());
            if worth > 0 {
                let with = order.returns.get(first).map(|movement| movement.id);
                saga::refund(order, worth, RefundCause::Return, with, now);
                note_refund(order, note);
            }
            Ok(target(now.id, first, order.returns.len()))
        })
    }

    pub(super) fn refund(
        &mut self,
        at: LogTime,
        id: OrderId,
        key: Key,
        (amount_minor, note): (i64, Note),
        near: Near<'_>,
    ) -> Outcome {
        self.keyed(at, id, key, near, |order, _, now| {
            confirmed(order)?;
            if amount_minor <= 0 || amount_minor > order.refundable_minor() {
                return Err(Refused::ExceedsCaptured);
            }
            let first = order.refunds.len();
            if first == LIST_MAX {
                return Err(Refused::TooMany);
            }
            saga::refund(order, amount_minor, RefundCause::Asked, None, now);
            note_refund(order, note);
            Ok(target(now.id, first, first + 1))
        })
    }

    /// What people set going is the runner's, near or not: that it goes on is a version of its own,
    /// or what is refused again at once would change the order and show nothing.
    pub(super) fn resume(&mut self, at: LogTime, id: OrderId) -> Outcome {
        let done = self.change(id, at, Near::none(), |order, contents, now| {
            let Some(parked) = order.parked.take() else { return false };
            rewind(order, parked.why, now);
            saga::drive(order, contents, now);
            true
        });
        match done {
            None => Outcome::Refused(self.not_here(id)),
            Some(false) => Outcome::Refused(Refused::NotParked),
            Some(true) => Outcome::Noted,
        }
    }

    /// The frame of each keyed verb: a key that was seen answers as before, one that was refused
    /// is not stored.
    fn keyed(
        &mut self,
        at: LogTime,
        id: OrderId,
        key: Key,
        near: Near<'_>,
        verb: impl FnOnce(&mut Order, &Contents, &mut Now<'_>) -> Verdict,
    ) -> Outcome {
        match self.keys.seen(key) {
            Seen::Same(target) => return Outcome::Replayed(target),
            // What was fingerprinted with the customer's key cannot be compared without it.
            Seen::Other => return Outcome::Refused(self.why_other(id, key)),
            Seen::Lost => return Outcome::Refused(Refused::InDoubt),
            Seen::Never => {}
        }
        let verdict = self.change(id, at, near, |order, contents, now| {
            let was = lists(order);
            let verdict = verb(order, contents, now);
            if let Ok(target) = verdict {
                // What only repeats a wish makes no new version: it is not told to others.
                if lists(order) != was {
                    order.heard(heard(at, key, target));
                }
                saga::drive(order, contents, now);
            }
            verdict
        });
        match verdict {
            None => Outcome::Refused(self.not_here(id)),
            Some(Err(why)) => Outcome::Refused(why),
            Some(Ok(target)) => {
                self.keys.remember(key, at, target);
                Outcome::Done(target)
            }
        }
    }
}

/// A new order with its first steps: reserve every part and hold the funds, at once.
fn open(contents: &Contents, epoch: u64, now: &mut Now<'_>) -> Order {
    let pays = contents.total_minor > 0;
    let mut order = Order {
        created: now.at,
        updated: now.at,
        goal: Goal::Confirm,
        parts: Vec::new(),
        funds: if pays { Funds::Holding } else { Funds::NotNeeded },
        provider: if pays { Provider::Untouched } else { Provider::NotNeeded },
        money: MoneyFacts::default(),
        settled: false,
        shipments: Vec::new(),
        returns: Vec::new(),
        refunds: Vec::new(),
        parked: None,
        cancel_reason: String::new(),
        work: Vec::new(),
        wake: None,
        attempt: 0,
        version: 0,
        last_seq: 0,
        history: Vec::new(),
        requests: Vec::new(),
        began: now.at,
        epoch,
        adopted: None,
        forks: Vec::new(),
    };
    for (n, group) in contents.groups().into_iter().enumerate() {
        let hold = now.mint(&mut order, "reserve", n as u16);
        order.parts.push(Part { group, hold, step: hold, stock: Stock::Reserving });
        now.push(&mut order, Effect::Reserve(n as u8));
    }
    if pays {
        order.money.payment = Some(now.mint(&mut order, "payment", 0));
        order.money.hold = Some(now.mint(&mut order, "hold", 0));
        now.push(&mut order, Effect::HoldFunds);
    }
    saga::drive(&mut order, contents, now);
    order
}

fn confirmed(order: &Order) -> Result<(), Refused> {
    match order.settled && order.goal == Goal::Confirm {
        true => Ok(()),
        false => Err(Refused::NotConfirmed),
    }
}

/// What was taken over may not be reserved here yet: it soon is, or its order parks.
fn allocated<'a>(order: &Order, mut groups: impl Iterator<Item = &'a u16>) -> Result<(), Refused> {
    let committed = |group: &u16| {
        let part = order.parts.iter().find(|part| part.group == *group);
        part.is_none_or(|part| part.stock == Stock::Committed)
    };
    match !order.came() || groups.all(committed) {
        true => Ok(()),
        false if order.parked.is_some() => Err(Refused::NotConfirmed),
        false => Err(Refused::NotAllocated),
    }
}

fn movement(
    id: hansa_types::id::TransferId,
    group: u16,
    now: &Now<'_>,
    lines: Vec<(u16, u32)>,
) -> Movement {
    Movement {
        id,
        group,
        at: now.at,
        lines,
        state: Done::Outstanding,
        version: 0,
        note: Note::default(),
        booked: Some(now.settings.region),
        elsewhere: Vec::new(),
    }
}

/// Of the refund that was just decided.
fn note_refund(order: &mut Order, note: Note) {
    if let Some(refund) = order.refunds.last_mut() {
        refund.note = note;
    }
}

fn heard(at: LogTime, key: Key, Target { first, count, .. }: Target) -> Heard {
    Heard { scope: key.scope, body: key.body, under: None, at, first, count }
}

/// What a request that was granted adds to.
fn lists(order: &Order) -> (usize, usize, usize, bool) {
    let Order { shipments, returns, refunds, .. } = order;
    (shipments.len(), returns.len(), refunds.len(), order.cancel_asked())
}

fn target(order: OrderId, first: usize, end: usize) -> Target {
    Target { order, first: first as u16, count: (end - first) as u16 }
}

/// Every stock unit that is neither shipped nor on its way.
fn unshipped(order: &Order, contents: &Contents) -> Vec<(u16, u32)> {
    let stock = (0_u16..).zip(&contents.lines).filter(|(_, line)| line.stock_group.is_some());
    let left = |(place, line): (u16, &crate::core::contents::Line)| {
        (place, line.quantity.saturating_sub(Order::moved(&order.shipments, place)))
    };
    stock.map(left).filter(|(_, units)| *units > 0).collect()
}

/// Lines asked for twice count together.
fn sum(lines: &[(u16, u32)]) -> BTreeMap<u16, u32> {
    let mut sums: BTreeMap<u16, u32> = BTreeMap::new();
    for (line, units) in lines {
        let sum = sums.entry(*line).or_default();
        *sum = sum.saturating_add(*units);
    }
    sums
}

fn by_group(
    contents: &Contents,
    lines: &[(u16, u32)],
) -> Result<BTreeMap<u16, Vec<(u16, u32)>>, Refused> {
    let mut groups: BTreeMap<u16, Vec<(u16, u32)>> = BTreeMap::new();
    for (line, units) in sum(lines) {
        let known = contents.lines.get(usize::from(line)).filter(|_| units > 0);
        let group = known.and_then(|line| line.stock_group).ok_or(Refused::NoSuchLine)?;
        groups.entry(group).or_default().push((line, units));
    }
    Ok(groups)
}

/// Sets what was refused back to where the saga decides it anew: under new ids, for a refused id
/// is burnt and would answer its old refusal for ever.
fn rewind(order: &mut Order, why: ParkedWhy, now: &mut Now<'_>) {
    for n in 0..order.parts.len() {
        let next = match order.parts[n].stock {
            Stock::Releasing if !order.outstanding(Effect::Release(n as u8)) => {
                Stock::Held { until: now.at }
            }
            Stock::Uncommitting if !order.outstanding(Effect::Uncommit(n as u8)) => {
                Stock::Committed
            }
            Stock::Held { until } if why == ParkedWhy::Unallocated && until <= now.at => {
                Stock::Unallocated
            }
            _ => continue,
        };
        order.parts[n].stock = next;
    }
    if order.funds == Funds::Voiding && !order.outstanding(Effect::VoidFunds) {
        order.funds = Funds::Held;
    }
    if order.funds == Funds::Opening && !order.outstanding(Effect::Open) {
        order.money.step = Some(now.mint(order, "opening", 0));
        now.push(order, Effect::Open);
    }
    match order.provider {
        Provider::Cancelling { settle } if !order.outstanding(Effect::CancelPayment) => {
            order.provider = Provider::Cancelling { settle };
            now.push(order, Effect::CancelPayment);
        }
        Provider::Looking if !order.outstanding(Effect::Lookup) => now.push(order, Effect::Lookup),
        // Captured, but not in the books.
        Provider::Captured if order.funds == Funds::Held => {
            order.money.step = Some(now.mint(order, "capture", 0));
            now.push(order, Effect::Settle);
        }
        // How far it came was never said: the same intent goes out again.
        Provider::Authorized | Provider::NotNeeded
            if why == ParkedWhy::BooksDiffer && !order.settled =>
        {
            now.push(order, Effect::Settle);
        }
        _ => {}
    }
    rewind_returns(order, now);
}

/// Restocks that were refused, and what is owed for goods that came back.
fn rewind_returns(order: &mut Order, now: &mut Now<'_>) {
    for n in 0..order.returns.len() {
        if matches!(order.returns[n].state, Done::Refused(_)) {
            let (old, new) = (order.returns[n].id, now.mint(order, "return", n as u16));
            for refund in order.refunds.iter_mut().filter(|refund| refund.with == Some(old)) {
                refund.with = Some(new);
            }
            let here = now.settings.region;
            let elsewhere = order.from_elsewhere(here, &order.returns[n].lines, Some(n));
            let back = &mut order.returns[n];
            (back.id, back.state) = (new, Done::Outstanding);
            // A former owner may have asked its own books for it.
            (back.booked, back.elsewhere) = (Some(here), elsewhere);
            now.push(order, Effect::Restock(n as u16));
        }
    }
    for n in 0..order.refunds.len() {
        let owed = order.refunds[n].amount_minor.min(order.refundable_minor());
        let refused = matches!(order.refunds[n].state, Done::Refused(_));
        if refused && order.refunds[n].cause == RefundCause::Return && owed > 0 {
            order.refunds[n].id = now.mint(order, "refund", n as u16);
            order.refunds[n].amount_minor = owed;
            order.refunds[n].state = Done::Outstanding;
            now.push(order, Effect::Refund(n as u16));
        }
    }
}
