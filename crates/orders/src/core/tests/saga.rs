//! One step at a time: what each answer makes the saga do next.

use hansa_types::time::LogTime;

use crate::core::command::{Command, Outcome, Refused};
use crate::core::effect::{
    Booking, Call, Effect, Reference, Refusal, RefusalCode, SettleResult, StepResult, Todo,
};
use crate::core::state::State;
use crate::core::status::{FulfillmentStatus, OrderStatus, PaymentStatus};

use super::*;

fn outstanding(state: &State, id: OrderId) -> Vec<Effect> {
    state.orders.get(&id).unwrap().work.iter().map(|work| work.effect).collect()
}

fn call_of(state: &State, id: OrderId, effect: Effect) -> Call {
    let order = state.orders.get(&id).unwrap();
    let no = order.work.iter().find(|work| work.effect == effect).unwrap().no;
    state.due(no - 1, 1).remove(0)
}

fn give(state: &mut State, id: OrderId, effect: Effect, result: StepResult) {
    let call = call_of(state, id, effect);
    answer(state, START, &call, result);
    holds(state);
}

fn authorized() -> StepResult {
    StepResult::Authorized(Reference("ref".into()))
}

fn refused(code: RefusalCode) -> StepResult {
    StepResult::Refused(Refusal::new(code, ""))
}

fn all_settled() -> StepResult {
    let (committed, captured, booked) = (0b11, true, true);
    StepResult::Settled(SettleResult { committed, captured, booked, refusal: None })
}

/// Feeds answers in order and compares what is outstanding and how the order stands after.
fn check(
    answers: &[(Effect, StepResult)],
    work: &[Effect],
    order: OrderStatus,
    payment: PaymentStatus,
) -> (State, OrderId) {
    let (mut state, id) = placed(contents());
    for (effect, result) in answers {
        give(&mut state, id, *effect, result.clone());
    }
    assert_eq!(outstanding(&state, id), work);
    let face = state.orders.get(&id).unwrap().face(state.contents.get(&id).unwrap());
    assert_eq!((face.order, face.payment), (order, payment));
    (state, id)
}

use Effect::*;

fn happy() -> Vec<(Effect, StepResult)> {
    vec![
        (HoldFunds, StepResult::Done),
        (Reserve(1), StepResult::Done),
        (Reserve(0), StepResult::Done),
        (Authorize, authorized()),
        (Settle, all_settled()),
    ]
}

#[test]
fn stock_and_funds_are_held_at_once() {
    let work = [Reserve(0), Reserve(1), HoldFunds];
    check(&[], &work, OrderStatus::Pending, PaymentStatus::None);
}

#[test]
fn the_provider_is_asked_when_all_is_held() {
    check(&happy()[..2], &[Reserve(0)], OrderStatus::Pending, PaymentStatus::None);
    check(&happy()[..3], &[Authorize], OrderStatus::Pending, PaymentStatus::None);
    check(&happy()[..4], &[Settle], OrderStatus::Pending, PaymentStatus::Authorized);
    check(&happy(), &[], OrderStatus::Confirmed, PaymentStatus::Captured);
}

#[test]
fn refused_stock_releases_the_other_hold_and_voids_the_funds() {
    let mut answers = vec![
        (HoldFunds, StepResult::Done),
        (Reserve(1), StepResult::Done),
        (Reserve(0), refused(RefusalCode::OutOfStock)),
    ];
    let work = [Release(1), VoidFunds];
    check(&answers, &work, OrderStatus::Pending, PaymentStatus::None);
    answers.extend([(Release(1), StepResult::Done), (VoidFunds, StepResult::Done)]);
    check(&answers, &[], OrderStatus::Rejected, PaymentStatus::None);
}

#[test]
fn the_first_refusal_turns_back_without_waiting_for_the_rest() {
    let answers = [(HoldFunds, StepResult::Done), (Reserve(0), refused(RefusalCode::UnknownSku))];
    check(&answers, &[Reserve(1), VoidFunds], OrderStatus::Pending, PaymentStatus::None);
}

#[test]
fn a_declined_payment_gives_everything_back() {
    let mut answers = happy()[..3].to_vec();
    answers.push((Authorize, StepResult::Declined("no funds".into())));
    let work = [Release(0), Release(1), VoidFunds];
    check(&answers, &work, OrderStatus::Pending, PaymentStatus::None);
}

