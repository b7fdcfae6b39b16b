//! A move that is not decided: called off, given up, late, and twice.

use super::moves::{arrive, begin, carry, erase, leave, lives, luggage, moved, place, state_of};
use super::moves::{delete, leave_by, place_born, region, step, subject};
use super::*;
use crate::core::command::Refused;
use crate::core::moves::{Carry, Keep, Step};
use crate::core::subjects::KeyState;

const LATE: LogTime = LogTime(START.0 + 700_000);

fn abandon(state: &mut State, at: LogTime, by: Option<u16>) -> Outcome {
    let (subject, by) = (subject(state.meta.settings.region.get()), by.map(region));
    let step = Step::Abandon { subject, by, asked_ms: 60, destroy_after_ms: 90 };
    state.advance(at);
    state.apply(at, Command::decode(&Command::Moves(step).encode()).unwrap())
}

fn cancel(state: &mut State) -> Outcome {
    let subject = subject(state.meta.settings.region.get());
    step(state, Step::Cancel { subject, by: "op".into(), reason: "stays".into() })
}

/// As another replica reads it from a checkpoint.
fn thawed(state: State) -> State {
    use hansa_consensus::{Frozen as _, Machine as _};
    let machine = crate::machine::OrdersMachine::of(state);
    let mut bytes = Vec::new();
    machine.freeze().write(&mut bytes).unwrap();
    let again = crate::machine::OrdersMachine::thaw(&mut bytes.as_slice()).unwrap();
    assert_eq!(again.digest(), machine.digest());
    assert_eq!(again.digest(), machine.freeze().digest_full());
    again.state
}

/// What is readable of customer `n` there.
fn readable(state: &State, n: u16) -> usize {
    let opens = |id: &OrderId| {
        let of = state.moves.kept.get(id).unwrap().of;
        matches!(state.subjects.key(of), KeyState::Living(_))
    };
    state.moves.kept_of(subject(n)).filter(opens).count()
}

#[test]
fn what_came_of_a_move_that_was_given_up_goes_with_its_key_and_not_before_it_is_late() {
    let (mut a, mut b) = (state_of(1), state_of(2));
    place(&mut a, 1, 0);
    begin(&mut a, 2, 7);
    assert_eq!(carry(&a, &mut b), Outcome::Noted);
    let of = luggage(&b).0;
    assert_eq!((readable(&b, 2), b.stranded().count()), (1, 0));
    assert_eq!(abandon(&mut b, START, None), Outcome::Refused(Refused::Moved));
    assert_eq!(abandon(&mut b, START, Some(3)), Outcome::Refused(Refused::Moved));
    assert_eq!(abandon(&mut b, LATE, None), Outcome::Noted);
    assert_eq!((readable(&b, 2), b.moves.carries.len()), (0, 0));
    assert_eq!(b.subjects.key(of), KeyState::Erased, "log and archive open no more");
    assert!(b.meta.erased_under.is_some(), "and its region key gives way");
    let digest = b.digest();
    assert_eq!(abandon(&mut b, LATE, None), Outcome::Noted);
    assert_eq!(b.digest(), digest, "once");
    // He goes after all, by a later command.
    assert_eq!(carry(&a, &mut b), Outcome::Noted);
    assert_eq!(leave(&mut a, 2, 1), Outcome::Noted);
    assert_eq!(arrive(&mut b, 1, 1), Outcome::Noted);
    assert_eq!((readable(&b, 2), lives(&b)), (1, 2));
    holds(&a);
    holds(&b);
}

#[test]
fn who_arrived_keeps_what_came_however_late_somebody_asks() {
    let (_, mut b) = moved();
    assert_eq!(b.moves.carries.len(), 0);
    assert_eq!(abandon(&mut b, LATE, Some(1)), Outcome::Noted);
    assert_eq!(readable(&b, 2), 2);
}

#[test]
fn who_is_a_customer_there_as_well_keeps_his_key_and_his_own_orders() {
    let (mut a, mut b) = (state_of(1), state_of(2));
    place(&mut a, 1, 0);
    place(&mut b, 2, 0);
    carry(&a, &mut b);
    let of = luggage(&b).0;
    assert_eq!(abandon(&mut b, START, Some(1)), Outcome::Noted);
    assert!(matches!(b.subjects.key(of), KeyState::Living(_)));
    assert_eq!((readable(&b, 2), luggage(&b).1.len()), (0, 1));
    holds(&b);
}

