//! Somebody is forgotten by who took his orders over, and by everybody before that.

use super::*;
use crate::core::command::Accept;
use crate::core::subjects::{Asked, Cause, Erase, Erased, KeyEntry, KeyState, KeyStep, RegionKey};

const ASKED: (u64, u64) = (5, 9);

/// The first customer's key in region `n`.
fn key_at(n: u16) -> KeyOf {
    KeyOf { subject: SubjectId { home: region(n), hash: 1 }, generation: 1 }
}

fn erase(state: &mut State, at: u16) -> Outcome {
    let (asked_ms, destroy_after_ms) = ASKED;
    let (subject, request) = (key_at(at).subject, Scope(77));
    apply(state, Command::Erase(Erase { subject, request, asked_ms, destroy_after_ms }))
}

fn keys(state: &mut State, step: KeyStep) {
    assert_eq!(apply(state, Command::Keys(step)), Outcome::Noted);
}

/// A peer's key comes along with the copies.
fn share(to: &mut State, of: KeyOf, by: RegionKey) {
    keys(to, KeyStep::Take(vec![KeyEntry { of, wrapped: wrapped(by, 3) }]));
}

fn told(of: KeyOf, asked_ms: u64) -> KeyStep {
    let asked = Asked { request: Scope(77), cause: Cause::Erased };
    KeyStep::Told { keys: vec![of], asked, asked_ms, destroy_after_ms: 9 }
}

fn alive(state: &State, of: KeyOf) -> bool {
    matches!(state.subjects.key(of), KeyState::Living(_))
}

/// A's order of a gift is over, and B took it over with its key.
fn taken_over() -> (State, State) {
    let gift = || with_lines(vec![line("CARD", 1, 0, None)]);
    let (mut a, _) = placed(gift());
    run(&mut a, fine);
    let mut b = group_of(2);
    share(&mut b, key_at(1), FIRST);
    ship(&a, &mut b, origin(1));
    survive(&a, &mut b, 2);
    run(&mut b, fine);
    (a, b)
}

#[test]
fn a_survivor_drops_the_former_homes_key_with_its_own_and_names_both() {
    let (_, mut b) = taken_over();
    assert!(alive(&b, key_at(1)) && alive(&b, key_at(2)));
    let Outcome::Erased(receipt, false) = erase(&mut b, 2) else { panic!() };
    assert_eq!(b.subjects.key(key_at(1)), KeyState::Erased);
    assert_eq!(b.subjects.key(key_at(2)), KeyState::Erased);
    let also: Vec<_> = receipt.also.iter().map(|former| (former.of, former.birth)).collect();
    assert_eq!(also, [(key_at(1), region(1))]);
    // Nothing brings it back, and a repeat says the same.
    share(&mut b, key_at(1), FIRST);
    assert_eq!(b.subjects.key(key_at(1)), KeyState::Erased);
    let Outcome::Erased(again, true) = erase(&mut b, 2) else { panic!() };
    assert_eq!(again, receipt);
    holds(&b);
    assert_eq!(thawed(&b).digest(), b.digest());
}

#[test]
fn the_receipt_waits_for_the_newest_region_key_over_any_of_his_keys() {
    let (_, mut b) = taken_over();
    let newer = RegionKey(2 << 48);
    keys(&mut b, KeyStep::Use { key: newer });
    keys(&mut b, KeyStep::Rewrap(vec![KeyEntry { of: key_at(1), wrapped: wrapped(newer, 4) }]));
    let Outcome::Erased(receipt, false) = erase(&mut b, 2) else { panic!() };
    assert_eq!((receipt.under, b.meta.erased_under), (newer, Some(newer)));
}

#[test]
fn who_was_the_second_owner_is_named_by_the_third() {
    let (_, b) = taken_over();
    let id = order_id(1);
    let mut c = group_of(3);
    share(&mut c, key_at(1), FIRST);
    share(&mut c, key_at(2), FIRST);
    ship(&b, &mut c, origin(2));
    assert_eq!(step(&mut c, take_over(1, 2, 3)), Outcome::Noted);
    adopt(&b, &mut c, 1, 3);
    run(&mut c, fine);
    assert_eq!(of(&c, id).epoch, 3);
    let Outcome::Erased(receipt, false) = erase(&mut c, 3) else { panic!() };
    let also: Vec<KeyOf> = receipt.also.iter().map(|former| former.of).collect();
    assert_eq!(also, [key_at(1), key_at(2)]);
    assert!(also.into_iter().all(|of| c.subjects.key(of) == KeyState::Erased));
    holds(&c);
}

