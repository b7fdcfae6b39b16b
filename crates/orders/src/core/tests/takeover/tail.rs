//! What only the former owner knows, and what a copy may not say.

use super::*;
use crate::core::repair::{self, Action, Answer, Begin, PlanId, RepairStep};

/// What an approved plan's entry does.
pub fn decided(state: &mut State, decision: Decision) -> Outcome {
    let at = state.meta.now;
    state.decide(at, decision).map_or_else(Outcome::Refused, |()| Outcome::Noted)
}

/// What Ada and Bob say of an order whose record has this hash.
pub fn decision(order: OrderId, action: TailAction, hash: u128) -> Decision {
    Decision {
        order,
        action,
        reason: "seen by the customer".into(),
        plan_reason: "cut off".into(),
        by: "ada".into(),
        approved_by: "bob".into(),
        ticket: "T-1".into(),
        applied_by: "ada".into(),
        entry: (PlanId([9; 32]), 1),
        hash,
    }
}

pub fn decide(state: &mut State, order: OrderId, action: TailAction) -> Outcome {
    let hash = state.hash_of(order).unwrap().0;
    decided(state, decision(order, action, hash))
}

/// That what stands decided on an order has come to this.
pub fn came_to(state: &State, order: OrderId, end: End) -> Step {
    let since = state.births.tail.get(&order).unwrap().at;
    Step::Decided { order, since, end }
}

/// A came back with two confirmed orders: the first B took over from an older version, the second
/// only A knows.
fn back() -> (State, State, OrderId, OrderId) {
    let (mut a, mut b, first) = pair(fine, false);
    survive(&a, &mut b, 2);
    run(&mut b, fine);
    run(&mut a, fine);
    let alone = order_id(2);
    apply(&mut a, accept(2, contents()));
    run(&mut a, fine);
    step(&mut a, elsewhere(2, 2, None));
    ship(&b, &mut a, origin(2));
    (a, b, first, alone)
}

#[test]
fn an_order_that_nobody_went_on_with_goes_on_where_it_stands_once_two_people_say_so() {
    let (mut a, mut b, first, alone) = back();
    assert_eq!(decide(&mut a, first, TailAction::Adopt), Outcome::Refused(Refused::NotOwner));
    assert_eq!(decide(&mut a, alone, TailAction::Adopt), Outcome::Noted);
    assert_eq!(a.tail_open().count(), 0, "nothing is paid back");
    let (left, waits) = a.leftovers(region(1), 9);
    assert!(waits && left.iter().all(|of| of.order != alone), "its stock stays its own");
    let version = of(&a, alone).version;
    step(&mut a, take_over(1, 2, 3));
    assert!(a.waiting(region(1), 9).contains(&alone));
    let settled = || Step::Settled { birth: region(1), epoch: 3 };
    assert_eq!(step(&mut a, settled()), Outcome::Refused(Refused::NotSettled));
    let again =
        Step::Adopt { birth: region(1), epoch: 3, orders: vec![Candidate::Again { order: alone }] };
    assert_eq!(step(&mut a, again.clone()), Outcome::Adopted(1));
    assert_eq!(step(&mut a, again), Outcome::Adopted(0), "again it is the same");
    holds(&a);
    assert_eq!(adopt(&b, &mut a, 1, 3), 1);
    assert_eq!(step(&mut a, settled()), Outcome::Noted);
    assert_eq!((of(&a, alone).version, of(&a, alone).epoch), (version + 1, 3));
    assert!(a.births.tail.is_empty(), "it is no order of a tail any more");
    assert!(a.tail(region(1), 9).is_empty() && a.late_leftovers(region(1), 9).is_empty());
    let parcel = Command::Ship { order: alone, key: key(70), lines: vec![], note: Note::default() };
    let sent = Command::Dated { first_sent_ms: u64::MAX, command: Box::new(parcel) };
    assert!(matches!(apply(&mut a, sent), Outcome::Done(_)));
    run(&mut a, fine);
    assert_eq!(status(&a, alone), OrderStatus::Completed);
    step(&mut b, elsewhere(1, 3, None));
    ship(&a, &mut b, origin(1));
    let copy = b.remote.copies.get(&alone).unwrap();
    assert_eq!((copy.epoch(), copy.version), (3, of(&a, alone).version));
    holds(&a);
    assert_eq!(thawed(&a).digest(), a.digest());
}

