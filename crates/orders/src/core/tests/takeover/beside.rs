//! What was given back of an order beside what others went on with: never twice, whoever presses
//! what.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::forks::refund;
use super::handed::{drained, goes, planned, settle};
use super::left_behind::third;
use super::tail::{came_to, decide};
use super::*;
use crate::core::restored::{self, Restore};
use crate::core::takeover::{Loss, refund_id};

/// What it paid, by key: once.
#[derive(Clone, Default)]
struct Provider(RefCell<BTreeMap<TransferId, i64>>);

impl Provider {
    fn pays(&self, key: TransferId, minor: i64) {
        self.0.borrow_mut().entry(key).or_insert(minor);
    }

    fn answer(&self, todo: &Todo) -> StepResult {
        if let Todo::Refund(Repayment { key, money, .. }) = todo {
            self.pays(*key, money.minor);
        }
        fine(todo)
    }

    fn run(&self, state: &mut State) {
        run(state, |todo| self.answer(todo));
    }

    fn paid(&self) -> i64 {
        self.0.borrow().values().sum()
    }
}

fn cancel(state: &mut State, order: OrderId) {
    let cancel = Command::Cancel { order, key: key(80), reason: String::new() };
    let cancel = Command::Dated { first_sent_ms: u64::MAX, command: Box::new(cancel) };
    let done = apply(state, cancel);
    assert!(matches!(done, Outcome::Done(_)), "{done:?}");
}

fn resume(state: &mut State, order: OrderId) {
    assert_eq!(apply(state, Command::Resume { order }), Outcome::Noted);
}

/// B owned A's order, and never had it: A's people gave its charge back, as far as `end` says.
/// B is lost, and C has a copy of it and goes on.
fn given_back((was, c, id): (&State, &mut State, OrderId), end: Option<End>) -> State {
    let mut a = thawed(was);
    step(&mut a, elsewhere(2, 2, None));
    assert_eq!(decide(&mut a, id, TailAction::Compensate), Outcome::Noted);
    if let Some(end) = end {
        let end = came_to(&a, id, end);
        assert_eq!(step(&mut a, end), Outcome::Noted);
    }
    step(c, take_over(1, 2, 3));
    assert_eq!(adopt(was, c, 1, 3), 1);
    settle(c, 3);
    a
}

fn comes_home(c: &mut State, a: &mut State) {
    step(a, elsewhere(3, 3, Some(Loss { record_ms: 1, skew_ms: 1_000 })));
    drained(c, 1, 3);
    ship(c, a, origin(3));
    step(a, planned(3, 4));
    assert_eq!(adopt(c, a, 1, 4), 1);
    settle(a, 4);
    holds(a);
}

#[test]
fn a_charge_that_two_people_gave_back_is_never_given_back_again() {
    let all = contents().total_minor;
    let refused = || Some(End::Refused("no answer, then a copy".into()));
    let cases = [(Some(End::Done), true), (refused(), true), (refused(), false)];
    for (end, sent) in cases.into_iter().chain([(None, true), (None, false)]) {
        let (was, mut c, id) = third();
        let mut a = given_back((&was, &mut c, id), end.clone());
        run(&mut c, fine);
        comes_home(&mut c, &mut a);
        assert_eq!(of(&a, id).parked.clone().unwrap().why, ParkedWhy::LeftBehind);
        let done = if end == Some(End::Done) { all } else { 0 };
        assert_eq!(of(&a, id).money.refunded_minor, done);
        let provider = Provider::default();
        if sent {
            provider.pays(refund_id(id), all);
        }
        for resumed in [false, true] {
            let (mut a, provider) = (thawed(&a), provider.clone());
            provider.run(&mut a);
            if resumed {
                resume(&mut a, id);
                provider.run(&mut a);
                assert_eq!(status(&a, id), OrderStatus::Confirmed);
                assert!(provider.paid() <= all);
                cancel(&mut a, id);
            } else {
                cancel(&mut a, id);
                resume(&mut a, id);
            }
            provider.run(&mut a);
            assert_eq!(status(&a, id), OrderStatus::Cancelled, "{end:?} {sent} {resumed}");
            assert_eq!((provider.paid(), of(&a, id).money.refunded_minor), (all, all));
            holds(&a);
        }
    }
}

#[test]
fn who_goes_on_with_it_elsewhere_and_cancels_it_gives_nothing_back_twice() {
    let all = contents().total_minor;
    let (was, mut c, id) = third();
    let mut a = given_back((&was, &mut c, id), Some(End::Done));
    let provider = Provider::default();
    provider.pays(refund_id(id), all);
    provider.run(&mut c);
    cancel(&mut c, id);
    provider.run(&mut c);
    assert_eq!(status(&c, id), OrderStatus::Cancelled);
    assert_eq!(provider.paid(), all);
    comes_home(&mut c, &mut a);
    provider.run(&mut a);
    assert_eq!(status(&a, id), OrderStatus::Cancelled);
    assert_eq!((provider.paid(), of(&a, id).money.refunded_minor), (all, all));
}

