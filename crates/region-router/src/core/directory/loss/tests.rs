use hansa_types::hash::StateHash;

use super::*;
use crate::core::directory::{Command, Genesis, Outcome};
use crate::testing::{genesis, number, record, region};

/// The directory of region `here` of four; eu-central is number 4.
fn state(here: u16) -> State {
    let mut state = State::default();
    let mut first = Genesis { here: number(here), ..genesis(1) };
    first.regions.push((number(4), region("eu-central")));
    apply(&mut state, 0, &Command::Bootstrap(Box::new(first)));
    state
}

fn apply(state: &mut State, at: u64, command: &Command) -> Outcome {
    state.apply_at(LogTime(at), &command.encode().unwrap())
}

/// `None` when it changed something or was so already.
fn refused(state: &mut State, at: u64, command: &Command) -> Option<Refusal> {
    let (before, version) = (state.digest(), state.version());
    match apply(state, at, command) {
        Outcome::Refused(why) => {
            assert_eq!((state.digest(), state.version()), (before, version), "{why}");
            Some(why)
        }
        Outcome::Changed { .. } | Outcome::Unchanged { .. } => None,
    }
}

fn take(epoch: u64, owner: u16) -> Command {
    Command::TakeRecord(Box::new(record(1, owner, epoch)))
}

fn make(record: OwnershipRecord, drained: Option<u64>) -> Command {
    Command::MakeRecord { record: Box::new(record), drained }
}

fn fence(epoch: u64, to: u16, wait_ms: u64) -> Command {
    let fence = Fence { epoch, to: number(to), wait_ms, since: LogTime(0) };
    Command::Fence { birth: number(1), fence }
}

fn lease(region: u16) -> Command {
    let isolation = Isolation::Lease { ms: 10_000 };
    Command::SetIsolation { region: number(region), isolation }
}

fn owner(state: &State) -> (u16, u64) {
    let snapshot = state.snapshot().unwrap();
    let of = snapshot.owners[&number(1)];
    (of.owner.get(), of.epoch)
}

#[test]
fn a_record_is_taken_only_if_its_epoch_grows() {
    let mut state = state(2);
    assert_eq!(refused(&mut state, 1, &take(3, 4)), None);
    assert_eq!(owner(&state), (4, 3));
    assert_eq!(apply(&mut state, 2, &take(3, 4)), Outcome::Unchanged { version: 2 });
    let later = OwnershipRecord { time_ms: 2, ..record(1, 2, 3) };
    for stale in [Command::TakeRecord(Box::new(later)), take(2, 1), take(1, 1)] {
        let why = refused(&mut state, 3, &stale);
        assert_eq!(why, Some(Refusal::EpochNotNewer { have: 3 }), "{stale:?}");
    }
    assert_eq!(state.snapshot().unwrap().records[&number(1)], record(1, 4, 3), "to be told");
    assert_eq!(refused(&mut state, 4, &take(4, 1)), None);
    assert_eq!(owner(&state), (1, 4));
}

#[test]
fn what_is_no_record_is_refused() {
    let mut state = state(2);
    let spoil: [fn(&mut OwnershipRecord); 7] = [
        |r| r.ends = 2,
        |r| r.reason = String::new(),
        |r| r.reason = "two\nlines".into(),
        |r| r.reason = "x".repeat(513),
        |r| r.ticket = "x".repeat(129),
        |r| r.proof.chain = vec![vec![0; 20_000]],
        |r| r.kind = Kind::Failback,
    ];
    for (n, spoil) in spoil.into_iter().enumerate() {
        let mut bad = record(1, 4, 2);
        spoil(&mut bad);
        let why = refused(&mut state, 1, &Command::TakeRecord(Box::new(bad)));
        assert!(matches!(why, Some(Refusal::BadRecord(_) | Refusal::TooMany(_))), "{n}: {why:?}");
    }
    let nowhere = Command::TakeRecord(Box::new(record(1, 9, 2)));
    assert_eq!(refused(&mut state, 1, &nowhere), Some(Refusal::UnknownRegion(number(9))));
}

