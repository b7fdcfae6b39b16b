//! Watch streams: an order's events are ordered, unique, gapless, and go on from a cursor.
//!
//! A stream's events carry the order's versions, so after version n comes n + 1, and nothing else
//! but a bookmark at n or, when the cursor is too old, one snapshot of a later version. Across
//! streams and answers one version is one content.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::history::History;
use crate::seen::OrderSeen;
use crate::verdict::{Reason, Verdict};

/// One stream as its client received it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stream {
    pub order: String,
    pub client: u32,
    /// The sequence of the item whose cursor was sent; 0 for a stream from the beginning.
    pub after: u64,
    pub items: Vec<Item>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Item {
    Event { sequence: u64, kind: String, order: Box<OrderSeen> },
    Bookmark { sequence: u64 },
    Compacted { sequence: u64, order: Box<OrderSeen> },
}

/// Checks streams by themselves, against each other and against what answers showed.
#[must_use]
pub fn check<'a>(streams: impl IntoIterator<Item = &'a Stream>, history: &'a History) -> Verdict {
    let mut known: BTreeMap<(&str, u64), (&OrderSeen, Option<&str>)> = BTreeMap::new();
    for (seen, _) in history.ops.iter().filter_map(|op| op.order_seen()) {
        known.insert((&seen.name, seen.version), (seen, None));
    }
    let mut wrong = Vec::new();
    for stream in streams {
        if let Err(what) = one(stream) {
            wrong.push(Reason::new("watch", &stream.order, what).with(trace(stream)));
        }
        for item in &stream.items {
            let (sequence, order, kind) = match item {
                Item::Event { sequence, order, kind } => (sequence, order, Some(kind.as_str())),
                Item::Compacted { sequence, order } => (sequence, order, None),
                Item::Bookmark { .. } => continue,
            };
            let key = (stream.order.as_str(), *sequence);
            let first = known.entry(key).or_insert((order, kind));
            let kinds = first.1.is_none() || kind.is_none() || first.1 == kind;
            first.1 = first.1.or(kind);
            if !kinds || !same(first.0, order) {
                let what = format!("two contents of version {sequence}");
                wrong.push(Reason::new("watch", &stream.order, what).with(trace(stream)));
            }
        }
    }
    Verdict::of(wrong)
}

fn one(stream: &Stream) -> Result<(), String> {
    let mut last = stream.after;
    for item in &stream.items {
        last = match item {
            Item::Event { sequence, order, .. } => {
                if *sequence != last + 1 || order.version != *sequence {
                    return Err(format!("event {sequence} after {last}"));
                }
                *sequence
            }
            Item::Compacted { sequence, order } => {
                if *sequence <= last || order.version != *sequence {
                    return Err(format!("snapshot {sequence} after {last}"));
                }
                *sequence
            }
            Item::Bookmark { sequence } if *sequence == last => last,
            Item::Bookmark { sequence } => return Err(format!("bookmark {sequence} at {last}")),
        };
        let names_it = match item {
            Item::Event { order, .. } | Item::Compacted { order, .. } => order.name == stream.order,
            Item::Bookmark { .. } => true,
        };
        if !names_it {
            return Err(format!("item {last} is another order's"));
        }
    }
    Ok(())
}

/// An event shows its version's face; what was said beside it (why it parked) may come later.
fn same(a: &OrderSeen, b: &OrderSeen) -> bool {
    let face = |seen: &OrderSeen| {
        (seen.state, seen.payment_state, seen.fulfillment, seen.total_minor, seen.lines.clone())
    };
    let money = a.money.is_none() || b.money.is_none() || a.money == b.money;
    money && face(a) == face(b)
}

fn trace(stream: &Stream) -> Vec<String> {
    let from = format!("client {} after {}", stream.client, stream.after);
    let item = |item: &Item| match item {
        Item::Event { sequence, kind, .. } => format!("event {sequence} {kind}"),
        Item::Bookmark { sequence } => format!("bookmark {sequence}"),
        Item::Compacted { sequence, .. } => format!("snapshot {sequence}"),
    };
    std::iter::once(from).chain(stream.items.iter().map(item)).collect()
}

#[cfg(test)]
mod tests;