#[test]
fn a_lost_answer_is_in_doubt_and_asked_again() {
    let mut answers = happy()[..3].to_vec();
    answers.push((Authorize, StepResult::InDoubt));
    check(&answers, &[Authorize], OrderStatus::Pending, PaymentStatus::InDoubt);
    answers.push((Authorize, authorized()));
    check(&answers, &[Settle], OrderStatus::Pending, PaymentStatus::Authorized);
}

#[test]
fn cancelling_in_doubt_keeps_the_key_on_watch_until_the_settle_time() {
    let mut answers = happy()[..3].to_vec();
    answers.push((Authorize, StepResult::InDoubt));
    let work = [Authorize];
    let (mut state, id) = check(&answers, &work, OrderStatus::Pending, PaymentStatus::InDoubt);
    let cancel = Command::Cancel { order: id, key: key(9), reason: String::new() };
    assert!(matches!(state.apply(START, cancel), Outcome::Done(_)));
    assert_eq!(outstanding(&state, id), [Release(0), Release(1), CancelPayment]);
    for n in [0, 1] {
        give(&mut state, id, Release(n), StepResult::Done);
    }
    give(&mut state, id, CancelPayment, StepResult::NotFound);
    assert_eq!(status(&state, id), OrderStatus::Cancelled);
    let settle = START.plus_ms(settings().settle_ms);
    assert_eq!(state.next_due(), Some(settle));
    state.advance(settle);
    // The charge appeared after all: the saga voids it itself.
    give(&mut state, id, Lookup, authorized());
    assert_eq!(outstanding(&state, id), [CancelPayment]);
    give(&mut state, id, CancelPayment, StepResult::Done);
    give(&mut state, id, VoidFunds, StepResult::Done);
    assert!(state.orders.get(&id).unwrap().closed());
}

#[test]
fn stock_is_extended_while_in_doubt_and_released_at_the_cap() {
    let mut answers = happy()[..3].to_vec();
    answers.push((Authorize, StepResult::InDoubt));
    let work = [Authorize];
    let (mut state, id) = check(&answers, &work, OrderStatus::Pending, PaymentStatus::InDoubt);
    let mut at = START;
    let cap = START.plus_ms(settings().hold_cap_ms);
    while at < cap {
        at = state.next_due().unwrap();
        state.advance(at);
        for n in [0, 1] {
            if outstanding(&state, id).contains(&Extend(n)) {
                let call = call_of(&state, id, Extend(n));
                answer(&mut state, at, &call, StepResult::Done);
            }
        }
        holds(&state);
    }
    assert_eq!(at, cap);
    assert_eq!(outstanding(&state, id), [Release(0), Release(1), CancelPayment]);
}

#[test]
fn a_hold_that_ran_out_before_commit_turns_back() {
    let refusal = Some(Refusal::new(RefusalCode::Expired, ""));
    let settled = SettleResult { committed: 0b01, captured: false, booked: false, refusal };
    let mut answers = happy()[..4].to_vec();
    answers.push((Settle, StepResult::Settled(settled)));
    let work = [Uncommit(0), Release(1), CancelPayment];
    check(&answers, &work, OrderStatus::Pending, PaymentStatus::Authorized);
}

#[test]
fn cancelling_a_confirmed_order_uncommits_and_refunds() {
    let (mut state, id) = check(&happy(), &[], OrderStatus::Confirmed, PaymentStatus::Captured);
    let cancel = Command::Cancel { order: id, key: key(9), reason: String::new() };
    state.apply(START, cancel.clone());
    assert_eq!(outstanding(&state, id), [Uncommit(0), Uncommit(1), Refund(0)]);
    for effect in [Uncommit(0), Uncommit(1), Refund(0)] {
        assert_eq!(status(&state, id), OrderStatus::Confirmed);
        give(&mut state, id, effect, StepResult::Done);
    }
    assert_eq!(status(&state, id), OrderStatus::Cancelled);
    assert!(matches!(state.apply(START, cancel), Outcome::Replayed(_)));
    assert!(outstanding(&state, id).is_empty());
}

