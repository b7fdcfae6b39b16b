//! What only a lost owner knows stays in doubt, whoever owns its births since.

use super::*;

/// A request to place an order of A's births there, first sent at `sent` ms after the start.
fn place(state: &mut State, n: u64, epoch: u64, sent: i64) -> Outcome {
    let Command::Accept(mut accept) = accept(n, contents()) else { panic!() };
    accept.epoch = epoch;
    accept.contents.sealed_with.subject.home = state.meta.settings.region;
    let first_sent_ms = START.ms().checked_add_signed(sent).unwrap();
    apply(state, Command::Dated { first_sent_ms, command: Box::new(Command::Accept(accept)) })
}

fn lost(owner: u16, epoch: u64) -> Step {
    elsewhere(owner, epoch, Some(Loss { record_ms: START.ms(), skew_ms: 1_000 }))
}

/// By a planned change.
fn handed_over(from: u16, epoch: u64) -> Box<TakeOver> {
    let Step::TakeOver(mut take) = take_over(1, from, epoch) else { panic!() };
    take.complete = true;
    take
}

fn settle(from: &State, to: &mut State, take: Box<TakeOver>) {
    let epoch = take.epoch;
    assert_eq!(step(to, Step::TakeOver(take)), Outcome::Noted);
    adopt(from, to, 1, epoch);
    assert_eq!(step(to, Step::Settled { birth: region(1), epoch }), Outcome::Noted);
}

const IN_DOUBT: Outcome = Outcome::Refused(Refused::InDoubt);

#[test]
fn a_planned_change_of_owner_after_a_loss_ends_no_doubt() {
    let (a, mut b, id) = pair(fine, true);
    survive(&a, &mut b, 2);
    run(&mut b, fine);
    // C hears of the loss, and gets the births later on, by a plan.
    let mut c = group_of(3);
    assert_eq!(step(&mut c, lost(2, 2)), Outcome::Noted);
    ship(&b, &mut c, origin(2));
    c.advance(START.plus_ms(60_000));
    settle(&b, &mut c, handed_over(2, 3));
    run(&mut c, fine);
    let mut c = thawed(&c);
    assert_eq!(place(&mut c, 7, 3, 0), IN_DOUBT);
    assert_eq!(place(&mut c, 7, 3, 1_000), IN_DOUBT);
    let cancel = |n| Command::Cancel { order: id, key: key(n), reason: String::new() };
    assert_eq!(apply(&mut c, cancel(80)), IN_DOUBT, "nor does anybody know what was cancelled");
    assert!(matches!(place(&mut c, 8, 3, 1_001), Outcome::Done(_)), "since the loss");
    // Home again, and what B alone had heard of is as unknown.
    let mut a = a;
    step(&mut a, lost(2, 2));
    step(&mut a, elsewhere(3, 3, None));
    run(&mut c, fine);
    ship(&c, &mut a, origin(3));
    settle(&c, &mut a, handed_over(3, 4));
    assert_eq!(place(&mut a, 7, 4, 0), IN_DOUBT);
    c.advance(START.plus_ms(settings().key_ttl_ms + 1));
    assert!(matches!(place(&mut c, 9, 3, 0), Outcome::Done(_)), "repeated no more");
    holds(&a);
    holds(&c);
}

#[test]
fn an_owner_in_between_of_whom_nobody_heard_may_have_been_lost() {
    let (a, mut c, _) = pair(fine, true);
    let mut take = handed_over(3, 3);
    take.unheard = true;
    settle(&a, &mut c, take);
    assert_eq!(place(&mut c, 7, 3, 0), IN_DOUBT);
    assert!(matches!(place(&mut c, 7, 3, 1_001), Outcome::Done(_)));
    holds(&c);
}

#[test]
fn the_requests_of_an_order_that_cannot_be_opened_are_in_doubt_though_nothing_was_lost() {
    let (_, mut b, id) = pair(fine, true);
    assert_eq!(step(&mut b, Step::TakeOver(handed_over(1, 2))), Outcome::Noted);
    assert!(b.doubted(region(1)).is_none());
    let version = b.remote.copies.get(&id).unwrap().version;
    let fail = Candidate::Fail { order: id, version, why: NotAdopted::KeyMissing };
    step(&mut b, Step::Adopt { birth: region(1), epoch: 2, orders: vec![fail] });
    assert_eq!(step(&mut b, Step::Settled { birth: region(1), epoch: 2 }), Outcome::Noted);
    assert_eq!(place(&mut b, 1, 2, 0), IN_DOUBT, "this may be that order");
    assert!(matches!(place(&mut b, 8, 2, 1_001), Outcome::Done(_)));
}

