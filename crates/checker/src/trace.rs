//! Counter-examples that a human can read.

use std::fmt::{Debug, Display};

use crate::history::{Call, Op, Outcome};
use crate::verdict::{Reason, Verdict};
use crate::wgl::{self, Entry, Found, Model};

/// The last ops of a refuted prefix that are printed.
const OPS_PRINTED: usize = 40;

/// An entry, and the op that it stands for.
#[derive(Clone, Debug)]
pub struct Labelled<Op> {
    pub entry: Entry<Op>,
    what: String,
    line: Option<(u64, String)>,
}

impl<S: Clone + Debug> Labelled<S> {
    pub fn of(op: &Op, what: &str, entry: Entry<S>) -> Self {
        Self { entry, what: what.to_owned(), line: Some((op.id, line(op))) }
    }

    pub fn bare(what: &str, entry: Entry<S>) -> Self {
        Self { entry, what: what.to_owned(), line: None }
    }

    /// Looks for an explanation, and says what was found in a verdict's words.
    pub fn verdict<M: Model<Op = S>>(
        check: &str,
        subject: impl Display,
        model: &M,
        entries: &[Self],
        budget: u64,
    ) -> Verdict {
        let plain: Vec<Entry<S>> = entries.iter().map(|labelled| labelled.entry.clone()).collect();
        let refuted = match wgl::check(model, &plain, budget) {
            Found::Explained { .. } => return Verdict::Pass,
            Found::GaveUp { why } => return Verdict::unknown(format!("{check} {subject}: {why}")),
            Found::Refuted(refuted) => refuted,
        };
        let culprit = &entries[refuted.entry];
        let what = format!(
            "cannot be explained: `{}` {:?} by {}; before it the state could only be {}",
            culprit.what,
            culprit.entry.op,
            instant(refuted.at),
            refuted.states.join(" or "),
        );
        Verdict::Fail(vec![Reason::new(check, subject, what).with(Self::prefix(entries, refuted))])
    }

    /// The ops begun before, in the order of real time, the culprit last.
    fn prefix(entries: &[Self], refuted: wgl::Refuted) -> Vec<String> {
        let begun = entries.iter().filter(|labelled| labelled.entry.invoked <= refuted.at);
        let mut ops: Vec<(u64, String)> = begun.filter_map(|l| l.line.clone()).collect();
        ops.sort();
        ops.dedup_by_key(|(id, _)| *id);
        let left_out = ops.len().saturating_sub(OPS_PRINTED);
        let mut lines: Vec<String> = Vec::new();
        if left_out > 0 {
            lines.push(format!("… {left_out} earlier operations"));
        }
        lines.extend(ops.into_iter().skip(left_out).map(|(_, line)| line));
        let culprit = entries[refuted.entry].line.iter().map(|(id, _)| format!("→ #{id}"));
        lines.extend(culprit);
        lines
    }
}

/// One op on one line.
#[must_use]
pub fn line(op: &Op) -> String {
    let returned = op.returned.map_or_else(|| "…".to_owned(), instant);
    let outcome = match &op.outcome {
        Outcome::Known(answer) => format!("{answer:?}"),
        Outcome::Refused { reason } => format!("refused: {reason}"),
        Outcome::Unknown { why } => format!("unknown: {why}"),
    };
    let (id, client, invoked) = (op.id, op.client, instant(op.invoked));
    format!("#{id} client {client} [{invoked} – {returned}] {} → {outcome}", asked(&op.call))
}

fn asked(call: &Call) -> String {
    match call {
        Call::Place(place) => format!("Place {place:?}"),
        call => format!("{call:?}"),
    }
}

fn instant(ns: u64) -> String {
    if ns == u64::MAX {
        return "the end".to_owned();
    }
    format!("{}.{:09} s", ns / 1_000_000_000, ns % 1_000_000_000)
}
