//! The saga: from facts to the next steps.
//!
//! accept → (reserve every part ∥ hold the funds) → ask the provider → settle (commit stock,
//! capture, book) → confirmed. Any refusal turns the goal to `Undo`, which gives back whatever the
//! facts say was taken, in reverse: provider and stock first, the books' hold last. Nothing but
//! facts is consulted, so a new leader, a late answer and a cancel all take the same road.

mod on;

use hansa_types::id::{OrderId, TransferId};
use hansa_types::seeded::{self, Bug};
use hansa_types::time::LogTime;

use super::contents::Contents;
use super::effect::{Effect, Refusal, RefusalCode, Work};
use super::near::Near;
use super::order::{
    Done, Funds, Goal, Note, Order, Parked, ParkedWhy, Part, Provider, Refund, RefundCause, Reject,
    Stock, Why,
};
use super::settings::Settings;
use super::takeover::refund_id;
pub use on::on;

/// What a decision needs besides the order: when, for which order, by which rules.
pub struct Now<'a> {
    pub at: LogTime,
    pub id: OrderId,
    pub settings: &'a Settings,
    /// The group's counter of work numbers.
    pub next_work: &'a mut u64,
    pub near: Near<'a>,
}

impl Now<'_> {
    pub fn push(&mut self, order: &mut Order, effect: Effect) {
        *self.next_work += 1;
        order.work.push(Work { no: *self.next_work, effect });
    }

    /// The id of a step decided now: a repeat of the step is the same id, another attempt is not.
    pub fn mint(&self, order: &mut Order, step: &str, index: u16) -> TransferId {
        order.attempt += 1;
        minted(self.at, self.id, (step, index), order.attempt)
    }
}

fn minted(at: LogTime, id: OrderId, (step, index): (&str, u16), attempt: u32) -> TransferId {
    let (id, index, attempt) = (id.to_bytes(), index.to_le_bytes(), attempt.to_le_bytes());
    TransferId::derive(at, &[&id, step.as_bytes(), &index, &attempt])
}

/// The [timeless](TransferId::timeless) id of the payment that an order begins with, here or in the
/// epoch in which it was `adopted`. Where books are near no command of theirs names its order: who
/// reads a log finds it by this.
pub fn payment_of(id: OrderId, contents: &Contents, adopted: Option<u64>) -> TransferId {
    // The holds of its parts come first.
    let attempt = adopted.map_or(0, attempts_before) + contents.groups().len() as u32 + 1;
    minted(LogTime::ZERO, id, ("payment", 0), attempt)
}

/// Attempts that an adopted order counts from: the former owner may decide a step at the same time,
/// and neither's id is the other's.
pub fn attempts_before(epoch: u64) -> u32 {
    ((epoch & 0xfff) as u32) << 20
}

/// Pushes whatever the facts now call for. Running it twice pushes nothing more.
pub fn drive(order: &mut Order, contents: &Contents, now: &mut Now<'_>) {
    if order.parked.as_ref().is_some_and(|parked| parked.why.stops()) {
        order.wake = None;
        return;
    }
    if order.goal == Goal::Confirm {
        confirm(order, contents, now);
    }
    if matches!(order.goal, Goal::Undo { .. }) {
        undo(order, now);
    }
    let over = |parked: &Parked| match parked.why {
        ParkedWhy::Stuck => true,
        // An order that waits for stock has nothing to do either.
        ParkedWhy::Unallocated => matches!(order.goal, Goal::Undo { .. }),
        _ => false,
    };
    if order.parked.as_ref().is_some_and(over) && order.closed() {
        order.parked = None;
    }
    if seeded::on(Bug::LostTombstone) && order.cancel_asked() && order.closed() {
        order.goal = Goal::Confirm;
    }
    order.wake = wake(order, now.settings);
}

fn confirm(order: &mut Order, contents: &Contents, now: &mut Now<'_>) {
    if order.came() {
        allocate(order, now);
    }
    if order.settled {
        commit_again(order, contents, now);
        return;
    }
    if let Some(why) = refused(order) {
        order.goal = Goal::Undo { why, since: now.at };
        return;
    }
    let held = order.parts.iter().all(|part| matches!(part.stock, Stock::Held { .. }));
    let funded = matches!(order.funds, Funds::Held | Funds::NotNeeded);
    if !held || !funded {
        return;
    }
    match order.provider {
        Provider::Untouched => {
            order.provider = Provider::Asked;
            now.push(order, Effect::Authorize);
        }
        Provider::Authorized | Provider::NotNeeded if !order.outstanding(Effect::Settle) => {
            settle(order, contents, now);
        }
        _ => {}
    }
}

