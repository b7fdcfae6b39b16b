//! Copies: delivered at least once, in effect exactly once.

use bytes::Bytes;

use crate::core::command::{Command, Outcome, Refused};
use crate::core::remote::{
    Batch, Fault, Held, Origin, ParkedWhy, Received, Reduced, Refill, RemoteEvent, RemoteStep,
    Shown, Sweep, Terms,
};

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
        forks: Vec::new(),
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

fn fault(event: RemoteEvent, fault: Fault) -> RemoteEvent {
    RemoteEvent { fault: Some(fault), ..event }
}

fn shown(event: RemoteEvent, classes: u8, terms: u64) -> RemoteEvent {
    let residence = Some("GB".parse().unwrap());
    let shown = Shown { residence, classes, terms, ..Shown::default() };
    RemoteEvent { shown, ..event }
}

fn refill(events: Vec<RemoteEvent>, sweep: Option<Sweep>, held: Option<Terms>) -> Command {
    refill_since(0, events, sweep, held)
}

fn refill_since(
    lowered: u64,
    events: Vec<RemoteEvent>,
    sweep: Option<Sweep>,
    held: Option<Terms>,
) -> Command {
    let refill = Refill { origin: origin(), sweep, lowered, held, events };
    Command::Remote(RemoteStep::Refill(Box::new(refill)))
}

fn hold(state: &mut State, terms: Terms) {
    let held = RemoteStep::Held { origin: origin(), terms, lowered: 0 };
    assert_eq!(state.apply(START, Command::Remote(held)), Outcome::Noted);
}

fn terms(version: u64, classes: u8) -> Terms {
    let held = Held { classes, raised: 0 };
    Terms { version, of: vec![("GB".parse().unwrap(), held)] }
}

#[test]
fn a_poisoned_event_is_parked_without_its_content_and_holds_back_its_order_only() {
    let mut state = State::new(settings());
    let poison = fault(event(1, 1, 1, "secret"), Fault::ForbiddenClass);
    let got = received(&mut state, batch(0, 2, vec![poison, event(2, 2, 1, "b1")]));
    assert_eq!(got, Received { applied: 2, parked: 1, ..Received::default() });
    let got = received(&mut state, batch(2, 3, vec![event(3, 1, 2, "a2")]));
    assert_eq!(got.parked, 1, "it follows");
    assert!(state.remote.copies.get(&order_id(1)).is_none());
    assert_eq!(view(&state, 2), "b1");
    let waiting = state.remote.parked.get(&order_id(1)).unwrap();
    assert_eq!(waiting[0].why, ParkedWhy::Fault(Fault::ForbiddenClass));
    assert!(waiting[0].event.view.is_empty() && !waiting[1].event.view.is_empty());
    // An operator lets it go on: what was kept is applied, the rest is asked for.
    let events = waiting.iter().map(|parked| parked.event.clone()).collect();
    let retry = Command::Remote(RemoteStep::Retry { order: order_id(1), events });
    let Outcome::Retried(retried) = state.apply(START, retry) else { panic!() };
    assert!(!retried.ask_home && retried.left == 0, "what came later says it all");
    assert_eq!(view(&state, 1), "a2");
    received(&mut state, refill(vec![event(3, 1, 2, "a2")], None, None));
    holds(&state);
    assert!(state.remote.consistent());
}

#[test]
fn parked_events_are_bounded_per_order_and_in_all() {
    let mut state = State::new(settings());
    for n in 1..100 {
        received(&mut state, batch(n - 1, n, vec![fault(event(n, 1, n, "x"), Fault::Undecodable)]));
    }
    let waiting = state.remote.parked.get(&order_id(1)).unwrap();
    assert_eq!(waiting.len(), 16);
    assert_eq!((waiting[0].event.sequence, waiting[15].event.sequence), (1, 99));
}

#[test]
fn a_view_of_later_terms_replaces_the_same_version_and_never_the_other_way() {
    let mut state = State::new(settings());
    received(&mut state, batch(0, 1, vec![shown(event(1, 1, 1, "narrow"), 1, 1)]));
    let wide = || shown(event(1, 1, 1, "wide"), 7, 2);
    received(&mut state, refill(vec![wide()], None, Some(terms(2, 7))));
    assert_eq!(view(&state, 1), "wide");
    let digest = state.digest();
    // Late, repeated, and from a leader that was replaced.
    received(&mut state, refill(vec![wide()], None, Some(terms(2, 7))));
    received(&mut state, refill(vec![shown(event(1, 1, 1, "narrow"), 1, 1)], None, None));
    assert_eq!(state.digest(), digest);
    // Other content under the same terms is a conflict.
    let got = received(&mut state, refill(vec![shown(event(1, 1, 1, "forged"), 7, 2)], None, None));
    assert_eq!((got.parked, view(&state, 1)), (1, "wide"));
}

