//! Repairs: two people, one effect, and nothing once the grounds have changed.

use hansa_types::id::OrderId;

use super::{START, contents, holds, no_id, order_id, placed};
use crate::core::command::{Command, Outcome};
use crate::core::order::{Parked, ParkedWhy};
use crate::core::repair::{Action, Answer, Begin, End, EntryId, PlanId, RepairStep, Repairs, Why};
use crate::core::state::State;

const PLAN: PlanId = PlanId([7; 32]);

fn step(state: &mut State, step: RepairStep) -> Answer {
    // Through the codec, as every command travels.
    let command = Command::decode(&Command::Repair(step).encode()).unwrap();
    match state.apply(START, command) {
        Outcome::Repair(answer) => *answer,
        other => panic!("{other:?}"),
    }
}

fn propose(plan: PlanId, by: &str, entries: u32) -> RepairStep {
    RepairStep::Propose { plan, by: by.into(), reason: "a test".into(), entries }
}

fn approve(plan: PlanId, by: &str) -> RepairStep {
    RepairStep::Approve { plan, by: by.into(), ticket: "OPS-1".into() }
}

fn begin(entry: EntryId, order: OrderId, hash: Option<u128>, action: Action) -> RepairStep {
    let (by, why) = ("operator".into(), "no order relies on it".into());
    let (rests_on, looked) = (Some((order, hash)), false);
    RepairStep::Begin(Box::new(Begin { entry, by, why, rests_on, looked, action }))
}

fn release() -> Action {
    Action::ReleaseStock { group: 0, hold: no_id(), committed: false }
}

/// A state with a plan of three entries that is approved.
fn approved() -> (State, OrderId) {
    let (mut state, id) = placed(contents());
    assert!(matches!(step(&mut state, propose(PLAN, "operator", 3)), Answer::Plan(_)));
    assert!(matches!(step(&mut state, approve(PLAN, "approver")), Answer::Plan(_)));
    (state, id)
}