#[test]
fn what_their_owner_doubts_the_next_one_doubts_too() {
    let (_, mut b, id) = pair(fine, true);
    let mut c = group_of(3);
    step(&mut c, elsewhere(2, 2, None));
    assert_eq!(step(&mut b, Step::TakeOver(handed_over(1, 2))), Outcome::Noted);
    let version = b.remote.copies.get(&id).unwrap().version;
    let fail = Candidate::Fail { order: id, version, why: NotAdopted::KeyMissing };
    step(&mut b, Step::Adopt { birth: region(1), epoch: 2, orders: vec![fail] });
    let doubt = b.doubted(region(1)).unwrap();
    let says = |epoch| Step::Doubted { birth: region(1), epoch, doubt };
    assert_eq!(c.hears_doubt(region(1), 3, doubt), None, "not followed so far");
    assert_eq!(step(&mut c, says(3)), Outcome::Refused(Refused::EpochNotNewer));
    assert_eq!(c.hears_doubt(region(1), 2, doubt), Some(true));
    assert_eq!(step(&mut c, says(2)), Outcome::Noted);
    assert_eq!(c.hears_doubt(region(1), 2, doubt), Some(false), "once is enough");
    assert_eq!(step(&mut c, Step::TakeOver(handed_over(2, 3))), Outcome::Noted);
    assert_eq!(step(&mut c, Step::Settled { birth: region(1), epoch: 3 }), Outcome::Noted);
    assert_eq!(place(&mut thawed(&c), 1, 3, 0), IN_DOUBT, "this may be the order left out by B");
    assert!(matches!(place(&mut c, 8, 3, 1_001), Outcome::Done(_)));
    assert_eq!(step(&mut b, says(2)), Outcome::Noted, "its own word");
    assert_eq!(b.hears_doubt(region(1), 2, doubt), Some(false));
}

#[test]
fn who_handed_births_on_sends_a_caller_to_their_owner_and_does_not_doubt_for_it() {
    let (a, mut b, _) = pair(fine, true);
    survive(&a, &mut b, 2);
    step(&mut b, elsewhere(1, 3, None));
    assert_eq!(place(&mut b, 7, 2, 0), Outcome::Refused(Refused::NotOwner));
    assert!(b.doubts_of(region(1), None, true).is_some(), "known wherever they are");
}

#[test]
fn an_owner_that_never_heard_who_owned_in_between_takes_over_from_it_and_doubts_the_rest() {
    let (mut a, mut b, id) = pair(fine, true);
    survive(&a, &mut b, 2);
    run(&mut b, fine);
    let refund =
        |n| Command::Refund { order: id, key: key(n), amount_minor: 1, note: Note::default() };
    let sent = |n| Command::Dated { first_sent_ms: u64::MAX, command: Box::new(refund(n)) };
    assert!(matches!(apply(&mut b, sent(60)), Outcome::Done(_)));
    run(&mut b, fine);
    // A is cut off, goes on alone, and is given its births back without having seen them go.
    let alone = order_id(2);
    apply(&mut a, accept(2, contents()));
    ship(&b, &mut a, origin(2));
    let Step::TakeOver(mut take) = take_over(1, 1, 3) else { panic!() };
    take.unheard = true;
    assert_eq!(step(&mut a, Step::TakeOver(take)), Outcome::Noted);
    let cancel = Command::Cancel { order: alone, key: key(61), reason: String::new() };
    assert_eq!(apply(&mut a, cancel), Outcome::Refused(Refused::NotOwner), "in a moment");
    let mut waiting = a.waiting(region(1), 9);
    waiting.sort_unstable_by_key(|order| *order == alone);
    assert_eq!(waiting, [id, alone]);
    assert!(a.waits(id) && a.waits(alone) && a.due(0, 9).is_empty());
    let back = Step::GivenBack { birth: region(1), epoch: 3, orders: vec![id], last: false };
    assert_eq!(step(&mut a, back), Outcome::Noted);
    let orders = vec![candidate(&b, &a, id), Candidate::Again { order: alone }];
    let adopted = step(&mut a, Step::Adopt { birth: region(1), epoch: 3, orders });
    assert_eq!(adopted, Outcome::Adopted(2));
    assert_eq!(step(&mut a, Step::Settled { birth: region(1), epoch: 3 }), Outcome::Noted);
    let mut a = thawed(&a);
    run(&mut a, fine);
    // What B did with the one is a fact here; the other goes on as it stood.
    assert_eq!(of(&a, id).refunds.len(), 1);
    assert!(matches!(apply(&mut a, refund(60)), Outcome::Replayed(_)));
    assert_eq!(status(&a, alone), OrderStatus::Confirmed);
    assert_eq!((of(&a, id).epoch, of(&a, alone).epoch), (3, 3));
    assert_eq!(place(&mut a, 7, 3, 0), IN_DOUBT);
    assert!(matches!(place(&mut a, 7, 3, 1_001), Outcome::Done(_)));
    holds(&a);
}

#[test]
fn an_owner_beside_whom_another_wrote_for_a_while_doubts_what_that_one_may_have_granted() {
    let (a, mut b, _) = pair(fine, true);
    settle(&a, &mut b, handed_over(1, 2));
    assert!(matches!(place(&mut b, 7, 2, 0), Outcome::Done(_)));
    // Two records of one epoch: this one stands, and goes on in an epoch that nobody wrote in.
    let Step::TakeOver(mut take) = take_over(1, 2, 3) else { panic!() };
    (take.record, take.record_ms) = (0, 0);
    b.advance(START.plus_ms(30_000));
    assert_eq!(step(&mut b, Step::TakeOver(take)), Outcome::Noted);
    assert_eq!(place(&mut b, 8, 3, 31_000), IN_DOUBT);
    assert!(matches!(place(&mut b, 9, 3, 31_001), Outcome::Done(_)));
    holds(&b);
}
