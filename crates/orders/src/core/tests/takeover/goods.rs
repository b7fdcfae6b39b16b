//! Goods that one region shipped and another one takes back.

use super::*;
use crate::core::effect::StockVerb;

fn dated(command: Command) -> Command {
    Command::Dated { first_sent_ms: u64::MAX, command: Box::new(command) }
}

fn parcel(order: OrderId, n: u128, units: u32) -> Command {
    let (key, lines, note) = (key(n), vec![(0, units)], Note::default());
    dated(Command::Ship { order, key, lines, note })
}

fn back(order: OrderId, n: u128, units: u32) -> Command {
    let (key, lines, note) = (key(n), vec![(0, units)], Note::default());
    dated(Command::Return { order, key, lines, note })
}

/// Takes units back; how many of them the books here never shipped, by what they are asked.
fn takes_back(state: &mut State, order: OrderId, n: u128, units: u32) -> u32 {
    assert!(matches!(apply(state, back(order, n, units)), Outcome::Done(_)));
    let away = std::cell::Cell::new(None);
    let epoch = of(state, order).adopted.map_or(0, |adoption| adoption.ended);
    run(state, |todo| {
        if let Todo::Book(Booking::Stock(call)) = todo
            && let StockVerb::Restock { lines, elsewhere, ended, .. } = &call.verb
        {
            assert_eq!((lines.len(), lines[0].quantity, *ended), (1, units, epoch));
            away.set(Some(elsewhere.iter().map(|of| of.quantity).sum::<u32>()));
        }
        fine(todo)
    });
    holds(state);
    away.get().expect("the books are asked")
}

/// A shipped one of two units; B took the order over and shipped the other one.
fn shipped_by_both() -> (State, State, OrderId) {
    let (mut a, id) = placed(contents());
    run(&mut a, fine);
    assert!(matches!(apply(&mut a, parcel(id, 40, 1)), Outcome::Done(_)));
    run(&mut a, fine);
    let mut b = group_of(2);
    ship(&a, &mut b, origin(1));
    survive(&a, &mut b, 2);
    run(&mut b, fine);
    assert!(matches!(apply(&mut b, parcel(id, 41, 1)), Outcome::Done(_)));
    run(&mut b, fine);
    holds(&b);
    (a, b, id)
}

#[test]
fn what_the_lost_region_shipped_comes_back_from_elsewhere_and_own_goods_come_first() {
    let (_, mut b, id) = shipped_by_both();
    assert_eq!(takes_back(&mut b, id, 50, 1), 0);
    let mut b = thawed(&b);
    assert_eq!(takes_back(&mut b, id, 51, 1), 1);
    assert_eq!(apply(&mut b, back(id, 52, 1)), Outcome::Refused(Refused::ExceedsShipped));
    let (_, mut other, id) = shipped_by_both();
    assert_eq!(takes_back(&mut other, id, 53, 2), 1, "of one line some left here");
}

#[test]
fn a_return_that_was_refused_asks_for_the_same_again() {
    let (a, id) = {
        let (mut a, id) = placed(contents());
        run(&mut a, fine);
        apply(&mut a, parcel(id, 40, 2));
        run(&mut a, fine);
        (a, id)
    };
    let mut b = group_of(2);
    ship(&a, &mut b, origin(1));
    survive(&a, &mut b, 2);
    run(&mut b, fine);
    assert!(matches!(apply(&mut b, back(id, 50, 1)), Outcome::Done(_)));
    run(&mut b, |todo| match todo {
        Todo::Book(Booking::Stock(_)) => StepResult::Refused(crate::core::effect::Refusal::new(
            crate::core::effect::RefusalCode::Other,
            "not now",
        )),
        other => fine(other),
    });
    assert_eq!(status(&b, id), OrderStatus::Parked);
    assert_eq!(apply(&mut b, Command::Resume { order: id }), Outcome::Noted);
    assert_eq!(of(&b, id).returns[0].elsewhere, [(0, 1)]);
    run(&mut b, fine);
    assert_eq!(takes_back(&mut b, id, 51, 1), 1);
    assert_eq!(of(&b, id).returns.len(), 2);
}

#[test]
fn at_home_again_each_region_has_what_it_shipped_and_what_came_back_stays_where_it_is() {
    let (mut a, mut b, id) = shipped_by_both();
    assert_eq!(takes_back(&mut b, id, 50, 1), 0);
    step(&mut a, elsewhere(2, 2, None));
    ship(&b, &mut a, origin(2));
    step(&mut b, Step::Drain { birth: region(1), to: region(1), epoch: 2, drain: 5 });
    step(&mut b, Step::Drained { birth: region(1), epoch: 2 });
    step(&mut a, take_over(1, 2, 3));
    assert_eq!(adopt(&b, &mut a, 1, 3), 1);
    step(&mut a, Step::Settled { birth: region(1), epoch: 3 });
    step(&mut b, elsewhere(1, 3, None));
    run(&mut a, fine);
    let order = of(&a, id);
    assert_eq!((order.shipped_by(region(1), 0), order.shipped_by(region(2), 0)), (1, 1));
    assert_eq!(order.returns[0].booked, Some(region(2)));
    // A's own unit is with its customer still, by A's books.
    assert_eq!(takes_back(&mut a, id, 60, 1), 0);
    assert_eq!(apply(&mut a, back(id, 61, 1)), Outcome::Refused(Refused::ExceedsShipped));
    assert_eq!(thawed(&a).digest(), a.digest());
}

#[test]
fn what_was_under_way_when_the_region_was_lost_is_asked_of_no_books() {
    let (mut a, id) = placed(contents());
    run(&mut a, fine);
    apply(&mut a, parcel(id, 40, 2));
    let mut b = group_of(2);
    ship(&a, &mut b, origin(1));
    survive(&a, &mut b, 2);
    run(&mut b, fine);
    assert_eq!(of(&b, id).shipments[0].booked, None);
    assert_eq!(takes_back(&mut b, id, 50, 2), 2);
}
