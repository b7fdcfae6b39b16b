//! Who left is not forgotten, and who is owed a forgetting comes to live here before it is due.

use super::*;
use crate::core::command::Accept;
use crate::core::contents::Sealed;
use crate::core::moves::{self, Keep, Leave};
use crate::core::subjects::{Asked, Cause, Erase, KeyEntry, KeyState, KeyStep, Next};

/// The first customer's key in region `n`.
fn key_at(n: u16) -> KeyOf {
    KeyOf { subject: SubjectId { home: region(n), hash: 1 }, generation: 1 }
}

const HIS: u32 = 2;
const WISH: Asked = (Scope(77), Cause::Erased);
const ASKED: LogTime = LogTime(START.0 + 60_000);

fn told(state: &mut State, asked: Asked) {
    let (keys, asked_ms) = (vec![key_at(1)], ASKED.ms());
    let step = KeyStep::Told { keys, asked, asked_ms, destroy_after_ms: 9 };
    assert_eq!(apply(state, Command::Keys(step)), Outcome::Noted);
}

fn moved(state: &mut State, step: moves::Step) {
    let command = Command::decode(&Command::Moves(step).encode()).unwrap();
    assert_eq!(apply(state, command), Outcome::Noted);
}

fn arrive(state: &mut State) {
    let (subject, from) = (key_at(1).subject, region(2));
    moved(state, moves::Step::Arrive { subject, from, epoch: 1, at_ms: 7, untold: false });
}

fn alive(state: &State, of: KeyOf) -> bool {
    matches!(state.subjects.key(of), KeyState::Living(_))
}

/// A block of an order that was born in B.
fn bring(state: &mut State, generation: u32, mint: bool) -> Outcome {
    let of = KeyOf { generation, ..key_at(1) };
    let id = OrderId::new(START, region(2), order_id(1).slot(), 5);
    let block = Sealed { nonce: [5; 12], ciphertext: Bytes::from_static(b"his") };
    let (blocks, from) = (vec![(id, "GB".parse().unwrap(), block)], region(2));
    let mint = mint.then(|| wrapped(FIRST, 2));
    let keep = Keep { of, mint, blocks, from, dead: 0 };
    apply(state, Command::Moves(moves::Step::Keep(Box::new(keep))))
}

fn order_anew(state: &mut State, at: LogTime, generation: u32, mint: bool) -> Outcome {
    let (order, key, mut contents) = (order_id(9), key(9), contents());
    contents.sealed_with = KeyOf { generation, ..key_at(1) };
    let mint = mint.then(|| wrapped(FIRST, 2));
    let command =
        Box::new(Command::Accept(Box::new(Accept { order, key, epoch: 1, contents, mint })));
    let epoch = state.moves.get(key_at(1).subject).map_or(0, |row| row.epoch);
    match epoch {
        0 => state.apply(at, *command),
        epoch => state.apply(at, Command::Resident { epoch, command }),
    }
}

/// His first order has ended.
fn end(state: &mut State) {
    apply(state, Command::Cancel { order: order_id(1), key: key(8), reason: String::new() });
    run(state, fine);
}

fn carry_out(state: &mut State) {
    let owed = state.owed_now(9, 9);
    assert_eq!(owed.len(), 1);
    owed.into_iter().for_each(|step| assert_eq!(apply(state, Command::Keys(step)), Outcome::Noted));
    assert!(state.owed.is_empty() && state.owed_for(9).is_empty());
    holds(state);
    assert_eq!(thawed(state).digest(), state.digest());
}

#[test]
fn who_comes_is_forgotten_for_what_he_wished_and_keeps_what_he_brought_and_ordered_since() {
    let (mut a, id) = placed(contents());
    told(&mut a, WISH);
    let next = KeyOf { generation: HIS, ..key_at(1) };
    assert!(matches!(a.sealing_key(next.subject, false), Next::Use(1, _)), "he does not come yet");
    assert_eq!(bring(&mut a, 1, false), Outcome::Refused(Refused::KeyChanged));
    assert_eq!(bring(&mut a, HIS, true), Outcome::Noted);
    arrive(&mut a);
    assert!(matches!(order_anew(&mut a, START, HIS, false), Outcome::Done(_)));
    // A stream that begins again repeats it.
    told(&mut a, WISH);
    assert_eq!(a.owed_for(9), [id], "the later one keeps nothing");
    assert!(a.owed_now(9, 9).is_empty() && alive(&a, key_at(1)));
    let mut a = thawed(&a);
    end(&mut a);
    carry_out(&mut a);
    assert_eq!(a.subjects.key(key_at(1)), KeyState::Erased);
    let erased = a.subjects.erased_by(next.subject, Scope(77)).unwrap();
    assert_eq!((erased.generation, erased.cause, erased.orders), (1, Cause::Erased, 1));
    assert!(erased.seq > 0, "peers hear of it");
    assert!(alive(&a, next) && a.moves.kept_of(next.subject).count() == 1);
    assert!(a.is_erased(id) && !a.is_erased(order_id(9)));
}