#[test]
fn a_sweep_goes_on_where_it_was_and_ends_under_its_terms() {
    let mut state = State::new(settings());
    hold(&mut state, terms(1, 1));
    received(&mut state, batch(0, 1, vec![shown(event(1, 1, 1, "narrow"), 1, 1)]));
    let sweep = |swept| Some(Sweep { terms: 2, swept, end: 9 });
    received(&mut state, refill(Vec::new(), sweep(5), None));
    // An older part, late.
    received(&mut state, refill(Vec::new(), sweep(3), None));
    let views = state.remote.views.get(&origin()).unwrap();
    assert_eq!((views.held.version, views.sweep.unwrap().swept), (1, 5));
    received(&mut state, refill(Vec::new(), sweep(9), Some(terms(2, 7))));
    let views = state.remote.views.get(&origin()).unwrap();
    assert_eq!((views.held.version, views.sweep), (2, None));
    received(&mut state, refill(Vec::new(), sweep(9), None));
    assert_eq!(state.remote.views.get(&origin()).unwrap().sweep, None, "late parts do nothing");
    assert_eq!(terms(2, 7).wider_than(&terms(1, 1)).len(), 1);
    assert!(terms(2, 1).wider_than(&terms(1, 7)).is_empty());
}

#[test]
fn a_purge_leaves_no_content_beyond_the_law_parked_ones_included() {
    let mut state = State::new(settings());
    let events = vec![shown(event(1, 1, 1, "wide"), 7, 1), shown(event(2, 2, 1, "gone"), 7, 1)];
    received(&mut state, batch(0, 2, events));
    received(&mut state, batch(2, 3, vec![shown(event(3, 1, 1, "forged"), 7, 1)]));
    let place = origin().place();
    let limit = |_| Held { classes: 1, raised: 0 };
    assert_eq!(state.remote.excess(place, limit), 3);
    let reduced = |n, view: Option<&'static str>| Reduced {
        order: order_id(n),
        version: 1,
        from: 1,
        terms: 2,
        allowed: Held { classes: 1, raised: 0 },
        view: view.map(|view| Bytes::from_static(view.as_bytes())),
    };
    let purge =
        || Command::Remote(RemoteStep::Purge(vec![reduced(1, Some("less")), reduced(2, None)]));
    assert_eq!(state.apply(START, purge()), Outcome::Noted);
    assert_eq!(state.remote.excess(place, limit), 0);
    assert_eq!(view(&state, 1), "less");
    assert!(state.remote.copies.get(&order_id(2)).is_none());
    assert!(state.remote.parked.get(&order_id(1)).unwrap()[0].event.view.is_empty());
    assert_eq!(state.meta.purges, 1);
    let digest = state.digest();
    state.apply(START, purge());
    assert_eq!(state.digest(), digest, "a second time it does nothing");
    assert!(state.remote.consistent());
    // What was chosen is gone: its home is asked.
    let resolve = Command::ResolveRemote { order: order_id(1), keep_mine: false };
    assert_eq!(state.apply(START, resolve), Outcome::Refused(Refused::NotKept));
}

mod views;
mod waiting;

/// Whatever order batches, refills and purges come in, repeated or lost: once all has come, the
/// copies are what home has, and the tree is what the copies add up to.
#[test]
fn reordered_repeated_and_lost_messages_come_to_the_same_copies() {
    for seed in 0..40_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut draw = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        // Home: twelve orders that change at random; each under its last event.
        let mut home: std::collections::BTreeMap<u64, (u64, u64)> = Default::default();
        let mut messages = Vec::new();
        let (mut seq, mut sent) = (0, 0);
        for _ in 0..60 {
            for _ in 0..=draw(4) {
                seq += 1;
                let order = draw(12);
                let version = home.get(&order).map_or(0, |(_, version)| *version) + 1;
                home.insert(order, (seq, version));
            }
            let mut changed: Vec<_> = home.iter().filter(|(_, (at, _))| *at > sent).collect();
            changed.sort_by_key(|(_, (at, _))| *at);
            let event = |(order, (at, version)): (&u64, &(u64, u64))| RemoteEvent {
                sequence: *at,
                order: order_id(*order),
                version: *version,
                view: Bytes::from(format!("{order} at {version}")),
                shown: Shown::default(),
                forks: Vec::new(),
                fault: None,
            };
            let events: Vec<_> = changed.into_iter().map(event).collect();
            messages.push((sent, seq, events));
            sent = seq;
        }
        let mut state = State::new(settings());
        let mut at = 0;
        let mut steps = 0;
        while at < messages.len() {
            steps += 1;
            assert!(steps < 100_000);
            // The next one, an old one, or one too early; now and then as a refill.
            let n = match draw(4) {
                0 => draw(messages.len() as u64) as usize,
                _ => at,
            };
            let (after, upto, events) = messages[n].clone();
            if draw(3) == 0 && n <= at {
                received(&mut state, refill(events, None, None));
                continue;
            }
            let gap = received(&mut state, batch(after, upto, events)).gap;
            assert_eq!(gap, after > at_seq(&messages, at));
            if !gap {
                at = at.max(n + 1);
            }
        }
        for (order, (_, version)) in &home {
            let copy = state.remote.copies.get(&order_id(*order)).unwrap();
            assert_eq!(copy.version, *version, "seed {seed}");
        }
        assert!(state.remote.consistent() && state.remote.parked.is_empty(), "seed {seed}");
        holds(&state);
    }
}

fn at_seq(messages: &[(u64, u64, Vec<RemoteEvent>)], at: usize) -> u64 {
    if at == 0 { 0 } else { messages[at - 1].1 }
}
