//! Customers' keys while their orders change owners: each block opens with the key that it was
//! sealed with, each request is compared under the one that it was heard under.

use super::*;
use crate::core::contents::Sealed;
use crate::core::keys::Seen;
use crate::core::moves;
use crate::core::subjects::Cause::{self, Erased, Left, Unsaid};
use crate::core::subjects::{Asked, Erase, KeyState, KeyStep, Owed};

/// Two orders of the first customer, shipped to B.
fn two_of_one() -> (State, State) {
    let (mut a, _) = placed(contents());
    let Command::Accept(mut second) = accept(2, contents()) else { panic!() };
    second.contents.sealed_with = key_of(1);
    second.mint = None;
    assert!(matches!(apply(&mut a, Command::Accept(second)), Outcome::Done(_)));
    let mut b = group_of(2);
    ship(&a, &mut b, origin(1));
    assert_eq!(step(&mut b, take_over(1, 1, 2)), Outcome::Noted);
    (a, b)
}

fn adopted(b: &mut State, orders: Vec<Candidate>) -> Outcome {
    step(b, Step::Adopt { birth: region(1), epoch: 2, orders })
}

/// Both, as one look read them.
fn both(a: &State, b: &State) -> Vec<Candidate> {
    vec![candidate(a, b, order_id(1)), candidate(a, b, order_id(2))]
}

#[test]
fn orders_that_were_read_together_share_a_key_that_comes_with_each() {
    let (a, mut b) = two_of_one();
    let orders = both(&a, &b);
    // The first was asked for, and adopted by who asked.
    let first = vec![orders[0].clone()];
    assert_eq!(adopted(&mut b, first), Outcome::Adopted(1));
    assert_eq!(adopted(&mut b, orders), Outcome::Adopted(1));
    holds(&b);
}

#[test]
fn what_is_sealed_under_a_key_that_lost_is_read_again() {
    let (a, mut b) = two_of_one();
    let orders = both(&a, &b);
    // He ordered here meanwhile, and so has a key.
    let of = KeyOf { subject: SubjectId { home: region(2), hash: 1 }, generation: 1 };
    b.subjects.put(of, wrapped(FIRST, 99));
    b.meta.wraps = Some(FIRST);
    assert_eq!(adopted(&mut b, orders), Outcome::Adopted(0));
    let again = both(&a, &b);
    assert_eq!(adopted(&mut b, again), Outcome::Adopted(2));
    assert_eq!(b.subjects.key(of), KeyState::Living(wrapped(FIRST, 99)));
    holds(&b);
}

#[test]
fn a_request_stays_under_the_key_that_it_was_heard_under_when_its_order_is_sealed_anew() {
    let (mut a, mut b, id) = pair(fine, true);
    let parcel = Command::Ship { order: id, key: key(9), lines: Vec::new(), note: Note::default() };
    assert!(matches!(apply(&mut a, parcel), Outcome::Done(_)));
    run(&mut a, fine);
    ship(&a, &mut b, origin(1));
    survive(&a, &mut b, 2);
    run(&mut b, fine);
    step(&mut a, elsewhere(2, 2, None));
    ship(&b, &mut a, origin(2));
    // Another key of his is the newest by now: orders are sealed with that.
    let newer = KeyOf { generation: 9, ..key_of(1) };
    a.subjects.put(newer, wrapped(FIRST, 9));
    assert_eq!(step(&mut a, take_over(1, 2, 3)), Outcome::Noted);
    let Candidate::Take(mut home) = candidate(&b, &a, id) else { panic!() };
    home.contents.sealed_with = newer;
    let orders = vec![Candidate::Take(home)];
    let adopt = Step::Adopt { birth: region(1), epoch: 3, orders };
    assert_eq!(step(&mut a, adopt), Outcome::Adopted(1));
    assert_eq!(a.contents.get(&id).unwrap().sealed_with, newer);
    for n in [1, 9] {
        assert_eq!(a.keys.table.get(&Scope(n)).unwrap().under, Some(key_of(1)), "request {n}");
        assert!(matches!(a.keys.seen(key(n)), Seen::Same(_)));
    }
    holds(&a);
    assert_eq!(thawed(&a).digest(), a.digest());
}

