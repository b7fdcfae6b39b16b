//! Births that were handed home in plan, and whose home is lost before a word of it came back.

use super::*;
use crate::core::effect::StockVerb;

pub fn planned(from: u16, epoch: u64) -> Step {
    let Step::TakeOver(mut take) = take_over(1, from, epoch) else { panic!() };
    take.complete = true;
    Step::TakeOver(take)
}

pub fn goes(owner: u16, epoch: u64, handed: bool) -> Step {
    Step::Elsewhere { birth: region(1), owner: region(owner), epoch, loss: None, handed }
}

pub fn drained(of: &mut State, to: u16, epoch: u64) {
    let drain = Step::Drain { birth: region(1), to: region(to), epoch, drain: 5 + epoch };
    assert_eq!(step(of, drain), Outcome::Noted);
    of.advance(of.meta.now.plus_ms(20_000));
    assert_eq!(step(of, Step::Drained { birth: region(1), epoch }), Outcome::Noted);
}

pub fn settle(of: &mut State, epoch: u64) {
    assert_eq!(step(of, Step::Settled { birth: region(1), epoch }), Outcome::Noted);
}

/// A's order went to B in plan, which did so much with it, and home again: B has not heard whether
/// A adopted it.
fn home(before: impl Fn(&mut State, OrderId)) -> (State, State, OrderId) {
    let (mut a, mut b, id) = pair(fine, true);
    drained(&mut a, 2, 1);
    ship(&a, &mut b, origin(1));
    step(&mut b, planned(1, 2));
    assert_eq!(adopt(&a, &mut b, 1, 2), 1);
    settle(&mut b, 2);
    step(&mut a, goes(2, 2, true));
    run(&mut b, fine);
    before(&mut b, id);
    drained(&mut b, 1, 2);
    ship(&b, &mut a, origin(2));
    step(&mut b, goes(1, 3, true));
    (a, b, id)
}

/// A has its births again, and goes on with all of them.
fn adopted(b: &State, a: &mut State) {
    step(a, planned(2, 3));
    adopt(b, a, 1, 3);
    settle(a, 3);
    run(a, fine);
}

/// A is lost, and B goes on with this order as it stands.
fn go_on(b: &mut State, id: OrderId) {
    assert_eq!(step(b, take_over(1, 1, 4)), Outcome::Noted);
    assert_eq!(b.waiting(region(1), 9), [id]);
    assert_eq!(b.births.get(region(1)).unwrap().taken.as_ref().unwrap().total, 1);
    assert_eq!(apply(b, parcel(id, 70)), Outcome::Refused(Refused::NotOwner), "in a moment");
    let again =
        Step::Adopt { birth: region(1), epoch: 4, orders: vec![Candidate::Again { order: id }] };
    assert_eq!(
        step(b, Step::Settled { birth: region(1), epoch: 4 }),
        Outcome::Refused(Refused::NotSettled)
    );
    assert_eq!(step(b, again.clone()), Outcome::Adopted(1));
    let digest = b.orders.digest();
    assert_eq!(step(b, again), Outcome::Adopted(0), "again it is the same");
    assert_eq!(b.orders.digest(), digest);
    settle(b, 4);
    holds(b);
    assert_eq!(thawed(b).digest(), b.digest());
}

pub fn parcel(order: OrderId, n: u128) -> Command {
    let ship = Command::Ship { order, key: key(n), lines: vec![], note: Note::default() };
    Command::Dated { first_sent_ms: u64::MAX, command: Box::new(ship) }
}

/// A is back as B's follower.
fn back(b: &State, a: &mut State) {
    step(a, goes(2, 4, false));
    ship(b, a, origin(2));
    holds(a);
}

/// Units that are to be reserved.
fn reserves(state: &State) -> u32 {
    let units = |todo: &Todo| match todo {
        Todo::Book(Booking::Stock(call)) => match &call.verb {
            StockVerb::Reserve { lines, .. } => lines.iter().map(|line| line.quantity).sum(),
            _ => 0,
        },
        _ => 0,
    };
    state.due(0, 100).iter().map(|call| units(&call.todo)).sum()
}

