//! Customers' keys while their orders change owners: each block opens with the key that it was
//! sealed with, each request is compared under the one that it was heard under.

use super::*;
use crate::core::keys::Seen;
use crate::core::subjects::KeyState;

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
    step(
        &mut a,
        Step::Elsewhere { birth: region(1), owner: region(2), epoch: 2, loss: None, handed: false },
    );
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
