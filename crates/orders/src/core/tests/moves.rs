//! Who moves: where his orders go, what he takes along, and that nothing is left.

use super::*;
use crate::core::command::Refused;
use crate::core::contents::Sealed;
use crate::core::effect::SettleResult;
use crate::core::moves::{Block, Keep, Leave, Step, print_of};
use crate::core::subjects::{Erase, KeyState, Next};
use hansa_types::hash::StateHash;

pub(super) fn region(n: u16) -> RegionNumber {
    RegionNumber::try_from(n).unwrap()
}

/// A region's state; customer `n` is known by another pseudonym in each.
pub(super) fn state_of(n: u16) -> State {
    let mut state = State::new(Settings { region: region(n), ..settings() });
    state.advance(START);
    state
}

pub(super) fn subject(n: u16) -> SubjectId {
    SubjectId { home: region(n), hash: u128::from(n) + 100 }
}

fn here(state: &State) -> u16 {
    state.meta.settings.region.get()
}

/// Order `n` under request `n`, without goods or price: over as soon as it is settled.
pub(super) fn place(state: &mut State, n: u64, resident: u64) -> Outcome {
    let birth = (state.meta.settings.region, 1);
    place_born(state, birth, n, resident)
}

/// Born in a region whose births the group owns in that epoch.
pub(super) fn place_born(
    state: &mut State,
    (birth, epoch): (RegionNumber, u64),
    n: u64,
    resident: u64,
) -> Outcome {
    let whose = subject(here(state));
    let (generation, mint) = match state.next_key(whose) {
        Next::Use(generation, _) => (generation, None),
        Next::Mint(generation, by) => {
            (generation, Some(wrapped(by.unwrap_or(FIRST), generation as u8)))
        }
    };
    let mut contents = with_lines(vec![line("CARD", 1, 0, None)]);
    contents.sealed_with = KeyOf { subject: whose, generation };
    contents.personal = Some(Sealed { nonce: [n as u8; 12], ciphertext: vec![7; 40].into() });
    let order = OrderId::new(START, birth, Slot::of(b"c"), n);
    // Under another key the same body has another fingerprint.
    let key = Key { body: u128::from(generation) << 64 | u128::from(n), ..key(u128::from(n)) };
    let accept = Accept { order, key, epoch, contents, mint };
    let command = Box::new(Command::Accept(Box::new(accept)));
    let outcome = match resident {
        0 => state.apply(START, *command),
        epoch => state.apply(START, Command::Resident { epoch, command }),
    };
    for call in state.due(0, 10) {
        let nothing = SettleResult { committed: 0, captured: false, booked: false, refusal: None };
        answer(state, START, &call, StepResult::Settled(nothing));
    }
    outcome
}

pub(super) fn step(state: &mut State, step: Step) -> Outcome {
    let command = Command::decode(&Command::Moves(step).encode()).unwrap();
    state.apply(START, command)
}

pub(super) fn luggage(state: &State) -> (KeyOf, Vec<Block>, StateHash) {
    let whose = subject(here(state));
    let Next::Use(generation, _) = state.next_key(whose) else { panic!("no key") };
    let of = KeyOf { subject: whose, generation };
    let blocks: Vec<Block> = state.blocks(of).collect();
    let mut digest = StateHash::default();
    blocks.iter().for_each(|(id, law, block)| digest.add(print_of(*id, *law, block)));
    (of, blocks, digest)
}

pub(super) fn leave_by(state: &State, to: u16, epoch: u64, request: u128) -> Leave {
    let (of, blocks, digest) = luggage(state);
    Leave {
        subject: of.subject,
        to: region(to),
        epoch,
        generation: of.generation,
        orders: blocks.len() as u32,
        digest,
        request: Scope(request),
        asked_ms: 5,
        delete_after_ms: 50,
        by: "op".into(),
        reason: "asked".into(),
        ticket: "T-1".into(),
    }
}

pub(super) fn begin(state: &mut State, to: u16, request: u128) -> Outcome {
    let (subject, to, request) = (subject(here(state)), region(to), Scope(request));
    step(state, Step::Begin { subject, to, request, at_ms: 4 })
}

pub(super) fn leave(state: &mut State, to: u16, epoch: u64) -> Outcome {
    let leave = leave_by(state, to, epoch, u128::from(epoch) + 1_000);
    let begun = begin(state, to, u128::from(epoch) + 1_000);
    match begun {
        Outcome::Noted => step(state, Step::Leave(Box::new(leave))),
        refused => refused,
    }
}

