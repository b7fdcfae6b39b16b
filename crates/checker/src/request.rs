//! One request id: one effect at most, however often and in how many words it is sent.
//!
//! # The model
//! An id in its scope (caller, method, customer: ids of a history are unique across customers) is
//! one object. It is unused, or used for one body with one target. An answer that is no replay
//! finds it unused, or a later answer could show two effects; a replay finds the same body and the
//! same target; `REQUEST_ID_REUSED` finds another body.
//!
//! # Soundness
//! A replay may also be the *first* answer: a hop that lost its response sends the call again, and
//! the client hears of the second sending only. Refusals other than `REQUEST_ID_REUSED` store
//! nothing and say nothing. The history is shorter than the lifetime of ids.

use std::collections::BTreeMap;

use crate::history::{Answer, Call, History, Op, Outcome};
use crate::trace::Labelled;
use crate::verdict::Verdict;
use crate::wgl::{Entry, Model};

/// What an id is used for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Used {
    body: usize,
    /// The order that it became, once an answer said so.
    target: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Sent, and never heard of.
    Sent {
        body: usize,
    },
    Answered {
        body: usize,
        target: Option<String>,
        replayed: bool,
    },
    /// `REQUEST_ID_REUSED`.
    Reused {
        body: usize,
    },
}

#[derive(Clone, Copy, Debug)]
pub struct OneId;

impl Model for OneId {
    type State = Option<Used>;
    type Op = Step;

    fn initial(&self) -> Option<Used> {
        None
    }

    fn step(&self, state: &Option<Used>, step: &Step, next: &mut Vec<Option<Used>>) {
        match (state, step) {
            (None, Step::Sent { body }) => next.push(Some(Used { body: *body, target: None })),
            (None, Step::Answered { body, target, .. }) => {
                next.push(Some(Used { body: *body, target: target.clone() }));
            }
            (Some(used), Step::Answered { body, target, replayed: true }) if used.body == *body => {
                let same = used.target.is_none() || target.is_none() || used.target == *target;
                let target = used.target.clone().or_else(|| target.clone());
                next.extend(same.then_some(Some(Used { body: *body, target })));
            }
            (Some(used), Step::Reused { body }) if used.body != *body => {
                next.push(Some(used.clone()));
            }
            _ => {}
        }
    }
}

/// Checks every id that was sent more than once.
#[must_use]
pub fn check(history: &History, budget: u64) -> Verdict {
    let mut ids: BTreeMap<(&str, &str), Vec<&Op>> = BTreeMap::new();
    for op in &history.ops {
        if let Some(id) = op.call.request() {
            ids.entry((op.call.method(), id)).or_default().push(op);
        }
    }
    let repeated = ids.into_iter().filter(|(_, ops)| ops.len() > 1);
    repeated
        .map(|((method, id), ops)| {
            let entries = entries(&ops);
            Labelled::verdict("request", format!("{method} {id}"), &OneId, &entries, budget)
        })
        .collect()
}

fn entries(ops: &[&Op]) -> Vec<Labelled<Step>> {
    let mut bodies: Vec<&Call> = Vec::new();
    let mut entries = Vec::new();
    for op in ops {
        let body = bodies.iter().position(|body| **body == op.call).unwrap_or(bodies.len());
        if body == bodies.len() {
            bodies.push(&op.call);
        }
        let entry = match (&op.outcome, op.returned) {
            (Outcome::Known(answer), Some(at)) => {
                let (target, replayed) = told(&op.call, answer);
                Entry::done(Step::Answered { body, target, replayed }, op.invoked, at)
            }
            (Outcome::Refused { reason }, Some(at)) if reason == "REQUEST_ID_REUSED" => {
                Entry::done(Step::Reused { body }, op.invoked, at)
            }
            (Outcome::Refused { .. }, _) => continue,
            _ => Entry::open(Step::Sent { body }, op.invoked).twin(body as u64, u64::MAX),
        };
        entries.push(Labelled::of(op, "answers", entry));
    }
    entries
}

/// What an answer says of the effect: which order was made, and whether it was there before.
fn told(call: &Call, answer: &Answer) -> (Option<String>, bool) {
    match answer {
        Answer::Order { seen, replayed } => {
            (matches!(call, Call::Place(_)).then(|| seen.name.clone()), *replayed)
        }
        Answer::Stock { replayed, .. }
        | Answer::Shipped { replayed, .. }
        | Answer::Payment { replayed, .. } => (None, *replayed),
        Answer::StockRead { .. } | Answer::OrderRead { .. } | Answer::PaymentRead { .. } => {
            (None, true)
        }
    }
}

#[cfg(test)]
mod tests;
