//! Attacks on the order machine: each was a way to lose money, stock or an order.

use hansa_pages::Table;
use hansa_types::time::LogTime;

use crate::core::command::{Command, Outcome, Refused};
use crate::core::effect::{
    Booking, Call, Effect, Reference, Refusal, RefusalCode, SettleResult, StepResult, StockVerb,
    Todo,
};
use crate::core::keys::Keys;
use crate::core::order::Provider;
use crate::core::state::State;
use crate::core::status::OrderStatus;

use super::*;

use Effect::*;

fn outstanding(state: &State, id: OrderId) -> Vec<Effect> {
    state.orders.get(&id).unwrap().work.iter().map(|work| work.effect).collect()
}

fn call_of(state: &State, id: OrderId, effect: Effect) -> Call {
    let order = state.orders.get(&id).unwrap();
    let no = order.work.iter().find(|work| work.effect == effect).unwrap().no;
    state.due(no - 1, 1).remove(0)
}

fn give_at(state: &mut State, at: LogTime, id: OrderId, effect: Effect, result: StepResult) {
    let call = call_of(state, id, effect);
    answer(state, at, &call, result);
}

fn give(state: &mut State, id: OrderId, effect: Effect, result: StepResult) {
    give_at(state, START, id, effect, result);
}

fn refused(code: RefusalCode) -> StepResult {
    StepResult::Refused(Refusal::new(code, ""))
}

fn held() -> (State, OrderId) {
    let (mut state, id) = placed(contents());
    for effect in [HoldFunds, Reserve(0), Reserve(1)] {
        give(&mut state, id, effect, StepResult::Done);
    }
    (state, id)
}

fn settling() -> (State, OrderId) {
    let (mut state, id) = held();
    give(&mut state, id, Authorize, StepResult::Authorized(Reference("ref".into())));
    (state, id)
}

fn settle(committed: u64, captured: bool, booked: bool, why: Option<RefusalCode>) -> StepResult {
    let refusal = why.map(|code| Refusal::new(code, ""));
    StepResult::Settled(SettleResult { committed, captured, booked, refusal })
}

fn confirmed() -> (State, OrderId) {
    let (mut state, id) = settling();
    give(&mut state, id, Settle, settle(0b11, true, true, None));
    (state, id)
}

fn shipped() -> (State, OrderId) {
    let (mut state, id) = confirmed();
    state.apply(
        START,
        Command::Ship { order: id, key: key(7), lines: Vec::new(), note: Note::default() },
    );
    for n in [0, 1] {
        give(&mut state, id, Ship(n), StepResult::Done);
    }
    (state, id)
}

fn stock_id(call: &Call) -> TransferId {
    match &call.todo {
        Todo::Book(Booking::Stock(call)) => call.id,
        other => panic!("{other:?}"),
    }
}

/// The keys of a state, as another replica reads them from a checkpoint.
fn rebuilt(keys: &Keys) -> Keys {
    let mut bytes = Vec::new();
    keys.table.freeze().write(&mut bytes).unwrap();
    Keys::rebuild(Table::read("keys", &mut bytes.as_slice()).unwrap())
}

