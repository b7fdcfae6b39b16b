//! Which calls were the slowest, attempt by attempt: what a worst figure is made of.

use std::collections::BTreeMap;
use std::time::Duration;

use hansa_checker::{Call, History, Op, Outcome};

/// What an attempt's outcome is cut to.
const OUTCOME_CHARS: usize = 140;

/// The orders that took longest from their first attempt to their last answer, with each attempt.
///
/// A line begins with the seconds since the record began.
#[must_use]
pub fn orders(history: &History, longer_than: Duration, count: usize) -> Vec<String> {
    let mut by_request: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
    for op in &history.ops {
        if let Call::Place(place) = &op.call {
            by_request.entry(&place.request).or_default().push(op);
        }
    }
    let mut slow: Vec<(Duration, Vec<&Op>)> = (by_request.into_values())
        .map(|attempts| (took(&attempts), attempts))
        .filter(|(took, _)| *took > longer_than)
        .collect();
    slow.sort_by_key(|(took, _)| std::cmp::Reverse(*took));
    slow.truncate(count);
    slow.iter().flat_map(|(took, attempts)| lines(*took, attempts)).collect()
}

fn took(attempts: &[&Op]) -> Duration {
    let first = attempts.iter().map(|op| op.invoked).min().unwrap_or_default();
    let last = attempts.iter().map(|op| op.returned.unwrap_or(op.invoked)).max();
    Duration::from_nanos(last.unwrap_or_default() - first)
}

fn lines(took: Duration, attempts: &[&Op]) -> Vec<String> {
    let home = attempts.iter().find_map(|op| match &op.call {
        Call::Place(place) => place.lines.iter().find_map(|line| line.stock.as_ref()),
        _ => None,
    });
    let home = home.map_or("?", |stock| &stock.region);
    let mut lines = vec![format!("an order of {home}, {:.1} s:", took.as_secs_f64())];
    lines.extend(attempts.iter().map(|op| {
        let began = seconds(op.invoked);
        let for_s = op
            .returned
            .map_or("for ever".to_owned(), |at| format!("{:.2} s", seconds(at - op.invoked)));
        let outcome = match &op.outcome {
            Outcome::Known(_) => "answered".to_owned(),
            other => format!("{other:?}").chars().take(OUTCOME_CHARS).collect(),
        };
        format!("  {began:8.2} s client {} {for_s}: {outcome}", op.client)
    }));
    lines
}

/// Of nanoseconds.
#[must_use]
pub fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}
