//! Data keys: who wins a race, what stays erased, what a rotation may and may not do.

use hansa_types::region::RegionNumber;

use super::*;
use crate::core::command::Refused;
use crate::core::effect::SettleResult;
use crate::core::remote::{
    Batch, Held, Origin, Reduced, Reduction, RemoteEvent, RemoteStep, Shown,
};
use crate::core::restored::{Restore, Step};
use crate::core::subjects::{
    Asked, Cause, Erase, KeyEntry, KeyState, KeyStep, Next, first_generation,
};
use crate::core::takeover;
use crate::start::alive_again;

const SECOND: RegionKey = RegionKey(2 << 48);

/// An order without goods or price, which is over as soon as it is settled.
fn gift() -> Contents {
    with_lines(vec![line("CARD", 1, 0, None)])
}

fn of(state: &State, n: u64) -> KeyOf {
    state.contents.get(&order_id(n)).unwrap().sealed_with
}

/// Order `n` of the subject, by whatever key the state names.
fn order_of(state: &mut State, n: u64, subject: SubjectId) -> Outcome {
    let (generation, mint) = match state.next_key(subject) {
        Next::Use(generation, _) => (generation, None),
        Next::Mint(generation, by) => {
            (generation, Some(wrapped(by.unwrap_or(FIRST), generation as u8)))
        }
    };
    accept_with(state, n, KeyOf { subject, generation }, mint)
}

fn accept_with(state: &mut State, n: u64, of: KeyOf, mint: Option<Wrapped>) -> Outcome {
    let Command::Accept(mut made) = accept(n, gift()) else { panic!() };
    made.contents.sealed_with = of;
    made.mint = mint;
    let outcome = state.apply(START, Command::Accept(made));
    for call in state.due(0, 10) {
        let nothing = SettleResult { committed: 0, captured: false, booked: false, refusal: None };
        answer(state, START, &call, StepResult::Settled(nothing));
    }
    outcome
}

fn fresh() -> (State, SubjectId) {
    let mut state = State::new(settings());
    state.advance(START);
    let subject = key_of(7).subject;
    assert!(matches!(order_of(&mut state, 1, subject), Outcome::Done(_)));
    (state, subject)
}

fn erase(state: &mut State, subject: SubjectId, request: u128) -> Outcome {
    let request = Scope(request);
    let erase = Erase { subject, request, asked_ms: 5, destroy_after_ms: 9 };
    state.apply(START, Command::Erase(erase))
}

fn keys(state: &mut State, step: KeyStep) -> Outcome {
    state.apply(START, Command::Keys(step))
}

#[test]
fn of_two_leaders_that_mint_a_key_the_first_one_counts_and_the_other_looks_again() {
    let (mut state, subject) = fresh();
    let KeyState::Living(first) = state.subjects.key(of(&state, 1)) else { panic!() };
    let mine = KeyOf { subject, generation: 1 };
    let outcome = accept_with(&mut state, 2, mine, Some(wrapped(FIRST, 99)));
    assert_eq!(outcome, Outcome::Refused(Refused::KeyChanged));
    assert_eq!(state.subjects.key(mine), KeyState::Living(first));
    assert!(matches!(order_of(&mut state, 2, subject), Outcome::Done(_)));
    holds(&state);
}

#[test]
fn a_repeat_under_a_key_that_lost_is_told_to_look_again_and_never_that_its_body_differs() {
    let (mut state, subject) = fresh();
    let Command::Accept(mut again) = accept(1, gift()) else { panic!() };
    again.contents.sealed_with = KeyOf { subject, generation: 1 };
    again.key.body = 99;
    let outcome = state.apply(START, Command::Accept(again.clone()));
    assert_eq!(outcome, Outcome::Refused(Refused::KeyChanged));
    again.mint = None;
    let outcome = state.apply(START, Command::Accept(again));
    assert_eq!(outcome, Outcome::Refused(Refused::RequestIdReused));
}

#[test]
fn a_customer_with_an_order_under_way_is_not_erased_and_the_order_is_named() {
    let (mut state, id) = placed(contents());
    let subject = of(&state, 1).subject;
    assert_eq!(erase(&mut state, subject, 1), Outcome::Refused(Refused::OrderOpen(id)));
    assert!(matches!(state.subjects.key(of(&state, 1)), KeyState::Living(_)));
}