#[test]
fn a_restarted_replica_drops_the_same_keys() {
    let mut live = Keys::new();
    let target = crate::core::command::Target { order: order_id(1), first: 0, count: 0 };
    // One entry carries thousands of commands, all at one time; scopes are hashes.
    for n in 0..6_000_u128 {
        let scope = Scope(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        live.remember(Key { scope, body: 0 }, START, target);
    }
    let mut thawed = rebuilt(&live);
    let late = START.plus_ms(100_000);
    live.expire(late, 1_000);
    thawed.expire(late, 1_000);
    assert_eq!(live.table.digest(), thawed.table.digest());
}

#[test]
fn goods_that_could_not_be_restocked_are_not_refunded_twice() {
    let (mut state, id) = shipped();
    let back =
        |n| Command::Return { order: id, key: key(n), lines: vec![(0, 2)], note: Note::default() };
    assert!(matches!(state.apply(START, back(30)), Outcome::Done(_)));
    give(&mut state, id, Restock(0), refused(RefusalCode::Other));
    give(&mut state, id, Refund(0), StepResult::Done);
    assert_eq!(state.orders.get(&id).unwrap().money.refunded_minor, 600);
    // The same two units, under another request id.
    assert_eq!(state.apply(START, back(31)), Outcome::Refused(Refused::ExceedsShipped));
}

#[test]
fn a_restock_that_was_refused_is_tried_again_under_a_new_id() {
    let (mut state, id) = shipped();
    state.apply(
        START,
        Command::Return { order: id, key: key(30), lines: vec![(0, 2)], note: Note::default() },
    );
    let first = stock_id(&call_of(&state, id, Restock(0)));
    give(&mut state, id, Restock(0), refused(RefusalCode::Other));
    give(&mut state, id, Refund(0), StepResult::Done);
    state.apply(START, Command::Resume { order: id });
    // The old id is burnt: it answers the old refusal for ever.
    assert_ne!(first, stock_id(&call_of(&state, id, Restock(0))));
}

#[test]
fn a_capture_that_the_books_refused_is_tried_again_under_a_new_id() {
    let (mut state, id) = settling();
    let capture_of = |state: &State| match call_of(state, id, Settle).todo {
        Todo::Settle(settle) => settle.capture.unwrap().id,
        other => panic!("{other:?}"),
    };
    let first = capture_of(&state);
    give(&mut state, id, Settle, settle(0b11, true, false, Some(RefusalCode::Other)));
    assert_eq!(status(&state, id), OrderStatus::Parked);
    state.apply(START, Command::Resume { order: id });
    assert_ne!(first, capture_of(&state));
    holds(&state);
}

#[test]
fn resuming_does_not_forget_the_refund_of_a_return() {
    let (mut state, id) = shipped();
    state.apply(
        START,
        Command::Return { order: id, key: key(30), lines: vec![(0, 2)], note: Note::default() },
    );
    give(&mut state, id, Restock(0), StepResult::Done);
    give(&mut state, id, Refund(0), refused(RefusalCode::Declined));
    assert_eq!(status(&state, id), OrderStatus::Parked);
    state.apply(START, Command::Resume { order: id });
    let order = state.orders.get(&id).unwrap();
    let owed = order.work.iter().any(|work| matches!(work.effect, Refund(_)));
    assert!(owed || order.parked.is_some(), "the goods are back, the money is not, all is quiet");
}

#[test]
fn a_charge_in_doubt_stays_on_watch_while_an_operator_is_waited_for() {
    let (mut state, id) = held();
    give(&mut state, id, Authorize, StepResult::InDoubt);
    state.apply(START, Command::Cancel { order: id, key: key(9), reason: String::new() });
    give(&mut state, id, Release(0), refused(RefusalCode::Other));
    give(&mut state, id, Release(1), StepResult::Done);
    give(&mut state, id, CancelPayment, StepResult::NotFound);
    state.advance(START.plus_ms(settings().settle_ms));
    assert!(outstanding(&state, id).contains(&Lookup), "{:?}", state.orders.get(&id));
}

#[test]
fn a_hold_that_turns_out_to_be_committed_is_uncommitted() {
    // Commits were done and answered too late to be known, such as IdTooOld on a repeat.
    let (mut state, id) = settling();
    give(&mut state, id, Settle, settle(0b10, false, false, Some(RefusalCode::Other)));
    assert!(outstanding(&state, id).contains(&Release(0)));
    give(&mut state, id, Release(0), refused(RefusalCode::Resolved));
    let work = outstanding(&state, id);
    assert!(work.contains(&Uncommit(0)), "{work:?}");
}

#[test]
fn answers_that_do_not_fit_their_step_end_no_order() {
    for (effect, result) in [
        (Reserve(0), StepResult::NotFound),
        (Reserve(0), StepResult::Authorized(Reference::default())),
    ] {
        let (mut state, id) = placed(contents());
        for effect in [HoldFunds, Reserve(1)] {
            give(&mut state, id, effect, StepResult::Done);
        }
        give(&mut state, id, effect, result);
        ends(state, id);
    }
    for result in [StepResult::Done, StepResult::NotFound] {
        let (mut state, id) = held();
        give(&mut state, id, Authorize, result);
        ends(state, id);
    }
}

/// Every step that is still asked for is done; the order must come to an end by itself.
fn ends(mut state: State, id: OrderId) {
    let mut at = START;
    for _ in 0..500 {
        for call in state.due(0, 100) {
            let result = match call.todo {
                Todo::Authorize { .. } => StepResult::Authorized(Reference("ref".into())),
                Todo::Settle(_) => settle(0b11, true, true, None),
                Todo::Lookup => StepResult::NotFound,
                _ => StepResult::Done,
            };
            answer(&mut state, at, &call, result);
        }
        if let Some(due) = state.next_due() {
            at = at.max(due);
            state.advance(at);
        }
    }
    let order = state.orders.get(&id).unwrap();
    assert!(order.closed(), "never ends: {order:?}");
}

#[test]
fn a_settle_that_is_repeated_keeps_its_ids() {
    let (mut state, id) = settling();
    let before = call_of(&state, id, Settle).todo;
    give(&mut state, id, Settle, StepResult::Done);
    state.apply(START, Command::Resume { order: id });
    assert_eq!(
        before,
        call_of(&state, id, Settle).todo,
        "commits under ids that are not the first"
    );
}

#[test]
fn an_order_of_too_many_lines_is_an_outcome() {
    let mut state = State::new(settings());
    state.advance(START);
    let many = vec![line("A", 1, 0, Some(0)); 70_000];
    let outcome = state.apply(START, accept(1, with_lines(many)));
    assert_eq!(outcome, Outcome::Refused(Refused::Malformed));
}

#[test]
fn an_unanswered_charge_does_not_keep_an_order_pending_beyond_the_cap() {
    let (mut state, id) = held();
    let cap = START.plus_ms(settings().hold_cap_ms);
    state.advance(cap);
    for n in [0, 1] {
        give_at(&mut state, cap, id, Release(n), StepResult::Done);
    }
    assert_eq!(status(&state, id), OrderStatus::Rejected);
    assert!(state.orders.get(&id).unwrap().provider != Provider::Asked);
}

#[test]
fn a_late_not_found_is_not_believed_at_once() {
    // The cancel waited in a queue, and so did the charge before it.
    let (mut state, id) = held();
    give(&mut state, id, Authorize, StepResult::InDoubt);
    state.apply(START, Command::Cancel { order: id, key: key(9), reason: String::new() });
    let late = START.plus_ms(settings().settle_ms * 2);
    give_at(&mut state, late, id, CancelPayment, StepResult::NotFound);
    state.advance(late.plus_ms(1));
    assert!(!outstanding(&state, id).contains(&Lookup), "asked before the settle time");
}

#[test]
fn a_lookup_that_is_refused_proves_nothing() {
    let (mut state, id) = held();
    give(&mut state, id, Authorize, StepResult::InDoubt);
    state.apply(START, Command::Cancel { order: id, key: key(9), reason: String::new() });
    give(&mut state, id, CancelPayment, StepResult::NotFound);
    state.advance(START.plus_ms(settings().settle_ms));
    give(&mut state, id, Lookup, refused(RefusalCode::Other));
    assert!(!state.orders.get(&id).unwrap().provider.clear());
}

#[test]
fn a_refund_that_only_the_books_refused_is_not_paid_again() {
    let (mut state, id) = confirmed();
    let refund =
        |n| Command::Refund { order: id, key: key(n), amount_minor: 900, note: Note::default() };
    state.apply(START, refund(20));
    let why = Refusal::new(RefusalCode::Other, "ID_TOO_OLD");
    give(&mut state, id, Refund(0), StepResult::Unbooked(why));
    assert_eq!(status(&state, id), OrderStatus::Parked);
    assert_eq!(state.apply(START, refund(21)), Outcome::Refused(Refused::ExceedsCaptured));
    state.apply(START, Command::Resume { order: id });
    assert_eq!(outstanding(&state, id), []);
    holds(&state);
}

#[test]
fn what_is_committed_is_not_committed_again_days_later() {
    let (mut state, id) = settling();
    give(&mut state, id, Settle, settle(0b11, true, false, Some(RefusalCode::Other)));
    state.apply(START, Command::Resume { order: id });
    let Todo::Settle(again) = call_of(&state, id, Settle).todo else { panic!() };
    assert_eq!(again.commits, []);
    give(&mut state, id, Settle, settle(0, true, true, None));
    assert_eq!(status(&state, id), OrderStatus::Confirmed);
    holds(&state);
}

#[test]
fn restock_verbs_name_the_reservation() {
    let (mut state, id) = shipped();
    state.apply(
        START,
        Command::Return { order: id, key: key(30), lines: vec![(0, 1)], note: Note::default() },
    );
    let Todo::Book(Booking::Stock(call)) = call_of(&state, id, Restock(0)).todo else { panic!() };
    assert!(matches!(call.verb, StockVerb::Restock { .. }));
}

mod copies {
    use crate::core::remote::{Batch, Origin, Remote, RemoteEvent, Resolved, Shown};

    use super::*;

    fn batch(epoch: u64, sequence: u64, version: u64, view: &'static [u8]) -> Batch {
        let region = RegionNumber::try_from(2).unwrap();
        let (order, shown, fault) = (order_id(1), Shown::default(), None);
        let event = RemoteEvent {
            sequence,
            order,
            version,
            view: view.into(),
            shown,
            forks: Vec::new(),
            fault,
        };
        Batch {
            origin: Origin { region, group: 0, epoch },
            after: sequence - 1,
            upto: sequence,
            current_as_of_ms: None,
            events: vec![event],
        }
    }

    #[test]
    fn an_old_epoch_does_not_overwrite_a_newer_one() {
        let mut remote = Remote::new();
        remote.apply(START, &batch(1, 1, 5, b"five"));
        remote.apply(START, &batch(2, 1, 6, b"six, after the failover"));
        // What the lost region had not shipped comes after all.
        remote.apply(START, &batch(1, 2, 7, b"seven, of the old epoch"));
        let copy = remote.copies.get(&order_id(1)).unwrap();
        assert_eq!(copy.view.as_ref(), b"six, after the failover");
    }

    #[test]
    fn what_an_operator_took_over_is_said_to_be_of_its_origin() {
        let mut remote = Remote::new();
        remote.apply(START, &batch(1, 1, 5, b"five"));
        remote.apply(START, &batch(2, 1, 5, b"another five"));
        assert_eq!(remote.resolve(START, order_id(1), false), Resolved::Done(5));
        assert_eq!(remote.copies.get(&order_id(1)).unwrap().origin.epoch, 2);
    }
}
