//! A former owner is back: what was lost, what it refuses, follows, gives back, and may own again.

use super::*;

#[test]
fn the_former_owner_refuses_follows_gives_back_and_lists_its_tail() {
    let (mut a, mut b, id) = pair(fine, false);
    survive(&a, &mut b, 2);
    run(&mut b, fine);
    // What A did alone: it confirmed the order that B has, and took one that nobody else knows.
    run(&mut a, fine);
    assert!(matches!(apply(&mut a, accept(2, contents())), Outcome::Done(_)));
    run(&mut a, fine);
    for _ in 0..2 {
        assert_eq!(step(&mut a, elsewhere(2, 2, None)), Outcome::Noted);
    }
    assert_eq!(apply(&mut a, accept(3, contents())), Outcome::Refused(Refused::NotOwner));
    let cancel = Command::Cancel { order: id, key: key(9), reason: String::new() };
    assert_eq!(apply(&mut a, cancel), Outcome::Refused(Refused::NotOwner));
    assert!(a.due(0, 9).is_empty() && a.next_due().is_none());
    ship(&b, &mut a, origin(2));
    assert_eq!(a.remote.copies.get(&id).unwrap().version, of(&b, id).version);
    let tail: std::collections::BTreeMap<_, _> = a.tail(region(1), 9).into_iter().collect();
    assert_eq!(tail, [(id, 1), (order_id(2), 0)].into());
    holds(&a);
    // Its stock is given back at once where the owner has its own, the other's once decided.
    let (left, undecided) = a.leftovers(region(1), 9);
    assert_eq!((left.len(), left[0].order, undecided), (1, id, true));
    let give = |orders, last| Step::GivenBack { birth: region(1), epoch: 2, orders, last };
    step(&mut a, give(vec![id], false));
    assert_eq!(a.leftovers(region(1), 9), (Vec::new(), true));
    let decision = |by: &str, hash| Decision {
        approved_by: by.into(),
        ..super::tail::decision(order_id(2), TailAction::Compensate, hash)
    };
    let hash = a.hash_of(order_id(2)).unwrap().0;
    let decide = |a: &mut State, by, hash| super::tail::decided(a, decision(by, hash));
    assert_eq!(decide(&mut a, "ada", hash), Outcome::Refused(Refused::Malformed));
    assert_eq!(decide(&mut a, "bob", hash ^ 1), Outcome::Refused(Refused::KeyChanged));
    assert_eq!(decide(&mut a, "bob", hash), Outcome::Noted);
    assert_eq!(decide(&mut a, "bob", hash), Outcome::Noted);
    assert_eq!(a.tail_open().count(), 1);
    let done = super::tail::came_to(&a, order_id(2), End::Done);
    step(&mut a, done);
    assert_eq!(a.tail_open().count(), 0);
    assert_eq!(a.leftovers(region(1), 9).0.len(), 1);
    holds(&a);
    assert_eq!(thawed(&a).digest(), a.digest());
}

#[test]
fn births_go_back_to_where_they_were_born_with_what_happened_meanwhile() {
    let (mut a, mut b, id) = pair(fine, true);
    survive(&a, &mut b, 2);
    run(&mut b, fine);
    step(&mut a, elsewhere(2, 2, None));
    let Command::Accept(mut new) = accept(5, contents()) else { panic!() };
    new.epoch = 2;
    new.contents.sealed_with.subject.home = region(2);
    let new = Command::Dated { first_sent_ms: u64::MAX, command: Box::new(Command::Accept(new)) };
    assert!(matches!(apply(&mut b, new), Outcome::Done(_)));
    run(&mut b, fine);
    ship(&b, &mut a, origin(2));
    step(&mut b, Step::Drain { birth: region(1), to: region(1), epoch: 2, drain: 5 });
    assert_eq!(step(&mut b, Step::Drained { birth: region(1), epoch: 2 }), Outcome::Noted);
    let version = of(&b, id).version;
    assert_eq!(step(&mut a, take_over(1, 2, 3)), Outcome::Noted);
    assert_eq!(adopt(&b, &mut a, 1, 3), 2);
    assert_eq!(step(&mut a, Step::Settled { birth: region(1), epoch: 3 }), Outcome::Noted);
    step(&mut b, elsewhere(1, 3, None));
    assert_eq!((of(&a, id).version, of(&a, id).epoch), (version + 1, 3));
    run(&mut a, fine);
    for order in [id, order_id(5)] {
        assert_eq!(status(&a, order), OrderStatus::Confirmed);
    }
    assert!(b.due(0, 9).is_empty());
    assert!(a.tail(region(1), 9).is_empty(), "{:?}", a.tail(region(1), 9));
    ship(&a, &mut b, origin(1));
    assert_eq!(b.remote.copies.get(&id).unwrap().epoch(), 3);
    holds(&a);
    holds(&b);
    assert_eq!(thawed(&a).digest(), a.digest());
}

