//! From the result of a step to facts.

use hansa_types::seeded::{self, Bug};
use hansa_types::time::LogTime;

use crate::core::contents::Contents;
use crate::core::effect::{Effect, Refusal, RefusalCode, SettleResult, StepResult};
use crate::core::order::{Done, Funds, Goal, Order, ParkedWhy, Provider, RefundCause, Stock, Why};

use super::{Now, drive, park, reject_of};

/// Takes in what came of step `no`, then decides what follows.
///
/// A result of a step that is not outstanding is late or repeated, and moves nothing. One that
/// does not fit its step is a fault of the runner and moves nothing either.
pub fn on(order: &mut Order, contents: &Contents, no: u64, result: StepResult, now: &mut Now<'_>) {
    let Some(at) = order.work.iter().position(|work| work.no == no) else { return };
    let effect = order.work[at].effect;
    if in_doubt(order, effect, &result, now.at) {
        drive(order, contents, now);
        return;
    }
    order.work.remove(at);
    match effect {
        Effect::Reserve(n) | Effect::Extend(n) => {
            let until = now.at.plus_ms(now.settings.hold_ttl_ms);
            let part = &mut order.parts[usize::from(n)];
            part.stock = part.stock.clone().held(effect, result, until);
            if order.settled {
                not_allocated(order, usize::from(n), now.at);
            }
        }
        Effect::Open => opened(order, result, now),
        Effect::Release(n) | Effect::Uncommit(n) => stock_undone(order, n, result, now.at),
        Effect::HoldFunds => {
            order.funds = match result {
                StepResult::Refused(why) => Funds::Refused(why),
                _ => Funds::Held,
            }
        }
        Effect::VoidFunds => funds_void(order, result, now.at),
        Effect::Authorize => authorized(order, contents, result, now.at),
        Effect::CancelPayment | Effect::Lookup => cancelled(order, effect, result, now),
        Effect::Settle => settled(order, contents, result, now.at),
        Effect::Refund(n) => refunded(order, n, result, now.at),
        Effect::Ship(n) => order.shipments[usize::from(n)].state = done(result),
        Effect::Restock(n) => restocked(order, n, result, now.at),
    }
    drive(order, contents, now);
}

/// "In doubt" is news, not an end: the step stays outstanding and is sent again.
fn in_doubt(order: &mut Order, effect: Effect, result: &StepResult, at: LogTime) -> bool {
    let doubt = *result == StepResult::InDoubt;
    // An unknown state never overwrites a known one.
    if doubt && effect == Effect::Authorize && order.provider == Provider::Asked {
        order.provider = Provider::InDoubt { since: at };
    }
    doubt
}

impl Stock {
    fn held(self, effect: Effect, result: StepResult, until: LogTime) -> Self {
        match (self, effect, result) {
            (Self::Reserving, Effect::Reserve(_), StepResult::Done) => Self::Held { until },
            (Self::Reserving, Effect::Reserve(_), StepResult::Refused(why)) => Self::Refused(why),
            // An odd answer: what may be held runs out by itself, the order must not wait for it.
            (Self::Reserving, Effect::Reserve(_), _) => {
                Self::Refused(Refusal::new(RefusalCode::Other, "odd answer"))
            }
            (Self::Held { .. }, Effect::Extend(_), StepResult::Done) => Self::Held { until },
            (Self::Held { .. }, Effect::Extend(_), StepResult::Refused(why))
                if why.code != RefusalCode::Other =>
            {
                Self::Gone
            }
            // At the ledger's cap: it runs out there unless it is committed first. Not asked again
            // before it would be due, or each tick would ask.
            (Self::Held { .. }, Effect::Extend(_), _) => Self::Held { until },
            (stock, ..) => stock,
        }
    }
}

/// An order that another region confirmed is not rejected for want of stock here: it waits.
fn not_allocated(order: &mut Order, n: usize, at: LogTime) {
    let detail = match &order.parts[n].stock {
        Stock::Refused(why) => format!("{:?} {}", why.code, why.sku),
        Stock::Gone => "the hold ran out".to_owned(),
        _ => return,
    };
    if order.goal == Goal::Confirm {
        order.parts[n].stock = Stock::Unallocated;
        park(order, ParkedWhy::Unallocated, detail, at);
    }
}

/// The books hold what the former ones said: what waited for them goes on.
fn opened(order: &mut Order, result: StepResult, now: &mut Now<'_>) {
    if let StepResult::Refused(why) = result {
        park(order, ParkedWhy::BooksDiffer, why.detail, now.at);
        return;
    }
    order.funds = Funds::Captured;
    for n in 0..order.refunds.len() {
        let waits = order.refunds[n].state == Done::Outstanding;
        if waits && !order.outstanding(Effect::Refund(n as u16)) {
            now.push(order, Effect::Refund(n as u16));
        }
    }
}

fn done(result: StepResult) -> Done {
    match result {
        StepResult::Refused(why) => Done::Refused(why),
        _ => Done::Done,
    }
}

fn stock_undone(order: &mut Order, n: u8, result: StepResult, at: LogTime) {
    let releasing = order.parts[usize::from(n)].stock == Stock::Releasing;
    let gone = |why: &Refusal| matches!(why.code, RefusalCode::Gone | RefusalCode::Expired);
    match result {
        // It was committed after all, by a step whose answer was never known.
        StepResult::Refused(why) if releasing && why.code == RefusalCode::Resolved => {
            order.parts[usize::from(n)].stock = Stock::Committed;
        }
        StepResult::Refused(why) if !(releasing && gone(&why)) => {
            park(order, ParkedWhy::CompensationRefused, why.detail, at);
        }
        _ => order.parts[usize::from(n)].stock = Stock::Gone,
    }
}

