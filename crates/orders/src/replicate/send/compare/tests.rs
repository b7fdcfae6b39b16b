//! A comparison that something cuts off in the middle of its descent.

use hansa_types::id::OrderId;

use super::round::tests::{answer, id};
use super::*;
use crate::core::remote::Held;

const DAY: u64 = 1_700_000_000_000;

fn terms(version: u64, classes: u8) -> Terms {
    let held = Held { classes, raised: 0 };
    Terms { version, of: vec![("GB".parse().unwrap(), held)] }
}

fn order(n: u64) -> OrderId {
    id(DAY + n * 8_000, n)
}

/// Home with a thousand orders as its sender knows them, and a peer that lacks one of them.
fn differing() -> (Compare, Tree) {
    let leaf = |n: u64| (order(n), Some(Leaf(u128::from(n) + 1)));
    let leaves: Vec<_> = (0..1_000).map(leaf).collect();
    let mut compare = Compare::default();
    compare.begin(&terms(1, 1), Vec::new());
    compare.shipped((0, 1_000, 1_000), &leaves);
    assert!(compare.exact);
    let mut peer = compare.tree.clone();
    peer.take(order(777));
    (compare, peer)
}

fn ask(compare: &mut Compare) -> wire::Probe {
    if compare.round.is_none() {
        compare.rounds += 1;
        compare.round = Some(Round::new(compare.rounds));
    }
    let Compare { round, tree, .. } = compare;
    round.as_mut().unwrap().probe(tree, |_| 1)
}

fn hear(compare: &mut Compare, said: &wire::ProbeAnswer) {
    compare.take(said, 0, 1, Instant::now());
}

/// Goes down two steps, and leaves the third question unanswered.
fn half_way(compare: &mut Compare, peer: &Tree) -> wire::Probe {
    for _ in 0..2 {
        let asked = ask(compare);
        hear(compare, &answer(peer, &asked));
    }
    assert!(compare.compared_ms == 0 && compare.round.is_some(), "it is under way");
    ask(compare)
}

fn finish(compare: &mut Compare, peer: &Tree) {
    for _ in 0..20 {
        let asked = ask(compare);
        hear(compare, &answer(peer, &asked));
        if compare.round.is_none() {
            return;
        }
    }
    panic!("it goes on and on");
}

fn found(compare: &Compare) -> Vec<OrderId> {
    compare.found.keys().copied().collect()
}

#[tokio::test]
async fn another_leader_of_the_peer_in_mid_descent_has_it_begin_anew() {
    let (mut compare, peer) = differing();
    let open = half_way(&mut compare, &peer);
    // A new stream, to another leader: that the old one's answer comes all the same says nothing.
    compare.begin(&terms(1, 1), Vec::new());
    assert!(!compare.exact && compare.round.is_none(), "where the new one is, is not known yet");
    hear(&mut compare, &answer(&peer, &open));
    assert_eq!((compare.compared_ms, compare.differences()), (0, 0));
    // Level again with the next batch that reaches the end: the round is another.
    compare.shipped((1_000, 1_001, 1_001), &[(order(5_000), Some(Leaf(9)))]);
    assert!(compare.exact);
    let mut peer = peer.clone();
    peer.put(order(5_000), Leaf(9));
    let first = ask(&mut compare);
    assert!(first.root.is_some() && first.round != open.round);
    hear(&mut compare, &answer(&peer, &open));
    assert!(compare.round.is_some(), "an answer to the former round is not taken for this one's");
    hear(&mut compare, &answer(&peer, &first));
    finish(&mut compare, &peer);
    assert_eq!(found(&compare), [order(777)]);
}

#[tokio::test]
async fn a_peer_that_is_elsewhere_in_mid_descent_says_nothing_and_is_asked_again() {
    let (mut compare, peer) = differing();
    let open = half_way(&mut compare, &peer);
    let nothing =
        wire::ProbeAnswer { round: open.round, not_comparable: true, ..Default::default() };
    hear(&mut compare, &nothing);
    assert!(compare.round.is_none() && compare.compared_ms == 0);
    assert!(compare.due() > Instant::now(), "not at once");
    finish(&mut compare, &peer);
    assert_eq!(found(&compare), [order(777)]);
}

#[tokio::test]
async fn another_law_in_mid_descent_forgets_the_tree_and_what_was_found_by_it() {
    let (mut compare, peer) = differing();
    finish(&mut compare, &peer);
    assert_eq!(compare.differences(), 1);
    half_way_again(&mut compare, &peer);
    compare.begin(&terms(2, 5), Vec::new());
    assert_eq!((compare.at, compare.compared_ms, compare.differences()), (0, 0, 0));
    assert_eq!(compare.tree.root().orders, 0);
}

#[tokio::test]
async fn births_that_went_between_two_streams_leave_nothing_to_compare() {
    let (mut compare, peer) = differing();
    finish(&mut compare, &peer);
    let gone = vec![(RegionNumber::try_from(1).unwrap(), None)];
    compare.begin(&terms(1, 1), gone.clone());
    assert_eq!((compare.at, compare.compared_ms, compare.differences()), (0, 0, 0));
    assert_eq!(compare.tree.root().orders, 0);
    compare.shipped((0, 10, 10), &[(order(3), Some(Leaf(7)))]);
    compare.begin(&terms(1, 1), gone);
    assert_eq!(compare.tree.root().orders, 1, "another stream of the same births goes on");
}

fn half_way_again(compare: &mut Compare, peer: &Tree) {
    let asked = ask(compare);
    hear(compare, &answer(peer, &asked));
    assert!(compare.round.is_some());
}

#[tokio::test]
async fn a_new_epoch_of_home_in_mid_descent_begins_with_another_machines_tree() {
    // A home that leads again in a new epoch has a new sender, or one that took office anew.
    let (mut compare, peer) = differing();
    let open = half_way(&mut compare, &peer);
    compare = Compare::default();
    compare.begin(&terms(1, 1), Vec::new());
    hear(&mut compare, &answer(&peer, &open));
    assert_eq!((compare.compared_ms, compare.differences()), (0, 0));
    // It built its own, from its state: what it lost in the backup the peer has too many.
    let leaves: Vec<_> = (0..900).map(|n| (order(n), Some(Leaf(u128::from(n) + 1)))).collect();
    compare.shipped((0, 900, 900), &leaves);
    finish(&mut compare, &peer);
    let extra = compare.found.values().filter(|f| f.kind == wire::DifferenceKind::Extra).count();
    assert_eq!((extra, compare.differences()), (100, 101));
}

#[test]
fn the_tree_is_exact_once_a_batch_reaches_where_home_is() {
    let (mut compare, _) = differing();
    compare.begin(&terms(1, 1), Vec::new());
    compare.shipped((1_000, 1_256, 2_000), &[]);
    assert!(!compare.exact, "there is more than this batch says");
    compare.shipped((1_256, 1_900, 1_900), &[]);
    assert!(!compare.exact, "it lacks what the batch before said");
    // The walk brings it to where it was sent.
    compare.at = 1_900;
    compare.shipped((1_900, 1_950, 1_950), &[]);
    assert!(compare.exact);
    compare.shipped((1_950, 1_960, 1_990), &[]);
    assert!(compare.exact, "batch follows on batch");
    compare.shipped((1_970, 1_980, 1_990), &[]);
    assert!(!compare.exact, "something is missing");
}
