//! What a drain promises to whom births are handed.

use super::*;

#[test]
fn a_drained_births_last_event_is_the_last_whatever_comes() {
    let (mut a, id) = placed(contents());
    let drain = Step::Drain { birth: region(1), to: region(2), epoch: 1, drain: 5 };
    assert_eq!(step(&mut a, drain.clone()), Outcome::Noted);
    assert_eq!(step(&mut a, drain), Outcome::Noted, "again it is the same");
    assert_eq!(apply(&mut a, accept(2, contents())), Outcome::Refused(Refused::NotOwner));
    let cancel = |n| Command::Cancel { order: id, key: key(n), reason: String::new() };
    assert_eq!(apply(&mut a, cancel(50)), Outcome::Refused(Refused::NotOwner));
    let drained = || Step::Drained { birth: region(1), epoch: 1 };
    assert_eq!(step(&mut a, drained()), Outcome::Refused(Refused::NotSettled));
    // What ran ends; what follows from it does not begin.
    let calls = a.due(0, 100);
    assert_eq!(calls.len(), 3);
    for call in calls.clone() {
        answer(&mut a, START, &call, StepResult::Done);
    }
    assert!(a.due(0, 100).is_empty(), "the provider is not asked any more");
    assert_eq!(step(&mut a, drained()), Outcome::Noted);
    let Some(Phase::Drained { last, .. }) = a.births.get(region(1)).map(|row| row.phase) else {
        panic!()
    };
    assert_eq!(last, a.meta.seq);
    let digest = a.orders.digest();
    a.advance(START.plus_ms(10 * settings().hold_cap_ms));
    for call in calls {
        answer(&mut a, START, &call, StepResult::Done);
    }
    apply(&mut a, cancel(51));
    apply(&mut a, accept(3, contents()));
    assert_eq!((a.meta.seq, a.orders.digest()), (last, digest));
    holds(&a);
    // Not handed over after all: it goes on where it was.
    assert_eq!(step(&mut a, Step::Undrain { birth: region(1), epoch: 1, seen: 6 }), Outcome::Noted);
    assert!(!a.due(0, 100).is_empty());
    run(&mut a, fine);
    assert!(matches!(apply(&mut a, accept(3, contents())), Outcome::Done(_)));
    holds(&a);
}

#[test]
fn a_step_that_never_ends_does_not_keep_a_drain() {
    let (mut a, _) = placed(contents());
    step(&mut a, Step::Drain { birth: region(1), to: region(2), epoch: 1, drain: 5 });
    let drained = || Step::Drained { birth: region(1), epoch: 1 };
    assert_eq!(step(&mut a, drained()), Outcome::Refused(Refused::NotSettled));
    a.advance(START.plus_ms(20_000));
    assert_eq!(step(&mut a, drained()), Outcome::Noted);
    assert!(a.due(0, 10).is_empty() && a.next_due().is_none());
}
