//! The descent, against a receiver that is a tree alone.

use hansa_types::region::{RegionNumber, Slot};
use hansa_types::time::LogTime;

use super::*;
use crate::core::remote::tree::Leaf;

pub fn id(ms: u64, n: u64) -> OrderId {
    let region = RegionNumber::try_from(1).unwrap();
    OrderId::new(LogTime(ms), region, Slot::of(&n.to_le_bytes()), n)
}

fn sum_of(sum: Option<&wire::DigestSum>) -> Sum {
    let sum = sum.unwrap();
    Sum { sum: u128::from(sum.high) << 64 | u128::from(sum.low), orders: sum.orders }
}

fn bytes_id(bytes: &Bytes) -> u128 {
    u128::from_be_bytes(bytes.as_ref().try_into().unwrap())
}

/// What a peer with these orders says.
pub fn answer(peer: &Tree, asked: &wire::Probe) -> wire::ProbeAnswer {
    let mut answer = wire::ProbeAnswer { round: asked.round, ..Default::default() };
    answer.equal = asked.root.as_ref().is_none_or(|root| sum_of(Some(root)) == peer.root());
    for (n, range) in asked.ranges.iter().enumerate() {
        let span = bytes_id(&range.first)..=bytes_id(&range.last);
        if range.by_order {
            let mut theirs: BTreeMap<u128, u128> = range
                .leaves
                .iter()
                .map(|l| (bytes_id(&l.order_id), u128::from(l.high) << 64 | u128::from(l.low)))
                .collect();
            let mut say = |id: u128, kind: wire::DifferenceKind| {
                answer.orders.push(wire::DifferentOrder {
                    order_id: id_bytes(id),
                    kind: kind.into(),
                    version: 0,
                    parked: false,
                });
            };
            for (id, Leaf(own)) in peer.leaves(&span) {
                match theirs.remove(&id) {
                    Some(leaf) if leaf == own => {}
                    Some(_) => say(id, wire::DifferenceKind::Stale),
                    None => say(id, wire::DifferenceKind::Extra),
                }
            }
            theirs.into_keys().for_each(|id| say(id, wire::DifferenceKind::Missing));
            continue;
        }
        let (own, _) = peer.sums(&span, range.shift, 10_000);
        let mut theirs: BTreeMap<u64, Sum> =
            range.buckets.iter().map(|b| (b.bucket, sum_of(b.sum.as_ref()))).collect();
        let mut differ = Vec::new();
        for (bucket, own) in own {
            if theirs.remove(&bucket) != Some(own) {
                differ.push((bucket, own.orders));
            }
        }
        differ.extend(theirs.into_keys().map(|bucket| (bucket, 0)));
        answer.buckets.extend(differ.into_iter().map(|(bucket, orders)| wire::DifferentBucket {
            range: n as u32,
            bucket,
            orders,
        }));
    }
    answer
}

/// Runs a round to its end; what it found, and how many questions it took.
fn run(home: &Tree, peer: &Tree) -> (BTreeMap<OrderId, Found>, usize) {
    let mut round = Round::new(1);
    let mut asked = 0;
    while !round.over() {
        let probe = round.probe(home, |_| 1);
        round.take(&answer(peer, &probe), 0, home, 0);
        asked += 1;
        assert!(asked < 100, "it goes on and on");
    }
    let (found, more) = round.found();
    assert!(!more);
    (found, asked)
}

#[test]
fn what_differs_is_found_and_nothing_else() {
    // Spread over a day, with a crowd in one millisecond.
    let ms = |n: u64| if n < 2_000 { 1_700_000_000_000 } else { 1_700_000_000_000 + n * 8_000 };
    let (mut home, mut peer) = (Tree::default(), Tree::default());
    for n in 0..10_000 {
        home.put(id(ms(n), n), Leaf(u128::from(n)));
        peer.put(id(ms(n), n), Leaf(u128::from(n)));
    }
    let (found, asked) = run(&home, &peer);
    assert!(found.is_empty() && asked == 1, "one question is enough where nothing differs");
    for n in [5, 1_999, 2_000, 9_999] {
        peer.put(id(ms(n), n), Leaf(7));
    }
    for n in [0, 7_777] {
        peer.take(id(ms(n), n));
    }
    // Before the first, after the last, and next to others.
    for at in [1, 1_700_000_000_000, 1_900_000_000_000] {
        peer.put(id(at, 77_777), Leaf(9));
    }
    let (found, asked) = run(&home, &peer);
    let count = |kind| found.values().filter(|found| found.kind == kind).count();
    assert_eq!(count(wire::DifferenceKind::Stale), 4);
    assert_eq!(count(wire::DifferenceKind::Missing), 2);
    assert_eq!(count(wire::DifferenceKind::Extra), 3);
    assert_eq!(found.len(), 9);
    assert!(asked <= 12, "{asked} questions");
}

#[test]
fn an_empty_peer_and_an_empty_home_are_told_apart() {
    let (mut home, peer) = (Tree::default(), Tree::default());
    for n in 0..1_000 {
        home.put(id(1_700_000_000_000 + n * 1_000, n), Leaf(u128::from(n)));
    }
    let missing = run(&home, &peer).0;
    assert_eq!(missing.len(), 1_000);
    let extra = run(&peer, &home).0;
    assert!(extra.values().all(|found| found.kind == wire::DifferenceKind::Extra));
    assert_eq!(extra.len(), 1_000);
}

#[test]
fn an_answer_that_no_peer_gives_is_no_end_of_the_sender() {
    for orders in [3, 1_000] {
        let mut home = Tree::default();
        for n in 0..orders {
            let id = id(1_700_000_000_000 + n * 8_000, n);
            home.put(id, Leaf(u128::from(n) + 1));
        }
        let mut round = Round::new(1);
        round.probe(&home, |_| 1);
        round.take(&wire::ProbeAnswer::default(), 0, &home, 0);
        for _ in 0..4 {
            round.probe(&home, |_| 1);
            let bucket = |bucket| wire::DifferentBucket { range: 0, bucket, orders: u64::MAX };
            let buckets = vec![bucket(0), bucket(1), bucket(u64::MAX)];
            round.take(&wire::ProbeAnswer { buckets, ..Default::default() }, 0, &home, 0);
        }
    }
}
