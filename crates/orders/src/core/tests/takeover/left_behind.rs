//! Copies of orders that the owner before never had.

use super::*;
use crate::core::takeover::Loss;

fn handed_over(from: u16, epoch: u64) -> Step {
    let Step::TakeOver(mut take) = take_over(1, from, epoch) else { panic!() };
    take.complete = true;
    Step::TakeOver(take)
}

fn elsewhere(owner: u16, epoch: u64, loss: Option<Loss>) -> Step {
    Step::Elsewhere { birth: region(1), owner: region(owner), epoch, loss, handed: false }
}

/// C, which has a copy of A's order, and hears that B owns it.
fn third() -> (State, State, OrderId) {
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
        Todo::Open { .. } => StepResult::Done,
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
    let mut c = group_of(3);
    ship(&a, &mut c, origin(1));
    step(&mut c, elsewhere(1, 5, Some(Loss { record_ms: 0, skew_ms: 1_000 })));
    assert!(c.doubted(region(1)).is_some(), "what it forgot is in doubt here, too");
    step(&mut c, handed_over(1, 6));
    assert_eq!(c.passed_over(id), None);
}