pub(super) fn arrive(state: &mut State, from: u16, epoch: u64) -> Outcome {
    let subject = subject(here(state));
    step(state, Step::Arrive { subject, from: region(from), epoch, at_ms: 5, untold: false })
}

pub(super) fn delete(state: &mut State) -> Outcome {
    let (subject, by) = (subject(here(state)), String::new());
    let reason = String::new();
    step(state, Step::Delete { subject, asked_ms: 60, destroy_after_ms: 90, by, reason })
}

/// What he has in `from` is sealed anew in `to`.
pub(super) fn carry(from: &State, to: &mut State) -> Outcome {
    let (_, blocks, _) = luggage(from);
    let whose = subject(here(to));
    let (generation, mint) = match to.next_key(whose) {
        Next::Use(generation, _) => (generation, None),
        Next::Mint(generation, by) => (generation, Some(wrapped(by.unwrap_or(FIRST), 9))),
    };
    let anew =
        |(id, law, _): Block| (id, law, Sealed { nonce: [9; 12], ciphertext: vec![9; 40].into() });
    let blocks = blocks.into_iter().map(anew).collect();
    let (of, dead) = (KeyOf { subject: whose, generation }, to.subjects.dead(whose));
    let from = region(here(from));
    step(to, Step::Keep(Box::new(Keep { of, mint, blocks, from, dead })))
}

pub(super) fn erase(state: &mut State) -> Outcome {
    let (subject, request) = (subject(here(state)), Scope(5_000));
    let erase = Erase { subject, request, asked_ms: 5, destroy_after_ms: 9 };
    state.apply(START, Command::Erase(erase))
}

pub(super) fn lives(state: &State) -> u16 {
    state.moves.get(subject(here(state))).unwrap().lives.get()
}

/// Moved from 1 to 2 with two orders.
pub(super) fn moved() -> (State, State) {
    let (mut a, mut b) = (state_of(1), state_of(2));
    place(&mut a, 1, 0);
    place(&mut a, 2, 0);
    assert_eq!(carry(&a, &mut b), Outcome::Noted);
    assert_eq!(leave(&mut a, 2, 1), Outcome::Noted);
    assert_eq!(arrive(&mut b, 1, 1), Outcome::Noted);
    (a, b)
}

#[test]
fn who_has_left_orders_no_more_here_and_what_he_ordered_is_answered_as_before() {
    let (mut a, mut b) = moved();
    assert_eq!((lives(&a), lives(&b)), (2, 2));
    for resident in [0, 1, 2] {
        assert_eq!(place(&mut a, 3, resident), Outcome::Refused(Refused::Moved));
    }
    assert!(matches!(place(&mut a, 2, 0), Outcome::Replayed(_)));
    // There only who knows of the move places orders: he has asked the former home.
    for resident in [0, 2] {
        assert_eq!(place(&mut b, 3, resident), Outcome::Refused(Refused::Moved));
    }
    assert!(matches!(place(&mut b, 3, 1), Outcome::Done(_)));
    assert!(matches!(place(&mut b, 3, 1), Outcome::Replayed(_)));
    assert_eq!(b.moves.kept_of(subject(2)).count(), 2);
    holds(&a);
    holds(&b);
}

#[test]
fn an_order_in_between_is_not_left_behind() {
    let (mut a, mut b) = (state_of(1), state_of(2));
    place(&mut a, 1, 0);
    carry(&a, &mut b);
    assert_eq!(begin(&mut a, 2, 7), Outcome::Noted);
    let stale = leave_by(&a, 2, 1, 7);
    place(&mut a, 2, 0);
    let refused = step(&mut a, Step::Leave(Box::new(stale)));
    assert_eq!(refused, Outcome::Refused(Refused::KeyChanged));
    assert!(matches!(place(&mut a, 3, 0), Outcome::Done(_)), "he lives here still");
    assert_eq!(leave(&mut a, 2, 1), Outcome::Noted);
    holds(&a);
}

