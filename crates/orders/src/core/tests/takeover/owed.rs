//! Who left is not forgotten, and who is owed a forgetting comes to live here before it is due.

mod beside;

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
const WISH: Asked = Asked { request: Scope(77), cause: Cause::Erased };
const UNSAID: Asked = Asked { request: Scope(77), cause: Cause::Unsaid };
const ASKED: LogTime = LogTime(START.0 + 60_000);

fn told(state: &mut State, asked: Asked) {
    told_at(state, asked, ASKED.ms());
}

fn told_at(state: &mut State, asked: Asked, asked_ms: u64) {
    let keys = vec![key_at(1)];
    let step = KeyStep::Told { keys, asked, asked_ms, destroy_after_ms: 9 };
    assert_eq!(apply(state, Command::Keys(step)), Outcome::Noted);
}

fn moved(state: &mut State, step: moves::Step) {
    let command = Command::decode(&Command::Moves(step).encode()).unwrap();
    assert_eq!(apply(state, command), Outcome::Noted);
}

fn arrive(state: &mut State) {
    arrive_from(state, 2, 1);
}

fn arrive_from(state: &mut State, from: u16, epoch: u64) {
    let (subject, from) = (key_at(1).subject, region(from));
    moved(state, moves::Step::Arrive { subject, from, epoch, at_ms: 7, untold: false });
}

fn alive(state: &State, of: KeyOf) -> bool {
    matches!(state.subjects.key(of), KeyState::Living(_))
}

/// An order that was born in B.
fn born_there() -> OrderId {
    OrderId::new(START, region(2), order_id(1).slot(), 5)
}

fn block() -> Sealed {
    Sealed { nonce: [5; 12], ciphertext: Bytes::from_static(b"his") }
}

/// What B has of an order.
fn bring(state: &mut State, generation: u32, mint: bool) -> Outcome {
    bring_of(state, born_there(), generation, mint)
}

fn bring_of(state: &mut State, id: OrderId, generation: u32, mint: bool) -> Outcome {
    let (of, block) = (KeyOf { generation, ..key_at(1) }, block());
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
    assert!(matches!(a.sealing_key(next.subject), Next::Mint(HIS, _)));
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
    assert!(!a.holds(subject, born_there()) && a.block_of(subject, born_there()).is_none());
    assert_eq!(bring(&mut a, HIS, true), Outcome::Noted);
    arrive(&mut a);
    end(&mut a);
    carry_out(&mut a);
    assert!(a.holds(subject, born_there()));
}

#[test]
fn a_word_that_may_be_none_takes_nothing_from_who_has_come_or_ordered_since() {
    let (mut a, _) = placed(contents());
    told(&mut a, UNSAID);
    arrive(&mut a);
    assert!(matches!(a.sealing_key(key_at(1).subject), Next::Use(1, _)));
    end(&mut a);
    carry_out(&mut a);
    assert!(alive(&a, key_at(1)));

    let (mut a, _) = placed(contents());
    told(&mut a, UNSAID);
    assert!(matches!(order_anew(&mut a, ASKED.plus_ms(1), 1, false), Outcome::Done(_)));
    end(&mut a);
    end_of(&mut a, order_id(9));
    carry_out(&mut a);
    assert!(alive(&a, key_at(1)));
}

#[test]
fn what_he_left_elsewhere_says_nothing_of_what_is_here() {
    let left = Asked { request: Scope(77), cause: Cause::Left };
    let (mut a, _) = placed(contents());
    told(&mut a, left);
    assert!(a.owed.is_empty());
    end(&mut a);
    told(&mut a, left);
    assert!(alive(&a, key_at(1)));
    told(&mut a, UNSAID);
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
    leave(&mut b, (key_at(2), 3), 1);
    delete(&mut b, key_at(2));
    b
}

/// Who has this key here goes to region `to`.
fn leave(state: &mut State, (of, to): (KeyOf, u16), epoch: u64) {
    begin(state, to);
    let leave = leaving(state, (of, to), epoch);
    moved(state, leave);
}

fn begin(state: &mut State, to: u16) {
    let subject = SubjectId { home: state.meta.settings.region, ..key_at(1).subject };
    let (to, request) = (region(to), Scope(4));
    moved(state, moves::Step::Begin { subject, to, request, at_ms: 4 });
}

/// With what this key of his opens.
fn leaving(state: &State, (of, to): (KeyOf, u16), epoch: u64) -> moves::Step {
    let (mut orders, mut digest) = (0, hansa_types::hash::StateHash::default());
    for (id, law, block) in state.blocks(of) {
        orders += 1;
        digest.add(moves::print_of(id, law, &block));
    }
    moves::Step::Leave(Box::new(Leave {
        subject: of.subject,
        to: region(to),
        epoch,
        generation: of.generation,
        orders,
        digest,
        request: Scope(4),
        asked_ms: 5,
        delete_after_ms: 5,
        by: String::new(),
        reason: String::new(),
        ticket: String::new(),
    }))
}