#[test]
fn over_a_region_that_serves_somebody_must_say_that_it_is_off() {
    let mut state = state(4);
    let why = refused(&mut state, 1, &make(record(1, 4, 2), None));
    assert_eq!(why, Some(Refusal::NotConfirmed { owner: number(1) }));
    let sure = OwnershipRecord { confirmed_stopped: true, ..record(1, 4, 2) };
    assert_eq!(refused(&mut state, 1, &make(sure.clone(), None)), Some(Refusal::NotFenced));
    assert_eq!(refused(&mut state, 1, &fence(2, 4, 0)), None);
    assert_eq!(refused(&mut state, 2, &make(sure, None)), None);
    assert_eq!(owner(&state), (4, 2));
    assert!(state.snapshot().unwrap().fences.is_empty());
}

#[test]
fn over_a_region_with_a_lease_the_record_waits_until_none_can_be_held() {
    let mut state = state(4);
    assert_eq!(refused(&mut state, 1, &lease(1)), None);
    assert_eq!(refused(&mut state, 1, &make(record(1, 4, 2), None)), Some(Refusal::NotFenced));
    assert_eq!(refused(&mut state, 100, &fence(2, 4, 20_000)), None);
    assert_eq!(apply(&mut state, 900, &fence(2, 4, 20_000)), Outcome::Unchanged { version: 3 });
    let why = refused(&mut state, 20_000, &make(record(1, 4, 2), None));
    assert_eq!(why, Some(Refusal::FenceYoung { left_ms: 100 }), "a repeat did not renew it");
    assert_eq!(refused(&mut state, 20_100, &make(record(1, 4, 3), None)), Some(Refusal::NotFenced));
    assert_eq!(refused(&mut state, 20_100, &make(record(1, 4, 2), None)), None);
}

#[test]
fn a_longer_wait_begins_anew() {
    let mut state = state(4);
    apply(&mut state, 1, &lease(1));
    apply(&mut state, 100, &fence(2, 4, 1_000));
    assert_eq!(refused(&mut state, 500, &fence(2, 4, 2_000)), None);
    let why = refused(&mut state, 2_000, &make(record(1, 4, 2), None));
    assert_eq!(why, Some(Refusal::FenceYoung { left_ms: 500 }));
}

#[test]
fn one_epoch_is_fenced_for_one_region_and_a_newer_one_goes_before() {
    let mut state = state(2);
    assert_eq!(refused(&mut state, 1, &fence(1, 4, 0)), Some(Refusal::EpochNotNewer { have: 1 }));
    assert_eq!(refused(&mut state, 1, &fence(2, 4, 0)), None);
    let why = refused(&mut state, 2, &fence(2, 3, 0));
    assert_eq!(why, Some(Refusal::Fenced { epoch: 2, to: number(4) }));
    assert_eq!(refused(&mut state, 3, &fence(3, 3, 0)), None);
    assert!(matches!(refused(&mut state, 4, &fence(2, 4, 0)), Some(Refusal::Fenced { .. })));
    // A record beyond the fence ends it, one below does not.
    assert_eq!(refused(&mut state, 5, &take(2, 4)), None);
    assert_eq!(state.snapshot().unwrap().fences[&number(1)].epoch, 3);
    assert_eq!(refused(&mut state, 6, &take(3, 3)), None);
    assert!(state.snapshot().unwrap().fences.is_empty());
}

#[test]
fn a_region_whose_law_admits_no_heir_is_not_taken_over() {
    let mut state = state(2);
    let sure = |owner| OwnershipRecord { confirmed_stopped: true, ..record(1, owner, 2) };
    apply(&mut state, 1, &fence(2, 2, 0));
    let why = refused(&mut state, 2, &make(sure(2), None));
    let Some(Refusal::NoLawfulRegion { laws }) = why else { panic!("{why:?}") };
    assert_eq!(laws, ["CH", "EU", "GB"]);
    // Who is told by another region takes it: there it was judged.
    assert_eq!(refused(&mut state, 2, &Command::TakeRecord(Box::new(sure(2)))), None);
}

#[test]
fn a_failover_is_made_by_the_region_that_takes_over() {
    let mut state = state(2);
    let sure = OwnershipRecord { confirmed_stopped: true, ..record(1, 4, 2) };
    apply(&mut state, 1, &fence(2, 4, 0));
    assert!(matches!(refused(&mut state, 2, &make(sure, None)), Some(Refusal::BadRecord(_))));
}