#[test]
fn what_was_handed_over_goes_on_as_it_stands_with_the_stock_that_it_holds() {
    let (mut a, mut b, id) = home(|_, _| {});
    adopted(&b, &mut a);
    let (left, undecided) = b.leftovers(region(1), 9);
    assert!(left.is_empty() && undecided, "it is not known that anybody else goes on with it");
    let was = of(&b, id).clone();
    go_on(&mut b, id);
    assert!(b.due(0, 9).is_empty(), "its stock and its books are here: {:?}", b.due(0, 9));
    let now = of(&b, id);
    assert_eq!((now.version, now.epoch, &now.parts), (was.version + 1, 4, &was.parts));
    assert_eq!((&now.money, &now.requests), (&was.money, &was.requests));
    assert!(matches!(apply(&mut b, parcel(id, 71)), Outcome::Done(_)));
    run(&mut b, fine);
    assert_eq!(status(&b, id), OrderStatus::Completed);
    holds(&b);
    // A had done nothing but adopt it: that is what is in its tail, and its stock is given back.
    back(&b, &mut a);
    assert_eq!(a.tail(region(1), 9), [(id, was.version)]);
    assert_eq!(a.leftovers(region(1), 9).0.iter().map(|of| of.order).collect::<Vec<_>>(), [id]);
}

#[test]
fn what_the_lost_owner_did_with_it_is_in_its_tail() {
    let (mut a, mut b, id) = home(|_, _| {});
    adopted(&b, &mut a);
    assert!(matches!(apply(&mut a, parcel(id, 71)), Outcome::Done(_)));
    run(&mut a, fine);
    assert_eq!(status(&a, id), OrderStatus::Completed);
    let handed = of(&b, id).version;
    go_on(&mut b, id);
    assert_eq!(status(&b, id), OrderStatus::Confirmed);
    back(&b, &mut a);
    assert_eq!(a.tail(region(1), 9), [(id, handed)]);
    let shipped = &of(&a, id).shipments[0];
    assert!(shipped.version > handed, "what moved here its owner does not know");
    // And B's word stands for the order when its births are home.
    drained(&mut b, 1, 4);
    ship(&b, &mut a, origin(2));
    step(&mut a, planned(2, 5));
    assert_eq!(adopt(&b, &mut a, 1, 5), 1);
    assert_eq!(of(&a, id).version, of(&b, id).version + 1);
    let again = apply(&mut a, parcel(id, 71));
    assert_eq!(again, Outcome::Refused(Refused::InDoubt), "it was granted here alone");
}

#[test]
fn who_was_lost_before_it_adopted_has_no_tail_of_it() {
    let (mut a, mut b, id) = home(|_, _| {});
    step(&mut a, planned(2, 3));
    go_on(&mut b, id);
    back(&b, &mut a);
    assert!(a.tail(region(1), 9).is_empty(), "{:?}", a.tail(region(1), 9));
}

#[test]
fn what_was_given_back_is_reserved_anew_once() {
    // One that came from A, and one of which half is shipped.
    let some = |b: &mut State, order: OrderId| {
        let (key, lines, note) = (key(60), vec![(0, 1)], Note::default());
        let command = Box::new(Command::Ship { order, key, lines, note });
        apply(b, Command::Dated { first_sent_ms: u64::MAX, command });
        run(b, fine);
    };
    for (shipped, left) in [(false, 3), (true, 2)] {
        let (_, mut b, id) = home(|b, id| {
            if shipped {
                some(b, id)
            }
        });
        let give = Step::GivenBack { birth: region(1), epoch: 3, orders: vec![id], last: false };
        assert_eq!(step(&mut b, give), Outcome::Noted);
        assert!(of(&b, id).parts.iter().all(|part| part.stock == Stock::Gone));
        go_on(&mut b, id);
        assert_eq!(reserves(&b), left);
        assert!(b.due(0, 9).iter().all(|call| stock(&call.todo)), "and no money");
        let unallocated = Outcome::Refused(Refused::NotAllocated);
        assert_eq!(apply(&mut b, parcel(id, 71)), unallocated);
        run(&mut b, fine);
        assert!(of(&b, id).parts.iter().all(|part| part.stock == Stock::Committed));
        assert!(matches!(apply(&mut b, parcel(id, 71)), Outcome::Done(_)));
        run(&mut b, fine);
        assert_eq!(status(&b, id), OrderStatus::Completed);
        holds(&b);
    }
}