#[test]
fn a_former_home_forgets_whom_the_owner_erased_and_tells_its_own_peers() {
    let (mut a, _) = taken_over();
    step(&mut a, elsewhere(2, 2, None));
    let seq = a.meta.seq;
    keys(&mut a, told(key_at(1), 5));
    keys(&mut a, told(key_at(1), 5));
    assert_eq!(a.subjects.key(key_at(1)), KeyState::Erased);
    let events: Vec<_> = a.subjects.erased_after(seq).collect();
    assert_eq!(events, [(seq + 1, key_at(1).subject)]);
    holds(&a);
}

#[test]
fn whom_a_former_home_serves_again_is_not_taken_from_under_an_order_that_is_under_way() {
    let (mut a, _) = placed(contents());
    keys(&mut a, told(key_at(1), u64::MAX));
    assert!(alive(&a, key_at(1)), "an order of his is under way here");
    assert_eq!(a.owed_for(9), [order_id(1)], "and it is named");
    assert!(a.owed_now(9, 9).is_empty());
    run(&mut a, |todo| match todo {
        Todo::Authorize { .. } => StepResult::Refused(crate::core::effect::Refusal::new(
            crate::core::effect::RefusalCode::Declined,
            "no",
        )),
        other => fine(other),
    });
    keys(&mut a, told(key_at(1), START.ms() - 1));
    assert!(alive(&a, key_at(1)), "he has ordered since");
    let mut moved = thawed(&a);
    step(&mut moved, elsewhere(2, 2, None));
    keys(&mut moved, told(key_at(1), START.ms() - 1));
    assert!(!alive(&moved, key_at(1)), "what he did unshipped goes with the rest");
    holds(&moved);
    keys(&mut a, told(key_at(1), START.ms()));
    assert!(!alive(&a, key_at(1)), "once it is over");
    holds(&a);
}

#[test]
fn whom_an_order_kept_is_forgotten_when_it_has_ended() {
    let (mut a, id) = placed(contents());
    let asked = told(key_at(1), START.plus_ms(60_000).ms());
    keys(&mut a, asked.clone());
    keys(&mut a, asked);
    let mut a = thawed(&a);
    assert!(alive(&a, key_at(1)));
    apply(&mut a, Command::Cancel { order: id, key: key(9), reason: String::new() });
    assert!(a.owed_now(9, 9).is_empty(), "it has not ended yet");
    run(&mut a, fine);
    let owed = a.owed_now(9, 9);
    assert_eq!(owed.len(), 1);
    owed.into_iter().for_each(|step| keys(&mut a, step));
    assert_eq!(a.subjects.key(key_at(1)), KeyState::Erased);
    assert!(a.owed.is_empty() && a.owed_for(9).is_empty());
    holds(&a);
    assert_eq!(thawed(&a).digest(), a.digest());
}

#[test]
fn who_asked_his_home_before_it_was_lost_is_forgotten_where_his_orders_went() {
    let (_, mut b) = taken_over();
    keys(&mut b, told(key_at(2), START.ms()));
    assert_eq!(b.subjects.key(key_at(1)), KeyState::Erased);
    assert_eq!(b.subjects.key(key_at(2)), KeyState::Erased);
    holds(&b);
}

#[test]
fn whom_an_order_kept_that_moved_away_is_forgotten_once_its_new_owner_has_gone_on_with_it() {
    let (mut a, id) = placed(contents());
    let asked = told(key_at(1), START.plus_ms(60_000).ms());
    keys(&mut a, asked.clone());
    let mut b = group_of(2);
    share(&mut b, key_at(1), FIRST);
    ship(&a, &mut b, origin(1));
    step(&mut a, elsewhere(2, 2, None));
    assert!(a.owed_now(9, 9).is_empty(), "who takes it over opens it with this key");
    assert_eq!(a.owed_for(9), [id]);
    keys(&mut a, asked);
    assert!(alive(&a, key_at(1)));
    survive(&a, &mut b, 2);
    ship(&b, &mut a, origin(2));
    let owed = a.owed_now(9, 9);
    assert_eq!(owed.len(), 1, "it has a key of its own");
    owed.into_iter().for_each(|step| keys(&mut a, step));
    assert_eq!(a.subjects.key(key_at(1)), KeyState::Erased);
    // Whom it is told of in its turn, and where the order must end first.
    keys(&mut b, told(key_at(2), START.plus_ms(60_000).ms()));
    assert!(alive(&b, key_at(2)) && b.owed_for(9) == [id]);
    holds(&a);
    holds(&b);
}