/// Reserves here what lies in the warehouses of the region that had the order before. Where there
/// is not enough, an order that was confirmed waits for an operator, and is not asked about again
/// before he says so.
fn allocate(order: &mut Order, now: &mut Now<'_>) {
    if order.parked.is_some() {
        return;
    }
    for n in 0..order.parts.len() {
        let again = match order.parts[n].stock {
            Stock::Unallocated => true,
            Stock::Gone | Stock::Refused(_) => order.settled,
            _ => false,
        };
        if again {
            let hold = now.mint(order, "reserve", n as u16);
            order.parts[n] = Part { hold, step: hold, stock: Stock::Reserving, ..order.parts[n] };
            now.push(order, Effect::Reserve(n as u8));
        }
    }
}

/// The last leg of an order that was confirmed in another region: its stock alone.
fn commit_again(order: &mut Order, contents: &Contents, now: &mut Now<'_>) {
    let held = |part: &Part| matches!(part.stock, Stock::Held { .. });
    let ready = |part: &Part| held(part) || part.stock == Stock::Committed;
    let due = order.parts.iter().any(held) && order.parts.iter().all(ready);
    if due && !order.outstanding(Effect::Settle) && order.funds != Funds::Opening {
        settle(order, contents, now);
    }
}

/// Decides the last leg at once: every id in it is minted here, so one entry is the intent of all.
fn settle(order: &mut Order, contents: &Contents, now: &mut Now<'_>) {
    for n in 0..order.parts.len() {
        let step = now.mint(order, "commit", n as u16);
        order.parts[n].step = step;
    }
    if contents.total_minor > 0 && order.funds != Funds::Captured {
        order.money.step = Some(now.mint(order, "capture", 0));
    }
    // An extension decided earlier would race the commit; its answer no longer matters.
    order.work.retain(|work| !matches!(work.effect, Effect::Extend(_)));
    now.push(order, Effect::Settle);
}

fn refused(order: &Order) -> Option<Why> {
    let stock = order.parts.iter().find_map(|part| match &part.stock {
        Stock::Refused(refusal) => Some(Why::Rejected(reject_of(refusal), refusal.clone())),
        Stock::Gone => {
            let why = Refusal::new(RefusalCode::Expired, "stock hold ran out");
            Some(Why::Rejected(Reject::StockExpired, why))
        }
        _ => None,
    });
    stock.or_else(|| match &order.funds {
        Funds::Refused(why) => Some(Why::Rejected(Reject::PaymentRefused, why.clone())),
        _ => match &order.provider {
            Provider::Declined(why) => {
                let why = Refusal::new(RefusalCode::Declined, why);
                Some(Why::Rejected(Reject::PaymentDeclined, why))
            }
            _ => None,
        },
    })
}

pub(super) fn reject_of(refusal: &Refusal) -> Reject {
    match refusal.code {
        RefusalCode::UnknownSku => Reject::UnknownSku,
        RefusalCode::OutOfStock => Reject::OutOfStock,
        RefusalCode::Expired | RefusalCode::Gone => Reject::StockExpired,
        RefusalCode::Declined => Reject::PaymentDeclined,
        RefusalCode::Resolved | RefusalCode::Other => Reject::StockRefused,
    }
}

fn undo(order: &mut Order, now: &mut Now<'_>) {
    // The last leg is one intent: how far it came must be known before a step back.
    if order.outstanding(Effect::Settle) {
        return;
    }
    order.work.retain(|work| !matches!(work.effect, Effect::Extend(_)));
    undo_stock(order, now);
    undo_provider(order, now);
    if order.funds == Funds::Held && order.provider.clear() {
        order.money.step = Some(now.mint(order, "void", 0));
        order.funds = Funds::Voiding;
        now.push(order, Effect::VoidFunds);
    }
}

fn undo_stock(order: &mut Order, now: &mut Now<'_>) {
    for n in 0..order.parts.len() {
        let (next, effect) = match order.parts[n].stock {
            Stock::Held { .. } => (Stock::Releasing, Effect::Release(n as u8)),
            Stock::Committed => (Stock::Uncommitting, Effect::Uncommit(n as u8)),
            Stock::Unallocated => {
                order.parts[n].stock = Stock::Gone;
                continue;
            }
            _ => continue,
        };
        order.parts[n].step = now.mint(order, "undo", n as u16);
        order.parts[n].stock = next;
        now.push(order, effect);
    }
}

fn undo_provider(order: &mut Order, now: &mut Now<'_>) {
    if order.came() && order.provider == Provider::Untouched {
        // Who had the order before may have asked for a charge and told nobody.
        order.provider = Provider::InDoubt { since: now.at };
    }
    match order.provider {
        Provider::InDoubt { .. } => {
            // The durable intent to cancel ends the re-sending of the charge.
            order.work.retain(|work| work.effect != Effect::Authorize);
            let settle = Some(now.at.plus_ms(now.settings.settle_ms));
            order.provider = Provider::Cancelling { settle };
            now.push(order, Effect::CancelPayment);
        }
        Provider::Authorized => {
            order.provider = Provider::Cancelling { settle: None };
            now.push(order, Effect::CancelPayment);
        }
        Provider::Captured if order.funds == Funds::Captured => {
            let amount_minor = order.refundable_minor();
            if amount_minor > 0 {
                // Where somebody else had it, people may have given it back: it is paid once.
                let tail = refund_id(now.id);
                let asked = order.refunds.iter().any(|of| of.key() == tail);
                let key = Some(tail).filter(|_| order.came() && !asked);
                refund(order, amount_minor, RefundCause::Cancel, key, now);
            }
        }
        _ => {}
    }
}

