//! Attempts of one request, put together: however often it was sent, it has one effect or none.

use std::collections::BTreeMap;

use crate::history::{Call, History, Op, Outcome};

/// All attempts of one request: same method, same request id, same body.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub call: &'a Call,
    /// In the order in which they were begun.
    pub attempts: Vec<&'a Op>,
}

impl<'a> Request<'a> {
    /// Not before this did it take effect: the beginning of the first attempt that may have had
    /// one. `None`: every attempt was surely refused.
    pub fn from(&self) -> Option<u64> {
        let may = |op: &&&Op| !matches!(op.outcome, Outcome::Refused { .. });
        self.attempts.iter().find(may).map(|op| op.invoked)
    }

    /// By then it had taken effect: the first good answer.
    pub fn by(&self) -> Option<u64> {
        self.attempts.iter().filter_map(|op| op.answer()).map(|(_, at)| at).min()
    }

    /// The attempt to name in a trace.
    pub fn first(&self) -> &'a Op {
        self.attempts[0]
    }

    /// The first attempt's beginning, whatever came of it.
    pub fn begun(&self) -> u64 {
        self.first().invoked
    }
}

/// The requests of a history, by method and request id; two bodies under one id are two requests
/// here, and the business of [`crate::request`].
pub fn requests(history: &History) -> Vec<Request<'_>> {
    let mut found: Vec<Request<'_>> = Vec::new();
    let mut index: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for op in &history.ops {
        let Some(id) = op.call.request() else { continue };
        let same_id = index.entry((op.call.method(), id)).or_default();
        match same_id.iter().find(|n| *found[**n].call == op.call) {
            Some(n) => found[*n].attempts.push(op),
            None => {
                same_id.push(found.len());
                found.push(Request { call: &op.call, attempts: vec![op] });
            }
        }
    }
    found
}
