//! What the law takes and gives, and what that makes of one version's content.

use super::*;

/// One order of classes `classes` under terms 1, held so.
fn held(classes: u8) -> State {
    let mut state = State::new(settings());
    hold(&mut state, terms(1, classes));
    received(&mut state, batch(0, 1, vec![shown(event(1, 1, 1, "whole"), classes, 1)]));
    state
}

fn purge(state: &mut State, from: u64, told: u64, classes: u8, view: &'static str) {
    let reduced = Reduced {
        order: order_id(1),
        version: 1,
        from,
        terms: told,
        allowed: Held { classes, raised: 0 },
        view: Some(Bytes::from_static(view.as_bytes())),
    };
    state.apply(START, Command::Remote(RemoteStep::Purge(vec![reduced])));
    assert!(state.remote.consistent());
}

fn copy(state: &State) -> crate::core::remote::Copy {
    state.remote.copies.get(&order_id(1)).unwrap().clone()
}

fn lowered(state: &State) -> (Terms, u64) {
    let views = state.remote.views.get(&origin()).unwrap();
    (views.held.clone(), views.lowered)
}

#[test]
fn a_law_that_takes_one_thing_and_gives_another_ends_with_what_home_ships() {
    let mut state = held(3);
    // PERSONAL goes, FINANCIAL comes: first the receiver takes away, then home ships again.
    purge(&mut state, 1, 2, 5, "less");
    assert!(copy(&state).shown.reduced);
    let again = || refill_since(1, vec![shown(event(1, 1, 1, "other"), 5, 2)], None, None);
    assert_eq!(received(&mut state, again()).parked, 0);
    assert_eq!(view(&state, 1), "other");
    assert!(!copy(&state).shown.reduced);
    // From here on it is content as any other.
    let forged = vec![shown(event(1, 1, 1, "forged"), 5, 2)];
    assert_eq!(received(&mut state, refill(forged, None, None)).parked, 1);
}

#[test]
fn what_was_made_less_is_replaced_by_the_same_bytes_too() {
    let mut state = held(3);
    purge(&mut state, 1, 2, 5, "less");
    received(&mut state, refill_since(1, vec![shown(event(1, 1, 1, "less"), 5, 2)], None, None));
    assert_eq!((copy(&state).shown.reduced, copy(&state).shown.classes), (false, 5));
}

#[test]
fn later_terms_that_say_the_same_of_a_customer_excuse_no_other_content() {
    let mut state = held(3);
    let forged = vec![shown(event(1, 1, 1, "forged"), 3, 2)];
    assert_eq!(received(&mut state, refill(forged, None, None)).parked, 1);
    assert_eq!(view(&state, 1), "whole");
}

#[test]
fn a_purge_says_that_less_is_held() {
    let mut state = held(7);
    purge(&mut state, 1, 2, 1, "less");
    assert_eq!(lowered(&state), (terms(1, 1), 1));
    // The law is as it was before: what was taken is missing, and home can tell.
    assert_eq!(terms(3, 7).wider_than(&lowered(&state).0).len(), 1);
    purge(&mut state, 2, 2, 0, "gone");
    assert_eq!(lowered(&state), (Terms { version: 1, of: Vec::new() }, 2));
}

#[test]
fn what_two_laws_took_is_held_as_by_neither() {
    let raised = |version, raised| {
        let held = Held { classes: 1, raised };
        Terms { version, of: vec![("GB".parse().unwrap(), held)] }
    };
    let mut state = held(1);
    let mut raise = |from, told, raised, view| {
        let allowed = Held { classes: 1, raised };
        let view = Some(Bytes::from_static(view));
        let reduced = Reduced { order: order_id(1), version: 1, from, terms: told, allowed, view };
        state.apply(START, Command::Remote(RemoteStep::Purge(vec![reduced])));
        lowered(&state).0
    };
    let first = raise(1, 2, 7, b"without a".as_slice());
    assert!(raised(2, 7).wider_than(&first).is_empty(), "just what this law says");
    let second = raise(2, 3, 8, b"without a and b".as_slice());
    assert_eq!(raised(3, 8).wider_than(&second).len(), 1, "a is to come back");
    assert_eq!(raised(4, 7).wider_than(&second).len(), 1, "and b, if that is the law again");
}

#[test]
fn a_purge_that_took_nothing_changes_nothing_that_is_held() {
    let mut state = held(7);
    purge(&mut state, 1, 2, 1, "whole");
    assert_eq!(lowered(&state), (terms(1, 7), 0));
}

#[test]
fn what_home_makes_of_a_copy_that_was_only_relabelled_is_no_conflict() {
    let mut state = held(1);
    let raised = |event, raised, terms| {
        let mut event = shown(event, 1, terms);
        event.shown.raised = raised;
        event
    };
    // Terms 2 raise one field, terms 3 another, which this order does not have.
    let without = raised(event(2, 2, 1, "without a"), 7, 2);
    received(&mut state, batch(1, 2, vec![without]));
    let allowed = Held { classes: 1, raised: 8 };
    let (order, view) = (order_id(2), Some(Bytes::from_static(b"without a")));
    let reduced = Reduced { order, version: 1, from: 2, terms: 3, allowed, view };
    state.apply(START, Command::Remote(RemoteStep::Purge(vec![reduced])));
    let with = || raised(event(2, 2, 1, "with a"), 8, 3);
    assert_eq!(received(&mut state, refill(vec![with()], None, None)).parked, 0);
    assert_eq!(view_of(&state, 2), ("with a", false));
    let forged = raised(event(2, 2, 1, "forged"), 8, 3);
    assert_eq!(received(&mut state, refill(vec![forged], None, None)).parked, 1);
}

fn view_of(state: &State, order: u64) -> (&str, bool) {
    let copy = state.remote.copies.get(&order_id(order)).unwrap();
    (view(state, order), copy.shown.reduced)
}

#[test]
fn what_was_computed_from_another_copy_takes_nothing() {
    let mut state = held(1);
    received(&mut state, refill(vec![shown(event(1, 1, 1, "wide"), 7, 3)], None, None));
    // Found by a law that holds no more, in the copy that was here before.
    purge(&mut state, 1, 2, 1, "less");
    assert_eq!((view(&state, 1), lowered(&state).1), ("wide", 0));
}

#[test]
fn a_sweep_that_was_planned_before_a_purge_does_not_say_that_all_is_held() {
    let mut state = held(1);
    let sweep = |swept| Some(Sweep { terms: 2, swept, end: 9 });
    received(&mut state, refill(Vec::new(), sweep(5), None));
    received(&mut state, refill(vec![shown(event(1, 1, 1, "wide"), 7, 2)], None, None));
    purge(&mut state, 2, 2, 1, "less");
    assert_eq!(state.remote.views.get(&origin()).unwrap().sweep, None);
    received(&mut state, refill(Vec::new(), sweep(9), Some(terms(2, 7))));
    assert_eq!(lowered(&state), (terms(1, 1), 1), "it does not know what was lost");
    hold(&mut state, terms(2, 7));
    assert_eq!(lowered(&state), (terms(1, 1), 1));
    received(&mut state, refill_since(1, Vec::new(), sweep(9), Some(terms(2, 7))));
    assert_eq!(lowered(&state), (terms(2, 7), 1));
}