#[test]
fn a_compensation_of_what_nobody_was_charged_for_stops_no_order() {
    let (was, id) = placed(contents());
    let mut c = group_of(3);
    ship(&was, &mut c, origin(1));
    step(&mut c, elsewhere(2, 2, None));
    let mut a = given_back((&was, &mut c, id), Some(End::Done));
    run(&mut c, fine);
    comes_home(&mut c, &mut a);
    assert_eq!(of(&a, id).parked, None);
    run(&mut a, fine);
    assert_eq!(status(&a, id), OrderStatus::Confirmed);
}

/// A gave 10 back alone, and 10 are on their way; C went on with its order, and A has heard it.
fn repaid_alone(provider: &Provider, under_way: bool) -> (State, State, OrderId) {
    let (was, mut c, id) = third();
    let mut a = thawed(&was);
    assert!(matches!(apply(&mut a, refund(id, 90)), Outcome::Done(_)));
    provider.run(&mut a);
    if under_way {
        assert!(matches!(apply(&mut a, refund(id, 91)), Outcome::Done(_)));
    }
    step(&mut c, take_over(1, 2, 3));
    assert_eq!(adopt(&was, &mut c, 1, 3), 1);
    settle(&mut c, 3);
    provider.run(&mut c);
    step(&mut a, elsewhere(3, 3, None));
    ship(&c, &mut a, origin(3));
    (a, c, id)
}

#[test]
fn money_that_was_given_back_alone_counts_and_what_was_on_its_way_keeps_its_key() {
    let all = contents().total_minor;
    for (sent, decided) in [(true, false), (false, false), (true, true), (false, true)] {
        let provider = Provider::default();
        let (mut a, c, id) = repaid_alone(&provider, true);
        if sent {
            provider.pays(of(&a, id).refunds[1].id, 10);
        }
        // Nothing is to be undone, they say: nor is it forgotten.
        if decided {
            assert_eq!(decide(&mut a, id, TailAction::Discard), Outcome::Noted);
        }
        step(&mut a, take_over(1, 3, 4));
        assert_eq!(adopt(&c, &mut a, 1, 4), 1);
        assert_eq!(of(&a, id).parked.clone().unwrap().why, ParkedWhy::LeftBehind);
        assert_eq!(of(&a, id).money.refunded_minor, 10);
        holds(&a);
        cancel(&mut a, id);
        resume(&mut a, id);
        provider.run(&mut a);
        assert_eq!(status(&a, id), OrderStatus::Cancelled);
        assert_eq!((provider.paid(), of(&a, id).money.refunded_minor), (all, all));
        holds(&a);
    }
}

#[test]
fn what_was_given_back_alone_and_needs_nothing_counts_and_stops_nothing() {
    let provider = Provider::default();
    let (mut a, c, id) = repaid_alone(&provider, false);
    assert_eq!(decide(&mut a, id, TailAction::Discard), Outcome::Noted);
    step(&mut a, take_over(1, 3, 4));
    assert_eq!(adopt(&c, &mut a, 1, 4), 1);
    assert_eq!((&of(&a, id).parked, of(&a, id).money.refunded_minor), (&None, 10));
    run(&mut a, |todo| {
        if let Todo::Book(Booking::Open(open)) = todo {
            assert_eq!(open.refunded_minor, 10, "the books begin with it");
        }
        provider.answer(todo)
    });
    assert_eq!((status(&a, id), provider.paid()), (OrderStatus::Confirmed, 10));
    holds(&a);
}

#[test]
fn what_its_owner_knows_did_not_move_alone() {
    let (mut a, mut b, id) = pair(fine, true);
    assert!(matches!(apply(&mut a, refund(id, 90)), Outcome::Done(_)));
    let mut back = thawed(&a);
    run(&mut a, fine);
    ship(&a, &mut b, origin(1));
    // From a backup in which it was on its way: it goes out again, and shows in another version.
    let restore = Restore {
        backup: "b-1".into(),
        epoch: 2,
        cut_ms: 1,
        restored_ms: 2,
        skew_ms: 1,
        cancel_strays: false,
    };
    let listed = restored::Step::Listed { found: Vec::new(), last: true, looked: Vec::new() };
    for step in [restored::Step::Begin(Box::new(restore)), listed] {
        assert_eq!(apply(&mut back, Command::Restore(step)), Outcome::Noted);
    }
    run(&mut back, fine);
    assert_eq!(apply(&mut back, Command::Restore(restored::Step::End)), Outcome::Noted);
    survive(&a, &mut b, 3);
    run(&mut b, fine);
    step(&mut back, goes(2, 3, false));
    ship(&b, &mut back, origin(2));
    let (_, since) = back.tail(region(1), 9)[0];
    assert!(of(&back, id).repaid_since(since));
    step(&mut back, take_over(1, 2, 4));
    assert_eq!(adopt(&b, &mut back, 1, 4), 1);
    assert_eq!((&of(&back, id).parked, of(&back, id).money.refunded_minor), (&None, 10));
    holds(&back);
}