#[test]
fn who_has_an_order_under_way_whose_births_are_handed_over_keeps_his_key() {
    let (mut a, id) = placed(contents());
    let of = a.contents.get(&id).unwrap().sealed_with;
    step(&mut a, elsewhere(2, 2, None));
    let erase = crate::core::subjects::Erase {
        subject: of.subject,
        request: Scope(77),
        asked_ms: 5,
        destroy_after_ms: 9,
    };
    let open = Outcome::Refused(Refused::OrderOpen(id));
    assert_eq!(apply(&mut a, Command::Erase(erase)), open, "its goods would go to nobody");
    // Nor does what he left go while he has moved away.
    let left = crate::core::moves::Left {
        generation: of.generation,
        request: Scope(1),
        orders: 1,
        digest: hansa_types::hash::StateHash::default(),
        delete_after_ms: 1,
        deleted: false,
        held: LogTime::ZERO,
    };
    let row = crate::core::moves::MoveRow {
        epoch: 1,
        lives: region(2),
        former: region(1),
        since_ms: 1,
        left: Some(left),
        gone: vec![],
        asked: vec![],
        lived: vec![],
        untold: false,
    };
    a.moves.rows.insert(of.subject, row);
    assert_eq!(a.left_open(of.subject).collect::<Vec<_>>(), [id]);
}

/// When he asks his home to be forgotten.
const ASKS: LogTime = LogTime(START.0 + 60_000);

fn erase_at_home(a: &mut State, request: u128) -> Outcome {
    let (subject, request) = (key_at(1).subject, Scope(request));
    let asked_ms = ASKS.ms();
    apply(a, Command::Erase(Erase { subject, request, asked_ms, destroy_after_ms: 9 }))
}

fn parcel(order: OrderId, n: u128) -> Command {
    let (key, lines, note) = (key(n), Vec::new(), Note::default());
    let command = Box::new(Command::Ship { order, key, lines, note });
    Command::Dated { first_sent_ms: u64::MAX, command }
}

/// A shipped an order alone and erased its customer; the order was under way at B, which had
/// taken it over, and is home again under a new key.
fn home_again() -> (State, OrderId, KeyOf, Box<Erased>) {
    let (mut a, mut b, id) = pair(fine, true);
    let was = thawed(&a);
    assert!(matches!(apply(&mut a, parcel(id, 40)), Outcome::Done(_)));
    run(&mut a, fine);
    survive(&was, &mut b, 2);
    run(&mut b, fine);
    let Outcome::Erased(first, false) = erase_at_home(&mut a, 77) else { panic!() };
    step(&mut a, elsewhere(2, 2, None));
    assert_eq!(erase_at_home(&mut a, 77), Outcome::Erased(first.clone(), true));
    share(&mut a, key_at(2), FIRST);
    ship(&b, &mut a, origin(2));
    assert_eq!(step(&mut a, take_over(1, 2, 3)), Outcome::Noted);
    let Candidate::Take(mut home) = candidate(&b, &a, id) else { panic!() };
    let anew = KeyOf { generation: 2, ..key_at(1) };
    (home.contents.sealed_with, home.mint) = (anew, Some(wrapped(FIRST, 2)));
    let orders = vec![Candidate::Take(home)];
    let adopt = Step::Adopt { birth: region(1), epoch: 3, orders };
    assert_eq!(step(&mut a, adopt), Outcome::Adopted(1));
    assert_eq!(step(&mut a, Step::Settled { birth: region(1), epoch: 3 }), Outcome::Noted);
    assert!(alive(&a, anew), "it shows him again");
    (a, id, anew, first)
}

