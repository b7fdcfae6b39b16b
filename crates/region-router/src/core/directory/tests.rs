mod parts;

use hansa_types::region::RegionName;
use proptest::{collection, option};

use super::*;
use crate::testing::{POLICY, genesis, number, region};

fn apply(state: &mut State, command: &Command) -> Outcome {
    state.apply(&command.encode().unwrap())
}

fn bootstrapped() -> State {
    let mut state = State::default();
    let outcome = apply(&mut state, &Command::Bootstrap(Box::new(genesis(3))));
    assert_eq!(outcome, Outcome::Changed { version: 1 });
    state
}

fn own(epoch: u64, slot: Option<u16>, owner: u16) -> Command {
    let slot = slot.and_then(Slot::new);
    Command::Own { birth: number(1), slot, owner: number(owner), epoch }
}

#[test]
fn bootstrap_happens_once() {
    let mut state = bootstrapped();
    let digest = state.digest();
    for groups in [3, 1] {
        let again = apply(&mut state, &Command::Bootstrap(Box::new(genesis(groups))));
        assert_eq!(again, Outcome::Unchanged { version: 1 });
    }
    assert_eq!(state.digest(), digest);
}

#[test]
fn a_bad_genesis_leaves_nothing_behind() {
    let good = genesis(2);
    let mut gap = good.clone();
    gap.groups.retain(|(group, _)| group.index() != 0);
    let mut alone = good.clone();
    alone.regions.retain(|(n, _)| *n != alone.here);
    let mut twice = good.clone();
    twice.regions.push((number(9), twice.regions[0].1.clone()));
    let policy = Genesis { policy: "format = 1".into(), ..good };
    for bad in [gap, alone, twice, policy] {
        let mut state = State::default();
        let outcome = apply(&mut state, &Command::Bootstrap(Box::new(bad)));
        assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
        assert_eq!((state.version(), state.digest()), (0, StateHash::default()));
        assert!(state.snapshot().is_none());
    }
}

#[test]
fn nothing_else_works_before_the_bootstrap() {
    let mut state = State::default();
    let outcome = apply(&mut state, &own(2, None, 2));
    assert_eq!(outcome, Outcome::Refused(Refusal::NotBootstrapped));
    assert_eq!(state.apply(b"\xff\xff"), Outcome::Refused(Refusal::Malformed));
    let mut long = own(2, None, 2).encode().unwrap().to_vec();
    long.push(0);
    assert_eq!(state.apply(&long), Outcome::Refused(Refusal::Malformed));
}

#[test]
fn an_epoch_only_grows() {
    let mut state = bootstrapped();
    assert_eq!(apply(&mut state, &own(5, None, 2)), Outcome::Changed { version: 2 });
    assert_eq!(apply(&mut state, &own(5, None, 2)), Outcome::Unchanged { version: 2 });
    for stale in [own(5, None, 3), own(4, None, 3), own(0, None, 1), own(5, Some(7), 3)] {
        let outcome = apply(&mut state, &stale);
        assert_eq!(outcome, Outcome::Refused(Refusal::EpochNotNewer { have: 5 }), "{stale:?}");
    }
    let snapshot = state.snapshot().unwrap();
    let slot = Slot::new(7).unwrap();
    assert_eq!(snapshot.owner(number(1), slot), Some(Ownership { owner: number(2), epoch: 5 }));
}

#[test]
fn a_moved_slot_outlives_its_region_only_until_the_region_moves() {
    let mut state = bootstrapped();
    assert_eq!(apply(&mut state, &own(7, Some(9), 3)), Outcome::Changed { version: 2 });
    let slot = |n| Slot::new(n).unwrap();
    let snapshot = state.snapshot().unwrap();
    assert_eq!(snapshot.owner(number(1), slot(9)).unwrap().owner, number(3));
    assert_eq!(snapshot.owner(number(1), slot(8)).unwrap().owner, number(1));
    // The whole region must outgrow its moved slots.
    let outcome = apply(&mut state, &own(6, None, 2));
    assert_eq!(outcome, Outcome::Refused(Refusal::EpochNotNewer { have: 7 }));
    apply(&mut state, &own(8, None, 2));
    let snapshot = state.snapshot().unwrap();
    assert_eq!(snapshot.owner(number(1), slot(9)).unwrap().owner, number(2));
}