#[test]
fn an_order_that_moved_away_is_its_owners_to_finish_and_stands_in_nobodys_way() {
    let (mut state, _) = placed(contents());
    let subject = of(&state, 1).subject;
    let birth = state.meta.settings.region;
    let owner = RegionNumber::try_from(2).unwrap();
    let step = takeover::Step::Elsewhere { birth, owner, epoch: 2, loss: None, handed: false };
    assert_eq!(state.apply(START, Command::Takeover(step)), Outcome::Noted);
    assert!(!state.is_open(order_id(1)));
    // Before that one has gone on with it, its goods would be shipped to nobody.
    let waits = Outcome::Refused(Refused::OrderOpen(order_id(1)));
    assert_eq!(erase(&mut state, subject, 1), waits);
    let event = RemoteEvent {
        sequence: 1,
        order: order_id(1),
        version: 9,
        view: bytes::Bytes::from_static(b"gone on with"),
        shown: Shown { epoch: 2, ..Shown::default() },
        forks: Vec::new(),
        fault: None,
    };
    let origin = Origin { region: owner, group: 0, epoch: 1 };
    let events = vec![event];
    let batch = Batch { origin, after: 0, upto: 1, current_as_of_ms: None, events };
    state.apply(START, Command::ApplyRemote(Box::new(batch)));
    assert!(matches!(erase(&mut state, subject, 1), Outcome::Erased(_, false)));
    assert_eq!(state.subjects.key(of(&state, 1)), KeyState::Erased);
}

#[test]
fn an_erased_key_is_gone_its_orders_stay_and_the_event_is_in_sequence() {
    let (mut state, subject) = fresh();
    let seq = state.meta.seq;
    let Outcome::Erased(receipt, false) = erase(&mut state, subject, 1) else { panic!() };
    assert_eq!((receipt.orders, receipt.under, receipt.seq), (1, FIRST, seq + 1));
    assert_eq!(state.subjects.key(of(&state, 1)), KeyState::Erased);
    assert!(state.is_erased(order_id(1)) && state.orders.contains(&order_id(1)));
    let events: Vec<_> = state.subjects.erased_after(seq).collect();
    assert_eq!(events, [(seq + 1, subject)]);
    assert_eq!(state.meta.erased_under, Some(FIRST));
    holds(&state);
}

#[test]
fn nothing_late_brings_an_erased_key_back() {
    let (mut state, subject) = fresh();
    let dead = of(&state, 1);
    let KeyState::Living(old) = state.subjects.key(dead) else { panic!() };
    erase(&mut state, subject, 1);
    let entry = KeyEntry { of: dead, wrapped: old.clone() };
    keys(&mut state, KeyStep::Rewrap(vec![entry.clone()]));
    keys(&mut state, KeyStep::Take(vec![entry]));
    assert_eq!(state.subjects.key(dead), KeyState::Erased);
    for mint in [None, Some(old)] {
        let outcome = accept_with(&mut state, 2, dead, mint);
        assert_eq!(outcome, Outcome::Refused(Refused::KeyChanged));
    }
    assert_eq!(state.subjects.key(dead), KeyState::Erased);
    holds(&state);
}

#[test]
fn what_lies_in_the_log_only_makes_its_region_key_give_way_too() {
    let (mut state, subject) = fresh();
    let dead = of(&state, 1);
    erase(&mut state, subject, 1);
    assert_eq!(state.meta.erased_under, Some(FIRST));
    // Proposed before the erasure, committed after it, under the next region key.
    let entry = KeyEntry { of: dead, wrapped: wrapped(SECOND, 1) };
    keys(&mut state, KeyStep::Rewrap(vec![entry]));
    assert_eq!(state.meta.erased_under, Some(SECOND));
    // A person whose first order is refused has no key that an erasure could find.
    let (mut state, _) = fresh();
    let Command::Accept(mut late) = accept(1, gift()) else { panic!() };
    (late.epoch, late.order) = (9, order_id(2));
    let outcome = state.apply(START, Command::Accept(late));
    assert_eq!(outcome, Outcome::Refused(Refused::NotOwner));
    assert_eq!(state.meta.erased_under, Some(FIRST));
    holds(&state);
}

