//! Who may change what, when births change their owner more than once.

use super::*;

fn phase(state: &State, birth: u16) -> Phase {
    state.births.get(region(birth)).unwrap().phase
}

fn drain(to: u16, drain: u64) -> Step {
    Step::Drain { birth: region(1), to: region(to), epoch: 1, drain }
}

fn undrain(seen: u64) -> Step {
    Step::Undrain { birth: region(1), epoch: 1, seen }
}

#[test]
fn what_was_sent_before_the_former_owner_stopped_is_in_doubt_however_old_its_record() {
    let (a, mut b, id) = pair(fine, true);
    let Step::TakeOver(mut take) = take_over(1, 1, 2) else { panic!() };
    take.record_ms = START.ms() - 300_000;
    let place = |n: u64, sent: u64| {
        let Command::Accept(mut accept) = accept(n, contents()) else { panic!() };
        accept.epoch = 2;
        accept.contents.sealed_with.subject.home = region(2);
        let command = Box::new(Command::Accept(accept));
        Command::Dated { first_sent_ms: sent, command }
    };
    // While the promises of other regions came in, A went on for minutes.
    let meanwhile = START.ms() - 60_000;
    assert_eq!(step(&mut b, Step::TakeOver(take)), Outcome::Noted);
    assert_eq!(apply(&mut b, place(7, meanwhile)), Outcome::Refused(Refused::NotOwner));
    adopt(&a, &mut b, 1, 2);
    step(&mut b, Step::Settled { birth: region(1), epoch: 2 });
    assert_eq!(apply(&mut b, place(7, meanwhile)), Outcome::Refused(Refused::InDoubt));
    let cancel = Command::Cancel { order: id, key: key(50), reason: String::new() };
    let dated = Command::Dated { first_sent_ms: meanwhile, command: Box::new(cancel) };
    assert_eq!(apply(&mut b, dated), Outcome::Refused(Refused::InDoubt));
    assert!(matches!(apply(&mut b, place(8, START.ms() + 1_001)), Outcome::Done(_)));
}

#[test]
fn an_owner_that_goes_on_in_a_newer_epoch_keeps_every_order() {
    let (mut a, id) = placed(contents());
    assert_eq!(step(&mut a, take_over(1, 1, 3)), Outcome::Noted);
    assert_eq!(step(&mut a, take_over(1, 1, 3)), Outcome::Noted, "again it is the same");
    assert_eq!(step(&mut a, take_over(1, 1, 2)), Outcome::Refused(Refused::EpochNotNewer));
    assert_eq!((a.owned(region(1)), phase(&a, 1)), (Some(3), Phase::Owned));
    assert!(!a.due(0, 9).is_empty() && a.doubted(region(1)).is_none());
    run(&mut a, fine);
    assert_eq!(status(&a, id), OrderStatus::Confirmed);
    let Command::Accept(mut new) = accept(2, contents()) else { panic!() };
    new.epoch = 3;
    assert!(matches!(apply(&mut a, Command::Accept(new)), Outcome::Done(_)));
    let mut c = group_of(3);
    ship(&a, &mut c, origin(1));
    assert_eq!(c.remote.copies.get(&id).unwrap().epoch(), 3);
    holds(&a);
    assert_eq!(thawed(&a).digest(), a.digest());
}

#[test]
fn a_survivor_that_goes_on_in_a_newer_epoch_keeps_what_it_adopted_and_goes_on_adopting() {
    let (mut a, first) = placed(contents());
    let second = order_id(2);
    apply(&mut a, accept(2, contents()));
    let mut b = group_of(2);
    ship(&a, &mut b, origin(1));
    step(&mut b, take_over(1, 1, 2));
    let one = vec![candidate(&a, &b, first)];
    step(&mut b, Step::Adopt { birth: region(1), epoch: 2, orders: one });
    assert_eq!(step(&mut b, take_over(1, 2, 3)), Outcome::Noted);
    assert_eq!(phase(&b, 1), Phase::Adopting);
    assert!(b.is_own(first, of(&b, first)) && b.waits(second));
    assert_eq!(adopt(&a, &mut b, 1, 3), 1);
    assert_eq!(step(&mut b, Step::Settled { birth: region(1), epoch: 3 }), Outcome::Noted);
    run(&mut b, fine);
    for id in [first, second] {
        assert_eq!(status(&b, id), OrderStatus::Confirmed);
    }
    assert!(b.doubted(region(1)).is_some(), "what A granted last is as unknown as before");
    holds(&b);
}