/// One that was placed at B, of which so much is answered.
fn place(b: &mut State, answered: impl Fn(&Todo) -> bool) {
    let Command::Accept(mut new) = accept(2, contents()) else { panic!() };
    new.epoch = 2;
    new.contents.sealed_with.subject.home = region(2);
    let new = Command::Dated { first_sent_ms: u64::MAX, command: Box::new(Command::Accept(new)) };
    assert!(matches!(apply(b, new), Outcome::Done(_)));
    for call in b.due(0, 9).into_iter().filter(|call| answered(&call.todo)) {
        answer(b, b.meta.now, &call, StepResult::Done);
    }
}

#[test]
fn what_the_books_were_asked_for_too_long_ago_is_asked_for_anew() {
    for answered in [false, true] {
        let books = |todo: &Todo| matches!(todo, Todo::Book(_));
        let (_, mut b, first) = home(|b, _| place(b, |todo| answered && books(todo)));
        let id = order_id(2);
        let was = of(&b, id).clone();
        let young = thawed(&b);
        b.advance(b.meta.now.plus_ms(settings().funds_ttl_ms + 1));
        for (mut b, anew) in [(young, false), (b, true)] {
            step(&mut b, take_over(1, 1, 4));
            let orders = [first, id].map(|order| Candidate::Again { order }).to_vec();
            let adopted = step(&mut b, Step::Adopt { birth: region(1), epoch: 4, orders });
            assert_eq!(adopted, Outcome::Adopted(2));
            settle(&mut b, 4);
            let now = of(&b, id);
            assert_eq!(now.money.hold != was.money.hold, anew, "answered: {answered}");
            assert_eq!(now.parts[0].hold != was.parts[0].hold, anew, "answered: {answered}");
            let holds_funds = now.outstanding(Effect::HoldFunds);
            assert_eq!(holds_funds, anew || !answered, "answered: {answered}");
            let asked = now.work.iter().filter(|work| work.effect == Effect::Reserve(0)).count();
            assert_eq!(asked, usize::from(anew || !answered), "answered: {answered}");
            run(&mut b, fine);
            assert_eq!(status(&b, id), OrderStatus::Confirmed);
            holds(&b);
        }
    }
}

#[test]
fn one_that_was_placed_here_and_had_not_ended_is_carried_to_its_end() {
    // Its stock is held; nobody was asked for the charge.
    let (_, mut b, first) = home(|b, _| place(b, stock));
    let id = order_id(2);
    assert_eq!(of(&b, id).adopted, None);
    b.advance(b.meta.now.plus_ms(settings().hold_ttl_ms + 1));
    let pulled = b.meta.next_work;
    step(&mut b, take_over(1, 1, 4));
    let orders = [first, id].map(|order| Candidate::Again { order }).to_vec();
    let adopted = step(&mut b, Step::Adopt { birth: region(1), epoch: 4, orders });
    assert_eq!(adopted, Outcome::Adopted(2));
    settle(&mut b, 4);
    assert_eq!(reserves(&b), 3, "what it held has run out");
    assert_eq!(b.due(pulled, 99), b.due(0, 99), "all that is left to do is pulled once more");
    assert!(!b.due(0, 99).is_empty());
    let mut cancelled = thawed(&b);
    run(&mut b, fine);
    assert_eq!(status(&b, id), OrderStatus::Confirmed);
    holds(&b);
    cancels_its_charge(&mut cancelled, id);
}

/// Who was lost may have asked for its charge: a cancel asks the provider.
fn cancels_its_charge(state: &mut State, id: OrderId) {
    let cancel = Command::Cancel { order: id, key: key(80), reason: String::new() };
    let cancel = Command::Dated { first_sent_ms: u64::MAX, command: Box::new(cancel) };
    assert!(matches!(apply(state, cancel), Outcome::Done(_)));
    let asks = |call: &crate::core::effect::Call| matches!(call.todo, Todo::CancelPayment { .. });
    assert!(state.due(0, 9).iter().any(asks), "who had the births may have asked for it");
    holds(state);
}

