//! What former records hold is given back before others' word for their orders is adopted.

use super::handed::{goes, settle};
use super::*;
use crate::core::remote::Fault;
use crate::core::takeover::Leftover;

fn left(state: &State) -> Vec<OrderId> {
    state.leftovers(region(1), 9).0.iter().map(|of: &Leftover| of.order).collect()
}

fn given_back(state: &mut State, orders: Vec<OrderId>, epoch: u64) {
    let back = Step::GivenBack { birth: region(1), epoch, orders, last: false };
    assert_eq!(step(state, back), Outcome::Noted);
}

/// Region 1 was lost, region 2 went on and told it so, and it hears of no owner but itself.
fn missed() -> (State, State, OrderId) {
    let (mut a, mut b, id) = pair(fine, true);
    survive(&a, &mut b, 2);
    run(&mut b, fine);
    ship(&b, &mut a, origin(2));
    let Step::TakeOver(mut take) = take_over(1, 1, 3) else { panic!() };
    take.unheard = true;
    assert_eq!(step(&mut a, Step::TakeOver(take)), Outcome::Noted);
    (a, b, id)
}

/// Nothing is adopted before it is given back, and then it is.
fn waits_for_its_hold(from: &State, state: &mut State, id: OrderId, epoch: u64) {
    let settled = || Step::Settled { birth: region(1), epoch };
    assert_eq!(left(state), [id]);
    assert!(state.ready(region(1), 9).is_empty() && !state.is_ready(id));
    let before = state.orders.digest();
    assert_eq!(adopt(from, state, 1, epoch), 0, "its hold would be nobody's");
    assert_eq!(state.orders.digest(), before);
    assert_eq!(step(state, settled()), Outcome::Refused(Refused::NotSettled));
    let mut state = thawed(state);
    given_back(&mut state, vec![id], epoch);
    assert!(left(&state).is_empty() && state.is_ready(id));
    assert_eq!(state.ready(region(1), 9), [id]);
    assert_eq!(adopt(from, &mut state, 1, epoch), 1);
    settle(&mut state, epoch);
    run(&mut state, fine);
    assert_eq!(status(&state, id), OrderStatus::Confirmed);
    holds(&state);
}

#[test]
fn a_group_that_missed_who_owned_in_between_gives_back_what_it_held() {
    let (mut a, b, id) = missed();
    waits_for_its_hold(&b, &mut a, id, 3);
}

#[test]
fn an_order_whose_copy_was_parked_until_births_were_home_gives_back_what_it_held() {
    let (mut a, mut b, id) = pair(fine, true);
    survive(&a, &mut b, 2);
    run(&mut b, fine);
    step(&mut a, goes(2, 2, false));
    let mut parked = batch(&b, origin(2), 0);
    parked.events.iter_mut().for_each(|event| event.fault = Some(Fault::UnknownField));
    apply(&mut a, Command::ApplyRemote(Box::new(parked)));
    let refund =
        Command::Refund { order: id, key: key(60), amount_minor: 1, note: Note::default() };
    let refund = Command::Dated { first_sent_ms: u64::MAX, command: Box::new(refund) };
    assert!(matches!(apply(&mut b, refund), Outcome::Done(_)));
    run(&mut b, fine);
    ship(&b, &mut a, origin(2));
    step(&mut a, take_over(1, 2, 3));
    assert_eq!(a.ready(region(1), 9), [id], "that it waits is said at once");
    let fail = Candidate::Fail { order: id, version: 0, why: NotAdopted::Parked };
    step(&mut a, Step::Adopt { birth: region(1), epoch: 3, orders: vec![fail] });
    settle(&mut a, 3);
    assert!(left(&a).is_empty(), "nobody is known to go on with it");
    // An operator goes on with the newest of it.
    let newest = Command::ResolveRemote { order: id, keep_mine: false };
    assert_eq!(apply(&mut a, newest), Outcome::Resolved(of(&b, id).version));
    assert_eq!(a.births.get(region(1)).unwrap().phase, Phase::Adopting);
    waits_for_its_hold(&b, &mut a, id, 3);
}

#[test]
fn what_cannot_be_adopted_though_others_went_on_with_it_is_given_back() {
    let (mut a, _, id) = missed();
    let version = a.remote.copies.get(&id).unwrap().version;
    let fail = Candidate::Fail { order: id, version, why: NotAdopted::KeyMissing };
    step(&mut a, Step::Adopt { birth: region(1), epoch: 3, orders: vec![fail] });
    settle(&mut a, 3);
    let late = a.late_leftovers(region(1), 9);
    assert_eq!(late.iter().map(|of| of.order).collect::<Vec<_>>(), [id]);
    given_back(&mut a, vec![id], 3);
    assert!(a.late_leftovers(region(1), 9).is_empty());
    holds(&a);
}