#[test]
fn the_key_of_a_first_order_that_an_old_policy_placed_gives_way_too() {
    let (mut state, _) = fresh();
    let only = Command::UnderPolicy { version: 7, command: None };
    assert_eq!(state.apply(START, only), Outcome::Noted);
    assert_eq!(state.meta.erased_under, None);
    let dated = Command::Dated { first_sent_ms: 1, command: Box::new(accept(2, gift())) };
    let late = Command::UnderPolicy { version: 6, command: Some(Box::new(dated)) };
    assert_eq!(state.apply(START, late), Outcome::Refused(Refused::NotOwner));
    assert_eq!(state.meta.erased_under, Some(FIRST));
}

#[test]
fn a_key_goes_back_with_the_copy_that_it_opens_and_never_without() {
    let (mut state, _) = fresh();
    let home = RegionNumber::try_from(2).unwrap();
    let of = KeyOf { subject: SubjectId { home, hash: 7 }, generation: 1 };
    let take = KeyStep::Take(vec![KeyEntry { of, wrapped: wrapped(FIRST, 1) }]);
    keys(&mut state, take);
    let origin = Origin { region: home, group: 0, epoch: 1 };
    let residence = Some("GB".parse().unwrap());
    let shown = Shown { residence, classes: 3, terms: 1, ..Shown::default() };
    let (order, view) = (order_id(9), "sealed".into());
    let event =
        RemoteEvent { sequence: 1, order, version: 2, view, shown, forks: Vec::new(), fault: None };
    let events = vec![event];
    let batch = Batch { origin, after: 0, upto: 1, current_as_of_ms: None, events };
    state.apply(START, Command::ApplyRemote(Box::new(batch)));
    let mut reduce = |version| {
        let allowed = Held { classes: 1, raised: 0 };
        let view = Some("less".into());
        let of_copy = Reduced { order, version, from: 1, terms: 2, allowed, view };
        let reduction = Reduction { of: of_copy, waiting: None, keys: vec![of] };
        let step = Command::Remote(RemoteStep::Reduce(vec![reduction]));
        let step = Command::decode(&step.encode()).unwrap();
        assert_eq!(state.apply(START, step), Outcome::Noted);
        matches!(state.subjects.key(of), KeyState::Living(_))
    };
    assert!(reduce(1), "found in a copy that was replaced since");
    assert!(!reduce(2));
    assert_eq!(state.meta.erased_under, Some(FIRST), "its region key gives way");
    holds(&state);
}

#[test]
fn a_later_order_begins_a_new_key_that_a_repeat_of_the_erasure_leaves_alone() {
    let (mut state, subject) = fresh();
    erase(&mut state, subject, 1);
    assert!(matches!(order_of(&mut state, 2, subject), Outcome::Done(_)));
    assert_eq!(of(&state, 2).generation, 2);
    let Outcome::Erased(receipt, true) = erase(&mut state, subject, 1) else { panic!() };
    assert_eq!(receipt.generation, 1);
    assert!(matches!(state.subjects.key(of(&state, 2)), KeyState::Living(_)));
    assert!(state.is_erased(order_id(1)) && !state.is_erased(order_id(2)));
    let Outcome::Erased(second, false) = erase(&mut state, subject, 2) else { panic!() };
    assert_eq!((second.generation, second.orders), (2, 1));
    holds(&state);
}

#[test]
fn a_repeat_of_an_erased_order_neither_orders_again_nor_begins_a_key() {
    let (mut state, subject) = fresh();
    erase(&mut state, subject, 1);
    let Command::Accept(mut again) = accept(1, gift()) else { panic!() };
    again.key.body = 99;
    again.contents.sealed_with = KeyOf { subject, generation: 2 };
    assert_eq!(state.apply(START, Command::Accept(again)), Outcome::Refused(Refused::Erased));
    assert_eq!((state.orders.len(), state.next_key(subject)), (1, Next::Mint(2, Some(FIRST))));
}

