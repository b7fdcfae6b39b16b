use super::*;
use crate::history::{Place, PlaceLine};
use crate::life::lives;
use crate::recorder::Recorder;
use crate::testing::order as seen;

fn read(found: Option<OrderSeen>) -> (Call, Outcome) {
    let answer = Answer::OrderRead { seen: found.map(Box::new) };
    (Call::ReadOrder { order: "o".to_owned() }, Outcome::Known(answer))
}

fn copy(found: Option<OrderSeen>) -> (Call, Outcome) {
    let (order, region) = ("o".to_owned(), "us-east".to_owned());
    (Call::ReadCopy { order, region }, read(found).1)
}

fn placed() -> (Call, Outcome) {
    let line = PlaceLine { stock: None, quantity: 1, price_minor: 5 };
    let (request, reference) = ("r".to_owned(), "r".to_owned());
    let place = Place { request, reference, lines: vec![line], total_minor: 5 };
    let answer = Answer::Order { seen: Box::new(seen("o", 2)), replayed: false };
    (Call::Place(place), Outcome::Known(answer))
}

/// One after the other, after the order was placed; the complaint begins with these words.
#[track_caller]
fn check_reads(ops: Vec<(Call, Outcome)>, complaint: Option<&str>) {
    let mut recorder = Recorder::default();
    for (call, outcome) in std::iter::once(placed()).chain(ops) {
        let ticket = recorder.invoke(1, call, 0);
        recorder.finish(ticket, outcome, 0);
    }
    let history = recorder.into_history();
    match (check(&history, &lives(&history), &Loss::default()), complaint) {
        (Verdict::Pass, None) => {}
        (Verdict::Fail(reasons), Some(what)) => {
            assert!(reasons.iter().any(|reason| reason.what.contains(what)), "{reasons:?}");
        }
        (verdict, _) => panic!("{verdict}"),
    }
}

fn changed(version: u64, change: impl Fn(&mut OrderSeen)) -> Option<OrderSeen> {
    let mut order = seen("o", version);
    change(&mut order);
    Some(order)
}

#[test]
fn an_acknowledged_order_must_be_found_as_it_was_placed() {
    check_reads(vec![read(Some(seen("o", 2)))], None);
    check_reads(vec![read(None)], Some("not found"));
    check_reads(vec![copy(None)], None);
    check_reads(vec![read(changed(3, |order| order.total_minor = 6))], Some("placed"));
    check_reads(vec![read(changed(3, |order| order.lines[0].quantity = 2))], Some("placed"));
}

#[test]
fn a_later_answer_shows_no_older_version_and_no_other_content_of_one() {
    check_reads(vec![read(Some(seen("o", 1)))], Some("stale"));
    check_reads(vec![copy(Some(seen("o", 1)))], None);
    let parked = |order: &mut OrderSeen| order.state = OrderState::Parked;
    check_reads(vec![copy(changed(2, parked))], Some("two contents"));
    check_reads(vec![read(changed(2, parked))], Some("two contents"));
    check_reads(vec![copy(changed(2, |order| order.money = None))], None);
}

#[test]
fn an_order_does_not_go_back_not_even_by_way_of_parked() {
    let parked = |order: &mut OrderSeen| order.state = OrderState::Parked;
    let pending = |order: &mut OrderSeen| order.state = OrderState::Pending;
    check_reads(vec![read(changed(3, parked)), read(Some(seen("o", 4)))], None);
    check_reads(vec![read(changed(3, parked)), read(changed(4, pending))], Some("goes back"));
    let refunded = |n: i64| {
        move |order: &mut OrderSeen| {
            order.money = Some(crate::seen::Money { authorized: 5, captured: 5, refunded: n });
        }
    };
    check_reads(
        vec![read(changed(3, refunded(2))), read(changed(4, refunded(1)))],
        Some("goes back"),
    );
}

#[test]
fn nothing_is_seen_that_nobody_asked_for() {
    check_reads(vec![read(changed(3, |o| o.state = OrderState::Cancelled))], Some("nobody asked"));
    let shipped = |order: &mut OrderSeen| order.lines[0].shipped = 1;
    check_reads(vec![read(changed(3, shipped))], Some("more moved"));
}
