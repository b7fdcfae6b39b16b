//! Copies of orders that the owner before never had.

use super::forks::hand_over;
use super::handed::settle;
use super::tail::{came_to, decide};
use super::*;

fn handed_over(from: u16, epoch: u64) -> Step {
    let Step::TakeOver(mut take) = take_over(1, from, epoch) else { panic!() };
    take.complete = true;
    Step::TakeOver(take)
}

/// C, which has a copy of A's order, and hears that B owns it.
pub fn third() -> (State, State, OrderId) {
    let (a, mut c, id) = {
        let (mut a, id) = placed(contents());
        run(&mut a, fine);
        (a, group_of(3), id)
    };
    ship(&a, &mut c, origin(1));
    step(&mut c, elsewhere(2, 2, None));
    (a, c, id)
}

#[test]
fn what_the_owner_before_never_had_may_have_been_given_back_by_people_and_waits_for_one() {
    let (a, mut c, id) = third();
    assert_eq!(step(&mut c, handed_over(2, 3)), Outcome::Noted);
    assert_eq!(c.passed_over(id), Some(region(2)));
    let Candidate::Take(mut one) = candidate(&a, &c, id) else { panic!() };
    let why = (ParkedWhy::LeftBehind, "look first".to_owned());
    one.facts.standing = Standing::Parked(why.0, why.1);
    let orders = vec![Candidate::Take(one)];
    step(&mut c, Step::Adopt { birth: region(1), epoch: 3, orders });
    run(&mut c, |todo| match todo {
        Todo::Book(Booking::Open(_)) => StepResult::Done,
        todo => panic!("nothing is done with it: {todo:?}"),
    });
    assert_eq!(status(&c, id), OrderStatus::Parked);
    let note = Note::default();
    let ship = Command::Ship { order: id, key: key(70), lines: vec![], note };
    let ship = Command::Dated { first_sent_ms: u64::MAX, command: Box::new(ship) };
    let refused = apply(&mut c, ship);
    assert!(matches!(refused, Outcome::Refused(_)), "{refused:?}");
    assert_eq!(apply(&mut c, Command::Resume { order: id }), Outcome::Noted);
    run(&mut c, fine);
    assert_eq!(status(&c, id), OrderStatus::Confirmed);
    holds(&c);
}

#[test]
fn what_the_owner_before_went_on_with_is_gone_on_with() {
    let (a, mut c, id) = third();
    let mut b = group_of(2);
    ship(&a, &mut b, origin(1));
    survive(&a, &mut b, 2);
    ship(&b, &mut c, origin(2));
    step(&mut c, handed_over(2, 3));
    assert_eq!(c.passed_over(id), None);
    // Who was lost may have had what it told nobody of.
    let (_, mut c, id) = third();
    step(&mut c, take_over(1, 2, 3));
    assert_eq!(c.passed_over(id), None);
}

#[test]
fn an_owner_that_came_back_from_a_backup_has_what_it_wrote_before() {
    let (mut a, id) = placed(contents());
    run(&mut a, fine);
    let claims = |epoch| {
        let mut c = group_of(3);
        ship(&a, &mut c, origin(1));
        step(&mut c, elsewhere(1, epoch, Some(Loss { record_ms: 0, skew_ms: 1_000 })));
        assert!(c.doubted(region(1)).is_some(), "what it forgot is in doubt here, too");
        c
    };
    let mut c = claims(2);
    step(&mut c, handed_over(1, 3));
    assert_eq!(c.passed_over(id), None);
    // Another may have owned it before that one claimed it: unless it says so itself, it may never
    // have had what was told here of before.
    for tells in [false, true] {
        let mut c = claims(5);
        if tells {
            let mut again = batch(&a, origin(1), 0);
            again.origin.epoch = 5;
            again.events.iter_mut().for_each(|event| event.shown.epoch = 5);
            apply(&mut c, Command::ApplyRemote(Box::new(again)));
            assert!(c.remote.parked.is_empty());
        }
        step(&mut c, handed_over(1, 6));
        assert_eq!(c.passed_over(id), (!tells).then_some(region(1)));
    }
}

#[test]
fn what_two_people_gave_back_waits_for_one_when_somebody_else_had_gone_on_with_it() {
    for done in [Some(End::Done), Some(End::Refused("half way".into())), None] {
        // B never had it, and owns.
        let (was, mut c, id) = third();
        let mut b = group_of(2);
        step(&mut b, take_over(1, 1, 2));
        settle(&mut b, 2);
        let mut a = thawed(&was);
        step(&mut a, elsewhere(2, 2, None));
        assert_eq!(decide(&mut a, id, TailAction::Compensate), Outcome::Noted);
        if let Some(end) = done {
            let end = came_to(&a, id, end);
            assert_eq!(step(&mut a, end), Outcome::Noted);
        }
        // B is lost, C has a copy of it, and hands it home.
        step(&mut c, take_over(1, 2, 3));
        assert_eq!(adopt(&was, &mut c, 1, 3), 1);
        settle(&mut c, 3);
        run(&mut c, fine);
        assert_eq!(status(&c, id), OrderStatus::Confirmed);
        step(&mut a, elsewhere(3, 3, Some(Loss { record_ms: 1, skew_ms: 1_000 })));
        hand_over(&mut c, &mut a, 4);
        let parked = of(&a, id).parked.clone().unwrap();
        assert_eq!(parked.why, ParkedWhy::LeftBehind);
        assert!(parked.detail.contains("given back") && parked.detail.contains("T-1"));
        assert_eq!(status(&a, id), OrderStatus::Parked);
        holds(&a);
    }
}

#[test]
fn what_had_stopped_an_order_is_said_beside_what_moved_alone() {
    let (was, mut c, id) = third();
    let mut a = thawed(&was);
    assert!(matches!(apply(&mut a, super::handed::parcel(id, 70)), Outcome::Done(_)));
    run(&mut a, fine);
    step(&mut c, take_over(1, 2, 3));
    let Candidate::Take(mut one) = candidate(&was, &c, id) else { panic!() };
    one.facts.standing = Standing::Parked(ParkedWhy::BooksDiffer, "by one".into());
    step(&mut c, Step::Adopt { birth: region(1), epoch: 3, orders: vec![Candidate::Take(one)] });
    settle(&mut c, 3);
    assert_eq!(of(&c, id).parked.clone().unwrap().why, ParkedWhy::BooksDiffer);
    step(&mut a, elsewhere(3, 3, None));
    ship(&c, &mut a, origin(3));
    step(&mut a, take_over(1, 3, 4));
    assert_eq!(adopt(&c, &mut a, 1, 4), 1);
    let parked = of(&a, id).parked.clone().unwrap();
    assert_eq!(parked.why, ParkedWhy::LeftBehind);
    assert!(parked.detail.contains("BooksDiffer by one"), "{}", parked.detail);
    holds(&a);
}
