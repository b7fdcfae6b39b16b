//! Copies: delivered at least once, in effect exactly once.

use bytes::Bytes;

use crate::core::command::{Command, Outcome, Refused};
use crate::core::remote::{Batch, Origin, Received, RemoteEvent, Shown};

use super::*;

fn origin() -> Origin {
    Origin { region: RegionNumber::try_from(2).unwrap(), group: 0, epoch: 1 }
}

fn event(sequence: u64, order: u64, version: u64, view: &'static str) -> RemoteEvent {
    RemoteEvent {
        sequence,
        order: order_id(order),
        version,
        view: Bytes::from_static(view.as_bytes()),
        shown: Shown::default(),
        fault: None,
    }
}

fn batch(after: u64, upto: u64, events: Vec<RemoteEvent>) -> Command {
    let current_as_of_ms = Some(upto * 1_000);
    Command::ApplyRemote(Box::new(Batch {
        origin: origin(),
        after,
        upto,
        current_as_of_ms,
        events,
    }))
}

fn received(state: &mut State, command: Command) -> Received {
    match state.apply(START, command) {
        Outcome::Received(received) => received,
        other => panic!("{other:?}"),
    }
}

fn view(state: &State, order: u64) -> &str {
    std::str::from_utf8(&state.remote.copies.get(&order_id(order)).unwrap().view).unwrap()
}

#[test]
fn a_repeated_or_overlapping_batch_has_one_effect() {
    let mut state = State::new(settings());
    let first = batch(0, 2, vec![event(1, 1, 1, "a1"), event(2, 2, 1, "b1")]);
    assert_eq!(received(&mut state, first.clone()).applied, 2);
    let overlap = batch(1, 3, vec![event(2, 2, 1, "b1"), event(3, 1, 2, "a2")]);
    assert_eq!(received(&mut state, overlap).applied, 3);
    let digest = state.digest();
    assert_eq!(received(&mut state, first), Received { applied: 3, ..Received::default() });
    assert_eq!(view(&state, 1), "a2");
    assert_eq!(state.digest(), digest);
}

#[test]
fn a_gap_is_refused_and_says_where_to_go_on() {
    let mut state = State::new(settings());
    received(&mut state, batch(0, 1, vec![event(1, 1, 1, "a1")]));
    let gap = received(&mut state, batch(2, 3, vec![event(3, 1, 3, "a3")]));
    assert_eq!(gap, Received { applied: 1, gap: true, ..Received::default() });
    assert_eq!(view(&state, 1), "a1");
}

#[test]
fn a_conflict_holds_back_later_events_of_that_order_only() {
    let mut state = State::new(settings());
    received(&mut state, batch(0, 2, vec![event(1, 1, 1, "a1"), event(2, 2, 1, "b1")]));
    let events = vec![event(3, 1, 1, "other"), event(4, 1, 2, "a2"), event(5, 2, 2, "b2")];
    let got = received(&mut state, batch(2, 5, events));
    assert_eq!(got, Received { applied: 5, parked: 2, ..Received::default() });
    assert_eq!((view(&state, 1), view(&state, 2)), ("a1", "b2"));
    let resolve = Command::ResolveRemote { order: order_id(1), keep_mine: true };
    assert_eq!(state.apply(START, resolve.clone()), Outcome::Resolved(2));
    assert_eq!(view(&state, 1), "a2");
    assert_eq!(state.apply(START, resolve), Outcome::Refused(Refused::NotParked));
}

#[test]
fn a_copy_knows_as_of_when_it_is_current() {
    let mut state = State::new(settings());
    received(&mut state, batch(0, 1, vec![event(1, 1, 1, "a1")]));
    assert_eq!(state.remote.cursors.get(&origin()).unwrap().current_as_of_ms, 1_000);
}
