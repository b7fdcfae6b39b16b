//! A request has one effect, or none that anybody can tell, whoever owns its order by now.

use super::*;

fn refund(id: OrderId, n: u128) -> Command {
    Command::Refund { order: id, key: key(n), amount_minor: 1, note: Note::default() }
}

fn sent(first_sent_ms: u64, command: Command) -> Command {
    Command::Dated { first_sent_ms, command: Box::new(command) }
}

const IN_DOUBT: Outcome = Outcome::Refused(Refused::InDoubt);

#[test]
fn what_a_lost_owner_granted_alone_is_in_doubt_once_its_order_came_back_from_the_next_one() {
    let (mut a, mut b, id) = pair(fine, true);
    let shipped = copy_of(&a);
    // Paid out, and nobody else hears of it.
    assert!(matches!(apply(&mut a, refund(id, 50)), Outcome::Done(_)));
    run(&mut a, fine);
    survive(&shipped, &mut b, 2);
    run(&mut b, fine);
    assert!(matches!(apply(&mut b, sent(u64::MAX, refund(id, 60))), Outcome::Done(_)));
    run(&mut b, fine);
    step(&mut a, elsewhere(2, 2, None));
    ship(&b, &mut a, origin(2));
    let Step::TakeOver(mut take) = take_over(1, 2, 3) else { panic!() };
    take.complete = true;
    step(&mut a, Step::TakeOver(take));
    adopt(&b, &mut a, 1, 3);
    assert_eq!(step(&mut a, Step::Settled { birth: region(1), epoch: 3 }), Outcome::Noted);
    run(&mut a, fine);
    let mut a = thawed(&a);
    // What the buyer has from both counts: the other's first, as its requests name it.
    let known: Vec<_> = of(&b, id).refunds.iter().map(|of| of.id).collect();
    assert_eq!((of(&a, id).refunds.len(), of(&a, id).money.refunded_minor), (2, 2));
    assert_eq!(known, [of(&a, id).refunds[0].id]);
    assert_eq!(apply(&mut a, refund(id, 50)), IN_DOUBT);
    assert_eq!(apply(&mut a, sent(u64::MAX, refund(id, 50))), IN_DOUBT, "whenever it says it was");
    assert!(matches!(apply(&mut a, refund(id, 60)), Outcome::Replayed(_)));
    let place = accept(1, contents());
    let Command::Accept(mut place) = place else { panic!() };
    place.epoch = 3;
    let placed = apply(&mut a, Command::Accept(place));
    assert!(matches!(placed, Outcome::Replayed(_)), "{placed:?}");
    holds(&a);
}

#[test]
fn what_a_lost_owner_granted_alone_is_in_doubt_also_where_the_next_one_names_only_its_newest() {
    let (mut a, mut b, id) = pair(fine, true);
    let shipped = copy_of(&a);
    assert!(matches!(apply(&mut a, refund(id, 50)), Outcome::Done(_)));
    run(&mut a, fine);
    b.advance(START.plus_ms(5_000));
    survive(&shipped, &mut b, 2);
    run(&mut b, fine);
    for n in 0..70 {
        let refund = sent(u64::MAX, refund(id, 1_000 + n));
        assert!(matches!(apply(&mut b, refund), Outcome::Done(_)));
        run(&mut b, fine);
    }
    step(&mut a, elsewhere(2, 2, None));
    ship(&b, &mut a, origin(2));
    let Step::TakeOver(mut take) = take_over(1, 2, 3) else { panic!() };
    take.complete = true;
    step(&mut a, Step::TakeOver(take));
    assert_eq!(adopt(&b, &mut a, 1, 3), 1);
    assert_eq!(apply(&mut a, refund(id, 50)), IN_DOUBT);
    assert!(matches!(apply(&mut a, refund(id, 1_069)), Outcome::Replayed(_)));
    holds(&a);
}