#[test]
fn a_move_that_was_called_off_moves_nobody_however_far_it_had_come() {
    let (mut a, mut b) = (state_of(1), state_of(2));
    place(&mut a, 1, 0);
    assert_eq!(begin(&mut a, 2, 7), Outcome::Noted);
    carry(&a, &mut b);
    let late = leave_by(&a, 2, 1, 7);
    assert_eq!(cancel(&mut a), Outcome::Noted);
    assert_eq!(step(&mut a, Step::Leave(Box::new(late))), Outcome::Refused(Refused::Moved));
    assert_eq!(abandon(&mut b, START, Some(1)), Outcome::Noted);
    assert!(matches!(place(&mut a, 2, 0), Outcome::Done(_)), "he lives here");
    assert_eq!(readable(&b, 2), 0);
    // Who has gone is not called back like that; a try that was overtaken learns that he has.
    let (mut a, _) = moved();
    assert_eq!(begin(&mut a, 2, 1_001), Outcome::Noted);
    assert_eq!(begin(&mut a, 2, 9), Outcome::Refused(Refused::Moved));
    assert_eq!(cancel(&mut a), Outcome::Refused(Refused::Moved));
}

#[test]
fn two_who_move_him_at_once_take_turns_and_a_region_takes_him_from_one_at_a_time() {
    let (mut a, mut b) = (state_of(1), state_of(2));
    place(&mut a, 1, 0);
    assert_eq!(begin(&mut a, 2, 7), Outcome::Noted);
    assert_eq!(begin(&mut a, 3, 8), Outcome::Refused(Refused::Moved));
    let first = leave_by(&a, 2, 1, 7);
    assert_eq!(begin(&mut a, 2, 9), Outcome::Noted, "the newest command goes on");
    assert_eq!(step(&mut a, Step::Leave(Box::new(first))), Outcome::Refused(Refused::Moved));
    carry(&a, &mut b);
    let mut c = state_of(3);
    place(&mut c, 2, 0);
    assert_eq!(carry(&c, &mut b), Outcome::Refused(Refused::Moved));
    assert_eq!(begin(&mut b, 3, 10), Outcome::Refused(Refused::Moved), "he is on his way here");
    holds(&b);
}

#[test]
fn a_page_from_before_an_erasure_brings_nobody_back() {
    let (a, mut b) = moved();
    erase(&mut b);
    let (of, blocks, _) = luggage(&a);
    let of = KeyOf { subject: subject(2), generation: of.generation + 1 };
    let page = |from: u16, dead| {
        let (mint, blocks) = (Some(wrapped(FIRST, 2)), blocks.clone());
        Step::Keep(Box::new(Keep { of, mint, blocks, from: region(from), dead }))
    };
    assert_eq!(step(&mut b, page(1, 0)), Outcome::Refused(Refused::KeyChanged));
    assert_eq!(readable(&b, 2), 0);
    assert_eq!(step(&mut b, page(1, 1)), Outcome::Noted, "who looked since may bring him");
    holds(&b);
}

#[test]
fn a_late_repeat_of_a_move_does_not_move_him_again_once_he_is_back() {
    let (mut a, mut b) = moved();
    carry(&b, &mut a);
    assert_eq!(leave(&mut b, 1, 2), Outcome::Noted);
    assert_eq!(arrive(&mut a, 2, 2), Outcome::Noted);
    assert_eq!(begin(&mut a, 2, 1_001), Outcome::Refused(Refused::Moved));
    assert_eq!(begin(&mut a, 2, 1_003), Outcome::Noted);
    assert_eq!(a.moves.get(subject(1)).unwrap().lived, [region(1), region(2)]);
}

#[test]
fn who_was_forgotten_where_he_lives_is_let_go_with_nothing() {
    let (mut a, mut b) = moved();
    erase(&mut a);
    erase(&mut b);
    let nothing = Step::Leave(Box::new(crate::core::moves::Leave {
        generation: b.subjects.dead(subject(2)),
        orders: 0,
        digest: Default::default(),
        ..leave_by(&moved().1, 1, 2, 9)
    }));
    assert_eq!(begin(&mut b, 1, 9), Outcome::Noted);
    assert_eq!(step(&mut b, nothing), Outcome::Noted);
    assert_eq!((lives(&b), b.moves.due(u64::MAX).count()), (1, 0));
    assert_eq!(arrive(&mut a, 2, 2), Outcome::Noted);
    assert!(matches!(place(&mut a, 9, 2), Outcome::Done(_)));
    holds(&a);
    holds(&b);
}