#[test]
fn the_owner_goes_on_in_a_newer_epoch_when_a_failover_is_given_up() {
    let mut state = state(1);
    apply(&mut state, 1, &fence(2, 4, 0));
    assert_eq!(refused(&mut state, 2, &make(record(1, 1, 3), None)), None);
    assert_eq!(owner(&state), (1, 3));
    assert!(state.snapshot().unwrap().fences.is_empty());
}

#[test]
fn a_switchover_is_recorded_of_the_drain_that_was_seen_to_end() {
    let mut state = state(1);
    let drain = |to| Command::Drain { birth: number(1), to: number(to), epoch: 1 };
    let planned = OwnershipRecord { kind: Kind::Switchover, ..record(1, 4, 2) };
    let why = refused(&mut state, 1, &make(planned.clone(), Some(2)));
    assert_eq!(why, Some(Refusal::NotDraining));
    assert_eq!(refused(&mut state, 1, &drain(4)), None);
    assert_eq!(apply(&mut state, 1, &drain(4)), Outcome::Unchanged { version: 2 });
    assert_eq!(refused(&mut state, 1, &drain(2)), Some(Refusal::Draining { to: number(4) }));
    let begun = state.snapshot().unwrap().draining[&number(1)];
    assert_eq!(begun, Drain { to: number(4), epoch: 1, since: 2 });
    // Given up and begun again: what was seen of the first says nothing of the second.
    let undrain = Command::Undrain { birth: number(1), epoch: 1 };
    assert_eq!(refused(&mut state, 2, &undrain), None);
    let why = refused(&mut state, 2, &make(planned.clone(), Some(2)));
    assert_eq!(why, Some(Refusal::NotDraining));
    assert_eq!(refused(&mut state, 2, &drain(4)), None);
    let why = refused(&mut state, 2, &make(planned.clone(), Some(2)));
    assert_eq!(why, Some(Refusal::NotDraining));
    let other = OwnershipRecord { owner: number(2), ..planned.clone() };
    assert!(refused(&mut state, 2, &make(other, Some(4))).is_some());
    assert_eq!(refused(&mut state, 3, &make(planned, Some(4))), None);
    assert_eq!(owner(&state), (4, 2));
    assert!(state.snapshot().unwrap().draining.is_empty());
}

#[test]
fn only_the_owner_hands_over_and_only_to_whom_the_law_admits() {
    let mut state = state(1);
    let drain = |birth, to, epoch| Command::Drain { birth: number(birth), to: number(to), epoch };
    let other = Refusal::NotOwner { owner: number(2), epoch: 1 };
    assert_eq!(refused(&mut state, 1, &drain(2, 1, 1)), Some(other));
    let stale = Refusal::NotOwner { owner: number(1), epoch: 1 };
    assert_eq!(refused(&mut state, 1, &drain(1, 4, 2)), Some(stale));
    assert!(matches!(refused(&mut state, 1, &drain(1, 1, 1)), Some(Refusal::BadRecord(_))));
    let unlawful = refused(&mut state, 1, &drain(1, 2, 1));
    assert!(matches!(unlawful, Some(Refusal::NoLawfulRegion { .. })), "{unlawful:?}");
    assert_eq!(state.digest(), state.digest_full());
}

#[test]
fn a_restored_region_is_heard_of_and_no_other_epoch_without_a_record() {
    let mut state = state(2);
    let heard = |owner, epoch| Command::HeardEpoch {
        birth: number(1),
        ownership: Ownership { owner: number(owner), epoch },
    };
    assert_eq!(refused(&mut state, 1, &heard(1, 2)), None);
    assert_eq!(owner(&state), (1, 2));
    for bad in [heard(1, 1), heard(4, 3)] {
        let why = refused(&mut state, 1, &bad);
        assert_eq!(why, Some(Refusal::EpochNotNewer { have: 2 }), "{bad:?}");
    }
}

