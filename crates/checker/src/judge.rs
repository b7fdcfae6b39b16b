//! Everything at once: what a harness calls.

use std::collections::BTreeMap;
use std::fmt;

use crate::final_state::FinalState;
use crate::history::{Answer, Call, History, Op, Outcome};
use crate::invariants::{self, Settled};
use crate::life::{Life, lives};
use crate::loss::Loss;
use crate::verdict::Verdict;
use crate::watch::Stream;
use crate::{order, payment, request, stock, watch};

/// Steps of search for one key, payment or id: seconds, not minutes.
pub const BUDGET: u64 = 5_000_000;

/// The same once something has failed for sure: more reasons are welcome, and not waited for.
pub const BUDGET_AFTER: u64 = 100_000;

/// The client of the reads in the end.
pub(crate) const JUDGE: u32 = u32::MAX;

/// What was checked, and what came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judgement {
    pub verdict: Verdict,
    pub ops: usize,
    /// Ops with an effect that nobody knows of.
    pub unknown: usize,
    pub keys: usize,
    pub orders: usize,
    pub streams: usize,
    /// Invariants of the state after the heal, by name, and how often each was looked at.
    pub settled: BTreeMap<String, usize>,
}

impl Judgement {
    /// Checks that were made, by class.
    #[must_use]
    pub fn checks(&self) -> [(&'static str, usize); 5] {
        [
            ("checked histories of stock keys", self.keys),
            ("checked histories of payments", self.orders),
            ("checked lives of orders", self.orders),
            ("checked watch streams", self.streams),
            ("checked invariants of a settled league", self.settled.values().sum()),
        ]
    }
}

/// Judges a run: its history, its watch streams and the state after it has healed.
///
/// The final reads also end the history: a value that comes back after the last client has left is
/// seen by the same checks as one that comes back before.
#[must_use]
pub fn judge(
    history: &History,
    streams: &[Stream],
    state: Option<&FinalState>,
    budget: u64,
) -> Judgement {
    let whole = with_final_reads(history, state);
    let lives = lives(&whole);
    let none = Loss::default();
    let loss = state.map_or(&none, |state| &state.loss);
    let mut keys = whole.stock_keys();
    // Who holds what where depends on who owned the order when: the sums are checked in the end.
    keys.retain(|key| !loss.shares(key));
    // Quick, and so done first.
    let settled = state.map_or(Verdict::Pass, |state| {
        invariants::check(Settled { history: &whole, lives: &lives, state })
    });
    let budget = if settled.failed() { budget.min(BUDGET_AFTER) } else { budget };
    let mut verdict: Verdict =
        keys.iter().map(|key| stock::check(&whole, &lives, key, budget)).collect();
    let follows = |life: &&Life<'_>| !loss.forced && !life.name.is_some_and(|n| loss.listed(n));
    let payments = lives.iter().filter(follows).map(|life| payment::check(&whole, life, budget));
    verdict = payments.fold(verdict, Verdict::and);
    verdict = verdict.and(request::check(&whole, budget));
    verdict = verdict.and(order::check(&whole, &lives, loss));
    let watched = streams.iter().filter(|stream| !loss.listed(&stream.order));
    verdict = verdict.and(watch::check(watched, &whole));
    Judgement {
        verdict: verdict.and(settled),
        ops: history.ops.len(),
        unknown: history.unknown(),
        keys: keys.len(),
        orders: lives.len(),
        streams: streams.len(),
        settled: state.map(invariants::looked_at).unwrap_or_default(),
    }
}

/// The history with the final reads after everything else: what is judged.
#[must_use]
pub fn with_final_reads(history: &History, state: Option<&FinalState>) -> History {
    let mut whole = history.clone();
    let Some(state) = state else { return whole };
    let stamps = history.ops.iter().flat_map(|op| [op.invoked, op.returned.unwrap_or(0)]);
    let end = stamps.max().unwrap_or(0).max(state.read_at);
    // Orders and payments at one instant, stock after them: reads of one instant overlap, and what
    // they prove has one deadline, which spares the search a choice.
    let mut read = |at: u64, call: Call, answer: Answer| {
        let id = whole.ops.len() as u64;
        let (invoked, returned, outcome) = (at, Some(at + 1), Outcome::Known(answer));
        whole.ops.push(Op { id, client: JUDGE, call, invoked, returned, outcome });
    };
    for (order, seen) in &state.orders {
        let seen = seen.clone().map(Box::new);
        read(end + 1, Call::ReadOrder { order: order.clone() }, Answer::OrderRead { seen });
    }
    for (order, seen) in &state.payments {
        let answer = Answer::PaymentRead { seen: seen.clone() };
        read(end + 1, Call::ReadPayment { order: order.clone() }, answer);
    }
    for (key, seen) in &state.stock {
        let answer = Answer::StockRead { seen: Some(*seen) };
        read(end + 3, Call::ReadStock { stock: key.clone() }, answer);
    }
    whole
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verdict, ops, unknown, keys, orders, streams, settled: _ } = self;
        write!(
            f,
            "{ops} ops ({unknown} unknown), {keys} stock keys, {orders} orders, {streams} \
             streams: {verdict}"
        )
    }
}