fn ended(answer: Answer) -> Option<End> {
    match answer {
        Answer::Repair(row) => row.ended.map(|(_, end)| end),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nobody_approves_a_plan_of_his_own() {
    let (mut state, id) = placed(contents());
    let unknown = step(&mut state, approve(PLAN, "approver"));
    assert_eq!(unknown, Answer::Refused(Why::NoSuchPlan));
    step(&mut state, propose(PLAN, "both", 1));
    assert_eq!(step(&mut state, approve(PLAN, "both")), Answer::Refused(Why::SamePerson));
    let early = begin((PLAN, 1), order_id(9), None, release());
    assert_eq!(step(&mut state, early), Answer::Refused(Why::NotApproved));
    step(&mut state, approve(PLAN, "approver"));
    let again = step(&mut state, approve(PLAN, "approver"));
    assert!(matches!(again, Answer::Plan(_)), "a repeat is the same word");
    assert_eq!(step(&mut state, approve(PLAN, "third")), Answer::Refused(Why::AlreadyApproved));
    // Who proposes it once more does not become its planner.
    step(&mut state, propose(PLAN, "other", 1));
    assert_eq!(state.repairs.plans.get(&PLAN).unwrap().by, "both");
    let _ = id;
    holds(&state);
}

#[test]
fn an_approval_is_of_one_plan() {
    let (mut state, _) = approved();
    let other = PlanId([8; 32]);
    let foreign = begin((other, 1), order_id(9), None, release());
    assert_eq!(step(&mut state, foreign), Answer::Refused(Why::NoSuchPlan));
    step(&mut state, propose(other, "operator", 1));
    let replayed = begin((other, 1), order_id(9), None, release());
    assert_eq!(step(&mut state, replayed), Answer::Refused(Why::NotApproved));
    for number in [0, 4] {
        let beyond = begin((PLAN, number), order_id(9), None, release());
        assert_eq!(step(&mut state, beyond), Answer::Refused(Why::NoSuchEntry));
    }
}

#[test]
fn an_end_that_is_said_twice_does_not_end_another_entry() {
    let (mut state, _) = approved();
    let (first, second, third) = ((PLAN, 1), (PLAN, 2), (PLAN, 3));
    let unknown = order_id(9);
    let end = |state: &mut State, entry| {
        let said = Command::Repair(RepairStep::Ended { entry, end: End::Done });
        assert_eq!(state.apply(START, said), Outcome::Noted);
    };
    step(&mut state, begin(first, unknown, None, release()));
    end(&mut state, first);
    step(&mut state, begin(second, unknown, None, release()));
    end(&mut state, first);
    let third = step(&mut state, begin(third, unknown, None, release()));
    assert_eq!(third, Answer::Refused(Why::Busy));
}

#[test]
fn an_entry_has_one_intent_and_one_end() {
    let (mut state, _) = approved();
    let entry = (PLAN, 1);
    let first = step(&mut state, begin(entry, order_id(9), None, release()));
    assert_eq!(ended(first.clone()), None);
    let repeat = step(&mut state, begin(entry, order_id(9), None, release()));
    assert_eq!(repeat, first, "a repeat finds the same intent, and so the same ids");
    let second = begin((PLAN, 2), order_id(9), None, release());
    assert_eq!(step(&mut state, second.clone()), Answer::Refused(Why::Busy));
    for end in [End::Done, End::Refused("late".into())] {
        assert_eq!(
            state.apply(START, Command::Repair(RepairStep::Ended { entry, end })),
            Outcome::Noted
        );
    }
    let told = step(&mut state, begin(entry, order_id(9), None, release()));
    assert_eq!(ended(told), Some(End::Done), "the first word stands");
    assert_eq!(state.repairs.open().count(), 0);
    assert_eq!(ended(step(&mut state, second)), None, "the next one may begin");
    holds(&state);
}

#[test]
fn what_rests_on_a_changed_order_is_not_done() {
    let (mut state, id) = approved();
    let now = state.hash_of(id).unwrap().0;
    let cases = [(1, id, Some(now ^ 1)), (2, id, None), (3, order_id(9), Some(now))];
    for (number, order, hash) in cases {
        let answer = step(&mut state, begin((PLAN, number), order, hash, release()));
        assert!(matches!(ended(answer), Some(End::Stale(_))), "{number}");
    }
    assert_eq!(state.repairs.open().count(), 0, "nothing is left to do");
}

#[test]
fn a_parked_order_is_resumed_by_its_plan() {
    let (mut state, id) = approved();
    let why = ParkedWhy::Stuck;
    let parked = Parked { at: START, why, detail: String::new() };
    state.orders.update(&id, |order| order.parked = Some(parked));
    let hash = state.hash_of(id).map(|hash| hash.0);
    let resumed = step(&mut state, begin((PLAN, 1), id, hash, Action::Resume));
    assert_eq!(ended(resumed), Some(End::Done));
    assert_eq!(state.orders.get(&id).unwrap().parked, None);
    let hash = state.hash_of(id).map(|hash| hash.0);
    let again = step(&mut state, begin((PLAN, 2), id, hash, Action::Resume));
    assert!(matches!(ended(again), Some(End::Refused(_))), "it is not parked any more");
}

#[test]
fn what_is_open_survives_a_checkpoint_and_old_plans_make_room() {
    let (mut state, _) = approved();
    step(&mut state, begin((PLAN, 1), order_id(9), None, release()));
    let Repairs { plans, rows, .. } = std::mem::take(&mut state.repairs);
    state.repairs = Repairs::rebuild(plans, rows);
    let second = begin((PLAN, 2), order_id(9), None, release());
    assert_eq!(step(&mut state, second), Answer::Refused(Why::Busy), "the index is made anew");
    for n in 0..300_u16 {
        let mut hash = [0; 32];
        hash[..2].copy_from_slice(&n.to_le_bytes());
        let proposed = step(&mut state, propose(PlanId(hash), "operator", 1));
        assert!(matches!(proposed, Answer::Plan(_)), "{n}");
    }
    assert!(state.repairs.plans.contains(&PLAN), "what is under way is not forgotten");
    assert!(state.repairs.plans.len() <= 256);
    holds(&state);
}