#[test]
fn a_policy_is_replaced_by_a_newer_one_only() {
    let mut state = bootstrapped();
    let load = |text: String| Command::LoadPolicy { text };
    let same = apply(&mut state, &load(POLICY.into()));
    assert_eq!(same, Outcome::Unchanged { version: 1 });
    let edited = format!("{POLICY}\n# edited");
    let stale = apply(&mut state, &load(edited));
    assert_eq!(stale, Outcome::Refused(Refusal::PolicyNotNewer { have: 1 }));
    let newer = POLICY.replace("\nversion = 1", "\nversion = 2");
    assert_eq!(apply(&mut state, &load(newer)), Outcome::Changed { version: 2 });
    assert_eq!(state.snapshot().unwrap().policy.version(), 2);
    let broken = apply(&mut state, &load("format = 1\nversion = 9".into()));
    assert!(matches!(broken, Outcome::Refused(Refusal::Policy(_))), "{broken:?}");
}

#[test]
fn a_region_keeps_its_number_and_name_for_ever() {
    let mut state = bootstrapped();
    let mut put = |n, name: &str| {
        let region = region(name);
        apply(&mut state, &Command::PutRegion { number: number(n), region })
    };
    assert_eq!(put(1, "eu-west"), Outcome::Unchanged { version: 1 });
    let taken = Refusal::NumberTaken { number: number(1), name: "eu-west".parse().unwrap() };
    assert_eq!(put(1, "eu-new"), Outcome::Refused(taken));
    let taken = Refusal::NameTaken { number: number(1), name: "eu-west".parse().unwrap() };
    assert_eq!(put(9, "eu-west"), Outcome::Refused(taken));
    assert_eq!(put(4, "eu-central"), Outcome::Changed { version: 2 });
    let snapshot = state.snapshot().unwrap();
    let name: RegionName = "eu-central".parse().unwrap();
    assert_eq!(snapshot.number(&name), Some(number(4)));
    assert_eq!(snapshot.owner(number(4), Slot::of(b"x")).unwrap().owner, number(4));
}

#[test]
fn slots_spread_over_groups_and_move_between_them() {
    let mut state = bootstrapped();
    let slot = |n| Slot::new(n).unwrap();
    let group =
        |state: &State, n| state.snapshot().unwrap().group(GroupKind::Orders, slot(n)).index();
    assert_eq!([0, 1, 2, 3].map(|n| group(&state, n)), [0, 1, 2, 0]);
    let map = |first, last, group| Command::MapSlots {
        kind: GroupKind::Orders,
        run: SlotRun { first: slot(first), last: slot(last), group },
    };
    assert_eq!(apply(&mut state, &map(0, 2, 2)), Outcome::Changed { version: 2 });
    assert_eq!([0, 1, 2, 3].map(|n| group(&state, n)), [2, 2, 2, 0]);
    assert_eq!(apply(&mut state, &map(0, 2, 2)), Outcome::Unchanged { version: 2 });
    assert_eq!(apply(&mut state, &map(2, 0, 2)), Outcome::Refused(Refusal::BadRun));
    let missing = GroupId::new(GroupKind::Orders, 3);
    assert_eq!(apply(&mut state, &map(0, 2, 3)), Outcome::Refused(Refusal::UnknownGroup(missing)));
}

#[test]
fn a_slot_map_covers_every_slot_once() {
    for groups in [1, 2, 7] {
        let map = SlotMap::spread(groups);
        assert_eq!(SlotMap::of_runs(map.runs().to_vec()), Some(map.clone()));
        let all = (0..Slot::COUNT).filter_map(Slot::new);
        assert!(all.clone().all(|s| map.group(s) == s.get() % groups));
        let last = map.runs().len() - 1;
        assert_eq!(SlotMap::of_runs(map.runs()[..last].to_vec()), None);
    }
}