#[test]
fn one_that_two_people_have_go_on_is_carried_to_its_end_too() {
    let (mut a, mut b, _) = pair(fine, true);
    survive(&a, &mut b, 2);
    let alone = order_id(2);
    apply(&mut a, accept(2, contents()));
    for call in a.due(0, 9).into_iter().filter(|call| stock(&call.todo)) {
        let now = a.meta.now;
        answer(&mut a, now, &call, StepResult::Done);
    }
    step(&mut a, goes(2, 2, false));
    assert_eq!(super::tail::decide(&mut a, alone, TailAction::Adopt), Outcome::Noted);
    let stood = of(&a, alone).version;
    a.advance(a.meta.now.plus_ms(settings().hold_ttl_ms + 1));
    step(&mut a, take_over(1, 2, 3));
    let orders = vec![Candidate::Again { order: alone }];
    let adopted = step(&mut a, Step::Adopt { birth: region(1), epoch: 3, orders });
    assert_eq!(adopted, Outcome::Adopted(1));
    assert_eq!((of(&a, alone).since(), of(&a, alone).version), (stood, stood + 1));
    assert_eq!(reserves(&a), 3, "what it held has run out");
    let mut cancelled = thawed(&a);
    run(&mut a, fine);
    assert_eq!(status(&a, alone), OrderStatus::Confirmed);
    holds(&a);
    cancels_its_charge(&mut cancelled, alone);
}

#[test]
fn what_its_next_owner_told_of_it_is_gone_on_with_and_not_what_was_here() {
    let (mut a, mut b, id) = home(|_, _| {});
    adopted(&b, &mut a);
    ship(&a, &mut b, origin(1));
    step(&mut b, take_over(1, 1, 4));
    assert!(!b.goes_on_here(id));
    let version = of(&a, id).version;
    assert_eq!(adopt(&a, &mut b, 1, 4), 1);
    assert_eq!((of(&b, id).base(), of(&b, id).since()), (version, version));
    holds(&b);
}

#[test]
fn what_was_not_handed_over_or_went_on_to_others_or_was_decided_on_does_not_go_on_by_itself() {
    let waits = |b: &State| b.waiting(region(1), 9);
    // Lost, and not handed over: who owned them next may have had less.
    let (_, mut b, id) = home(|_, _| {});
    let kept = thawed(&b);
    let row = b.births.get(region(1)).unwrap();
    assert_eq!(row.handed, Some(2));
    step(&mut b, goes(3, 4, true));
    assert_eq!(b.births.get(region(1)).unwrap().handed, None, "to others since");
    step(&mut b, take_over(1, 3, 5));
    assert!(waits(&b).is_empty() && !b.goes_on_here(id));
    let mut b = thawed(&kept);
    let Step::TakeOver(mut take) = take_over(1, 1, 5) else { panic!() };
    take.unheard = true;
    step(&mut b, Step::TakeOver(take));
    assert!(waits(&b).is_empty(), "another owned them whom nobody here heard of");
    let mut b = thawed(&kept);
    assert_eq!(super::tail::decide(&mut b, id, TailAction::Discard), Outcome::Noted);
    step(&mut b, take_over(1, 1, 4));
    assert!(waits(&b).is_empty(), "two people have said what becomes of it");
    // A failover that was given up leaves all as it is.
    let mut b = thawed(&kept);
    step(&mut b, goes(1, 4, false));
    step(&mut b, take_over(1, 1, 5));
    assert_eq!(waits(&b), [id]);
}

#[test]
fn what_was_handed_to_who_came_back_from_a_backup_and_was_lost_then_goes_on_too() {
    let (mut a, mut b, id) = home(|_, _| {});
    adopted(&b, &mut a);
    let Step::Elsewhere { birth, owner, handed, .. } = goes(1, 4, false) else { panic!() };
    let loss = Some(Loss { record_ms: 0, skew_ms: 1_000 });
    step(&mut b, Step::Elsewhere { birth, owner, epoch: 4, loss, handed });
    assert_eq!(b.births.get(region(1)).unwrap().handed, Some(2));
    let handed = of(&b, id).version;
    step(&mut b, take_over(1, 1, 5));
    assert_eq!(b.waiting(region(1), 9), [id]);
    let again = vec![Candidate::Again { order: id }];
    let done = step(&mut b, Step::Adopt { birth: region(1), epoch: 5, orders: again });
    assert_eq!(done, Outcome::Adopted(1));
    settle(&mut b, 5);
    holds(&b);
    // What it did with it in between, told to nobody, is in its tail.
    step(&mut a, goes(2, 5, false));
    ship(&b, &mut a, origin(2));
    assert_eq!(a.tail(region(1), 9), [(id, handed)]);
}