#[test]
fn living_keys_move_to_the_new_region_key_and_no_further_ones_are_under_the_old() {
    let (mut state, subject) = fresh();
    let at = of(&state, 1);
    keys(&mut state, KeyStep::Use { key: SECOND });
    assert_eq!(state.subjects.under_older(SECOND, 10).len(), 1);
    // A new key under the old region key, a re-wrap under a foreign one.
    let other = KeyOf { subject: key_of(8).subject, generation: 1 };
    let outcome = accept_with(&mut state, 2, other, Some(wrapped(FIRST, 2)));
    assert_eq!(outcome, Outcome::Refused(Refused::KeyChanged));
    let wrong = KeyEntry { of: at, wrapped: wrapped(RegionKey(3 << 48), 3) };
    keys(&mut state, KeyStep::Rewrap(vec![wrong]));
    assert_eq!(state.subjects.counts(), [(FIRST, 1)]);
    let right = KeyEntry { of: at, wrapped: wrapped(SECOND, 4) };
    // Sent twice, by two leaders.
    keys(&mut state, KeyStep::Rewrap(vec![right.clone()]));
    keys(&mut state, KeyStep::Rewrap(vec![right]));
    assert_eq!(state.subjects.counts(), [(SECOND, 1)]);
    assert!(state.subjects.under_older(SECOND, 10).is_empty());
    assert!(matches!(order_of(&mut state, 3, subject), Outcome::Done(_)));
    let back = keys(&mut state, KeyStep::Use { key: FIRST });
    assert_eq!(back, Outcome::Refused(Refused::KeyChanged));
    holds(&state);
}

#[test]
fn what_a_backup_brought_back_under_a_destroyed_key_is_erased_in_bounded_steps() {
    let (mut state, subject) = fresh();
    // Of the key in use a vault cannot say that.
    keys(&mut state, KeyStep::Lost { key: FIRST, asked_ms: 1 });
    assert!(matches!(state.next_key(subject), Next::Use(..)));
    keys(&mut state, KeyStep::Use { key: SECOND });
    keys(&mut state, KeyStep::Lost { key: FIRST, asked_ms: 1 });
    assert_eq!(state.next_key(subject), Next::Mint(2, Some(SECOND)));
    holds(&state);
}

#[test]
fn who_was_erased_after_the_backup_is_erased_again_and_his_next_key_is_left_alone() {
    let (mut state, subject) = fresh();
    let dead = of(&state, 1);
    let again = || KeyStep::Again { keys: vec![dead], asked_ms: 1, destroy_after_ms: 2 };
    keys(&mut state, again());
    assert_eq!(state.subjects.key(dead), KeyState::Erased);
    assert!(matches!(order_of(&mut state, 2, subject), Outcome::Done(_)));
    keys(&mut state, again());
    assert!(matches!(state.next_key(subject), Next::Use(2, _)));
    holds(&state);
}

#[test]
fn another_homes_key_is_taken_once_and_forgotten_for_good() {
    let (mut state, own) = fresh();
    let home = RegionNumber::try_from(2).unwrap();
    let foreign = KeyOf { subject: SubjectId { home, hash: 7 }, generation: 3 };
    let take = |of, fill| KeyStep::Take(vec![KeyEntry { of, wrapped: wrapped(FIRST, fill) }]);
    keys(&mut state, take(foreign, 1));
    keys(&mut state, take(foreign, 2));
    assert_eq!(state.subjects.key(foreign), KeyState::Living(wrapped(FIRST, 1)));
    let seq = state.meta.seq;
    let forget = |of| KeyStep::Forget {
        keys: vec![of],
        asked: Asked { request: Scope(1), cause: Cause::Erased },
        asked_ms: 1,
        destroy_after_ms: 2,
    };
    keys(&mut state, forget(foreign));
    keys(&mut state, take(foreign, 3));
    assert_eq!((state.subjects.key(foreign), state.meta.seq), (KeyState::Erased, seq));
    // The next generation is another matter, and an erasure that comes first holds too.
    let next = KeyOf { generation: 4, ..foreign };
    keys(&mut state, forget(next));
    keys(&mut state, take(next, 4));
    assert_eq!(state.subjects.key(next), KeyState::Erased);
    // Nobody but this home forgets its own.
    keys(&mut state, forget(KeyOf { subject: own, generation: 9 }));
    assert!(matches!(state.next_key(own), Next::Use(1, _)));
    holds(&state);
}

