//! Events that wait: what an operator lets go is not lost, and never takes a copy back.

use crate::core::order::Fork;
use crate::core::remote::{Asked, Place, Reduction};
use crate::core::takeover;

use super::*;

fn resolve(state: &mut State, keep_mine: bool) -> Outcome {
    state.apply(START, Command::ResolveRemote { order: order_id(1), keep_mine })
}

fn retry(state: &mut State) -> crate::core::remote::Retried {
    let waiting = state.remote.parked.get(&order_id(1)).unwrap();
    let events = waiting.iter().map(|parked| parked.event.clone()).collect();
    let step = Command::Remote(RemoteStep::Retry { order: order_id(1), events });
    let Outcome::Retried(retried) = state.apply(START, step) else { panic!() };
    assert!(state.remote.consistent());
    retried
}

fn forbidden(sequence: u64, version: u64) -> RemoteEvent {
    fault(event(sequence, 1, version, "secret"), Fault::ForbiddenClass)
}

fn of_epoch(epoch: u64, after: u64, events: Vec<RemoteEvent>) -> Command {
    let origin = Origin { epoch, ..origin() };
    let upto = events.iter().map(|event| event.sequence).max().unwrap();
    let batch = Batch { origin, after, upto, current_as_of_ms: None, events };
    Command::ApplyRemote(Box::new(batch))
}

#[test]
fn an_event_without_content_waits_on_until_its_home_has_shipped_it_again() {
    let mut state = State::new(settings());
    received(&mut state, batch(0, 1, vec![event(1, 1, 1, "a1")]));
    received(&mut state, batch(1, 2, vec![forbidden(2, 2)]));
    let retried = retry(&mut state);
    assert!(retried.ask_home && retried.left == 1, "{retried:?}");
    // Whoever leads next still knows what was asked for.
    assert_eq!(state.remote.asked_of(origin().place()), [order_id(1)]);
    received(&mut state, refill(vec![event(2, 1, 2, "a2")], None, None));
    assert_eq!(view(&state, 1), "a2");
    assert!(state.remote.parked.is_empty() && state.remote.consistent());
}

#[test]
fn an_event_that_nobody_asked_for_again_holds_later_ones_back() {
    let mut state = State::new(settings());
    received(&mut state, batch(0, 1, vec![forbidden(1, 1)]));
    received(&mut state, refill(vec![event(1, 1, 1, "a1")], None, None));
    assert!(state.remote.copies.get(&order_id(1)).is_none());
    assert_eq!(state.remote.waiting_of(origin().place()), 1);
}

#[test]
fn older_news_than_what_was_asked_for_does_not_let_it_go() {
    let mut state = State::new(settings());
    received(&mut state, batch(0, 3, vec![forbidden(3, 3)]));
    retry(&mut state);
    received(&mut state, refill(vec![event(2, 1, 2, "a2")], None, None));
    assert_eq!(state.remote.parked.get(&order_id(1)).unwrap().len(), 2);
    received(&mut state, refill(vec![event(3, 1, 3, "a3")], None, None));
    assert_eq!(view(&state, 1), "a3");
}

#[test]
fn theirs_is_the_newest_that_waits_whichever_came_last() {
    let mut state = State::new(settings());
    received(&mut state, batch(0, 1, vec![event(1, 1, 1, "a1")]));
    received(&mut state, batch(1, 2, vec![event(2, 1, 1, "other")]));
    received(&mut state, batch(2, 4, vec![event(4, 1, 3, "a3")]));
    // Shipped again late.
    received(&mut state, refill(vec![event(3, 1, 2, "a2")], None, None));
    assert_eq!(resolve(&mut state, false), Outcome::Resolved(3));
    assert_eq!(view(&state, 1), "a3");
}

#[test]
fn mine_never_goes_below_the_copy() {
    let mut state = State::new(settings());
    received(&mut state, batch(0, 1, vec![event(1, 1, 5, "a5")]));
    // A home that came back from a backup goes on from version 2.
    received(&mut state, of_epoch(2, 0, vec![event(1, 1, 2, "b2")]));
    received(&mut state, of_epoch(2, 1, vec![event(2, 1, 3, "b3")]));
    assert_eq!(resolve(&mut state, true), Outcome::Resolved(5));
    assert_eq!(view(&state, 1), "a5");
    assert!(state.remote.parked.is_empty());
}

#[test]
fn mine_goes_on_with_what_a_living_writer_made_later() {
    let mut state = State::new(settings());
    received(&mut state, of_epoch(2, 0, vec![event(1, 1, 1, "a1")]));
    received(&mut state, batch(0, 1, vec![event(1, 1, 2, "of a replaced writer")]));
    received(&mut state, of_epoch(2, 1, vec![event(2, 1, 2, "a2")]));
    assert_eq!(resolve(&mut state, true), Outcome::Resolved(2));
    assert_eq!(view(&state, 1), "a2");
}

