//! Request keys: same body, other body, another scope, and old age.

use crate::core::command::{Command, Outcome, Refused, Target};

use super::*;

#[test]
fn a_repeat_answers_with_the_same_order_and_another_body_is_refused() {
    let (mut state, id) = placed(contents());
    let seq = state.meta.seq;
    let target = Target { order: id, first: 0, count: 0 };
    assert_eq!(state.apply(START, accept(1, contents())), Outcome::Replayed(target));
    let Command::Accept(mut other) = accept(1, contents()) else { panic!() };
    other.key.body = 99;
    // Fingerprinted under a key that was made too late: it says nothing about the body yet.
    let outcome = state.apply(START, Command::Accept(other.clone()));
    assert_eq!(outcome, Outcome::Refused(Refused::KeyChanged));
    other.mint = None;
    let outcome = state.apply(START, Command::Accept(other));
    assert_eq!(outcome, Outcome::Refused(Refused::RequestIdReused));
    assert_eq!((state.orders.len(), state.meta.seq), (1, seq));
}

#[test]
fn a_refused_request_stores_no_key() {
    let (mut state, id) = placed(contents());
    let refund = |amount_minor| Command::Refund {
        order: id,
        key: key(5),
        amount_minor,
        note: Note::default(),
    };
    assert_eq!(state.apply(START, refund(1)), Outcome::Refused(Refused::NotConfirmed));
    assert_eq!(state.keys.table.len(), 1);
}

#[test]
fn keys_live_a_day_and_are_then_dropped_in_order() {
    let (mut state, _) = placed(contents());
    let day = START.plus_ms(settings().key_ttl_ms);
    state.advance(day);
    assert_eq!(state.keys.table.len(), 1);
    state.advance(day.plus_ms(1));
    assert_eq!(state.keys.table.len(), 0);
    assert!(state.keys.consistent());
}

#[test]
fn another_epoch_region_or_slot_is_refused_before_the_key_is_looked_at() {
    let mut state = State::new(Settings { groups: 2, ..settings() });
    for n in 1..50 {
        let Command::Accept(mut wrong) = accept(n, contents()) else { panic!() };
        wrong.epoch = if wrong.order.slot().get() % 2 == 0 { 2 } else { 1 };
        let outcome = state.apply(START, Command::Accept(wrong));
        assert_eq!(outcome, Outcome::Refused(Refused::NotOwner));
    }
    assert_eq!(state.keys.table.len(), 0);
}

#[test]
fn bytes_that_are_no_command_decode_to_nothing() {
    for bad in [&[][..], &[0], &[1], &[1, 99], &[2, 0, 0], &[1, 0, 255, 255, 255]] {
        assert_eq!(Command::decode(bad), None);
    }
}