#[test]
fn nobody_hands_over_in_an_epoch_that_is_promised_to_another() {
    let mut state = state(1);
    let drain = Command::Drain { birth: number(1), to: number(4), epoch: 1 };
    assert_eq!(refused(&mut state, 1, &drain), None);
    assert_eq!(refused(&mut state, 1, &fence(2, 3, 0)), None);
    let planned = OwnershipRecord { kind: Kind::Switchover, ..record(1, 4, 2) };
    let why = refused(&mut state, 2, &make(planned, Some(2)));
    assert_eq!(why, Some(Refusal::Fenced { epoch: 2, to: number(3) }));
}

#[test]
fn a_record_that_was_made_against_a_promise_is_not_taken() {
    let mut state = state(2);
    assert_eq!(refused(&mut state, 1, &fence(2, 3, 0)), None);
    let why = refused(&mut state, 2, &take(2, 4));
    assert_eq!(why, Some(Refusal::Fenced { epoch: 2, to: number(3) }));
    assert_eq!(refused(&mut state, 3, &take(2, 3)), None);
    assert_eq!(owner(&state), (3, 2));
}

#[test]
fn a_region_that_came_back_gives_in_to_a_record_that_it_did_not_know() {
    let mut state = state(1);
    let heard = |owner, epoch| Command::HeardEpoch {
        birth: number(1),
        ownership: Ownership { owner: number(owner), epoch },
    };
    assert_eq!(refused(&mut state, 1, &heard(1, 3)), None);
    assert_eq!(refused(&mut state, 2, &take(2, 4)), None);
    assert_eq!(owner(&state), (4, 4), "in an epoch in which nobody wrote");
    assert_eq!(refused(&mut state, 3, &heard(4, 5)), None, "the new owner goes on");
    assert_eq!(refused(&mut state, 4, &take(2, 4)), None, "said again");
    assert_eq!(owner(&state), (4, 5));
    assert_eq!(refused(&mut state, 5, &take(3, 2)), None);
    assert_eq!(owner(&state), (2, 6), "made by who had not heard of epoch 4");
    assert_eq!(refused(&mut state, 6, &take(2, 4)), Some(Refusal::EpochNotNewer { have: 6 }));
}

#[test]
fn a_promise_outlives_what_its_owner_says_of_a_newer_epoch() {
    let mut state = state(2);
    assert_eq!(refused(&mut state, 1, &fence(2, 4, 0)), None);
    let heard = Command::HeardEpoch {
        birth: number(1),
        ownership: Ownership { owner: number(1), epoch: 3 },
    };
    let why = refused(&mut state, 2, &heard);
    assert_eq!(why, Some(Refusal::Fenced { epoch: 2, to: number(4) }));
}

#[test]
fn a_lease_has_bounds() {
    let mut state = state(2);
    for ms in [0, 999, LEASE_MS_MAX + 1] {
        let set = Command::SetIsolation { region: number(1), isolation: Isolation::Lease { ms } };
        assert_eq!(refused(&mut state, 1, &set), Some(Refusal::TooMany("the lease")));
    }
    assert_eq!(refused(&mut state, 1, &lease(1)), None);
    assert_eq!(state.snapshot().unwrap().isolation(number(1)), Isolation::Lease { ms: 10_000 });
    assert_eq!(state.snapshot().unwrap().isolation(number(2)), Isolation::Serve);
}

#[test]
fn a_thawed_directory_knows_records_drains_fences_and_isolation() {
    let mut state = state(1);
    let drain = Command::Drain { birth: number(1), to: number(4), epoch: 1 };
    let other = Command::TakeRecord(Box::new(record(3, 2, 2)));
    for command in [drain, other, fence(2, 4, 9), lease(2)] {
        assert_eq!(refused(&mut state, 7, &command), None, "{command:?}");
    }
    let mut bytes = Vec::new();
    state.freeze().write(&mut bytes).unwrap();
    let back = State::thaw(&mut &bytes[..]).unwrap();
    assert_ne!(state.digest(), StateHash::default());
    assert_eq!((back.digest(), back.digest_full()), (state.digest(), state.digest()));
    let (a, b) = (state.snapshot().unwrap(), back.snapshot().unwrap());
    assert_eq!((a.records, a.draining), (b.records, b.draining));
    assert_eq!((a.fences, a.isolation), (b.fences, b.isolation));
}
