//! Orders that have left when their births go, and come home.

use super::*;
use crate::core::shelf::ORDERS;
use crate::core::shelf::recall::{Recalled, Step as ShelfStep};
use hansa_pages::shelf::Proof;

fn dated(command: Command) -> Command {
    Command::Dated { first_sent_ms: u64::MAX, command: Box::new(command) }
}

/// What is over leaves now; what brings the first of it back.
fn let_leave(state: &mut State) -> Command {
    state.meta.settings.evict_after_ms = 1;
    state.ready = state.ready_of_tables();
    state.advance(START.plus_ms(2));
    let mut out = state.shelf.take_out().into_iter();
    let record = out.find(|record| record.table == ORDERS).unwrap();
    let order = OrderId::from_bytes(record.key.try_into().unwrap()).unwrap();
    let recalled = Recalled { order, record: record.value.into(), proof: Proof::open(0) };
    Command::Shelf(ShelfStep::Recall(vec![recalled]))
}

/// A shipped it all, and it left there; B took it over, and took an item back.
#[test]
fn what_somebody_went_on_with_takes_the_place_of_what_left() {
    let (mut a, id) = placed(contents());
    run(&mut a, fine);
    let (key, lines, note) = (key(40), Vec::new(), Note::default());
    let parcel = dated(Command::Ship { order: id, key, lines, note });
    assert!(matches!(apply(&mut a, parcel), Outcome::Done(_)));
    run(&mut a, fine);
    assert_eq!(status(&a, id), OrderStatus::Completed);
    let mut b = group_of(2);
    ship(&a, &mut b, origin(1));
    let was = thawed(&a);
    let recall = let_leave(&mut a);
    assert!(a.may_have_left(id));
    survive(&was, &mut b, 2);
    run(&mut b, fine);
    step(&mut a, elsewhere(2, 2, None));
    let (key, lines, note) = (super::key(50), vec![(0, 1)], Note::default());
    let back = dated(Command::Return { order: id, key, lines, note });
    assert!(matches!(apply(&mut b, back), Outcome::Done(_)));
    run(&mut b, fine);

    ship(&b, &mut a, origin(2));
    assert_eq!(step(&mut a, take_over(1, 2, 3)), Outcome::Noted);
    let Candidate::Take(home) = candidate(&b, &a, id) else { panic!() };
    let sold = a.shelf.sold.len();
    // It would be here twice.
    let orders = vec![Candidate::Take(home.clone())];
    let twice = Step::Adopt { birth: region(1), epoch: 3, orders };
    assert_eq!(step(&mut a, twice), Outcome::Adopted(0));
    assert_eq!(apply(&mut a, recall), Outcome::Noted);
    assert!(!a.is_own(id, of(&a, id)), "it is as it was when it left");
    holds(&a);
    // By its own word stock is committed to it. What left holds nothing: no books are asked.
    let (birth, epoch, orders) = (region(1), 3, vec![id]);
    assert_eq!(a.ready(birth, 9), []);
    let given = Step::GivenBack { birth, epoch, orders, last: false };
    assert_eq!(step(&mut a, given), Outcome::Noted);
    assert_eq!(a.ready(birth, 9), [id]);
    let orders = vec![Candidate::Take(home)];
    let adopt = Step::Adopt { birth, epoch, orders };
    assert_eq!(step(&mut a, adopt), Outcome::Adopted(1));
    run(&mut a, fine);
    holds(&a);
    assert_eq!(of(&a, id).returns.len(), 1);
    assert_eq!((sold, a.shelf.sold.len(), a.shelf.records.len()), (2, 0, 0));
    // What came from elsewhere stays.
    assert_eq!(step(&mut a, Step::Settled { birth: region(1), epoch: 3 }), Outcome::Noted);
    a.advance(START.plus_ms(1_000_000));
    assert!(a.orders.contains(&id) && a.next_due().is_none());
}

/// What nobody else knew goes on where it was, once somebody asks for it.
#[test]
fn what_left_goes_on_after_its_births_were_handed_over_and_lost() {
    let (mut a, id) = placed(contents());
    run(&mut a, fine);
    let (key, lines, note) = (key(40), Vec::new(), Note::default());
    let parcel = Command::Ship { order: id, key, lines, note };
    assert!(matches!(apply(&mut a, parcel), Outcome::Done(_)));
    run(&mut a, fine);
    let recall = let_leave(&mut a);
    let birth = region(1);
    step(&mut a, Step::Drain { birth, to: region(2), epoch: 1, drain: 1 });
    step(&mut a, Step::Drained { birth, epoch: 1 });
    let (loss, handed) = (None, true);
    step(&mut a, Step::Elsewhere { birth, owner: region(2), epoch: 2, loss, handed });
    assert_eq!(step(&mut a, take_over(1, 2, 3)), Outcome::Noted);
    assert_eq!(step(&mut a, Step::Settled { birth, epoch: 3 }), Outcome::Noted);
    let (key, lines, note) = (super::key(50), vec![(0, 1)], Note::default());
    let back = dated(Command::Return { order: id, key, lines, note });
    assert_eq!(apply(&mut a, back.clone()), Outcome::Refused(Refused::Shelved));
    assert_eq!(apply(&mut a, recall), Outcome::Noted);
    // Adopted first by who asks.
    assert_eq!(apply(&mut a, back.clone()), Outcome::Refused(Refused::NotOwner));
    assert_eq!(a.ready(birth, 9), [id]);
    let orders = vec![Candidate::Again { order: id }];
    assert_eq!(step(&mut a, Step::Adopt { birth, epoch: 3, orders }), Outcome::Adopted(1));
    assert_eq!(step(&mut a, Step::Settled { birth, epoch: 3 }), Outcome::Noted);
    assert!(matches!(apply(&mut a, back), Outcome::Done(_)));
    run(&mut a, fine);
    holds(&a);
    assert_eq!(of(&a, id).returns.len(), 1);
}