#[test]
fn births_come_back_only_once_what_their_former_orders_hold_is_given_back() {
    let (mut a, mut b, id) = pair(fine, true);
    survive(&a, &mut b, 2);
    run(&mut b, fine);
    let (birth, owner) = (region(1), region(2));
    step(&mut a, Step::Elsewhere { birth, owner, epoch: 2, loss: None, handed: false });
    assert!(a.leftovers(birth, 9).0.is_empty(), "nobody is known to go on with it");
    // In the moment in which it is asked to take them over.
    ship(&b, &mut a, origin(2));
    let take = || Command::Takeover(take_over(1, 2, 3));
    let before = a.digest();
    assert_eq!(apply(&mut a, take()), Outcome::Refused(Refused::NotSettled));
    assert_eq!(a.digest(), before);
    let orders = vec![id];
    step(&mut a, Step::GivenBack { birth, epoch: 2, orders, last: false });
    assert_eq!(apply(&mut a, take()), Outcome::Noted);
    assert_eq!(adopt(&b, &mut a, 1, 3), 1);
    holds(&a);
}

#[test]
fn an_older_record_changes_nothing() {
    let (a, mut b, _) = pair(fine, true);
    survive(&a, &mut b, 3);
    let stale = Outcome::Refused(Refused::EpochNotNewer);
    assert_eq!(step(&mut b, take_over(1, 1, 2)), stale);
    let elsewhere = elsewhere(3, 2, None);
    assert_eq!(step(&mut b, elsewhere), stale);
    let mine =
        Step::Elsewhere { birth: region(2), owner: region(3), epoch: 1, loss: None, handed: false };
    assert_eq!(step(&mut b, mine), stale);
    let drain = Step::Drain { birth: region(1), to: region(3), epoch: 2, drain: 5 };
    assert_eq!(step(&mut b, drain), Outcome::Refused(Refused::NotOwner));
}

#[test]
fn a_cancel_that_was_asked_for_is_carried_out_by_the_survivor() {
    let (mut a, id) = placed(contents());
    run(&mut a, fine);
    apply(&mut a, Command::Cancel { order: id, key: key(4), reason: "no".into() });
    let mut b = group_of(2);
    ship(&a, &mut b, origin(1));
    survive(&a, &mut b, 2);
    run(&mut b, fine);
    assert_eq!(status(&b, id), OrderStatus::Cancelled);
    assert_eq!(of(&b, id).refunds.len(), 1, "the refund that was decided, and no other");
    assert_eq!(of(&b, id).refunds[0].cause, RefundCause::Cancel);
    assert_eq!(of(&b, id).money.refunded_minor, contents().total_minor);
    let _: &[Heard] = &of(&b, id).requests;
    holds(&b);
}

#[test]
fn lost_sequences_are_those_between_the_cursor_and_the_highest_mark() {
    let (_, mut b, _) = pair(fine, false);
    step(&mut b, take_over(1, 1, 2));
    let taken = b.births.get(region(1)).unwrap().taken.clone().unwrap();
    let cursor = b.remote.cursors.get(&origin(1)).unwrap().applied;
    assert_eq!(taken.lost.len(), 1);
    assert_eq!((taken.lost[0].after, taken.lost[0].upto), (cursor, 40));
}

#[test]
fn no_event_of_an_old_epoch_is_taken_once_a_record_is_known() {
    let (mut a, mut b, id) = pair(fine, false);
    let mut c = group_of(3);
    ship(&a, &mut c, origin(1));
    survive(&a, &mut b, 2);
    run(&mut b, fine);
    // A, cut off, goes on, and C hears of it first.
    apply(&mut a, Command::Cancel { order: id, key: key(3), reason: "a".into() });
    run(&mut a, fine);
    assert!(of(&a, id).version > 1);
    ship(&a, &mut c, origin(1));
    let before = (of(&b, id).version, b.orders.digest());
    ship(&a, &mut b, origin(1));
    assert_eq!((of(&b, id).version, b.orders.digest()), before);
    assert!(b.remote.copies.get(&id).is_none());
    // The new owner's version replaces whatever the former one had reached.
    ship(&b, &mut c, origin(2));
    let copy = c.remote.copies.get(&id).unwrap();
    assert_eq!(
        (copy.origin.region, copy.epoch(), copy.version),
        (region(2), 2, of(&b, id).version)
    );
    assert!(c.remote.parked.is_empty() && c.remote.consistent());
    let elsewhere = elsewhere(2, 2, None);
    step(&mut c, elsewhere);
    let digest = c.remote.copies.digest();
    ship(&a, &mut c, origin(1));
    assert_eq!(c.remote.copies.digest(), digest);
    holds(&b);
    holds(&c);
}
