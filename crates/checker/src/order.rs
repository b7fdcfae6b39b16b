//! One order's life: it never goes back, and what was acknowledged is found.
//!
//! An order is a register whose versions only grow, so its history needs no search: of two answers
//! that do not overlap the later one shows no smaller version, one version is one content wherever
//! it is read, and each version follows from the one before by a legal move. Invariant 7 is the
//! same claim from the other side: once an answer has shown the order, no later linearizable read
//! may miss it, and its content stays what was placed. Nothing may be seen that nobody asked for (a
//! cancelled order without a cancel, more shipped than all shipments say).
//!
//! # Soundness
//! Answers of OrderService and PaymentService at the home are linearizable; copies in other regions
//! ([`Call::ReadCopy`]) may lag and are held to their version's content only.

use std::collections::BTreeMap;

use crate::history::{Answer, Call, History, Op, Outcome, Units};
use crate::judge::JUDGE;
use crate::life::{Life, View};
use crate::loss::Loss;
use crate::payment;
use crate::requests::Request;
use crate::seen::{LineSeen, OrderSeen, OrderState, PaymentState};
use crate::trace::line;
use crate::verdict::{Reason, Verdict};

const CHECK: &str = "order";

/// Checks every order of a history.
#[must_use]
pub fn check(history: &History, lives: &[Life<'_>], loss: &Loss) -> Verdict {
    let mut by_order: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
    for op in &history.ops {
        if let Some(order) = op.call.order() {
            by_order.entry(order).or_default().push(op);
        }
    }
    let mut wrong = Vec::new();
    for life in lives {
        let Some(name) = life.name else { continue };
        let ops = by_order.get(name).map_or(&[][..], Vec::as_slice);
        content(life, name, &mut wrong);
        if loss.listed(name) {
            continue;
        }
        asked(life, name, &mut wrong);
        let last: Vec<&Op> = ops.iter().copied().filter(|op| op.client == JUDGE).collect();
        // Who has not heard of being taken over says what it knows; in the end everybody has heard.
        found(life, name, if loss.forced { &last } else { ops }, &mut wrong);
        versions(life, name, ops, !loss.forced, &mut wrong);
        forward(life, name, &mut wrong);
    }
    Verdict::of(wrong)
}

/// Once seen, never missed.
fn found(life: &Life<'_>, name: &str, ops: &[&Op], wrong: &mut Vec<Reason>) {
    let Some(shown) = life.views.first() else { return };
    let pays = life.place.is_some_and(|place| place.total_minor > 0);
    for op in ops.iter().filter(|op| op.invoked > shown.at) {
        let missed = match (&op.call, &op.outcome) {
            (Call::ReadCopy { .. }, _) => false,
            (_, Outcome::Known(Answer::OrderRead { seen: None })) => true,
            (_, Outcome::Known(answer)) => pays && payment::none_found(answer),
            (_, Outcome::Refused { reason }) => {
                reason == "ORDER_NOT_FOUND" || pays && reason == "PAYMENT_NOT_FOUND"
            }
            (_, Outcome::Unknown { .. }) => false,
        };
        if missed {
            let what = "was acknowledged and is not found";
            wrong.push(Reason::new(CHECK, name, what).with(vec![line(shown.op), line(op)]));
        }
    }
}

/// What is shown is what was placed.
fn content(life: &Life<'_>, name: &str, wrong: &mut Vec<Reason>) {
    let (Some(place), Some(op)) = (life.place, life.op) else { return };
    for view in &life.views {
        let seen = view.seen;
        let lines = seen.lines.len() == place.lines.len()
            && seen.lines.iter().zip(&place.lines).all(|(seen, placed)| {
                let sku = placed.stock.as_ref().is_none_or(|stock| stock.sku == seen.sku);
                sku && (seen.quantity, seen.price_minor) == (placed.quantity, placed.price_minor)
            });
        if !lines || seen.total_minor != place.total_minor || seen.reference != place.reference {
            let what = "is not what was placed";
            wrong.push(Reason::new(CHECK, name, what).with(vec![line(op), line(view.op)]));
            return;
        }
    }
}

/// Each version is one content; and they grow with real time where answers are linearizable.
fn versions(life: &Life<'_>, name: &str, ops: &[&Op], linear: bool, wrong: &mut Vec<Reason>) {
    let copies = ops.iter().filter(|op| matches!(op.call, Call::ReadCopy { .. }));
    let copies = copies.filter_map(|op| op.order_seen().map(|(seen, at)| View { op, at, seen }));
    let mut contents: BTreeMap<u64, View<'_>> = BTreeMap::new();
    for view in life.views.iter().copied().chain(copies) {
        let first = *contents.entry(view.seen.version).or_insert(view);
        if !same(first.seen, view.seen) {
            let what = format!("two contents of version {}", view.seen.version);
            wrong.push(Reason::new(CHECK, name, what).with(vec![line(first.op), line(view.op)]));
            return;
        }
    }
    if !linear {
        return;
    }
    let mut begun: Vec<&View<'_>> = life.views.iter().collect();
    begun.sort_by_key(|view| view.op.invoked);
    let mut over = life.views.iter().peekable();
    let mut newest: Option<&View<'_>> = None;
    for view in begun {
        while let Some(done) = over.next_if(|done| done.at < view.op.invoked) {
            if newest.is_none_or(|newest| newest.seen.version < done.seen.version) {
                newest = Some(done);
            }
        }
        if let Some(newest) = newest.filter(|newest| newest.seen.version > view.seen.version) {
            let (new, old) = (newest.seen.version, view.seen.version);
            let what = format!("a stale answer: version {old} after version {new}");
            wrong.push(Reason::new(CHECK, name, what).with(vec![line(newest.op), line(view.op)]));
            return;
        }
    }
}

/// Two readings of one version. What the law may hide in a copy (prices, money) is compared where
/// both show it; why an order is parked may be said better later on.
pub(crate) fn same(a: &OrderSeen, b: &OrderSeen) -> bool {
    let face = |seen: &OrderSeen| (seen.state, seen.fulfillment);
    let lines = |seen: &OrderSeen| -> Vec<(u32, String, u32, u32, u32)> {
        let line = |l: &LineSeen| (l.line, l.sku.clone(), l.quantity, l.shipped, l.returned);
        seen.lines.iter().map(line).collect()
    };
    let money = a.money == b.money || a.money.is_none() || b.money.is_none();
    // A law that keeps the amounts from a reader may keep from him how far they are paid, too.
    let unpaid =
        |seen: &OrderSeen| seen.money.is_none() && seen.payment_state == PaymentState::None;
    let paid = a.payment_state == b.payment_state || unpaid(a) || unpaid(b);
    money && paid && face(a) == face(b) && a.rejected == b.rejected && lines(a) == lines(b)
}

/// Each version follows from the one before.
fn forward(life: &Life<'_>, name: &str, wrong: &mut Vec<Reason>) {
    let mut views: Vec<&View<'_>> = life.views.iter().collect();
    views.sort_by_key(|view| view.seen.version);
    // Parking hides the state, it does not change it.
    let mut settled: Option<&View<'_>> = None;
    for pair in views.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        if before.seen.state != OrderState::Parked {
            settled = Some(before);
        }
        let legal = settled.is_none_or(|from| may_become(from.seen.state, after.seen.state));
        if !legal || !grows(before.seen, after.seen) {
            let what = "goes back";
            let from = if legal { before } else { settled.unwrap_or(before) };
            wrong.push(Reason::new(CHECK, name, what).with(vec![line(from.op), line(after.op)]));
            return;
        }
    }
}