fn funds_void(order: &mut Order, result: StepResult, at: LogTime) {
    match result {
        StepResult::Refused(why)
            if !matches!(why.code, RefusalCode::Gone | RefusalCode::Expired) =>
        {
            park(order, ParkedWhy::CompensationRefused, why.detail, at);
        }
        _ => order.funds = Funds::Void,
    }
}

fn authorized(order: &mut Order, contents: &Contents, result: StepResult, at: LogTime) {
    let waiting = matches!(order.provider, Provider::Asked | Provider::InDoubt { .. });
    match result {
        StepResult::Authorized(reference) if waiting => {
            order.provider = Provider::Authorized;
            order.money.authorized_minor = contents.total_minor;
            order.money.reference = reference;
        }
        StepResult::Declined(why) if waiting => order.provider = Provider::Declined(why),
        StepResult::Refused(why) if waiting => order.provider = Provider::Declined(why.detail),
        // An odd answer says nothing of the charge; the cap gives it up by its key.
        _ if waiting => order.provider = Provider::InDoubt { since: at },
        _ => {}
    }
}

fn cancelled(order: &mut Order, effect: Effect, result: StepResult, now: &mut Now<'_>) {
    match (effect, result) {
        (Effect::CancelPayment, StepResult::Done) => {
            order.provider = Provider::Void;
            if seeded::on(Bug::CaptureAfterVoid) {
                order.money.captured_minor = order.money.authorized_minor;
            }
        }
        (Effect::CancelPayment, StepResult::NotFound) => {
            order.provider = match order.provider {
                // The charge may still be on its way: only a question asked after the settle time,
                // counted from this answer, is believed. The cancel may have waited for long.
                Provider::Cancelling { settle: Some(_) } => {
                    Provider::Watching { until: now.at.plus_ms(now.settings.settle_ms) }
                }
                _ => Provider::Void,
            }
        }
        (Effect::Lookup, StepResult::Authorized(reference)) => {
            // The charge appeared after all: the saga itself gives it back.
            order.money.reference = reference;
            order.provider = Provider::Cancelling { settle: Some(now.at) };
            now.push(order, Effect::CancelPayment);
        }
        (Effect::Lookup, StepResult::NotFound | StepResult::Declined(_)) => {
            order.provider = Provider::Void;
        }
        (_, StepResult::Refused(why)) => {
            park(order, ParkedWhy::CompensationRefused, why.detail, now.at);
        }
        (_, _) => park(order, ParkedWhy::CompensationRefused, "odd answer".to_owned(), now.at),
    }
}

fn settled(order: &mut Order, contents: &Contents, result: StepResult, at: LogTime) {
    let StepResult::Settled(SettleResult { committed, captured, booked, refusal }) = result else {
        park(order, ParkedWhy::BooksDiffer, "odd answer".to_owned(), at);
        return;
    };
    for (n, part) in order.parts.iter_mut().enumerate() {
        if committed >> n & 1 == 1 {
            part.stock = Stock::Committed;
        }
    }
    if captured {
        order.provider = Provider::Captured;
        order.money.captured_minor = contents.total_minor;
    }
    if booked {
        order.funds = Funds::Captured;
    }
    if order.settled {
        // Confirmed in another region: only stock was at stake.
        settled_again(order, refusal, at);
        return;
    }
    match refusal {
        None => order.settled = true,
        Some(why) if order.provider == Provider::Captured => {
            park(order, ParkedWhy::BooksDiffer, why.detail, at)
        }
        Some(why) => refuse_settle(order, why, at),
    }
}

fn settled_again(order: &mut Order, refusal: Option<Refusal>, at: LogTime) {
    if refusal.is_none() {
        return;
    }
    for n in 0..order.parts.len() {
        if matches!(order.parts[n].stock, Stock::Held { .. }) {
            // What may be held still runs out by itself.
            order.parts[n].stock = Stock::Gone;
            not_allocated(order, n, at);
        }
    }
}

/// Commit or capture refused before money moved: the way back is open.
fn refuse_settle(order: &mut Order, why: Refusal, at: LogTime) {
    let reason = reject_of(&why);
    // A cancel that came meanwhile keeps its own reason.
    if order.goal == Goal::Confirm {
        order.goal = Goal::Undo { why: Why::Rejected(reason, why), since: at };
    }
}

fn refunded(order: &mut Order, n: u16, result: StepResult, at: LogTime) {
    let refund = &mut order.refunds[usize::from(n)];
    if let StepResult::Unbooked(why) = result {
        // The buyer has the money: it counts, or it would be given back again.
        refund.state = Done::Done;
        order.money.refunded_minor += refund.amount_minor;
        park(order, ParkedWhy::BooksDiffer, why.detail, at);
        return;
    }
    refund.state = done(result);
    match &refund.state {
        Done::Done => order.money.refunded_minor += refund.amount_minor,
        Done::Refused(why) if refund.cause != RefundCause::Asked => {
            let detail = why.detail.clone();
            park(order, ParkedWhy::RefundRefused, detail, at);
        }
        _ => {}
    }
}

fn restocked(order: &mut Order, n: u16, result: StepResult, at: LogTime) {
    order.returns[usize::from(n)].state = done(result);
    if let Done::Refused(why) = &order.returns[usize::from(n)].state {
        let detail = why.detail.clone();
        park(order, ParkedWhy::CompensationRefused, detail, at);
    }
}