#[test]
fn a_former_order_that_its_owner_never_knew_is_not_changed_after_its_births_came_back() {
    let (mut a, mut b, _) = pair(fine, true);
    survive(&a, &mut b, 2);
    run(&mut b, fine);
    // A alone took one more, and charged it.
    let alone = order_id(2);
    apply(&mut a, accept(2, contents()));
    run(&mut a, fine);
    step(&mut a, elsewhere(2, 2, None));
    ship(&b, &mut a, origin(2));
    step(&mut a, take_over(1, 2, 3));
    adopt(&b, &mut a, 1, 3);
    assert_eq!(step(&mut a, Step::Settled { birth: region(1), epoch: 3 }), Outcome::Noted);
    let mut again = thawed(&a);
    let was = of(&a, alone).clone();
    let note = Note::default;
    let calls = [
        Command::Refund { order: alone, key: key(61), amount_minor: 1, note: note() },
        Command::Ship { order: alone, key: key(62), lines: vec![], note: note() },
        Command::Return { order: alone, key: key(63), lines: vec![(0, 1)], note: note() },
        Command::Cancel { order: alone, key: key(64), reason: String::new() },
        Command::Resume { order: alone },
    ];
    for call in calls {
        let sent = Command::Dated { first_sent_ms: u64::MAX, command: Box::new(call) };
        for replica in [&mut a, &mut again] {
            assert_eq!(apply(replica, sent.clone()), Outcome::Refused(Refused::NotAdopted));
            for call in replica.due(0, 100) {
                let report = Report { order: call.order, no: call.no, result: StepResult::Done };
                apply(replica, Command::Report(vec![report]));
            }
        }
    }
    assert_eq!((of(&a, alone), a.digest()), (&was, again.digest()));
    holds(&a);
}

#[test]
fn who_knows_only_the_directory_from_before_a_drain_does_not_undo_it() {
    let (mut a, id) = placed(contents());
    run(&mut a, fine);
    step(&mut a, drain(2, 10));
    assert_eq!(step(&mut a, undrain(9)), Outcome::Refused(Refused::NotSettled));
    step(&mut a, Step::Drained { birth: region(1), epoch: 1 });
    assert_eq!(step(&mut a, undrain(9)), Outcome::Refused(Refused::NotSettled));
    let last = a.meta.seq;
    let cancel = Command::Cancel { order: id, key: key(9), reason: String::new() };
    assert_eq!(apply(&mut a, cancel), Outcome::Refused(Refused::NotOwner));
    assert_eq!(phase(&a, 1), Phase::Drained { to: region(2), last, drain: 10 });
    assert_eq!(step(&mut a, undrain(11)), Outcome::Noted);
    assert_eq!(phase(&a, 1), Phase::Owned);
}

#[test]
fn a_group_that_never_heard_a_drain_was_given_up_follows_the_next_one() {
    let (mut a, _) = placed(contents());
    run(&mut a, fine);
    step(&mut a, drain(2, 10));
    step(&mut a, Step::Drained { birth: region(1), epoch: 1 });
    let last = a.meta.seq;
    assert_eq!(step(&mut a, drain(3, 14)), Outcome::Noted);
    assert_eq!(phase(&a, 1), Phase::Drained { to: region(3), last, drain: 14 });
    assert_eq!(step(&mut a, drain(2, 10)), Outcome::Refused(Refused::NotSettled));
    assert_eq!(step(&mut a, undrain(12)), Outcome::Refused(Refused::NotSettled));
    assert_eq!(phase(&a, 1), Phase::Drained { to: region(3), last, drain: 14 });
}

/// A as it was shipped, and B, which parked what came of its order since.
fn parked() -> (State, State, OrderId) {
    let (mut a, mut b, id) = pair(fine, false);
    let shipped = copy_of(&a);
    run(&mut a, fine);
    let mut last = batch(&a, origin(1), b.remote.cursors.get(&origin(1)).unwrap().applied);
    let fault = crate::core::remote::Fault::UnknownField;
    last.events.iter_mut().for_each(|event| event.fault = Some(fault));
    let Outcome::Received(received) = apply(&mut b, Command::ApplyRemote(Box::new(last))) else {
        panic!()
    };
    assert_eq!((received.parked, received.applied), (1, a.meta.seq));
    (shipped, b, id)
}

#[test]
fn an_order_with_a_parked_event_is_not_adopted_from_what_came_before_it() {
    let (a, mut b, id) = parked();
    let Step::TakeOver(mut take) = take_over(1, 1, 2) else { panic!() };
    take.complete = true;
    step(&mut b, Step::TakeOver(take));
    assert!(b.doubted(region(1)).is_some(), "not every key of a request is here");
    assert_eq!(adopt(&a, &mut b, 1, 2), 0);
    assert_eq!(b.births.failed.get(&id), Some(&NotAdopted::Parked));
    assert_eq!(step(&mut b, Step::Settled { birth: region(1), epoch: 2 }), Outcome::Noted);
    let resume = Command::Resume { order: id };
    assert_eq!(apply(&mut b, resume), Outcome::Refused(Refused::NotAdopted));
    // An operator decides to go on from what is kept here: then it is adopted.
    let keep = Command::ResolveRemote { order: id, keep_mine: true };
    assert!(matches!(apply(&mut b, keep), Outcome::Resolved(_)));
    assert_eq!((phase(&b, 1), b.waiting(region(1), 9)), (Phase::Adopting, vec![id]));
    holds(&b);
}