/// Opens a refund; the caller has checked the amount against what is refundable.
pub fn refund(
    order: &mut Order,
    amount_minor: i64,
    cause: RefundCause,
    with: Option<TransferId>,
    now: &mut Now<'_>,
) {
    let index = order.refunds.len() as u16;
    let id = now.mint(order, "refund", index);
    let state = Done::Outstanding;
    order.refunds.push(Refund {
        id,
        at: now.at,
        amount_minor,
        cause,
        with,
        state,
        version: 0,
        note: Note::default(),
    });
    // Books that are not open yet would know of nothing to give back.
    if order.funds != Funds::Opening {
        now.push(order, Effect::Refund(index));
    }
}

pub fn park(order: &mut Order, why: ParkedWhy, detail: String, at: LogTime) {
    // A lesser reason does not take away what stops the order.
    if order.parked.as_ref().is_some_and(|parked| parked.why.stops()) && !why.stops() {
        return;
    }
    order.parked = Some(Parked { at, why, detail });
}

/// When this order next needs to be looked at although nobody reports anything.
fn wake(order: &Order, settings: &Settings) -> Option<LogTime> {
    let stuck = |since: LogTime| {
        let open = order.parked.is_none() && !order.closed();
        open.then(|| since.plus_ms(settings.park_after_ms))
    };
    match &order.goal {
        Goal::Confirm if order.settled && order.work.is_empty() => None,
        Goal::Confirm if order.settled => stuck(order.updated),
        Goal::Confirm if order.outstanding(Effect::Settle) => stuck(order.began),
        Goal::Confirm => {
            let cap = order.began.plus_ms(settings.hold_cap_ms);
            let renew = order.parts.iter().enumerate().filter_map(|(n, part)| match part.stock {
                Stock::Held { until } if !order.outstanding(Effect::Extend(n as u8)) => {
                    Some(renew_at(until, settings))
                }
                _ => None,
            });
            renew.min().map_or(Some(cap), |renew| Some(renew.min(cap)))
        }
        Goal::Undo { since, .. } => match order.provider {
            Provider::Watching { until } => Some(until),
            _ => stuck(*since),
        },
    }
}

fn renew_at(until: LogTime, settings: &Settings) -> LogTime {
    LogTime(until.ms().saturating_sub(settings.hold_ttl_ms / 3))
}

/// What time alone brings: holds to renew, the cap, the settle time, and patience running out.
pub fn on_time(order: &mut Order, contents: &Contents, now: &mut Now<'_>) {
    let settings = now.settings;
    let settling = order.outstanding(Effect::Settle);
    match order.goal.clone() {
        Goal::Confirm if order.settled => stuck(order, order.updated, now),
        Goal::Confirm if settling => stuck(order, order.began, now),
        Goal::Confirm if now.at >= order.began.plus_ms(settings.hold_cap_ms) => {
            let why = Refusal::new(RefusalCode::Expired, "no answer in time");
            if order.provider == Provider::Asked {
                // Nobody said that it is in doubt, but the cap cannot wait for that.
                order.provider = Provider::InDoubt { since: now.at };
            }
            let reason = match order.provider.clear() {
                true => Reject::StockExpired,
                false => Reject::PaymentInDoubt,
            };
            order.goal = Goal::Undo { why: Why::Rejected(reason, why), since: now.at };
        }
        Goal::Confirm => extend(order, now),
        Goal::Undo { since, .. } => match order.provider {
            Provider::Watching { until } if until <= now.at => {
                order.provider = Provider::Looking;
                now.push(order, Effect::Lookup);
            }
            _ => stuck(order, since, now),
        },
    }
    drive(order, contents, now);
}

fn extend(order: &mut Order, now: &mut Now<'_>) {
    for n in 0..order.parts.len() {
        let due = match order.parts[n].stock {
            Stock::Held { until } => renew_at(until, now.settings) <= now.at,
            _ => false,
        };
        if due && !order.outstanding(Effect::Extend(n as u8)) {
            order.parts[n].step = now.mint(order, "extend", n as u16);
            now.push(order, Effect::Extend(n as u8));
        }
    }
}

fn stuck(order: &mut Order, since: LogTime, now: &Now<'_>) {
    let late = now.at >= since.plus_ms(now.settings.park_after_ms);
    if late && order.parked.is_none() && !order.closed() {
        park(order, ParkedWhy::Stuck, "not resolved in time".to_owned(), now.at);
    }
}