#[test]
fn who_is_forgotten_is_brought_nowhere_and_told_of_nowhere() {
    let mut a = state_of(1);
    place(&mut a, 1, 0);
    begin(&mut a, 2, 7);
    assert!(matches!(a.moves.carries.get(&subject(1)), Some(Carry::Going { .. })));
    erase(&mut a);
    assert!(a.moves.carries.is_empty());
    // Back with a living key: what he had left once is told of no more.
    let (mut a, mut b) = moved();
    delete(&mut a);
    carry(&b, &mut a);
    assert_eq!(leave(&mut b, 1, 2), Outcome::Noted);
    assert_eq!(arrive(&mut a, 2, 2), Outcome::Noted);
    let left = KeyOf { subject: subject(1), generation: 1 };
    assert!(a.moves.is_gone(left));
    erase(&mut a);
    assert!(!a.moves.is_gone(left));
    holds(&a);
}

#[test]
fn a_lost_region_that_comes_back_hears_that_he_lives_elsewhere_and_lets_go_of_what_it_has() {
    let (mut a, mut b) = moved();
    place(&mut b, 3, 1);
    let recall = Step::Recall {
        subject: subject(1),
        epoch: 2,
        at_ms: 9,
        by: "op".into(),
        reason: "lost".into(),
    };
    assert_eq!(step(&mut a, recall), Outcome::Noted);
    assert_eq!((lives(&a), lives(&b), a.moves.due(u64::MAX).count()), (1, 2, 0));
    assert_eq!(a.untold().collect::<Vec<_>>(), [subject(1)]);
    assert!(matches!(place(&mut a, 4, 2), Outcome::Done(_)));
    // Nobody but where he came from is believed that he is gone from where he lives.
    let follow = |to, epoch| Step::Follow { subject: subject(2), to: region(to), epoch, at_ms: 10 };
    assert_eq!(step(&mut b, follow(3, 2)), Outcome::Refused(Refused::Moved));
    assert_eq!(step(&mut b, follow(1, 2)), Outcome::Noted);
    assert_eq!(place(&mut b, 5, 1), Outcome::Refused(Refused::Moved));
    let left = b.moves.get(subject(2)).unwrap().left.clone().unwrap();
    assert_eq!((lives(&b), left.orders, left.deleted), (1, 3, false));
    assert_eq!(b.moves.due(u64::MAX).count(), 1);
    let heard = |epoch| Step::Heard { subject: subject(1), epoch };
    assert_eq!(step(&mut a, heard(1)), Outcome::Noted);
    assert_eq!(a.untold().count(), 1, "of another move");
    assert_eq!(step(&mut a, heard(2)), Outcome::Noted);
    assert_eq!(a.untold().count(), 0);
    holds(&a);
    holds(&b);
}

#[test]
fn a_request_that_a_lost_region_may_have_heard_is_no_new_one() {
    use crate::core::takeover;
    let mut a = state_of(1);
    assert_eq!(
        a.may_have_heard(region(2), 2, None),
        Some(Refused::NotOwner),
        "not taken over here"
    );
    let take = takeover::TakeOver {
        birth: region(2),
        epoch: 2,
        from: region(2),
        record: 7,
        record_ms: START.ms(),
        skew_ms: 1_000,
        complete: false,
        unheard: false,
        heard: Vec::new(),
    };
    let take = takeover::Step::TakeOver(Box::new(take));
    a.apply(START, Command::Takeover(take));
    let heard = |sent| a.may_have_heard(region(2), 2, sent);
    for sent in [None, Some(START.ms()), Some(START.ms() + 1_000)] {
        let why = heard(sent);
        assert!(matches!(why, Some(Refused::InDoubt | Refused::NotOwner)), "{sent:?}: {why:?}");
    }
    assert_eq!(heard(Some(START.ms() + 1_001)), None, "sent after it was lost");
    assert!(heard(Some(0)).is_some());
    let ahead = a.may_have_heard(region(2), 4, Some(START.ms() + 1_001));
    assert_eq!(ahead, Some(Refused::NotOwner), "another owned them meanwhile");
}