/// What A knows of its customer when his order comes home from B without his block.
#[derive(Clone, Copy, Default, Debug)]
struct Known {
    /// He came to live at A from B, by this move of his; 0 if he did not.
    moved: u64,
    /// And went there again.
    left: bool,
    forgotten: bool,
    /// A was asked by then to forget him while an order of his was under way; 0 if it was not.
    owed: u64,
    /// What B has dropped, of which A hears late: generations after that of its block, by which
    /// request, asked for when, and why.
    erased: &'static [(u32, u128, u64, Cause)],
    /// A came back from a backup since.
    restored: bool,
}

/// When he came to live at A.
const CAME_MS: u64 = 50_000;
/// Surely before that, by two clocks.
const BEFORE: u64 = CAME_MS - 10_001;

/// B had A's births, and has no key for its block of an order of A's that comes home.
fn home_without_a_block(known: Known) -> (State, OrderId) {
    let (mut a, mut b, id) = pair(fine, true);
    let block = Sealed { nonce: [5; 12], ciphertext: Bytes::from_static(b"his") };
    a.contents.update(&id, |contents| contents.personal = Some(block));
    survive(&a, &mut b, 2);
    run(&mut b, fine);
    step(&mut a, elsewhere(2, 2, None));
    ship(&b, &mut a, origin(2));
    let subject = key_of(1).subject;
    if known.moved > 0 {
        let (from, epoch, at_ms) = (region(2), known.moved, CAME_MS);
        let here = moves::Step::Arrive { subject, from, epoch, at_ms, untold: false };
        assert_eq!(apply(&mut a, Command::Moves(here)), Outcome::Noted);
    }
    if known.left {
        let (to, epoch, at_ms) = (region(2), known.moved + 1, CAME_MS + 1);
        let there = moves::Step::Follow { subject, to, epoch, at_ms };
        assert_eq!(apply(&mut a, Command::Moves(there)), Outcome::Noted);
    }
    if known.owed > 0 {
        let asked = Asked { request: Scope(7), cause: Cause::Erased };
        let owed = Owed { of: key_of(1), asked, asked_ms: known.owed, upto: 1 };
        a.owed.insert(subject, owed);
    }
    assert_eq!(step(&mut a, take_over(1, 2, 3)), Outcome::Noted);
    if known.forgotten {
        let keys = vec![key_of(1)];
        let again = KeyStep::Again { keys, asked_ms: 5, destroy_after_ms: 9 };
        assert_eq!(apply(&mut a, Command::Keys(again)), Outcome::Noted);
    }
    let sealed_with = b.contents.get(&id).unwrap().sealed_with;
    for (after, request, asked_ms, cause) in known.erased.iter().copied() {
        let generation = sealed_with.generation + after;
        let (keys, asked) =
            (vec![KeyOf { generation, ..sealed_with }], Asked { request: Scope(request), cause });
        let gone = KeyStep::Forget { keys, asked, asked_ms, destroy_after_ms: asked_ms };
        assert_eq!(apply(&mut a, Command::Keys(gone)), Outcome::Noted);
    }
    if known.restored {
        a.meta.settings.epoch += 1;
    }
    let Candidate::Take(mut home) = candidate(&b, &a, id) else { panic!() };
    home.contents.sealed_with = sealed_with;
    (home.contents.personal, home.mint) = (None, None);
    let orders = vec![Candidate::Take(home)];
    let adopt = Step::Adopt { birth: region(1), epoch: 3, orders };
    assert_eq!(step(&mut a, adopt), Outcome::Adopted(1));
    holds(&a);
    (a, id)
}

