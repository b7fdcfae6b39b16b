use super::*;
use crate::history::{Place, PlaceLine};
use crate::judge::BUDGET;
use crate::recorder::Recorder;
use crate::seen::{PaymentSeen, PaymentState};

fn refund(request: &str, amount_minor: i64) -> Call {
    let (order, request) = ("o".to_owned(), request.to_owned());
    Call::Refund { order, request, amount_minor }
}

fn told(replayed: bool) -> Outcome {
    let (order, reference) = ("o".to_owned(), String::new());
    let (state, money) = (PaymentState::Captured, crate::seen::Money::default());
    Outcome::Known(Answer::Payment {
        seen: PaymentSeen { order, state, money, reference },
        replayed,
    })
}

fn refused(reason: &str) -> Outcome {
    Outcome::Refused { reason: reason.to_owned() }
}

fn unknown() -> Outcome {
    Outcome::Unknown { why: "timeout".to_owned() }
}

/// One attempt after the other.
#[track_caller]
fn check_attempts(attempts: Vec<(Call, Outcome)>, passes: bool) {
    let mut recorder = Recorder::default();
    for (call, outcome) in attempts {
        let ticket = recorder.invoke(1, call, 0);
        recorder.finish(ticket, outcome, 0);
    }
    let verdict = check(recorder.history(), BUDGET);
    assert_eq!(verdict.passed(), passes, "{verdict}");
}

#[test]
fn a_repeat_is_a_replay_and_a_second_effect_is_refuted() {
    check_attempts(vec![(refund("a", 1), told(false)), (refund("a", 1), told(true))], true);
    check_attempts(vec![(refund("a", 1), told(false)), (refund("a", 1), told(false))], false);
    check_attempts(vec![(refund("a", 1), told(true)), (refund("a", 1), told(false))], false);
    check_attempts(vec![(refund("a", 1), told(false)), (refund("b", 1), told(false))], true);
}

#[test]
fn an_unknown_attempt_may_have_been_the_first_or_not() {
    check_attempts(vec![(refund("a", 1), unknown()), (refund("a", 1), told(true))], true);
    check_attempts(vec![(refund("a", 1), unknown()), (refund("a", 1), told(false))], true);
    check_attempts(
        vec![(refund("a", 1), refused("RATE_LIMITED")), (refund("a", 1), told(false))],
        true,
    );
}

#[test]
fn another_body_is_refused_only_when_one_was_stored() {
    let reused = || refused("REQUEST_ID_REUSED");
    check_attempts(vec![(refund("a", 1), told(false)), (refund("a", 2), reused())], true);
    check_attempts(vec![(refund("a", 1), unknown()), (refund("a", 2), reused())], true);
    check_attempts(vec![(refund("a", 1), told(false)), (refund("a", 2), told(true))], false);
    check_attempts(vec![(refund("a", 1), told(false)), (refund("a", 1), reused())], false);
    check_attempts(
        vec![(refund("a", 1), refused("RATE_LIMITED")), (refund("a", 2), reused())],
        false,
    );
}

#[test]
fn one_place_order_is_one_order() {
    let place = || {
        let line = PlaceLine { stock: None, quantity: 1, price_minor: 5 };
        let (request, reference) = ("r".to_owned(), "r".to_owned());
        Call::Place(Place { request, reference, lines: vec![line], total_minor: 5 })
    };
    let order = |name: &str, replayed| {
        let seen = Box::new(crate::testing::order(name, 1));
        Outcome::Known(Answer::Order { seen, replayed })
    };
    check_attempts(vec![(place(), order("o1", false)), (place(), order("o1", true))], true);
    check_attempts(vec![(place(), order("o1", false)), (place(), order("o2", true))], false);
    check_attempts(vec![(place(), unknown()), (place(), order("o2", true))], true);
}