#[test]
fn a_home_that_came_back_anew_overwrites_no_living_key_and_ends_both_with_one_erasure() {
    let mut state = State::new(settings());
    keys(&mut state, KeyStep::Use { key: FIRST });
    let subject = SubjectId { home: RegionNumber::try_from(2).unwrap(), hash: 7 };
    let first = KeyOf { subject, generation: 1 };
    let anew = KeyOf { subject, generation: first_generation(2) };
    let take = |of, fill| KeyStep::Take(vec![KeyEntry { of, wrapped: wrapped(FIRST, fill) }]);
    keys(&mut state, take(first, 1));
    keys(&mut state, take(anew, 2));
    assert_eq!(state.subjects.key(first), KeyState::Living(wrapped(FIRST, 1)));
    assert_eq!(state.subjects.key(anew), KeyState::Living(wrapped(FIRST, 2)));
    holds(&state);
    // A rotation moves both.
    keys(&mut state, KeyStep::Use { key: SECOND });
    let older: Vec<KeyOf> =
        state.subjects.under_older(SECOND, 9).into_iter().map(|(of, _)| of).collect();
    assert_eq!(older, [first, anew]);
    let moved = older.into_iter().map(|of| KeyEntry { of, wrapped: wrapped(SECOND, 3) });
    keys(&mut state, KeyStep::Rewrap(moved.collect()));
    assert_eq!(state.subjects.counts(), [(SECOND, 2)]);
    holds(&state);
    // One that comes late is beside the newer one, and the erasure of one is not the other's.
    let second = KeyOf { subject, generation: 2 };
    keys(&mut state, KeyStep::Take(vec![KeyEntry { of: second, wrapped: wrapped(SECOND, 4) }]));
    let forget = |of| {
        let keys = vec![of];
        KeyStep::Forget {
            keys,
            asked: Asked { request: Scope(1), cause: Cause::Erased },
            asked_ms: 1,
            destroy_after_ms: 2,
        }
    };
    keys(&mut state, forget(first));
    assert_eq!(state.subjects.key(first), KeyState::Erased);
    assert!(matches!(state.subjects.key(second), KeyState::Living(_)));
    assert!(matches!(state.subjects.key(anew), KeyState::Living(_)));
    holds(&state);
    keys(&mut state, forget(anew));
    assert_eq!(state.subjects.key(second), KeyState::Erased);
    assert_eq!(state.subjects.key(anew), KeyState::Erased);
    assert_eq!(state.subjects.counts(), []);
    holds(&state);
}

#[test]
fn another_homes_key_under_a_destroyed_region_key_may_come_again() {
    let (mut state, _) = fresh();
    let subject = SubjectId { home: RegionNumber::try_from(2).unwrap(), hash: 7 };
    let of = KeyOf { subject, generation: 1 };
    let take = |by| KeyStep::Take(vec![KeyEntry { of, wrapped: wrapped(by, 1) }]);
    keys(&mut state, take(FIRST));
    keys(&mut state, KeyStep::Use { key: SECOND });
    keys(&mut state, KeyStep::Lost { key: FIRST, asked_ms: 1 });
    assert_eq!(state.subjects.key(of), KeyState::Unknown);
    keys(&mut state, take(SECOND));
    assert!(matches!(state.subjects.key(of), KeyState::Living(_)));
    holds(&state);
}

#[test]
fn a_key_that_was_given_back_may_come_again_and_what_was_erased_before_may_not() {
    let (mut state, _) = fresh();
    let home = RegionNumber::try_from(2).unwrap();
    let first = KeyOf { subject: SubjectId { home, hash: 7 }, generation: 1 };
    let second = KeyOf { generation: 2, ..first };
    let take = |of| KeyStep::Take(vec![KeyEntry { of, wrapped: wrapped(FIRST, 1) }]);
    let asked = Asked { request: Scope(1), cause: Cause::Erased };
    let step = KeyStep::Forget { keys: vec![first], asked, asked_ms: 1, destroy_after_ms: 2 };
    keys(&mut state, step);
    keys(&mut state, take(second));
    keys(&mut state, KeyStep::GiveBack(vec![second]));
    assert_eq!(state.subjects.key(second), KeyState::Unknown);
    assert_eq!(state.meta.erased_under, Some(FIRST), "its region key gives way");
    assert_eq!(state.meta.purges, 1, "and the disk is to forget it");
    keys(&mut state, KeyStep::GiveBack(vec![second]));
    assert_eq!(state.meta.purges, 1, "once");
    // Wrapped anew before that, committed after it.
    keys(&mut state, KeyStep::Use { key: SECOND });
    let entry = KeyEntry { of: second, wrapped: wrapped(SECOND, 1) };
    keys(&mut state, KeyStep::Rewrap(vec![entry]));
    assert_eq!(state.subjects.key(second), KeyState::Unknown);
    assert_eq!(state.meta.erased_under, Some(SECOND), "what the log has gives way, too");
    let take = |of| KeyStep::Take(vec![KeyEntry { of, wrapped: wrapped(SECOND, 1) }]);
    keys(&mut state, take(first));
    keys(&mut state, take(second));
    assert_eq!(state.subjects.key(first), KeyState::Erased);
    assert!(matches!(state.subjects.key(second), KeyState::Living(_)));
    holds(&state);
}