const PLAN: PlanId = PlanId([9; 32]);

/// An approved plan of nine entries.
fn agreed(a: &mut State) {
    let (by, reason) = ("ada".to_owned(), "cut off".to_owned());
    let propose = RepairStep::Propose { plan: PLAN, by, reason, entries: 9 };
    let approve = RepairStep::Approve { plan: PLAN, by: "bob".into(), ticket: "T-1".into() };
    for step in [propose, approve] {
        assert!(matches!(apply(a, Command::Repair(step)), Outcome::Repair(_)));
    }
}

/// Carries out an entry of it; what that came to so far.
fn begin(
    a: &mut State,
    number: u32,
    order: OrderId,
    action: TailAction,
    off: u128,
) -> Option<repair::End> {
    let hash = a.hash_of(order).map(|hash| hash.0 ^ off);
    let (by, why, rests_on) = ("eve".into(), "charged here".into(), Some((order, hash)));
    let action = Action::DecideTail { action };
    let (entry, looked) = ((PLAN, number), false);
    let begin = Begin { entry, by, why, rests_on, looked, action };
    match apply(a, Command::Repair(RepairStep::Begin(Box::new(begin)))) {
        Outcome::Repair(answer) => match *answer {
            Answer::Repair(row) => row.ended.map(|(_, end)| end),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn ended(a: &State, number: u32) -> Option<repair::End> {
    a.repairs.rows.get(&(PLAN, number)).unwrap().ended.clone().map(|(_, end)| end)
}

#[test]
fn an_adopts_entry_is_done_when_the_order_is_owned_again_and_not_before() {
    let (mut a, _, _, alone) = back();
    agreed(&mut a);
    assert_eq!(begin(&mut a, 1, alone, TailAction::Adopt, 0), None);
    let mut a = thawed(&a);
    step(&mut a, take_over(1, 2, 3));
    assert_eq!(ended(&a, 1), None, "its births are here, and it is not");
    let again = vec![Candidate::Again { order: alone }];
    step(&mut a, Step::Adopt { birth: region(1), epoch: 3, orders: again });
    assert_eq!(ended(&a, 1), Some(repair::End::Done));
    holds(&a);
}

#[test]
fn an_adopts_entry_is_refused_where_its_owner_had_gone_on_with_the_order() {
    let (mut a, id) = placed(contents());
    run(&mut a, fine);
    let mut b = group_of(2);
    ship(&a, &mut b, origin(1));
    step(&mut a, elsewhere(2, 2, None));
    agreed(&mut a);
    // Nobody asked whether the owner had told everything.
    assert_eq!(begin(&mut a, 1, id, TailAction::Adopt, 0), None);
    survive(&a, &mut b, 2);
    run(&mut b, fine);
    ship(&b, &mut a, origin(2));
    step(&mut a, take_over(1, 2, 3));
    assert_eq!(adopt(&b, &mut a, 1, 3), 1);
    assert!(matches!(ended(&a, 1), Some(repair::End::Refused(_))), "{:?}", ended(&a, 1));
    holds(&a);
}

#[test]
fn a_late_report_of_an_earlier_decision_ends_no_later_one() {
    let (mut a, _, _, alone) = back();
    agreed(&mut a);
    assert_eq!(begin(&mut a, 1, alone, TailAction::Compensate, 0), None);
    let late = came_to(&a, alone, End::Refused("the provider was away".into()));
    assert_eq!(step(&mut a, late.clone()), Outcome::Noted);
    a.advance(a.meta.now.plus_ms(1));
    let now = a.meta.now;
    a.repairs.plans.update(&PLAN, |plan| plan.approved.as_mut().unwrap().at = now);
    assert_eq!(begin(&mut a, 2, alone, TailAction::Adopt, 0), None);
    assert_eq!(step(&mut a, late), Outcome::Refused(Refused::NotSettled));
    assert!(a.goes_on_here(alone) && ended(&a, 2).is_none());
    holds(&a);
}

#[test]
fn what_was_said_while_births_were_drained_is_done_when_they_stay() {
    let (mut a, b, _, alone) = back();
    step(&mut a, take_over(1, 2, 3));
    assert_eq!(adopt(&b, &mut a, 1, 3), 1);
    step(&mut a, Step::Settled { birth: region(1), epoch: 3 });
    let (birth, to, epoch) = (region(1), region(2), 3);
    step(&mut a, Step::Drain { birth, to, epoch, drain: 7 });
    assert_eq!(decide(&mut a, alone, TailAction::Adopt), Outcome::Noted);
    step(&mut a, Step::Undrain { birth, epoch, seen: 8 });
    assert!(a.waiting(region(1), 9).contains(&alone));
    holds(&a);
}

#[test]
fn a_plan_of_two_people_decides_what_they_saw_and_ends_when_that_is_done() {
    let (mut a, _, first, alone) = back();
    agreed(&mut a);
    let went_on = begin(&mut a, 1, first, TailAction::Adopt, 0);
    assert!(matches!(went_on, Some(repair::End::Refused(_))), "its owner went on with it");
    let stale = begin(&mut a, 2, alone, TailAction::Compensate, 1);
    assert!(matches!(stale, Some(repair::End::Stale(_))), "not what they saw");
    let adopted = begin(&mut a, 3, alone, TailAction::Adopt, 0);
    assert_eq!(adopted, None, "until its births are here again");
    // On a later approval only.
    let now = a.meta.now;
    a.births.tail.update(&alone, |row| row.at = now.plus_ms(1));
    let old = begin(&mut a, 5, alone, TailAction::Compensate, 0);
    assert!(matches!(old, Some(repair::End::Stale(_))), "decided on since");
    a.births.tail.update(&alone, |row| row.at = now);
    // Until the births come back they may think again.
    assert_eq!(begin(&mut a, 4, alone, TailAction::Compensate, 0), None);
    assert!(matches!(ended(&a, 3), Some(repair::End::Refused(_))), "another word stands");
    assert_eq!(a.repairs.open().count(), 0, "it is not for the repairer");
    let kept = a.births.tail.get(&alone).unwrap().decision.clone();
    assert_eq!((kept.by.as_str(), kept.approved_by.as_str()), ("ada", "bob"));
    assert_eq!((kept.ticket.as_str(), kept.reason.as_str()), ("T-1", "charged here"));
    assert_eq!((kept.applied_by.as_str(), kept.plan_reason.as_str()), ("eve", "cut off"));
    assert_eq!(kept.entry, (PLAN, 4));
    let mut a = thawed(&a);
    let done = came_to(&a, alone, End::Done);
    step(&mut a, done);
    assert_eq!(begin(&mut a, 4, alone, TailAction::Compensate, 0), Some(repair::End::Done));
    assert_eq!(of(&a, alone).refundable_minor(), 0, "as the books have it");
    let other = begin(&mut a, 6, alone, TailAction::Discard, 0);
    assert!(matches!(other, Some(repair::End::Refused(_))), "decided before");
    holds(&a);
    assert_eq!(thawed(&a).digest(), a.digest());
}

#[test]
fn what_is_decided_after_the_births_came_back_is_given_back_then() {
    let (mut a, _, first, alone) = back();
    let give = Step::GivenBack { birth: region(1), epoch: 2, orders: vec![first], last: false };
    step(&mut a, give);
    step(&mut a, take_over(1, 2, 3));
    assert!(a.late_leftovers(region(1), 9).is_empty());
    assert_eq!(decide(&mut a, alone, TailAction::Discard), Outcome::Noted);
    let left = a.late_leftovers(region(1), 9);
    assert_eq!(left.iter().map(|of| of.order).collect::<Vec<_>>(), [alone]);
    let give = Step::GivenBack { birth: region(1), epoch: 3, orders: vec![alone], last: false };
    assert_eq!(step(&mut a, give), Outcome::Noted);
    assert!(a.late_leftovers(region(1), 9).is_empty());
    assert_eq!(phase_of(&a), Phase::Adopting);
    holds(&a);
}

#[test]
fn an_order_that_is_lost_twice_is_decided_on_twice() {
    let (mut a, mut b, first, alone) = back();
    assert_eq!(decide(&mut a, first, TailAction::Discard), Outcome::Noted);
    assert_eq!(a.tail(region(1), 1)[0].0, alone, "what is to be decided on comes first");
    assert_eq!(decide(&mut a, alone, TailAction::Adopt), Outcome::Noted);
    step(&mut a, take_over(1, 2, 3));
    let again = vec![Candidate::Again { order: alone }];
    step(&mut a, Step::Adopt { birth: region(1), epoch: 3, orders: again });
    assert_eq!(adopt(&b, &mut a, 1, 3), 1);
    assert_eq!(step(&mut a, Step::Settled { birth: region(1), epoch: 3 }), Outcome::Noted);
    // Lost again, and nobody has heard of either since.
    step(&mut b, elsewhere(1, 3, None));
    step(&mut a, elsewhere(2, 4, None));
    for order in [first, alone] {
        assert!(a.tail(region(1), 9).iter().any(|(id, _)| *id == order) && a.undecided(order));
    }
    let (left, waits) = a.leftovers(region(1), 9);
    assert!(left.is_empty() && waits, "nobody has said that their stock is given away");
    assert_eq!(decide(&mut a, alone, TailAction::Adopt), Outcome::Noted);
    step(&mut a, take_over(1, 2, 5));
    assert!(a.waiting(region(1), 9).contains(&alone));
    holds(&a);
}

#[test]
fn an_order_goes_on_also_when_they_say_so_after_the_births_came_back() {
    let (mut a, b, _, alone) = back();
    step(&mut a, take_over(1, 2, 3));
    assert_eq!(adopt(&b, &mut a, 1, 3), 1);
    let settled = || Step::Settled { birth: region(1), epoch: 3 };
    assert_eq!(step(&mut a, settled()), Outcome::Noted);
    assert_eq!(decide(&mut a, alone, TailAction::Adopt), Outcome::Noted);
    assert_eq!(step(&mut a, settled()), Outcome::Refused(Refused::NotSettled));
    let orders = vec![Candidate::Again { order: alone }];
    assert_eq!(
        step(&mut a, Step::Adopt { birth: region(1), epoch: 3, orders }),
        Outcome::Adopted(1)
    );
    assert_eq!(step(&mut a, settled()), Outcome::Noted);
    assert_eq!(of(&a, alone).epoch, 3);
    holds(&a);
}

#[test]
fn a_refund_that_was_on_its_way_is_part_of_what_is_given_back() {
    let (mut a, id) = placed(contents());
    run(&mut a, fine);
    let note = Note::default();
    apply(&mut a, Command::Refund { order: id, key: key(60), amount_minor: 1, note });
    step(&mut a, elsewhere(2, 2, None));
    assert_eq!(decide(&mut a, id, TailAction::Compensate), Outcome::Noted);
    let done = came_to(&a, id, End::Done);
    step(&mut a, done);
    let all = contents().total_minor;
    let paid: Vec<_> = of(&a, id).refunds.iter().map(|of| (&of.state, of.amount_minor)).collect();
    assert_eq!(paid, [(&Done::Done, 1), (&Done::Done, all - 1)]);
    assert_eq!(of(&a, id).money.refunded_minor, all);
    holds(&a);
}

/// What whoever asks for the order is shown: its version, its payment, and what was given back.
fn shown(state: &State, id: OrderId) -> (u64, PaymentStatus, i64) {
    let last = of(state, id).history.last().unwrap();
    (last.version, last.face.payment, last.face.refunded_minor)
}

#[test]
fn what_a_decision_gave_back_is_shown_of_the_order_and_shipped_to_nobody() {
    let (mut a, mut b, first, alone) = back();
    let (version, _, before) = shown(&a, alone);
    assert_eq!(before, 0);
    assert_eq!(decide(&mut a, alone, TailAction::Compensate), Outcome::Noted);
    let done = came_to(&a, alone, End::Done);
    step(&mut a, done.clone());
    let all = contents().total_minor;
    let after = (version + 1, PaymentStatus::Refunded, all);
    assert_eq!(shown(&a, alone), after);
    assert_eq!(of(&a, alone).refunds.last().unwrap().version, version + 1);
    step(&mut a, done);
    assert_eq!(shown(&a, alone), after, "again it is the same");
    let told: Vec<OrderId> = a.changed_after(a.meta.seq - 1).map(|(_, id)| id).collect();
    assert_eq!(told, [alone]);
    ship(&a, &mut b, origin(1));
    assert!(!b.remote.copies.contains(&alone));
    assert!(a.tail(region(1), 9).iter().any(|(id, _)| *id == alone) && !a.undecided(alone));
    holds(&a);
    assert!(a.indexes_agree() && thawed(&a).digest() == a.digest());
    // Nobody goes on with it, as everybody knows once its births are back.
    assert!(!a.rests(alone));
    step(&mut a, take_over(1, 2, 3));
    assert!(a.rests(alone) && !a.rests(first), "the other one waits to be adopted");
    assert_eq!(adopt(&b, &mut a, 1, 3), 1);
    assert_eq!(step(&mut a, Step::Settled { birth: region(1), epoch: 3 }), Outcome::Noted);
    assert!(a.rests(alone) && !a.rests(first), "the other one goes on");
    assert_eq!(shown(&a, alone), after);
}

#[test]
fn an_order_that_is_to_go_on_here_does_not_rest() {
    let (mut a, b, _, alone) = back();
    step(&mut a, take_over(1, 2, 3));
    assert_eq!(adopt(&b, &mut a, 1, 3), 1);
    assert_eq!(step(&mut a, Step::Settled { birth: region(1), epoch: 3 }), Outcome::Noted);
    assert!(a.rests(alone), "undecided");
    assert_eq!(decide(&mut a, alone, TailAction::Adopt), Outcome::Noted);
    assert!(!a.rests(alone));
    let orders = vec![Candidate::Again { order: alone }];
    step(&mut a, Step::Adopt { birth: region(1), epoch: 3, orders });
    assert!(!a.rests(alone), "it goes on");
}

#[test]
fn a_charge_that_a_decision_cancelled_is_shown_as_void() {
    let (mut a, id) = placed(contents());
    // Authorized, and lost before anything was captured.
    for _ in 0..9 {
        let due = a.due(0, 100).into_iter();
        for call in due.filter(|call| !matches!(call.todo, Todo::Settle(_))).collect::<Vec<_>>() {
            let report = Report { order: call.order, no: call.no, result: fine(&call.todo) };
            apply(&mut a, Command::Report(vec![report]));
        }
    }
    assert_eq!(shown(&a, id).1, PaymentStatus::Authorized);
    step(&mut a, elsewhere(2, 2, None));
    assert_eq!(decide(&mut a, id, TailAction::Compensate), Outcome::Noted);
    let done = came_to(&a, id, End::Done);
    step(&mut a, done);
    assert_eq!((shown(&a, id).1, shown(&a, id).2), (PaymentStatus::Voided, 0));
    holds(&a);
}

#[test]
fn an_order_whose_owners_events_wait_here_is_neither_undone_nor_gone_on_with() {
    let (mut a, mut b, first) = pair(fine, false);
    survive(&a, &mut b, 2);
    run(&mut b, fine);
    step(&mut a, elsewhere(2, 2, None));
    let fault = crate::core::remote::Fault::UnknownField;
    let mut sent = batch(&b, origin(2), 0);
    sent.events.iter_mut().for_each(|event| event.fault = Some(fault));
    apply(&mut a, Command::ApplyRemote(Box::new(sent)));
    assert!(a.blocked(first));
    for action in [TailAction::Compensate, TailAction::Adopt] {
        assert_eq!(decide(&mut a, first, action), Outcome::Refused(Refused::NotAdopted));
    }
    assert_eq!(decide(&mut a, first, TailAction::Discard), Outcome::Noted);
    holds(&a);
}

fn phase_of(state: &State) -> Phase {
    state.births.get(region(1)).unwrap().phase
}

#[test]
fn an_order_that_is_this_groups_own_is_never_given_back() {
    let (mut a, id) = placed(contents());
    run(&mut a, fine);
    step(&mut a, take_over(1, 1, 3));
    let give = Step::GivenBack { birth: region(1), epoch: 3, orders: vec![id], last: true };
    let before = a.digest();
    step(&mut a, give);
    assert_eq!(a.digest(), before);
}

#[test]
fn a_copy_that_says_more_than_was_ordered_or_paid_makes_no_order() {
    let (a, b, id) = pair(fine, true);
    let all = contents().total_minor;
    let repaid = |amount_minor| Repaid {
        id: no_id(),
        amount_minor,
        with: None,
        cause: RefundCause::Asked,
        state: Stepped::Done,
    };
    let moved = |place, units| {
        let note = Note::default();
        let (booked, elsewhere) = (Some(region(1)), Vec::new());
        let lines = vec![(place, units)];
        Moved { id: no_id(), lines, note, state: Stepped::Done, booked, elsewhere }
    };
    type Wrong = fn(&mut Facts, i64, &dyn Fn(i64) -> Repaid, &dyn Fn(u16, u32) -> Moved);
    let wrongs: [Wrong; 7] = [
        |facts, all, _, _| facts.captured_minor = all + 1,
        |facts, _, _, _| facts.authorized_minor = -1,
        |facts, _, _, _| facts.refunded_minor = i64::MAX,
        |facts, all, repaid, _| facts.refunds = vec![repaid(all), repaid(1)],
        |facts, _, repaid, _| facts.refunds = vec![repaid(i64::MAX), repaid(i64::MAX)],
        |facts, _, _, moved| facts.shipments = vec![moved(0, u32::MAX), moved(0, u32::MAX)],
        |facts, _, _, moved| facts.returns = vec![moved(9, 1)],
    ];
    for (n, wrong) in wrongs.iter().enumerate() {
        let mut b = thawed(&b);
        step(&mut b, take_over(1, 1, 2));
        let Candidate::Take(mut one) = candidate(&a, &b, id) else { panic!() };
        wrong(&mut one.facts, all, &repaid, &moved);
        let orders = vec![Candidate::Take(one)];
        let adopted = step(&mut b, Step::Adopt { birth: region(1), epoch: 2, orders });
        assert_eq!(adopted, Outcome::Adopted(0), "{n}");
        assert!(b.orders.is_empty(), "{n}");
    }
}

#[test]
fn births_that_the_directory_has_given_are_not_looked_for_before_the_group_has_taken_them_over() {
    let (a, mut b, _) = pair(fine, false);
    let (one, two) = (region(1), region(2));
    assert!(!a.looks_elsewhere(one, Some(one)));
    assert!(!b.looks_elsewhere(one, Some(one)), "a copy is asked about");
    assert!(b.looks_elsewhere(one, Some(two)), "the directory is ahead");
    survive(&a, &mut b, 2);
    assert!(!b.looks_elsewhere(one, Some(two)));
    step(&mut b, Step::Elsewhere { birth: one, owner: one, epoch: 3, loss: None, handed: false });
    assert!(b.looks_elsewhere(one, Some(two)) && b.looks_elsewhere(one, Some(one)));
}