#[test]
fn who_lives_here_keeps_what_this_region_has_of_an_order_that_comes_without_his_block() {
    let (mut a, id) = home_without_a_block(Known { moved: 1, ..Known::default() });
    let subject = key_of(1).subject;
    let (of, _, block) = a.block_of(subject, id).unwrap();
    assert_eq!((of, &block.ciphertext[..]), (key_of(1), &b"his"[..]));
    assert!(a.shows_who(id) && a.holds(subject, id));
    // Shown where he lives, and told to nobody: the order goes on as it came.
    assert_eq!(a.contents.get(&id).unwrap().personal, None);
    // He is forgotten here with all the rest.
    let erase = Erase { subject, request: Scope(8), asked_ms: 6, destroy_after_ms: 9 };
    assert!(matches!(apply(&mut a, Command::Erase(erase)), Outcome::Erased(..)));
    assert!(!a.moves.kept.contains(&id) && !a.shows_who(id));
    holds(&a);
}

#[test]
fn of_who_was_to_be_forgotten_here_or_does_not_live_here_nothing_is_kept() {
    let no = Known::default();
    let moved = Known { moved: 1, ..no };
    let others = [
        no,
        Known { left: true, ..moved },
        Known { forgotten: true, ..no },
        Known { forgotten: true, ..moved },
        Known { owed: START.ms(), ..moved },
        // This order is later, and A had not heard of the wish by then: its key goes all the same.
        Known { owed: START.ms() - 1, ..moved },
    ];
    for known in others {
        let (a, id) = home_without_a_block(known);
        assert_eq!(a.contents.get(&id).unwrap().personal, None, "{known:?}");
        assert!(!a.moves.kept.contains(&id), "{known:?}");
    }
}

#[test]
fn what_was_erased_where_it_comes_from_is_not_kept() {
    let moved = Known { moved: 1, ..Known::default() };
    let words: [&[_]; 6] = [
        &[(0, 9, BEFORE, Erased)],
        &[(1, 9, BEFORE, Erased)],
        // When it was, and by which move he came, is nothing to ask: a wish is one.
        &[(0, 9, CAME_MS + 9, Erased)],
        // What he ordered there since and left goes after the move: the first word counts.
        &[(0, 9, BEFORE, Erased), (1, 8, CAME_MS + 9, Left)],
        // Which does not say why, and nobody could have deleted yet what he left.
        &[(0, 9, BEFORE, Unsaid)],
        &[(0, 9, BEFORE, Unsaid), (1, 8, CAME_MS + 9, Unsaid)],
    ];
    for erased in words {
        not_kept(Known { erased, ..moved });
    }
    not_kept(Known { moved: 3, restored: true, erased: &[(0, 9, BEFORE, Erased)], ..moved });
}

fn not_kept(known: Known) {
    let (a, id) = home_without_a_block(known);
    assert_eq!(a.contents.get(&id).unwrap().personal, None, "{known:?}");
    assert!(!a.moves.kept.contains(&id) && !a.shows_who(id), "{known:?}");
}

#[test]
fn what_was_deleted_because_he_left_is_kept_and_what_may_have_been() {
    let moved = Known { moved: 1, ..Known::default() };
    let others = [
        // He was erased there after he had come back and left again: not that.
        Known { erased: &[(0, 9, BEFORE, Left)], ..moved },
        Known { erased: &[(0, 9, BEFORE, Left), (1, 8, CAME_MS + 9, Erased)], ..moved },
        Known { moved: 3, erased: &[(0, 9, BEFORE, Left)], ..moved },
        // By a word that does not say which: since, or at about the time by two clocks.
        Known { erased: &[(0, 9, CAME_MS + 9, Unsaid)], ..moved },
        Known { erased: &[(0, 9, BEFORE + 1, Unsaid)], ..moved },
        // By nobody's request.
        Known { erased: &[(0, 0, BEFORE, Unsaid)], ..moved },
        // He had left before, and came again.
        Known { moved: 3, erased: &[(0, 9, BEFORE, Unsaid)], ..moved },
        // The group may have forgotten when he came first.
        Known { restored: true, erased: &[(0, 9, BEFORE, Unsaid)], ..moved },
    ];
    for known in others {
        let (a, id) = home_without_a_block(known);
        assert!(a.moves.kept.contains(&id) && a.shows_who(id), "{known:?}");
    }
}
