//! The mistakes of `hansa_types::seeded` do what they are meant to.

use hansa_types::seeded::{Bug, plant};

use crate::core::effect::{Effect, Reference, Refusal, RefusalCode};

use super::*;

/// Answers whatever is outstanding, until nothing is.
fn answer_all(state: &mut State, id: OrderId, result: impl Fn(Effect) -> StepResult) {
    while let Some(work) = state.orders.get(&id).unwrap().work.first().cloned() {
        let call = state.due(work.no - 1, 1).remove(0);
        answer(state, START, &call, result(work.effect));
    }
}

fn cancel(state: &mut State, id: OrderId) {
    let cancel = Command::Cancel { order: id, key: key(9), reason: String::new() };
    assert!(matches!(state.apply(START, cancel), Outcome::Done(_)));
}

#[test]
fn skip_dedup_makes_two_orders_of_one_request() {
    let _bug = plant(Bug::SkipDedup);
    let (mut state, _) = placed(contents());
    let Command::Accept(mut again) = accept(2, contents()) else { panic!() };
    again.key = key(1);
    assert!(matches!(state.apply(START, Command::Accept(again)), Outcome::Done(_)));
    assert_eq!(state.orders.len(), 2);
}

#[test]
fn lost_tombstone_brings_a_cancelled_order_back() {
    let ends_as = |bug: Option<Bug>| {
        let _bug = bug.map(plant);
        let (mut state, id) = placed(contents());
        cancel(&mut state, id);
        answer_all(&mut state, id, |effect| match effect {
            Effect::Reserve(_) => StepResult::Refused(Refusal::new(RefusalCode::OutOfStock, "")),
            _ => StepResult::Done,
        });
        status(&state, id)
    };
    assert_eq!(ends_as(None), OrderStatus::Cancelled);
    assert_eq!(ends_as(Some(Bug::LostTombstone)), OrderStatus::Pending);
}

#[test]
fn capture_after_void_takes_money_of_a_voided_payment() {
    let captured = |bug: Option<Bug>| {
        let _bug = bug.map(plant);
        let (mut state, id) = placed(contents());
        while state.orders.get(&id).unwrap().money.authorized_minor == 0 {
            let work = state.orders.get(&id).unwrap().work[0].clone();
            let call = state.due(work.no - 1, 1).remove(0);
            let result = match work.effect {
                Effect::Authorize => StepResult::Authorized(Reference("ref".into())),
                _ => StepResult::Done,
            };
            answer(&mut state, START, &call, result);
        }
        let settle = state.orders.get(&id).unwrap().work[0].clone();
        assert_eq!(settle.effect, Effect::Settle);
        cancel(&mut state, id);
        let call = state.due(settle.no - 1, 1).remove(0);
        let refusal = Some(Refusal::new(RefusalCode::Expired, ""));
        let none = crate::core::effect::SettleResult {
            committed: 0,
            captured: false,
            booked: false,
            refusal,
        };
        answer(&mut state, START, &call, StepResult::Settled(none));
        answer_all(&mut state, id, |_| StepResult::Done);
        state.orders.get(&id).unwrap().money.captured_minor
    };
    assert_eq!(captured(None), 0);
    assert_eq!(captured(Some(Bug::CaptureAfterVoid)), contents().total_minor);
}