fn end(a: &mut State, id: OrderId) {
    run(a, fine);
    assert_eq!(status(a, id), OrderStatus::Parked, "its parcel was sent here alone");
    assert_eq!(apply(a, Command::Resume { order: id }), Outcome::Noted);
    run(a, fine);
    assert!(matches!(apply(a, parcel(id, 41)), Outcome::Done(_)));
    run(a, fine);
}

/// Seed 4920.
#[test]
fn whose_order_comes_home_under_way_is_forgotten_by_a_repeat_once_it_has_ended() {
    let (mut a, id, anew, first) = home_again();
    assert_eq!(first.generation, 1);
    assert_eq!(erase_at_home(&mut a, 77), Outcome::Refused(Refused::OrderOpen(id)));
    end(&mut a, id);
    let Outcome::Erased(second, false) = erase_at_home(&mut a, 77) else { panic!() };
    let also: Vec<KeyOf> = second.also.iter().map(|former| former.of).collect();
    assert_eq!((second.generation, also), (2, vec![key_at(2)]));
    for of in [key_at(1), anew, key_at(2)] {
        assert_eq!(a.subjects.key(of), KeyState::Erased);
    }
    assert_eq!(erase_at_home(&mut a, 77), Outcome::Erased(second, true));
    holds(&a);
    assert_eq!(thawed(&a).digest(), a.digest());
}

#[test]
fn a_repeat_takes_no_key_that_a_later_order_shares_with_one_that_came_home() {
    // This group's clock may be behind that of who took the request.
    for ordered in [ASKS.plus_ms(1), LogTime(ASKS.0 - 1), LogTime(ASKS.0 - 9_000)] {
        takes_no_key_of_what_was_ordered(ordered, false);
        takes_no_key_of_what_was_ordered(ordered, true);
    }
}

/// `left`: and has left by then.
fn takes_no_key_of_what_was_ordered(at: LogTime, left: bool) {
    let (mut a, id, anew, _) = home_again();
    end(&mut a, id);
    let mut later = with_lines(vec![line("CARD", 1, 0, None)]);
    later.sealed_with = anew;
    let (order, key) = (order_id(9), key(9));
    let accept = Accept { order, key, epoch: 3, contents: later, mint: None };
    let command = Box::new(Command::Accept(Box::new(accept)));
    let sent = Command::Dated { first_sent_ms: u64::MAX, command };
    let placed = a.apply(at, sent);
    assert!(matches!(placed, Outcome::Done(_)), "{placed:?}");
    run(&mut a, fine);
    if left {
        let settled = takeover::Step::Settled { birth: id.region(), epoch: 3 };
        assert_eq!(step(&mut a, settled), Outcome::Noted);
        a.meta.settings.evict_after_ms = 1;
        a.ready = a.ready_of_tables();
        a.advance(ASKS.plus_ms(2));
    }
    assert!(a.orders.contains(&order) != left && a.orders.contains(&id));
    assert_eq!(erase_at_home(&mut a, 77), Outcome::Refused(Refused::ServedSince(id)));
    assert!(alive(&a, anew));
    // Whoever wants both gone says so by another request, and the first one is done then, too.
    let Outcome::Erased(receipt, false) = erase_at_home(&mut a, 78) else { panic!() };
    assert_eq!((receipt.generation, receipt.orders), (2, 2));
    assert!(matches!(erase_at_home(&mut a, 77), Outcome::Erased(_, true)));
    holds(&a);
}

#[test]
fn an_erasure_is_heard_of_by_its_request_alone() {
    let (_, mut b) = taken_over();
    let forget = |request| {
        let (keys, (asked_ms, destroy_after_ms)) = (vec![key_at(1)], ASKED);
        let asked = Asked { request, cause: Cause::Erased };
        KeyStep::Forget { keys, asked, asked_ms, destroy_after_ms }
    };
    keys(&mut b, forget(Scope(5)));
    assert_eq!(b.subjects.key(key_at(1)), KeyState::Erased);
    let next = KeyOf { generation: 2, ..key_at(1) };
    let heard = |of, n| b.subjects.heard_of(of, Scope(n));
    assert!(heard(key_at(1), 5) && !heard(key_at(1), 77) && !heard(next, 5));
}