#[test]
fn a_move_decides_once_whatever_is_repeated_or_comes_late() {
    let (mut a, mut b) = moved();
    let digests = (a.digest(), b.digest());
    let (of, ..) = luggage(&a);
    let same = Leave { request: Scope(1_001), ..leave_by(&a, 2, 1, 0) };
    assert_eq!(step(&mut a, Step::Leave(Box::new(same))), Outcome::Noted);
    assert_eq!(leave(&mut a, 3, 9), Outcome::Refused(Refused::Moved));
    assert_eq!(arrive(&mut b, 1, 1), Outcome::Noted);
    assert_eq!(arrive(&mut b, 1, 0), Outcome::Noted);
    assert_eq!((a.digest(), b.digest()), digests);
    let strange =
        Step::Arrive { subject: of.subject, from: region(3), epoch: 5, at_ms: 5, untold: false };
    assert_eq!(step(&mut b, strange), Outcome::Refused(Refused::Malformed));
    let nobody = Step::Follow { subject: key_of(77).subject, to: region(3), epoch: 5, at_ms: 5 };
    assert_eq!(step(&mut a, nobody), Outcome::Refused(Refused::SubjectNotFound));
}

#[test]
fn what_he_left_is_deleted_when_due_and_the_tombstone_says_by_which_request() {
    let (mut a, b) = moved();
    let (of, ..) = luggage(&a);
    assert_eq!(a.moves.due(49).count(), 0);
    assert_eq!(a.moves.due(50).collect::<Vec<_>>(), [subject(1)]);
    let seq = a.meta.seq;
    assert_eq!(delete(&mut a), Outcome::Noted);
    assert_eq!(a.subjects.key(of), KeyState::Erased);
    assert!(a.moves.is_gone(of));
    let proof = a.subjects.erased_by(subject(1), Scope(1_001)).unwrap();
    assert_eq!((proof.orders, proof.seq, proof.destroy_after_ms), (2, seq + 1, 90));
    // It is told to the peers as any erasure is, and once.
    assert_eq!(delete(&mut a), Outcome::Noted);
    assert_eq!(a.subjects.erased_after(seq).count(), 1);
    assert_eq!(a.moves.due(u64::MAX).count(), 0);
    // A repeat of an old request cannot be compared any more, and orders nothing: it is told so.
    let made = OrderId::new(START, region(1), Slot::of(b"c"), 2);
    assert_eq!(place(&mut a, 2, 0), Outcome::Refused(Refused::Left(made)));
    assert_eq!(place(&mut a, 9, 0), Outcome::Refused(Refused::Moved));
    let of = |id| b.moves.kept.get(&id).unwrap().of;
    let opens = |id| matches!(b.subjects.key(of(id)), KeyState::Living(_));
    assert!(b.moves.kept_of(subject(2)).all(opens));
    holds(&a);
}

#[test]
fn the_deletion_waits_for_orders_that_are_under_way() {
    let (mut a, mut b) = (state_of(1), state_of(2));
    place(&mut a, 1, 0);
    let Command::Accept(mut open) = accept(5, contents()) else { panic!() };
    open.contents.sealed_with = luggage(&a).0;
    open.mint = None;
    assert!(matches!(a.apply(START, Command::Accept(open)), Outcome::Done(_)));
    carry(&a, &mut b);
    assert_eq!(leave(&mut a, 2, 1), Outcome::Noted);
    assert_eq!(a.left_open(subject(1)).collect::<Vec<_>>(), [order_id(5)]);
    assert_eq!(delete(&mut a), Outcome::Refused(Refused::OrderOpen(order_id(5))));
    assert!(matches!(a.subjects.key(luggage(&a).0), KeyState::Living(_)));
}

#[test]
fn who_comes_back_takes_all_of_it_along_again() {
    for deleted in [true, false] {
        let (mut a, mut b) = moved();
        if deleted {
            delete(&mut a);
        }
        assert!(matches!(place(&mut b, 3, 1), Outcome::Done(_)));
        assert_eq!(luggage(&b).1.len(), 3);
        assert_eq!(carry(&b, &mut a), Outcome::Noted);
        assert_eq!(leave(&mut b, 1, 2), Outcome::Noted);
        assert_eq!(arrive(&mut a, 2, 2), Outcome::Noted);
        assert_eq!((lives(&a), lives(&b)), (1, 1));
        // What he never lost is not kept twice.
        assert_eq!(a.moves.kept.len(), if deleted { 3 } else { 1 });
        assert_eq!(a.moves.due(u64::MAX).count(), 0);
        assert_eq!(luggage(&a).1.len(), 3);
        assert_eq!(place(&mut b, 4, 1), Outcome::Refused(Refused::Moved));
        assert!(matches!(place(&mut a, 4, 2), Outcome::Done(_)));
        assert_eq!(delete(&mut b), Outcome::Noted);
        assert_eq!((b.moves.kept.len(), b.subjects.counts().len()), (0, 0));
        holds(&a);
        holds(&b);
    }
}