#[test]
fn who_lives_where_another_region_owns_what_is_born_is_served_by_it_for_that_and_stays() {
    use crate::core::takeover;
    let home_again = || {
        let (mut a, mut b) = moved();
        assert_eq!(leave(&mut b, 1, 2), Outcome::Noted);
        assert_eq!(arrive(&mut a, 2, 2), Outcome::Noted);
        (a, b)
    };
    let (a, mut b) = home_again();
    let (birth, epoch) = (region(1), 2);
    assert_eq!(delete(&mut home_again().1), Outcome::Noted);
    assert_eq!(place_born(&mut b, (birth, epoch), 3, 2), Outcome::Refused(Refused::NotOwner));
    let take = takeover::TakeOver {
        birth,
        epoch,
        from: birth,
        record: 7,
        record_ms: START.ms(),
        skew_ms: 1_000,
        complete: true,
        unheard: false,
        heard: Vec::new(),
    };
    let settled = takeover::Step::Settled { birth, epoch };
    for step in [takeover::Step::TakeOver(Box::new(take)), settled] {
        assert_eq!(b.apply(START, Command::Takeover(step)), Outcome::Noted);
    }
    for resident in [0, 1, 3] {
        let refused = place_born(&mut b, (birth, epoch), 3, resident);
        assert_eq!(refused, Outcome::Refused(Refused::Moved));
    }
    assert!(matches!(place_born(&mut b, (birth, epoch), 3, 2), Outcome::Done(_)));
    assert_eq!(place(&mut b, 4, 2), Outcome::Refused(Refused::Moved), "he does not live there");
    assert_eq!((lives(&a), lives(&b), b.untold().count()), (1, 1, 0));
    assert_eq!(delete(&mut b), Outcome::Refused(Refused::Moved), "he orders here for now");
    holds(&b);
}

#[test]
fn a_command_that_was_called_off_begins_nothing_however_late_it_is_repeated() {
    let mut a = state_of(1);
    place(&mut a, 1, 0);
    // The second command took over from the first: both are called off.
    assert_eq!(begin(&mut a, 2, 7), Outcome::Noted);
    assert_eq!(begin(&mut a, 2, 8), Outcome::Noted);
    assert_eq!(cancel(&mut a), Outcome::Noted);
    let mut a = thawed(a);
    for (request, to) in [(7, 2), (8, 2), (7, 3)] {
        assert_eq!(begin(&mut a, to, request), Outcome::Refused(Refused::Moved));
    }
    assert!(a.moves.carries.is_empty());
    // Another one moves him, and is called off as well.
    assert_eq!(begin(&mut a, 3, 9), Outcome::Noted);
    assert_eq!(cancel(&mut a), Outcome::Noted);
    assert_eq!(begin(&mut a, 2, 7), Outcome::Refused(Refused::Moved));
    assert_eq!(begin(&mut a, 2, 9), Outcome::Refused(Refused::Moved));
    holds(&a);
    let mut a = thawed(a);
    // Nobody repeats what is as old as that.
    let later = START.plus_ms(a.meta.settings.key_ttl_ms + 1);
    a.advance(later);
    let whose = subject(1);
    let again = Step::Begin { subject: whose, to: region(2), request: Scope(7), at_ms: 9 };
    assert_eq!(a.apply(later, Command::Moves(again)), Outcome::Noted);
    let off = Step::Cancel { subject: whose, by: String::new(), reason: String::new() };
    assert_eq!(a.apply(later, Command::Moves(off)), Outcome::Noted);
    let known = a.moves.called_off.get(&whose).unwrap();
    assert_eq!(known.iter().map(|one| one.request).collect::<Vec<_>>(), [Scope(7)]);
}

#[test]
fn who_was_forgotten_where_he_ordered_goes_on_without_what_opens_no_more() {
    let (mut a, mut b) = moved();
    assert!(matches!(place(&mut b, 3, 1), Outcome::Done(_)));
    erase(&mut a);
    erase(&mut b);
    let with = |orders, digest| {
        let leave = leave_by(&moved().1, 1, 2, 9);
        let generation = b.subjects.dead(subject(2));
        Step::Leave(Box::new(crate::core::moves::Leave { generation, orders, digest, ..leave }))
    };
    let (dead, nothing) = (with(1, Default::default()), with(0, Default::default()));
    let other = with(0, hansa_types::hash::StateHash(1));
    assert_eq!(begin(&mut b, 1, 9), Outcome::Noted);
    for wrong in [dead, other] {
        assert_eq!(step(&mut b, wrong), Outcome::Refused(Refused::KeyChanged));
    }
    assert_eq!(step(&mut b, nothing), Outcome::Noted);
    assert_eq!((lives(&b), b.moves.due(u64::MAX).count()), (1, 0));
    assert_eq!(arrive(&mut a, 2, 2), Outcome::Noted);
    assert!(matches!(place(&mut a, 9, 2), Outcome::Done(_)));
    holds(&a);
    holds(&b);
}

#[test]
fn every_command_that_another_took_over_from_is_called_off_with_it() {
    let mut a = state_of(1);
    place(&mut a, 1, 0);
    for request in 1..=20 {
        assert_eq!(begin(&mut a, 2, request), Outcome::Noted);
    }
    assert_eq!(cancel(&mut a), Outcome::Noted);
    for request in 1..=20 {
        assert_eq!(begin(&mut a, 2, request), Outcome::Refused(Refused::Moved), "{request}");
    }
    holds(&a);
}