#[test]
fn a_shipped_order_is_returned_not_cancelled() {
    let (mut state, id) = check(&happy(), &[], OrderStatus::Confirmed, PaymentStatus::Captured);
    state.apply(
        START,
        Command::Ship { order: id, key: key(7), lines: Vec::new(), note: Note::default() },
    );
    let cancel = Command::Cancel { order: id, key: key(8), reason: String::new() };
    assert_eq!(state.apply(START, cancel), Outcome::Refused(Refused::NotCancellable));
    give(&mut state, id, Ship(0), StepResult::Done);
    let too_early =
        Command::Return { order: id, key: key(9), lines: vec![(1, 1)], note: Note::default() };
    assert_eq!(state.apply(START, too_early), Outcome::Refused(Refused::ExceedsShipped));
    give(&mut state, id, Ship(1), StepResult::Done);
    assert_eq!(status(&state, id), OrderStatus::Completed);
    let back =
        Command::Return { order: id, key: key(9), lines: vec![(0, 2)], note: Note::default() };
    assert!(matches!(state.apply(START, back.clone()), Outcome::Done(_)));
    assert_eq!(outstanding(&state, id), [Restock(0), Refund(0)]);
    give(&mut state, id, Restock(0), StepResult::Done);
    give(&mut state, id, Refund(0), StepResult::Done);
    let order = state.orders.get(&id).unwrap();
    let face = order.face(state.contents.get(&id).unwrap());
    assert_eq!(face.payment, PaymentStatus::PartiallyRefunded);
    assert_eq!(face.fulfillment, FulfillmentStatus::PartiallyReturned);
    assert_eq!(face.refunded_minor, 600);
    let again =
        Command::Return { order: id, key: key(10), lines: vec![(0, 1)], note: Note::default() };
    assert_eq!(state.apply(START, again), Outcome::Refused(Refused::ExceedsShipped));
}

#[test]
fn refunds_never_exceed_the_capture_even_while_on_their_way() {
    let (mut state, id) = check(&happy(), &[], OrderStatus::Confirmed, PaymentStatus::Captured);
    let refund = |n, amount_minor| Command::Refund {
        order: id,
        key: key(n),
        amount_minor,
        note: Note::default(),
    };
    assert!(matches!(state.apply(START, refund(20, 500)), Outcome::Done(_)));
    let outcome = state.apply(START, refund(21, 401));
    assert_eq!(outcome, Outcome::Refused(Refused::ExceedsCaptured));
    assert!(matches!(state.apply(START, refund(22, 400)), Outcome::Done(_)));
}

#[test]
fn a_refused_compensation_parks_and_an_operator_resumes() {
    let (mut state, id) = check(&happy(), &[], OrderStatus::Confirmed, PaymentStatus::Captured);
    state.apply(START, Command::Cancel { order: id, key: key(9), reason: String::new() });
    give(&mut state, id, Uncommit(0), refused(RefusalCode::Other));
    assert_eq!(status(&state, id), OrderStatus::Parked);
    assert_eq!(state.parked().collect::<Vec<_>>(), [&id]);
    assert_eq!(state.apply(START, Command::Resume { order: id }), Outcome::Noted);
    assert!(outstanding(&state, id).contains(&Uncommit(0)));
}

#[test]
fn a_step_keeps_its_id_and_another_attempt_gets_another() {
    let (state, id) = placed(contents());
    let first = call_of(&state, id, Reserve(0));
    assert_eq!(first, call_of(&state, id, Reserve(0)));
    let other = call_of(&state, id, Reserve(1));
    let id_of = |call: &Call| match &call.todo {
        Todo::Book(Booking::Stock(stock)) => stock.id,
        _ => no_id(),
    };
    assert_ne!(id_of(&first), id_of(&other));
    assert_eq!(id_of(&first).at(), START);
}

#[test]
fn a_saga_that_does_not_end_is_parked_and_still_goes_on() {
    let (mut state, id) = placed(contents());
    let late = LogTime(START.ms() + settings().hold_cap_ms);
    state.advance(late);
    let later = late.plus_ms(settings().park_after_ms);
    state.advance(later);
    assert_eq!(status(&state, id), OrderStatus::Parked);
    for effect in [HoldFunds, Reserve(0), Reserve(1)] {
        give(&mut state, id, effect, refused(RefusalCode::OutOfStock));
    }
    assert_eq!(status(&state, id), OrderStatus::Rejected);
}

#[test]
fn a_refused_refund_is_news_for_whoever_asked() {
    let (mut state, id) = check(&happy(), &[], OrderStatus::Confirmed, PaymentStatus::Captured);
    state.apply(
        START,
        Command::Refund { order: id, key: key(20), amount_minor: 500, note: Note::default() },
    );
    let seq = state.meta.seq;
    give(&mut state, id, Refund(0), refused(RefusalCode::Declined));
    assert_eq!(state.changed_after(seq).count(), 1);
    assert_eq!(status(&state, id), OrderStatus::Confirmed);
}
