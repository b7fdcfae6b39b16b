//! One payment: do the amounts that were read follow from what was asked?
//!
//! # The model
//! Three numbers: authorized, captured, refunded. The saga authorizes the order's total once, then
//! captures it once; every refund, return and cancel that was asked for may add to refunded, once.
//! None of these has a deadline: a step that no read shows may still be on its way. Reads are those
//! of GetPayment and of every answer that shows the order with its money, each at one moment of its
//! window.
//!
//! # Soundness
//! A refund gives its amount. A return gives what its units cost, or what is left to refund when
//! that is less; a cancel gives what is left. What is left depends on which other requests were
//! decided before, so every such sum is allowed. It catches: amounts that go back (lost or stale),
//! a capture or refund that happened twice, amounts nobody asked for. What should have happened by
//! the end is the settled checks' business ([`crate::invariants`]).

use crate::history::{Answer, Call, History};
use crate::life::Life;
use crate::requests::Request;
use crate::seen::Money;
use crate::trace::Labelled;
use crate::verdict::Verdict;
use crate::wgl::{Entry, Model, class};

/// Sums that other requests on one payment may come to, above which it is not checked.
const SUMS_MAX: usize = 10_000;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    Authorize(i64),
    Capture(i64),
    /// One of these amounts.
    Refund(Vec<i64>),
    Read(Money),
}

#[derive(Clone, Copy, Debug)]
pub struct OnePayment;

impl Model for OnePayment {
    type State = Money;
    type Op = Step;

    fn initial(&self) -> Money {
        Money::default()
    }

    fn step(&self, state: &Money, step: &Step, next: &mut Vec<Money>) {
        match step {
            Step::Authorize(n) => next.push(Money { authorized: *n, ..*state }),
            Step::Capture(n) => next.push(Money { captured: *n, ..*state }),
            Step::Refund(amounts) => next.extend(
                amounts
                    .iter()
                    .map(|n| Money { refunded: state.refunded + n, ..*state })
                    .filter(|money| money.refunded <= money.captured),
            ),
            Step::Read(seen) => next.extend((seen == state).then_some(*state)),
        }
    }
}

/// Checks the payment of one order.
#[must_use]
pub fn check(history: &History, life: &Life<'_>, budget: u64) -> Verdict {
    let (Some(name), Some(place)) = (life.name, life.place) else { return Verdict::Pass };
    if place.total_minor == 0 {
        return Verdict::Pass;
    }
    match entries(history, life, name, place.total_minor) {
        Ok(entries) => Labelled::verdict("payment", name, &OnePayment, &entries, budget),
        Err(why) => Verdict::unknown(format!("payment {name}: {why}")),
    }
}

fn entries(
    history: &History,
    life: &Life<'_>,
    name: &str,
    total: i64,
) -> Result<Vec<Labelled<Step>>, String> {
    let Some(op) = life.op else { return Err("nobody placed it".to_owned()) };
    let mut entries = vec![
        Labelled::of(op, "authorizes", Entry::open(Step::Authorize(total), life.from)),
        Labelled::of(op, "captures", Entry::open(Step::Capture(total), life.from).after(0)),
    ];
    let asked: Vec<&Request<'_>> =
        life.refunds.iter().chain(&life.returns).chain(&life.cancels).collect();
    for (n, request) in asked.iter().enumerate() {
        let others = asked.iter().enumerate().filter(|(other, _)| *other != n);
        let others = others.filter_map(|(_, other)| worth(life, other)).collect::<Vec<_>>();
        let amounts = amounts(request, worth(life, request), &others, total)?;
        let Some(from) = request.from().filter(|_| !amounts.is_empty()) else { continue };
        let class = class(&amounts);
        let entry = Entry::open(Step::Refund(amounts), from).after(1).twin(class, u64::MAX);
        entries.push(Labelled::of(request.first(), "refunds", entry));
    }
    for view in &life.views {
        if let Some(money) = view.seen.money {
            let read = Entry::done(Step::Read(money), view.op.invoked, view.at);
            entries.push(Labelled::of(view.op, "shows", read));
        }
    }
    for op in history.ops.iter().filter(|op| op.call.order() == Some(name)) {
        let Some((seen, at)) = op.payment_seen() else { continue };
        entries.push(Labelled::of(
            op,
            "shows",
            Entry::done(Step::Read(seen.money), op.invoked, at),
        ));
    }
    Ok(entries)
}

/// What a request gives back by itself; `None`: whatever is left.
fn worth(life: &Life<'_>, request: &Request<'_>) -> Option<i64> {
    match request.call {
        Call::Refund { amount_minor, .. } => Some(*amount_minor),
        Call::Return { lines, .. } => {
            let ordered = life.place.map_or(&[][..], |place| &place.lines);
            let price = |line: u32| {
                let place = (line as usize).checked_sub(1).and_then(|place| ordered.get(place));
                place.map_or(0, |line| line.price_minor)
            };
            Some(lines.iter().map(|l| price(l.line) * i64::from(l.quantity)).sum())
        }
        _ => None,
    }
}

/// Every amount that the request may come to.
fn amounts(
    request: &Request<'_>,
    worth: Option<i64>,
    others: &[i64],
    total: i64,
) -> Result<Vec<i64>, String> {
    if let (Call::Refund { .. }, Some(worth)) = (request.call, worth) {
        return Ok(vec![worth]);
    }
    let mut sums = vec![0];
    for other in others {
        let more = sums.iter().map(|sum| sum + other).filter(|sum| *sum < total);
        sums.extend(more.collect::<Vec<i64>>());
        sums.sort_unstable();
        sums.dedup();
        if sums.len() > SUMS_MAX {
            return Err("too many ways to share one payment".to_owned());
        }
    }
    let left = |sum: &i64| (total - sum).min(worth.unwrap_or(i64::MAX));
    let mut amounts: Vec<i64> = sums.iter().map(left).filter(|n| *n > 0).collect();
    amounts.sort_unstable();
    amounts.dedup();
    Ok(amounts)
}

/// Whether a read of a payment that must exist found none; for [`crate::order`].
pub(crate) fn none_found(answer: &Answer) -> bool {
    matches!(answer, Answer::PaymentRead { seen: None })
}
