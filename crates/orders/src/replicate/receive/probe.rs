//! What the receiver says to a probe: where its copies differ from what home has.

use std::collections::BTreeMap;

use bytes::Bytes;
use hansa_api::pb::replication as wire;
use hansa_types::id::OrderId;

use crate::core::remote::tree::{EVERYTHING, Leaf, Span, Sum, Tree};
use crate::core::remote::{Origin, Remote, Terms};
use crate::replicate::law::Law;
use crate::shell::Hosted;

/// Of one answer.
const BUCKETS_MAX: usize = 512;
const ORDERS_MAX: usize = 2_048;
/// Own buckets looked at for one range.
const SUMS_MAX: usize = 4_096;
/// Ranges of one probe, and what one range may say.
const RANGES_MAX: usize = 64;
const PARTS_MAX: usize = 4_096;

/// Compares as of `at`, if that is where this replica is.
pub fn answer(
    hosted: &Hosted,
    origin: Origin,
    told: &Terms,
    own: &Law,
    at: u64,
    asked: &wire::Probe,
) -> wire::ProbeAnswer {
    hosted.group.peek(|machine| {
        let remote = &machine.state.remote;
        let mut answer = wire::ProbeAnswer { round: asked.round, ..Default::default() };
        if !comparable(remote, origin, told, own, at) || asked.ranges.len() > RANGES_MAX {
            answer.not_comparable = true;
            return answer;
        }
        compare(remote, origin, told, asked, &mut answer);
        answer
    })
}

/// Whether the copies are those of this place in the stream, made under these terms.
fn comparable(remote: &Remote, origin: Origin, told: &Terms, own: &Law, at: u64) -> bool {
    let here = remote.cursors.get(&origin).map_or(0, |cursor| cursor.applied) == at;
    let held = remote
        .views
        .get(&origin)
        .is_some_and(|views| views.held.version == told.version && views.sweep.is_none())
        && remote.views.get(&origin).is_some_and(|v| told.wider_than(&v.held).is_empty());
    let allowed = |residence| own.terms.of(residence).within(told, residence);
    here && held && remote.excess(origin.place(), allowed) == 0
}

fn compare(
    remote: &Remote,
    origin: Origin,
    told: &Terms,
    asked: &wire::Probe,
    answer: &mut wire::ProbeAnswer,
) {
    let empty = Tree::default();
    let tree = remote.tree(origin.place()).unwrap_or(&empty);
    answer.equal = asked.root.as_ref().is_none_or(|root| sum(Some(root)) == tree.root());
    for (n, range) in asked.ranges.iter().enumerate() {
        if range.buckets.len() > PARTS_MAX || range.leaves.len() > PARTS_MAX || range.shift > 47 {
            answer.more = true;
            continue;
        }
        match range.by_order {
            true => orders(remote, tree, told, range, answer),
            false => buckets(tree, n as u32, range, answer),
        }
    }
    answer.equal &= answer.buckets.is_empty() && answer.orders.is_empty() && !answer.more;
}

fn buckets(tree: &Tree, n: u32, range: &wire::ProbeRange, answer: &mut wire::ProbeAnswer) {
    let (own, more) = tree.sums(&span(range), range.shift, SUMS_MAX);
    answer.more |= more;
    let mut theirs: BTreeMap<u64, Sum> =
        range.buckets.iter().map(|part| (part.bucket, sum(part.sum.as_ref()))).collect();
    let mut differ = Vec::new();
    for (bucket, own) in own {
        if theirs.remove(&bucket) != Some(own) {
            differ.push((bucket, own.orders));
        }
    }
    differ.extend(theirs.into_keys().map(|bucket| (bucket, 0)));
    for (bucket, orders) in differ {
        if answer.buckets.len() == BUCKETS_MAX {
            answer.more = true;
            return;
        }
        answer.buckets.push(wire::DifferentBucket { range: n, bucket, orders });
    }
}

fn orders(
    remote: &Remote,
    tree: &Tree,
    told: &Terms,
    range: &wire::ProbeRange,
    answer: &mut wire::ProbeAnswer,
) {
    let theirs = range.leaves.iter().filter_map(|leaf| {
        let id = u128::from_be_bytes(leaf.order_id.as_ref().try_into().ok()?);
        Some((id, (leaf.version, Leaf(joined(leaf.high, leaf.low)))))
    });
    let mut theirs: BTreeMap<u128, (u64, Leaf)> = theirs.collect();
    let mut found = Vec::new();
    for (id, own) in tree.leaves(&span(range)) {
        match theirs.remove(&id) {
            Some((_, leaf)) if leaf == own => {}
            Some((version, _)) => found.push((id, Some(version))),
            None => found.push((id, None)),
        }
    }
    let missing = theirs.into_keys().map(|id| (id, wire::DifferenceKind::Missing, 0));
    let differ = found.into_iter().filter_map(|(id, home)| {
        let copy = remote.copies.get(&OrderId::try_from(id).ok()?)?;
        let outdated = copy.shown.terms < told.version
            && copy.shown.classes != told.of(copy.shown.residence).classes;
        let kind = match home {
            None => wire::DifferenceKind::Extra,
            Some(home) if copy.version < home || (copy.version == home && outdated) => {
                wire::DifferenceKind::Stale
            }
            Some(_) => wire::DifferenceKind::Conflicting,
        };
        Some((id, kind, copy.version))
    });
    for (id, kind, version) in differ.chain(missing) {
        if answer.orders.len() == ORDERS_MAX {
            answer.more = true;
            return;
        }
        let parked = OrderId::try_from(id).is_ok_and(|order| remote.parked.contains(&order));
        answer.orders.push(wire::DifferentOrder {
            order_id: Bytes::copy_from_slice(&id.to_be_bytes()),
            kind: kind.into(),
            version,
            parked,
        });
    }
}

fn span(range: &wire::ProbeRange) -> Span {
    let id = |bytes: &Bytes, otherwise| {
        <[u8; 16]>::try_from(bytes.as_ref()).map_or(otherwise, u128::from_be_bytes)
    };
    let (first, last) = (id(&range.first, *EVERYTHING.start()), id(&range.last, *EVERYTHING.end()));
    first..=last.max(first)
}

fn sum(sum: Option<&wire::DigestSum>) -> Sum {
    sum.map_or_else(Sum::default, |sum| Sum { sum: joined(sum.high, sum.low), orders: sum.orders })
}

fn joined(high: u64, low: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}