#[test]
fn theirs_without_content_is_asked_for_and_then_taken_whatever_it_says() {
    let mut state = State::new(settings());
    received(&mut state, batch(0, 1, vec![event(1, 1, 5, "a5")]));
    received(&mut state, of_epoch(2, 0, vec![event(1, 1, 2, "b2")]));
    let reduced = Reduced {
        order: order_id(1),
        version: 0,
        from: 0,
        terms: 0,
        allowed: Held { classes: 0, raised: 1 },
        view: None,
    };
    state.apply(START, Command::Remote(RemoteStep::Purge(vec![reduced])));
    assert_eq!(resolve(&mut state, false), Outcome::Refused(Refused::NotKept));
    let waiting = state.remote.parked.get(&order_id(1)).unwrap();
    assert_eq!(waiting[0].asked, Asked::Theirs);
    received(&mut state, of_epoch(2, 1, vec![event(2, 1, 2, "b2")]));
    assert_eq!(view(&state, 1), "b2");
    assert!(state.remote.parked.is_empty() && state.remote.consistent());
}

#[test]
fn a_purge_of_what_only_waited_leaves_a_trace_for_every_replica() {
    let mut state = State::new(settings());
    received(&mut state, batch(0, 1, vec![event(1, 1, 5, "a5")]));
    received(&mut state, of_epoch(2, 0, vec![event(1, 1, 2, "b2")]));
    let waiting = |state: &State| state.remote.parked.get(&order_id(1)).unwrap().clone();
    let of = waiting(&state)[0].clone();
    let allowed = Held { classes: 0, raised: 1 };
    let reduced =
        Reduced { order: order_id(1), version: 0, from: 0, terms: 0, allowed, view: None };
    let from = (of.origin.place(), of.event.shown.residence);
    let reduction = Reduction { of: reduced, waiting: Some(from), keys: Vec::new() };
    for _ in 0..2 {
        let reduce = Command::Remote(RemoteStep::Reduce(vec![reduction.clone()]));
        assert_eq!(state.apply(START, reduce), Outcome::Noted);
        assert!(waiting(&state)[0].event.view.is_empty());
        assert_eq!(view(&state, 1), "a5", "the copy stays");
        assert_eq!(state.meta.purges, 1, "the second took nothing");
    }
}

#[test]
fn a_place_whose_events_all_wait_stops_no_other() {
    let mut state = State::new(settings());
    for n in 0..10_000 {
        let poison = fault(event(n + 1, n, 1, "x"), Fault::Undecodable);
        received(&mut state, batch(n, n + 1, vec![poison]));
    }
    assert!(received(&mut state, batch(10_000, 10_001, Vec::new())).full);
    let other: Place = (RegionNumber::try_from(3).unwrap(), 0);
    let origin = Origin { region: other.0, group: other.1, epoch: 1 };
    let events = vec![event(1, 20_000, 1, "c1")];
    let batch = Batch { origin, after: 0, upto: 1, current_as_of_ms: None, events };
    let got = received(&mut state, Command::ApplyRemote(Box::new(batch)));
    assert_eq!(got, Received { applied: 1, ..Received::default() });
}

#[test]
fn what_a_replaced_owner_sent_late_holds_its_successors_events_back_no_longer_than_it_is_unknown() {
    let region = |n: u16| RegionNumber::try_from(n).unwrap();
    let mut state = State::new(settings());
    let order = OrderId::new(START, region(2), Slot::of(b"x"), 5);
    let from = |of: u16, sequence, epoch, version, view| {
        let origin = Origin { region: region(of), ..origin() };
        let shown = Shown { epoch, ..Shown::default() };
        let events = vec![RemoteEvent { order, shown, ..event(sequence, 1, version, view) }];
        let (after, upto) = (sequence - 1, sequence);
        let batch = Batch { origin, after, upto, current_as_of_ms: None, events };
        Command::ApplyRemote(Box::new(batch))
    };
    let copy = |state: &State| state.remote.copies.get(&order).unwrap().view.clone();
    received(&mut state, from(2, 1, 1, 1, "first"));
    received(&mut state, from(3, 1, 2, 2, "adopted"));
    assert_eq!(received(&mut state, from(2, 2, 1, 3, "late")).parked, 1);
    assert_eq!(received(&mut state, from(3, 2, 2, 3, "goes on")).parked, 1);
    assert_eq!(copy(&state), "adopted");
    let step = takeover::Step::Elsewhere {
        birth: region(2),
        owner: region(3),
        epoch: 2,
        loss: None,
        handed: false,
    };
    assert_eq!(state.apply(START, Command::Takeover(step)), Outcome::Noted);
    assert_eq!(copy(&state), "goes on");
    assert!(state.remote.parked.is_empty() && state.remote.consistent());
    assert_eq!(received(&mut state, from(2, 3, 1, 4, "later")).parked, 0);
    assert_eq!(copy(&state), "goes on");
    holds(&state);
}