#[test]
fn nothing_is_deleted_while_he_brings_back_only_what_is_not_here() {
    let (mut a, mut b) = moved();
    place(&mut b, 3, 1);
    assert_eq!(carry(&b, &mut a), Outcome::Noted);
    assert_eq!(a.moves.due(50).count(), 0);
    assert_eq!(delete(&mut a), Outcome::Refused(Refused::Moved));
    assert_eq!(leave(&mut b, 1, 2), Outcome::Noted);
    assert_eq!(arrive(&mut a, 2, 2), Outcome::Noted);
    assert_eq!(luggage(&a).1.len(), 3);
    // Had he stayed away, it would go later.
    let (mut a, b) = moved();
    carry(&b, &mut a);
    let later = START.plus_ms(700_000);
    assert_eq!(a.moves.due(later.ms()).count(), 1);
    let (subject, by, reason) = (subject(1), String::new(), String::new());
    let late = Step::Delete { subject, asked_ms: 60, destroy_after_ms: 90, by, reason };
    assert_eq!(a.apply(later, Command::Moves(late)), Outcome::Noted);
    holds(&a);
}

#[test]
fn where_he_left_first_follows_him_on() {
    let (mut a, mut b) = moved();
    let mut c = state_of(3);
    carry(&b, &mut c);
    let ttl = b.meta.settings.key_ttl_ms;
    let later = |b: &State, to, asked_ms| {
        Step::Leave(Box::new(Leave { asked_ms, ..leave_by(b, to, 2, 1_002) }))
    };
    // While a request that the first region heard may be repeated, only it would be asked.
    assert_eq!(begin(&mut b, 3, 1_002), Outcome::Noted);
    let early = later(&b, 3, 4 + ttl);
    assert_eq!(step(&mut b, early), Outcome::Refused(Refused::Moved));
    let late = later(&b, 3, 5 + ttl);
    assert_eq!(step(&mut b, late), Outcome::Noted);
    assert_eq!(arrive(&mut c, 2, 2), Outcome::Noted);
    let on = |epoch| Step::Follow { subject: subject(1), to: region(3), epoch, at_ms: 9 };
    assert_eq!(step(&mut a, on(2)), Outcome::Noted);
    assert_eq!(lives(&a), 3);
    // Late news of the first move does not take him back; what he left is deleted all the same.
    let late = Step::Follow { subject: subject(1), to: region(2), epoch: 1, at_ms: 9 };
    assert_eq!(step(&mut a, late), Outcome::Noted);
    assert_eq!((lives(&a), a.moves.due(50).count()), (3, 1));
    for state in [&mut a, &mut b] {
        assert_eq!(delete(state), Outcome::Noted);
        holds(state);
    }
    assert_eq!(luggage(&c).1.len(), 2);
    holds(&c);
}

#[test]
fn who_is_forgotten_leaves_nothing_to_delete_and_nobody_is_told_where_he_went() {
    let (mut a, mut b) = moved();
    assert!(matches!(erase(&mut a), Outcome::Erased(_, false)));
    assert_eq!(delete(&mut a), Outcome::Noted);
    assert!(!a.moves.is_gone(KeyOf { subject: subject(1), generation: 1 }));
    assert!(matches!(erase(&mut b), Outcome::Erased(_, false)));
    assert_eq!(b.moves.kept.len(), 0);
    // Deleted first, forgotten then.
    let (mut a, _) = moved();
    delete(&mut a);
    assert!(a.moves.is_gone(KeyOf { subject: subject(1), generation: 1 }));
    assert!(matches!(erase(&mut a), Outcome::Erased(_, false)), "nobody had wished it before");
    assert!(matches!(erase(&mut a), Outcome::Erased(_, true)));
    assert!(!a.moves.is_gone(KeyOf { subject: subject(1), generation: 1 }));
    holds(&a);
    holds(&b);
}

#[test]
fn a_checkpoint_keeps_moves_and_what_was_brought_along() {
    use hansa_consensus::{Frozen as _, Machine as _};
    let (a, b) = moved();
    for state in [a, b] {
        let machine = crate::machine::OrdersMachine::of(state);
        let mut bytes = Vec::new();
        machine.freeze().write(&mut bytes).unwrap();
        let again = crate::machine::OrdersMachine::thaw(&mut bytes.as_slice()).unwrap();
        assert_eq!(again.digest(), machine.digest());
        assert_eq!(again.digest(), machine.freeze().digest_full());
        let due = |machine: &crate::machine::OrdersMachine| machine.state.moves.due(50).count();
        assert_eq!(due(&again), due(&machine));
    }
}