#[test]
fn what_was_decided_on_before_it_was_gone_on_with_does_not_go_on_by_itself() {
    let (mut a, first) = placed(contents());
    apply(&mut a, accept(2, contents()));
    run(&mut a, fine);
    let Step::TakeOver(mut take) = take_over(1, 1, 3) else { panic!() };
    take.unheard = true;
    assert_eq!(step(&mut a, Step::TakeOver(take)), Outcome::Noted);
    assert_eq!(a.waiting(region(1), 9), [first, order_id(2)], "they were its own all along");
    assert_eq!(super::tail::decide(&mut a, first, TailAction::Discard), Outcome::Noted);
    assert_eq!(a.waiting(region(1), 9), [order_id(2)]);
    let again = Candidate::Again { order: first };
    let none = step(&mut a, Step::Adopt { birth: region(1), epoch: 3, orders: vec![again] });
    assert_eq!(none, Outcome::Adopted(0));
    holds(&a);
}

#[test]
fn what_its_owners_do_not_go_on_with_is_decided_on_once_it_was_handed_over_in_plan() {
    let (mut a, mut b, id) = home(|_, _| {});
    step(&mut a, planned(2, 3));
    // Home is lost, and another owner's epoch is hidden: it does not go on by itself.
    let Step::TakeOver(mut take) = take_over(1, 1, 5) else { panic!() };
    take.unheard = true;
    assert_eq!(step(&mut b, Step::TakeOver(take)), Outcome::Noted);
    assert!(b.waiting(region(1), 9).is_empty());
    settle(&mut b, 5);
    assert_eq!(apply(&mut b, parcel(id, 71)), Outcome::Refused(Refused::NotAdopted));
    assert_eq!(b.tail(region(1), 9), [(id, 0)]);
    // A third region has them for a while, and says that it has nothing of it.
    let mut c = group_of(3);
    drained(&mut b, 3, 5);
    ship(&b, &mut c, origin(2));
    step(&mut c, planned(2, 6));
    settle(&mut c, 6);
    step(&mut b, goes(3, 6, true));
    assert_eq!(super::tail::decide(&mut b, id, TailAction::Adopt), Outcome::Noted);
    step(&mut b, planned(3, 7));
    assert_eq!(b.waiting(region(1), 9), [id]);
    let again = vec![Candidate::Again { order: id }];
    let done = step(&mut b, Step::Adopt { birth: region(1), epoch: 7, orders: again });
    assert_eq!(done, Outcome::Adopted(1));
    settle(&mut b, 7);
    run(&mut b, fine);
    assert!(matches!(apply(&mut b, parcel(id, 71)), Outcome::Done(_)));
    holds(&b);
}

#[test]
fn an_epoch_beyond_one_that_nobody_here_knows_may_hide_who_owned_in_between() {
    let (mut a, mut b, _) = home(|_, _| {});
    adopted(&b, &mut a);
    // It came back from a backup, with an epoch newer than any that others know.
    let Step::Elsewhere { birth, owner, handed, .. } = goes(1, 4, false) else { panic!() };
    let loss = Some(Loss { record_ms: 0, skew_ms: 1_000 });
    let mut next = thawed(&b);
    for (of, epoch, kept) in [(&mut next, 4, (Some(2), 3)), (&mut b, 6, (None, 6))] {
        step(of, Step::Elsewhere { birth, owner, epoch, loss, handed });
        let row = of.births.get(region(1)).unwrap();
        assert_eq!((row.handed, row.floor), kept, "what it goes on with");
    }
    step(&mut b, take_over(1, 1, 7));
    assert!(b.waiting(region(1), 9).is_empty(), "another may have gone on with it");
    holds(&b);
}