#[test]
fn an_order_of_which_there_is_only_a_parked_event_is_listed() {
    let (mut a, _, id) = pair(fine, false);
    let mut b = group_of(2);
    let mut only = batch(&a, origin(1), 0);
    let fault = crate::core::remote::Fault::Undecodable;
    only.events.iter_mut().for_each(|event| event.fault = Some(fault));
    apply(&mut b, Command::ApplyRemote(Box::new(only)));
    step(&mut b, take_over(1, 1, 2));
    assert_eq!(b.waiting(region(1), 9), vec![id]);
    let settled = Step::Settled { birth: region(1), epoch: 2 };
    assert_eq!(step(&mut b, settled.clone()), Outcome::Refused(Refused::NotSettled));
    let fail = Candidate::Fail { order: id, version: 0, why: NotAdopted::Parked };
    step(&mut b, Step::Adopt { birth: region(1), epoch: 2, orders: vec![fail] });
    assert_eq!(b.births.failed.get(&id), Some(&NotAdopted::Parked));
    assert_eq!(step(&mut b, settled), Outcome::Noted);
    run(&mut a, fine);
    holds(&b);
}

#[test]
fn what_could_not_be_adopted_is_looked_at_anew_by_each_take_over() {
    let (mut a, mut b, id) = pair(fine, true);
    step(&mut b, take_over(1, 1, 2));
    let version = b.remote.copies.get(&id).unwrap().version;
    let fail = Candidate::Fail { order: id, version, why: NotAdopted::KeyMissing };
    step(&mut b, Step::Adopt { birth: region(1), epoch: 2, orders: vec![fail] });
    step(&mut b, Step::Settled { birth: region(1), epoch: 2 });
    // Back, on with it, and lost again.
    step(&mut b, elsewhere(1, 3, None));
    assert!(b.births.failed.is_empty());
    step(&mut a, elsewhere(2, 2, None));
    step(&mut b, take_over(1, 1, 4));
    assert_eq!(b.waiting(region(1), 9), vec![id]);
    assert_eq!(adopt(&a, &mut b, 1, 4), 1);
    holds(&b);
}

#[test]
fn a_group_that_has_not_followed_its_directory_knows_of_no_tail() {
    let (mut a, _) = placed(contents());
    run(&mut a, fine);
    assert!(a.has_followed(region(1), 1) && a.has_followed(region(3), 4));
    assert!(!a.has_followed(region(1), 2), "nothing is in its tail, and that proves nothing");
    step(&mut a, elsewhere(2, 2, None));
    assert!(a.has_followed(region(1), 2) && !a.tail(region(1), 9).is_empty());
    assert!(!a.has_followed(region(1), 3));
}

#[test]
fn a_third_owner_says_how_far_the_first_one_had_told_it() {
    let (mut a, mut c, _) = pair(fine, true);
    apply(&mut a, accept(2, contents()));
    ship(&a, &mut c, origin(1));
    let told = c.remote.cursors.get(&origin(1)).unwrap().applied;
    // It never hears of the second but by its record.
    step(&mut c, take_over(1, 3, 3));
    let taken = c.births.get(region(1)).unwrap().taken.clone().unwrap();
    let first = taken.lost.iter().find(|lost| lost.origin == origin(1)).unwrap();
    assert_eq!((first.after, first.upto), (told, told), "known, and nothing of it missing");
    let second = taken.lost.iter().find(|lost| lost.origin == origin(3)).unwrap();
    assert_eq!((second.after, second.upto), (0, 40));
}

#[test]
fn an_order_whose_births_come_or_go_is_not_said_to_be_unknown() {
    let (a, mut b, id) = pair(fine, false);
    let never = order_id(9);
    assert_eq!((a.withheld(id), a.why_unknown(never)), (None, Refused::OrderNotFound));
    // Who asks here has heard of a record that this group has not.
    for id in [id, never] {
        assert_eq!(b.why_unknown(id), Refused::NotOwner);
    }
    assert_eq!(step(&mut b, take_over(1, 1, 2)), Outcome::Noted);
    assert_eq!((b.withheld(id), b.why_unknown(id)), (Some(Refused::NotOwner), Refused::NotOwner));
    assert_eq!(b.why_unknown(never), Refused::OrderNotFound);
    adopt(&a, &mut b, 1, 2);
    assert_eq!(b.withheld(id), None);
    step(&mut b, elsewhere(1, 3, None));
    for id in [id, never] {
        assert_eq!(
            (b.withheld(id), b.why_unknown(id)),
            (Some(Refused::NotOwner), Refused::NotOwner)
        );
    }
}

#[test]
fn an_order_of_which_only_a_parked_event_came_is_not_said_to_be_unknown() {
    let (a, _, id) = pair(fine, false);
    let mut b = group_of(2);
    let mut sent = batch(&a, origin(1), 0);
    let fault = crate::core::remote::Fault::UnknownField;
    sent.events.iter_mut().for_each(|event| event.fault = Some(fault));
    apply(&mut b, Command::ApplyRemote(Box::new(sent)));
    assert_eq!(step(&mut b, take_over(1, 1, 2)), Outcome::Noted);
    assert_eq!((b.withheld(id), b.why_unknown(id)), (None, Refused::NotAdopted));
}