#[test]
fn only_who_let_him_go_sends_him_and_no_word_uses_up_the_numbers_of_his_moves() {
    let (mut a, mut b) = moved();
    let ttl = a.meta.settings.key_ttl_ms;
    let digests = (a.digest(), b.digest());
    // He went to 2: nobody else sends him back, and nothing that he left is forgotten for it.
    assert_eq!(arrive(&mut a, 3, 2), Outcome::Refused(Refused::Moved));
    // He lives in 2 since lately: whom another sends would not be asked about in 1.
    assert_eq!(arrive(&mut b, 3, 2), Outcome::Refused(Refused::Moved));
    assert_eq!(arrive(&mut b, 2, 2), Outcome::Refused(Refused::Malformed));
    assert_eq!(begin(&mut b, 1, 7), Outcome::Noted);
    let digests = (digests.0, b.digest());
    for epoch in [u64::MAX, 2_000] {
        assert_eq!(arrive(&mut b, 1, epoch), Outcome::Refused(Refused::Moved));
        let on = Step::Follow { subject: subject(1), to: region(3), epoch, at_ms: 9 };
        assert_eq!(step(&mut a, on), Outcome::Refused(Refused::Moved));
        let far = leave_by(&b, 1, epoch, 7);
        assert_eq!(step(&mut b, Step::Leave(Box::new(far))), Outcome::Refused(Refused::KeyChanged));
    }
    assert_eq!((a.digest(), b.digest()), digests);
    assert!(!b.may_come(subject(2), region(3), 4 + ttl) && b.may_come(subject(2), region(1), 6));
    assert!(b.may_come(subject(2), region(3), 5 + ttl) && !a.may_come(subject(1), region(3), 9));
    holds(&a);
    holds(&b);
}

#[test]
fn a_region_says_what_it_holds_of_somebody_and_not_what_it_once_held() {
    let (mut a, mut b) = moved();
    let orders: Vec<OrderId> = luggage(&a).1.into_iter().map(|(id, ..)| id).collect();
    let held = |state: &State, n| orders.iter().filter(|id| state.holds(subject(n), **id)).count();
    assert_eq!((held(&a, 1), held(&b, 2), held(&b, 1)), (2, 2, 0));
    delete(&mut a);
    assert_eq!((held(&a, 1), held(&b, 2)), (0, 2));
    let erase = Erase { subject: subject(2), request: Scope(5), asked_ms: 5, destroy_after_ms: 9 };
    b.apply(START, Command::Erase(erase));
    assert_eq!(held(&b, 2), 0);
    assert_eq!(state_of(3).moves.get(subject(3)), None);
}

#[test]
fn whom_a_region_knew_before_another_said_that_he_came_is_not_taken_away_by_its_word() {
    let whose = subject(2);
    let arrive = |epoch| Step::Arrive {
        subject: whose,
        from: region(1),
        epoch,
        at_ms: START.ms() + 60_000,
        untold: false,
    };
    let follow = |epoch| Step::Follow { subject: whose, to: region(1), epoch, at_ms: 9 };
    let mut t = state_of(2);
    assert!(matches!(place(&mut t, 1, 0), Outcome::Done(_)));
    assert_eq!(step(&mut t, arrive(1)), Outcome::Noted);
    assert_eq!(step(&mut t, follow(2)), Outcome::Refused(Refused::Moved));
    assert_eq!(t.moves.get(whose).unwrap().lives, region(2));
    // Who came as a stranger goes back as he came.
    let mut t = state_of(2);
    assert_eq!(step(&mut t, arrive(1)), Outcome::Noted);
    assert_eq!(step(&mut t, follow(2)), Outcome::Noted);
    // And whom this region itself had let go before.
    let mut t = state_of(2);
    assert!(matches!(place(&mut t, 1, 0), Outcome::Done(_)));
    assert_eq!(leave(&mut t, 1, 1), Outcome::Noted);
    assert_eq!(step(&mut t, arrive(2)), Outcome::Noted);
    assert_eq!(step(&mut t, follow(3)), Outcome::Noted);
    assert_eq!(t.moves.get(whose).unwrap().lives, region(1));
}