#[test]
fn a_group_has_distinct_members() {
    let mut state = bootstrapped();
    let group = GroupId::new(GroupKind::Payments, 0);
    for bad in [vec![], vec![NodeId(1), NodeId(1)], (1..=8).map(NodeId).collect()] {
        let outcome = apply(&mut state, &Command::PutGroup { group, members: bad });
        assert_eq!(outcome, Outcome::Refused(Refusal::BadMembers));
    }
    let members = vec![NodeId(1), NodeId(2), NodeId(9)];
    apply(&mut state, &Command::PutGroup { group, members: members.clone() });
    assert_eq!(state.snapshot().unwrap().members(group), members);
}

#[test]
fn a_thawed_directory_is_the_same() {
    let mut state = bootstrapped();
    apply(&mut state, &own(3, Some(1), 2));
    apply(&mut state, &own(4, Some(2), 2));
    let mut bytes = Vec::new();
    state.freeze().write(&mut bytes).unwrap();
    let mut back = State::thaw(&mut bytes.as_slice()).unwrap();
    assert_eq!((back.digest(), back.digest_full()), (state.digest(), state.digest()));
    for command in [own(5, None, 3), own(6, Some(1), 1)] {
        assert_eq!(apply(&mut back, &command), apply(&mut state, &command));
        assert_eq!(back.digest(), state.digest());
    }
    let (a, b) = (state.snapshot().unwrap(), back.snapshot().unwrap());
    assert_eq!((a.version, &a.owners, &a.moved), (b.version, &b.owners, &b.moved));
    assert_eq!((a.slots, a.groups, a.regions), (b.slots, b.groups, b.regions));
}

#[test]
fn a_damaged_stream_is_an_error() {
    let mut bytes = Vec::new();
    bootstrapped().freeze().write(&mut bytes).unwrap();
    for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        assert!(State::thaw(&mut &bytes[..cut]).is_err(), "cut at {cut}");
    }
}

proptest::proptest! {
    // Each case parses the policy: fewer cases, same sequences.
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_have_an_outcome(bytes: Vec<u8>) {
        let mut state = bootstrapped();
        let before = state.digest();
        if matches!(state.apply(&bytes), Outcome::Refused(_)) {
            assert_eq!(state.digest(), before);
        }
        assert_eq!(state.digest(), state.digest_full());
    }

    #[test]
    fn no_sequence_of_records_takes_an_epoch_back(
        steps in collection::vec((1u16..4, option::of(0u16..4), 1u16..4, 0u64..12), 0..40),
    ) {
        let mut state = bootstrapped();
        let epochs = |state: &State| {
            let snapshot = state.snapshot().unwrap();
            let slots = |r| (0..4).map(move |s| (number(r), Slot::new(s).unwrap()));
            let places = (1..4u16).flat_map(slots);
            places.map(|(r, s)| snapshot.owner(r, s).unwrap()).collect::<Vec<_>>()
        };
        let mut before = epochs(&state);
        for (birth, slot, owner, epoch) in steps {
            let slot = slot.and_then(Slot::new);
            let command = Command::Own { birth: number(birth), slot, owner: number(owner), epoch };
            apply(&mut state, &command);
            let after = epochs(&state);
            for (old, new) in before.iter().zip(&after) {
                assert!(old == new || new.epoch > old.epoch, "{old:?} {new:?} after {command:?}");
            }
            before = after;
        }
        assert_eq!(state.digest(), state.digest_full());
    }
}

#[test]
fn the_first_group_of_a_kind_brings_its_slot_map() {
    let mut state = State::default();
    let mut few = genesis(1);
    few.groups.retain(|(group, _)| group.kind() != GroupKind::Payments);
    apply(&mut state, &Command::Bootstrap(Box::new(few)));
    let group = GroupId::new(GroupKind::Payments, 0);
    apply(&mut state, &Command::PutGroup { group, members: vec![NodeId(1)] });
    // Followers check what they are sent: they must not refuse every directory from now on.
    assert!(state.snapshot().unwrap().check().is_ok());
}

#[test]
fn a_slot_that_does_not_exist_is_malformed() {
    let mut state = bootstrapped();
    // The slot is the last but three of the bytes: option, varint, owner, epoch.
    let mut bytes = own(5, Some(4095), 2).encode().unwrap().to_vec();
    let at = bytes.windows(2).position(|pair| pair == [0xff, 0x1f]).unwrap();
    bytes[at + 1] = 0x7f; // 16,383
    assert_eq!(state.apply(&bytes), Outcome::Refused(Refusal::Malformed));
}