fn may_become(from: OrderState, to: OrderState) -> bool {
    match (from, to) {
        (_, OrderState::Parked) | (OrderState::Pending | OrderState::Parked, _) => true,
        (OrderState::Confirmed, to) => {
            matches!(to, OrderState::Confirmed | OrderState::Completed | OrderState::Cancelled)
        }
        (OrderState::Completed | OrderState::Rejected | OrderState::Cancelled, to) => from == to,
    }
}

fn grows(before: &OrderSeen, after: &OrderSeen) -> bool {
    let money = match (before.money, after.money) {
        (Some(a), Some(b)) => {
            let more = a.authorized <= b.authorized && a.captured <= b.captured;
            more && a.refunded <= b.refunded
        }
        _ => true,
    };
    let lines = before.lines.iter().zip(&after.lines);
    let moved = lines.into_iter().all(|(a, b)| a.shipped <= b.shipped && a.returned <= b.returned);
    money && moved
}

/// Nothing is seen that nobody asked for.
fn asked(life: &Life<'_>, name: &str, wrong: &mut Vec<Reason>) {
    for view in &life.views {
        let seen = view.seen;
        let before = |request: &&Request<'_>| request.from().is_some_and(|from| from < view.at);
        let cancelled = life.cancels.iter().any(|request| before(&request));
        let mut odd = None;
        if seen.state == OrderState::Cancelled && !cancelled {
            odd = Some("is cancelled, and nobody asked for it".to_owned());
        }
        for line in &seen.lines {
            let shipped = units(life.ships.iter().filter(before), line.line, line.quantity);
            let returned = units(life.returns.iter().filter(before), line.line, 0);
            if line.shipped > shipped.min(line.quantity) || line.returned > returned {
                odd = Some(format!("line {}: more moved than was asked for", line.line));
            }
            if line.returned > line.shipped {
                odd = Some(format!("line {}: more returned than was shipped", line.line));
            }
        }
        if let Some(money) = seen.money {
            let capped = money.refunded <= money.captured && money.captured <= money.authorized;
            if !capped || money.authorized > seen.total_minor {
                odd = Some("its amounts exceed each other".to_owned());
            }
        }
        if let Some(what) = odd {
            wrong.push(Reason::new(CHECK, name, what).with(vec![line(view.op)]));
            return;
        }
    }
}

/// Units of a line that the requests ask for; `rest` for one that names no lines.
fn units<'a>(requests: impl Iterator<Item = &'a Request<'a>>, line: u32, rest: u32) -> u32 {
    let of = |units: &[Units]| match units.is_empty() {
        true => rest,
        false => units.iter().filter(|u| u.line == line).map(|u| u.quantity).sum(),
    };
    requests
        .map(|request| match request.call {
            Call::Ship { lines, .. } | Call::Return { lines, .. } => of(lines),
            _ => 0,
        })
        .fold(0, u32::saturating_add)
}

#[cfg(test)]
mod tests;