/// Found by the replay of real orders: a region that was started again took a request before it
/// heard that it owned no more, and its caller asked the owner as well.
#[test]
fn a_request_that_was_taken_alone_too_is_answered_with_what_the_owner_made_of_it() {
    let (mut a, mut b, _) = pair(fine, true);
    survive(&a, &mut b, 2);
    assert!(matches!(apply(&mut a, accept(7, contents())), Outcome::Done(_)));
    let asked = |n, epoch, at: u16| {
        let Command::Accept(mut place) = accept(n, contents()) else { panic!() };
        (place.key, place.epoch) = (key(7), epoch);
        place.contents.sealed_with.subject.home = region(at);
        sent(u64::MAX, Command::Accept(place))
    };
    assert!(matches!(apply(&mut b, asked(8, 2, 2)), Outcome::Done(_)), "it cannot know of it");
    run(&mut b, fine);
    let (birth, owner) = (region(1), region(2));
    step(&mut a, Step::Elsewhere { birth, owner, epoch: 2, loss: None, handed: false });
    ship(&b, &mut a, origin(2));
    let Step::TakeOver(mut take) = take_over(1, 2, 3) else { panic!() };
    take.complete = true;
    step(&mut a, Step::TakeOver(take));
    adopt(&b, &mut a, 1, 3);
    assert_eq!(step(&mut a, Step::Settled { birth, epoch: 3 }), Outcome::Noted);
    let mut a = thawed(&a);
    let again = apply(&mut a, asked(9, 3, 1));
    let Outcome::Replayed(target) = again else { panic!("{again:?}") };
    assert_eq!(target.order, order_id(8));
    holds(&a);
}

#[test]
fn a_request_that_an_order_forgot_is_not_granted_again_by_its_next_owner() {
    let (mut a, id) = placed(contents());
    run(&mut a, fine);
    for n in 0..80 {
        assert!(matches!(apply(&mut a, refund(id, 1_000 + n)), Outcome::Done(_)));
        run(&mut a, fine);
    }
    let mut b = group_of(2);
    ship(&a, &mut b, origin(1));
    let Step::TakeOver(mut take) = take_over(1, 1, 2) else { panic!() };
    take.complete = true;
    assert_eq!(step(&mut b, Step::TakeOver(take)), Outcome::Noted);
    adopt(&a, &mut b, 1, 2);
    step(&mut b, Step::Settled { birth: region(1), epoch: 2 });
    run(&mut b, fine);
    let repaid = of(&b, id).money.refunded_minor;
    assert_eq!(apply(&mut b, sent(START.ms(), refund(id, 1_000))), IN_DOUBT);
    assert_eq!(apply(&mut b, refund(id, 1_001)), IN_DOUBT);
    assert!(matches!(apply(&mut b, refund(id, 1_079)), Outcome::Replayed(_)));
    run(&mut b, fine);
    assert_eq!(of(&b, id).money.refunded_minor, repaid);
    let new = sent(START.ms() + 60_000, refund(id, 2_000));
    assert!(matches!(apply(&mut b, new), Outcome::Done(_)), "sent since");
    // What is granted here makes nothing older than it was.
    b.advance(START.plus_ms(100_000));
    for n in 0..70 {
        let later = sent(START.ms() + 100_000, refund(id, 3_000 + n));
        assert!(matches!(apply(&mut b, later), Outcome::Done(_)));
        run(&mut b, fine);
    }
    let late = sent(START.ms() + 50_000, refund(id, 4_000));
    assert!(matches!(apply(&mut b, late), Outcome::Done(_)));
    b.advance(START.plus_ms(settings().key_ttl_ms + 1));
    assert!(matches!(apply(&mut b, refund(id, 2_001)), Outcome::Done(_)));
    holds(&b);
}

#[test]
fn what_two_owners_decide_at_one_time_are_two_steps() {
    let (mut a, mut b, id) = pair(fine, true);
    survive(&copy_of(&a), &mut b, 2);
    run(&mut b, fine);
    // However many steps each of them has decided before.
    let refunds = |state: &mut State, requests: std::ops::Range<u128>| {
        for n in requests {
            let granted = apply(state, sent(u64::MAX, refund(id, n)));
            assert!(matches!(granted, Outcome::Done(_)), "{granted:?}");
        }
        let ids = of(state, id).refunds.iter().map(|refund| refund.id);
        ids.collect::<std::collections::BTreeSet<_>>()
    };
    let mut attempts = Vec::new();
    for state in [&mut a, &mut b] {
        state.orders.update(&id, |order| {
            attempts.push(order.attempt);
            order.attempt &= 0xfff0_0000;
        });
    }
    let (lost, known) = (refunds(&mut a, 50..53), refunds(&mut b, 60..63));
    assert!(lost.is_disjoint(&known), "one would be paid for both: {attempts:?}");
}