#[test]
fn who_comes_with_nothing_orders_under_another_key_than_the_one_that_is_to_go() {
    let (mut a, _) = placed(contents());
    told(&mut a, WISH);
    arrive(&mut a);
    assert_eq!(order_anew(&mut a, START, 1, false), Outcome::Refused(Refused::KeyChanged));
    assert!(matches!(order_anew(&mut a, START, HIS, true), Outcome::Done(_)));
    end(&mut a);
    carry_out(&mut a);
    assert!(!alive(&a, key_at(1)) && alive(&a, KeyOf { generation: HIS, ..key_at(1) }));
    // Another wish is of all that is here.
    end_of(&mut a, order_id(9));
    let (subject, request) = (key_at(1).subject, Scope(78));
    let erase = Erase { subject, request, asked_ms: 5, destroy_after_ms: 9 };
    let Outcome::Erased(receipt, false) = apply(&mut a, Command::Erase(erase)) else { panic!() };
    assert_eq!(receipt.generation, HIS);
}

fn end_of(state: &mut State, order: OrderId) {
    apply(state, Command::Cancel { order, key: key(7), reason: String::new() });
    run(state, fine);
}

#[test]
fn what_came_before_the_wish_is_brought_again_under_the_next_key() {
    let (mut a, _) = placed(contents());
    assert_eq!(bring(&mut a, 1, false), Outcome::Noted);
    told(&mut a, WISH);
    let subject = key_at(1).subject;
    assert_eq!(a.moves.kept_of(subject).count(), 0);
    assert_eq!(bring(&mut a, HIS, true), Outcome::Noted);
    arrive(&mut a);
    end(&mut a);
    carry_out(&mut a);
    assert_eq!(a.moves.kept_of(subject).count(), 1);
}

#[test]
fn a_wish_that_is_none_for_sure_or_shares_a_key_with_what_came_later_takes_nothing() {
    let (mut a, _) = placed(contents());
    told(&mut a, (Scope(77), Cause::Unsaid));
    arrive(&mut a);
    assert!(matches!(a.sealing_key(key_at(1).subject, true), Next::Use(1, _)));
    end(&mut a);
    carry_out(&mut a);
    assert!(alive(&a, key_at(1)));

    let (mut a, _) = placed(contents());
    told(&mut a, WISH);
    assert!(matches!(order_anew(&mut a, ASKED.plus_ms(1), 1, false), Outcome::Done(_)));
    arrive(&mut a);
    end(&mut a);
    end_of(&mut a, order_id(9));
    carry_out(&mut a);
    assert!(alive(&a, key_at(1)));
}

#[test]
fn what_he_left_elsewhere_says_nothing_of_what_is_here() {
    let left = (Scope(77), Cause::Left);
    let (mut a, _) = placed(contents());
    told(&mut a, left);
    assert!(a.owed.is_empty());
    end(&mut a);
    told(&mut a, left);
    assert!(alive(&a, key_at(1)));
    told(&mut a, (Scope(77), Cause::Unsaid));
    assert!(!alive(&a, key_at(1)), "which it was is not said: it may have been a wish");
}

/// B took A's order over with its key, and its customer has left B for C.
fn left_for_another() -> State {
    let (mut a, _) = placed(with_lines(vec![line("CARD", 1, 0, None)]));
    run(&mut a, fine);
    let mut b = group_of(2);
    let share = KeyEntry { of: key_at(1), wrapped: wrapped(FIRST, 3) };
    assert_eq!(apply(&mut b, Command::Keys(KeyStep::Take(vec![share]))), Outcome::Noted);
    ship(&a, &mut b, origin(1));
    survive(&a, &mut b, 2);
    run(&mut b, fine);
    let (subject, to, request) = (key_at(2).subject, region(3), Scope(4));
    moved(&mut b, moves::Step::Begin { subject, to, request, at_ms: 4 });
    let (mut orders, mut digest) = (0, hansa_types::hash::StateHash::default());
    for (id, law, block) in b.blocks(key_at(2)) {
        orders += 1;
        digest.add(moves::print_of(id, law, &block));
    }
    let leave = Leave {
        subject,
        to,
        epoch: 1,
        generation: 1,
        orders,
        digest,
        request,
        asked_ms: 5,
        delete_after_ms: 5,
        by: String::new(),
        reason: String::new(),
        ticket: String::new(),
    };
    moved(&mut b, moves::Step::Leave(Box::new(leave)));
    let (by, reason) = (String::new(), String::new());
    moved(&mut b, moves::Step::Delete { subject, asked_ms: 5, destroy_after_ms: 9, by, reason });
    b
}

#[test]
fn what_he_left_takes_no_other_homes_key_with_it_and_a_wish_after_that_does() {
    let mut b = left_for_another();
    let row = b.subjects.table.get(&key_at(2).subject).unwrap();
    let [erased] = &row.erased[..] else { panic!("{row:?}") };
    assert_eq!((erased.cause, erased.request, erased.also.len()), (Cause::Left, Scope(4), 0));
    assert!(!alive(&b, key_at(2)) && alive(&b, key_at(1)), "his home's, whose copy it is");
    holds(&b);
    let (subject, request) = (key_at(2).subject, Scope(9));
    let erase = Erase { subject, request, asked_ms: 5, destroy_after_ms: 9 };
    let erase = || Command::Erase(erase.clone());
    let Outcome::Erased(receipt, false) = apply(&mut b, erase()) else { panic!() };
    let also: Vec<KeyOf> = receipt.also.iter().map(|former| former.of).collect();
    assert_eq!((receipt.cause, also), (Cause::Erased, vec![key_at(1)]));
    assert!(!alive(&b, key_at(1)));
    assert_eq!(apply(&mut b, erase()), Outcome::Erased(receipt, true));
    holds(&b);
    assert_eq!(thawed(&b).digest(), b.digest());
}