#[test]
fn what_an_epoch_in_between_may_hide_goes_on_once_two_people_say_so() {
    let (mut a, mut b, id) = home(|_, _| {});
    adopted(&b, &mut a);
    // Other births had moved on further, so the claim of who came back from a backup skips some.
    let Step::Elsewhere { birth, owner, handed, .. } = goes(1, 9, false) else { panic!() };
    let loss = Some(Loss { record_ms: 0, skew_ms: 1_000 });
    step(&mut b, Step::Elsewhere { birth, owner, epoch: 9, loss, handed });
    let row = b.births.get(region(1)).unwrap();
    assert_eq!((row.handed, row.hidden), (None, Some(2)));
    let gone = thawed(&b);
    step(&mut b, take_over(1, 1, 10));
    settle(&mut b, 10);
    assert_eq!(apply(&mut b, parcel(id, 71)), Outcome::Refused(Refused::NotAdopted));
    assert!(b.tail_is_known(region(1)));
    assert_eq!(b.tail(region(1), 9), [(id, 0)]);
    assert_eq!(super::tail::decide(&mut b, id, TailAction::Adopt), Outcome::Noted);
    let again = vec![Candidate::Again { order: id }];
    let done = step(&mut b, Step::Adopt { birth: region(1), epoch: 10, orders: again });
    assert_eq!(done, Outcome::Adopted(1));
    settle(&mut b, 10);
    assert!(matches!(apply(&mut b, parcel(id, 71)), Outcome::Done(_)));
    run(&mut b, fine);
    assert_eq!(status(&b, id), OrderStatus::Completed);
    holds(&b);
    assert_eq!(thawed(&b).digest(), b.digest());
    assert!(b.tail(region(1), 9).is_empty() && b.tail_is_known(region(1)), "nor is any to come");
    // The region's other group, which has no order of these births: the plan waits for all groups.
    let mut other = group_of(2);
    step(&mut other, planned(1, 2));
    settle(&mut other, 2);
    drained(&mut other, 1, 2);
    step(&mut other, goes(1, 3, true));
    step(&mut other, Step::Elsewhere { birth, owner, epoch: 9, loss, handed });
    step(&mut other, take_over(1, 1, 10));
    settle(&mut other, 10);
    let row = other.births.get(region(1)).unwrap();
    assert!(row.hidden.is_some() && other.tail_is_known(region(1)));
    // Not where somebody is known to have owned them, nor one that was lost and never handed over.
    let mut unheard = thawed(&gone);
    let Step::TakeOver(mut take) = take_over(1, 1, 11) else { panic!() };
    take.unheard = true;
    step(&mut unheard, Step::TakeOver(take));
    assert!(!unheard.tail_is_known(region(1)));
    let mut third = gone;
    step(&mut third, goes(3, 10, true));
    step(&mut third, take_over(1, 3, 11));
    assert!(!third.tail_is_known(region(1)));
}

#[test]
fn births_that_were_lost_while_they_were_drained_were_not_handed_over() {
    let (mut a, _, id) = pair(fine, true);
    drained(&mut a, 2, 1);
    let kept = thawed(&a);
    step(&mut a, goes(2, 2, false));
    step(&mut a, take_over(1, 2, 3));
    assert!(!a.goes_on_here(id), "its heir may have gone on from less");
    let mut a = kept;
    step(&mut a, goes(3, 2, true));
    step(&mut a, take_over(1, 3, 3));
    assert!(!a.goes_on_here(id), "drained to another");
}

#[test]
fn one_that_today_s_law_does_not_let_go_on_here_is_listed() {
    let (_, mut b, id) = home(|_, _| {});
    step(&mut b, take_over(1, 1, 4));
    let (version, why) = (of(&b, id).version, NotAdopted::NotInFailoverSet);
    let fail = |version| {
        let orders = vec![Candidate::Fail { order: id, version, why }];
        Step::Adopt { birth: region(1), epoch: 4, orders }
    };
    step(&mut b, fail(version + 1));
    assert_eq!(b.waiting(region(1), 9), [id], "not what was looked at");
    step(&mut b, fail(version));
    assert_eq!(b.births.failed.get(&id), Some(&why));
    assert!(b.waiting(region(1), 9).is_empty() && !b.waits(id));
    let again = vec![Candidate::Again { order: id }];
    let none = step(&mut b, Step::Adopt { birth: region(1), epoch: 4, orders: again });
    assert_eq!(none, Outcome::Adopted(0));
    settle(&mut b, 4);
    assert_eq!(apply(&mut b, parcel(id, 71)), Outcome::Refused(Refused::NotAdopted));
    holds(&b);
}