#[test]
fn an_order_names_a_subject_of_its_own_home_or_is_refused() {
    let (mut state, _) = fresh();
    let home = RegionNumber::try_from(2).unwrap();
    let of = KeyOf { subject: SubjectId { home, hash: 7 }, generation: 1 };
    let outcome = accept_with(&mut state, 2, of, Some(wrapped(FIRST, 1)));
    assert_eq!(outcome, Outcome::Refused(Refused::Malformed));
}

#[test]
fn a_restored_group_gives_out_no_generation_that_its_lost_life_may_have_given() {
    let (mut state, subject) = fresh();
    let (dead, stranger) = (of(&state, 1), key_of(8).subject);
    erase(&mut state, subject, 1);
    // What the lost life gave out after the backup, to peers and to the vault's list.
    let Next::Mint(lost, _) = state.next_key(subject) else { panic!() };
    assert_eq!(lost, 2);
    let restore = Restore {
        backup: "b-1".into(),
        epoch: 2,
        cut_ms: 1,
        restored_ms: 2,
        skew_ms: 3,
        cancel_strays: false,
    };
    state.apply(START, Command::Restore(Step::Begin(Box::new(restore))));
    state.restored.as_mut().unwrap().restoring = false;
    for (subject, lost) in [(subject, lost), (stranger, 1)] {
        let Next::Mint(generation, _) = state.next_key(subject) else { panic!() };
        assert_eq!(generation, first_generation(2));
        assert!(generation > lost);
        // A node that still counts by the old life is told to look again.
        let Command::Accept(mut late) = accept(2, gift()) else { panic!() };
        late.epoch = 2;
        late.contents.sealed_with = KeyOf { subject, generation: lost };
        late.mint = Some(wrapped(FIRST, 9));
        let command = Box::new(Command::Accept(late));
        let late = Command::Dated { first_sent_ms: u64::MAX, command };
        assert_eq!(state.apply(START, late), Outcome::Refused(Refused::KeyChanged));
    }
    assert_eq!(state.subjects.key(dead), KeyState::Erased);
}

#[test]
fn lives_count_in_spaces_of_their_own() {
    assert_eq!((first_generation(0), first_generation(1)), (1, 1));
    let firsts: Vec<u32> = (1..100).map(first_generation).collect();
    assert!(firsts.windows(2).all(|pair| pair[1] - pair[0] == 1 << 16));
    assert_eq!(first_generation(u64::MAX), first_generation(1 << 16));
}

#[test]
fn whom_the_vault_knows_erased_is_named_until_he_is_erased_again() {
    let (mut state, subject) = fresh();
    let (back, never) = (of(&state, 1), KeyOf { subject: key_of(9).subject, generation: 1 });
    let next = KeyOf { generation: 2, ..back };
    let vault = [(back, FIRST), (next, FIRST), (never, FIRST)];
    assert_eq!(alive_again(&state, &vault, 9), [back]);
    let again = KeyStep::Again { keys: vec![back], asked_ms: 1, destroy_after_ms: 2 };
    keys(&mut state, again);
    assert!(alive_again(&state, &vault, 9).is_empty());
    // What he orders with since is another key, and nobody's but his.
    assert!(matches!(order_of(&mut state, 2, subject), Outcome::Done(_)));
    assert_eq!(of(&state, 2), next);
    assert_eq!(alive_again(&state, &vault[..1], 9), []);
}