#[test]
fn waiting_events_lose_their_content_by_the_law_of_where_they_came_from() {
    let mut state = State::new(settings());
    // Nothing but a waiting event is here of this place.
    let older = fault(event(1, 1, 1, "x"), Fault::Undecodable);
    received(&mut state, batch(0, 2, vec![older, shown(event(2, 1, 2, "wide"), 7, 1)]));
    assert!(state.remote.copies.is_empty());
    assert_eq!(state.remote.places(), [origin().place()]);
    let mut strip = |region: u16| {
        let place = (RegionNumber::try_from(region).unwrap(), 0);
        let allowed = Held { classes: 1, raised: 0 };
        let order = order_id(1);
        let of = Reduced { order, version: 0, from: 0, terms: 0, allowed, view: None };
        let waiting = Some((place, Some("GB".parse().unwrap())));
        let step = RemoteStep::Reduce(vec![Reduction { of, waiting, keys: Vec::new() }]);
        state.apply(START, Command::Remote(step));
        assert!(state.remote.consistent());
        state.remote.parked.get(&order).unwrap()[1].event.view.is_empty()
    };
    assert!(!strip(3));
    assert!(strip(2));
}

/// What its home wrote since it came back from a backup that had less of the order than was told
/// here: it is beyond that again, by other events.
fn since_a_backup(sequence: u64, version: u64, kept: u64) -> RemoteEvent {
    let owner = RegionNumber::try_from(2).unwrap();
    let fork = Fork { epoch: 2, owner, version: kept, restored: false };
    RemoteEvent { forks: vec![fork], ..event(sequence, 1, version, "since") }
}

fn told_nine() -> State {
    let mut state = State::new(settings());
    received(&mut state, batch(0, 9, vec![event(9, 1, 9, "before")]));
    state
}

#[test]
fn a_writer_that_came_back_and_is_beyond_what_it_had_told_waits_for_an_operator() {
    let parked = || {
        let mut state = told_nine();
        received(&mut state, of_epoch(2, 0, vec![since_a_backup(10, 10, 6)]));
        state
    };
    let (mut mine, mut theirs) = (parked(), parked());
    let why = |state: &State| {
        let waiting = state.remote.parked.get(&order_id(1));
        waiting.unwrap().iter().map(|parked| parked.why).collect::<Vec<_>>()
    };
    assert_eq!(why(&mine), [ParkedWhy::VersionBack]);
    assert_eq!(view(&mine, 1), "before");
    assert_eq!(resolve(&mut theirs, false), Outcome::Resolved(10));
    assert_eq!(view(&theirs, 1), "since");
    // Said once, either way.
    assert_eq!(resolve(&mut mine, true), Outcome::Resolved(9));
    for state in [&mut mine, &mut theirs] {
        received(state, of_epoch(2, 10, vec![since_a_backup(11, 11, 6)]));
        assert!(state.remote.parked.is_empty() && state.remote.consistent());
        assert_eq!(state.remote.copies.get(&order_id(1)).unwrap().version, 11);
    }
    // It comes back once more, from less than was told since.
    let again = Fork { epoch: 3, version: 7, ..since_a_backup(1, 1, 6).forks[0] };
    let event = RemoteEvent { forks: vec![again], ..event(12, 1, 12, "again") };
    received(&mut mine, of_epoch(3, 0, vec![event]));
    assert_eq!(why(&mine), [ParkedWhy::VersionBack]);
}

#[test]
fn a_writer_that_came_back_with_all_that_it_had_told_is_believed() {
    let mut state = told_nine();
    received(&mut state, of_epoch(2, 0, vec![since_a_backup(10, 10, 9)]));
    assert_eq!(state.remote.copies.get(&order_id(1)).unwrap().version, 10);
    // Nor is one that another owner had since.
    let mut state = told_nine();
    let mut event = since_a_backup(10, 10, 6);
    let owner = RegionNumber::try_from(3).unwrap();
    event.forks.push(Fork { epoch: 3, owner, version: 7, restored: false });
    received(&mut state, of_epoch(4, 0, vec![event]));
    assert!(state.remote.parked.is_empty());
}