fn delete(state: &mut State, of: KeyOf) {
    let (subject, by, reason) = (of.subject, String::new(), String::new());
    moved(state, moves::Step::Delete { subject, asked_ms: 5, destroy_after_ms: 9, by, reason });
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

/// The tombstones of the first customer in A.
fn words(state: &State) -> Vec<(u32, u128, Cause)> {
    let row = state.subjects.table.get(&key_at(1).subject).unwrap();
    let words = row.erased.iter().map(|one| (one.generation, one.request.0, one.cause));
    words.collect()
}

#[test]
fn what_lies_here_under_the_key_that_is_to_go_is_brought_all_the_same() {
    let (mut a, id) = placed(contents());
    a.contents.update(&id, |contents| contents.personal = Some(block()));
    let subject = key_at(1).subject;
    assert!(a.holds(subject, id));
    told(&mut a, WISH);
    // Who asks would delete what is there.
    assert!(!a.holds(subject, id) && a.block_of(subject, id).is_none());
    assert_eq!(bring_of(&mut a, id, HIS, true), Outcome::Noted);
    assert!(a.holds(subject, id));
    arrive(&mut a);
    end(&mut a);
    carry_out(&mut a);
    assert!(a.holds(subject, id));
    assert_eq!(a.block_of(subject, id).unwrap().0.generation, HIS);
}

#[test]
fn what_he_ordered_since_the_wish_stays_with_what_he_brings_whatever_becomes_of_that_order() {
    let (mut a, id) = placed(contents());
    told(&mut a, WISH);
    let changed = Outcome::Refused(Refused::KeyChanged);
    assert_eq!(order_anew(&mut a, ASKED.plus_ms(1), 1, false), changed);
    assert!(matches!(order_anew(&mut a, ASKED.plus_ms(1), HIS, true), Outcome::Done(_)));
    let next = KeyOf { generation: HIS, ..key_at(1) };
    assert!(matches!(a.sealing_key(next.subject), Next::Use(HIS, _)));
    assert_eq!(bring(&mut a, HIS, false), Outcome::Noted);
    assert!(a.holds(next.subject, born_there()));
    arrive(&mut a);
    assert_eq!(a.owed_for(9), [id]);
    end(&mut a);
    end_of(&mut a, order_id(9));
    // It leaves for another owner, and comes home under that one's key.
    let mut gone = thawed(&a);
    gone.forget_former(order_id(9));
    for step in gone.owed_now(9, 9) {
        assert_eq!(apply(&mut gone, Command::Keys(step)), Outcome::Noted);
    }
    carry_out(&mut a);
    for a in [&a, &gone] {
        assert!(!alive(a, key_at(1)) && alive(a, next) && a.holds(next.subject, born_there()));
    }
}

#[test]
fn who_leaves_while_a_wish_is_owed_to_him_is_told_of_as_erased() {
    let (mut a, _) = placed(contents());
    told(&mut a, WISH);
    arrive(&mut a);
    leave(&mut a, (key_at(1), 2), 2);
    end(&mut a);
    // Before the wish is carried out.
    delete(&mut a, key_at(1));
    assert!(a.owed.is_empty());
    assert_eq!(words(&a), [(1, 77, Cause::Erased)]);
    holds(&a);

    // What he brought is not what he wished to have forgotten.
    let (mut a, _) = placed(contents());
    told(&mut a, WISH);
    assert_eq!(bring(&mut a, HIS, true), Outcome::Noted);
    arrive(&mut a);
    let next = KeyOf { generation: HIS, ..key_at(1) };
    leave(&mut a, (next, 2), 2);
    end(&mut a);
    delete(&mut a, next);
    assert_eq!(words(&a), [(1, 77, Cause::Erased), (HIS, 4, Cause::Left)]);
    assert_eq!(thawed(&a).digest(), a.digest());
}

#[test]
fn a_wish_after_what_he_left_was_deleted_is_one_and_its_repeat_takes_nothing() {
    let (mut a, _) = placed(contents());
    end(&mut a);
    leave(&mut a, (key_at(1), 3), 1);
    delete(&mut a, key_at(1));
    assert_eq!(words(&a), [(1, 4, Cause::Left)]);
    let (subject, request) = (key_at(1).subject, Scope(9));
    let erase =
        |request| Command::Erase(Erase { subject, request, asked_ms: 5, destroy_after_ms: 9 });
    let Outcome::Erased(receipt, false) = apply(&mut a, erase(request)) else { panic!() };
    assert_eq!((receipt.request, receipt.cause, receipt.under), (request, Cause::Erased, FIRST));
    assert!(receipt.seq > 0, "peers hear of it");
    assert_eq!(words(&a), [(1, 4, Cause::Left), (1, 9, Cause::Erased)]);
    // That was the answer; another wish has nothing to do.
    assert_eq!(apply(&mut a, erase(Scope(10))), Outcome::Erased(receipt.clone(), true));
    arrive_from(&mut a, 3, 2);
    assert!(matches!(order_anew(&mut a, START, HIS, true), Outcome::Done(_)));
    end_of(&mut a, order_id(9));
    assert_eq!(apply(&mut a, erase(request)), Outcome::Erased(receipt, true));
    assert!(alive(&a, KeyOf { generation: HIS, ..key_at(1) }));
    holds(&a);
}

#[test]
fn a_word_that_may_be_none_or_is_older_replaces_no_wish_that_is_owed() {
    let (mut a, _) = placed(contents());
    let subject = key_at(1).subject;
    let owed = |a: &State| a.owed.get(&subject).unwrap().asked.request.0;
    told(&mut a, Asked { request: Scope(76), ..UNSAID });
    told_at(&mut a, WISH, ASKED.ms() - 1);
    assert_eq!(owed(&a), 77, "a wish for sure goes before what may be none");
    told_at(&mut a, Asked { request: Scope(0), ..UNSAID }, ASKED.ms() + 1);
    assert_eq!(owed(&a), 77);
    let newer = Asked { request: Scope(78), ..WISH };
    told(&mut a, newer);
    told_at(&mut a, Asked { request: Scope(79), ..WISH }, ASKED.ms() - 1);
    assert_eq!(owed(&a), 78);
    for (asked, asked_ms) in [(WISH, ASKED.ms() - 1), (newer, ASKED.ms())] {
        assert!(a.will_forget(subject, asked, asked_ms));
    }
    end(&mut a);
    // What it hears next, before its keeper looks, makes it no other.
    told_at(&mut a, Asked { request: Scope(0), ..UNSAID }, ASKED.ms() + 1);
    assert_eq!(words(&a), [(1, 78, Cause::Erased)]);
    assert!(a.owed.is_empty());
}

#[test]
fn a_wish_that_is_repeated_or_due_while_he_is_on_his_way_takes_nothing_that_he_brings() {
    let next = KeyOf { generation: HIS, ..key_at(1) };
    let newer = Asked { request: Scope(78), ..WISH };
    for again in [None, Some((WISH, 0)), Some((newer, 1))] {
        for ends_first in [false, true] {
            let (mut a, _) = placed(contents());
            told(&mut a, WISH);
            assert_eq!(bring(&mut a, HIS, true), Outcome::Noted);
            if let Some((asked, later)) = again {
                told_at(&mut a, asked, ASKED.ms() + later);
            }
            assert_eq!(a.owed.get(&next.subject).unwrap().upto, 1);
            if ends_first {
                end(&mut a);
                carry_out(&mut a);
                arrive(&mut a);
            } else {
                arrive(&mut a);
                end(&mut a);
                carry_out(&mut a);
            }
            assert!(!alive(&a, key_at(1)) && alive(&a, next));
            assert!(a.holds(next.subject, born_there()), "{again:?} {ends_first}");
        }
    }
}

#[test]
fn a_word_that_may_be_none_waits_until_who_is_on_his_way_has_come_or_not() {
    let subject = key_at(1).subject;
    for open in [true, false] {
        let (mut a, _) = placed(contents());
        if !open {
            end(&mut a);
        }
        assert_eq!(bring(&mut a, 1, false), Outcome::Noted);
        told(&mut a, UNSAID);
        if open {
            end(&mut a);
        }
        told(&mut a, UNSAID);
        assert!(a.owed_now(9, 9).is_empty() && a.holds(subject, born_there()));
        let mut stays = thawed(&a);
        arrive(&mut a);
        carry_out(&mut a);
        assert!(alive(&a, key_at(1)) && a.holds(subject, born_there()));
        // He stayed where he was.
        let by = Some(region(2));
        let step = moves::Step::Abandon { subject, by, asked_ms: 5, destroy_after_ms: 9 };
        moved(&mut stays, step);
        carry_out(&mut stays);
        assert!(!alive(&stays, key_at(1)));
    }
}

#[test]
fn a_receipt_counts_what_goes_with_it_and_nothing_that_went_before() {
    let (mut a, _) = placed(contents());
    told(&mut a, WISH);
    arrive(&mut a);
    assert!(matches!(order_anew(&mut a, START, HIS, true), Outcome::Done(_)));
    end(&mut a);
    end_of(&mut a, order_id(9));
    let (subject, request) = (key_at(1).subject, Scope(9));
    let erase = Erase { subject, request, asked_ms: 5, destroy_after_ms: 9 };
    let mut b = thawed(&a);
    let Outcome::Erased(both, false) = apply(&mut b, Command::Erase(erase.clone())) else {
        panic!()
    };
    carry_out(&mut a);
    let Outcome::Erased(one, false) = apply(&mut a, Command::Erase(erase)) else { panic!() };
    assert_eq!((both.orders, one.orders), (2, 1));
}
