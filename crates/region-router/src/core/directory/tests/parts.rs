//! Books without members: parts of orders groups.

use super::*;
use crate::testing::joint;
use crate::wire;

fn id(kind: GroupKind, index: u16) -> GroupId {
    GroupId::new(kind, index)
}

fn books() -> [GroupId; 2] {
    [GroupKind::Inventory, GroupKind::Payments].map(|kind| id(kind, 0))
}

fn bootstrapped(genesis: Genesis) -> (State, Outcome) {
    let mut state = State::default();
    let outcome = apply(&mut state, &Command::Bootstrap(Box::new(genesis)));
    (state, outcome)
}

#[test]
fn books_without_members_lie_in_the_orders_group_of_their_index() {
    let (state, _) = bootstrapped(joint(2));
    let now = state.snapshot().unwrap();
    let orders = id(GroupKind::Orders, 0);
    for part in books() {
        assert_eq!(now.lies_in(part), orders);
        assert_eq!(now.members(part), now.members(orders), "found where the orders are");
        assert!(now.counts_on(part, NodeId(2)) && !now.counts_on(part, NodeId(4)));
    }
    for whole in [orders, id(GroupKind::Orders, 1), id(GroupKind::Inventory, 1)] {
        assert_eq!(now.lies_in(whole), whole);
    }
    let unknown = id(GroupKind::Inventory, 9);
    assert_eq!((now.lies_in(unknown), now.members(unknown).len()), (unknown, 0));
    assert_eq!((now.logs().count(), now.groups.len()), (5, 7), "two have no log");
    assert!(now.logs().all(|(group, _)| now.lies_in(*group) == *group));
    // Slots lie in groups of their kind, whoever keeps them.
    let slots = (0..Slot::COUNT).filter_map(Slot::new);
    let near = slots.filter(|slot| now.group(GroupKind::Inventory, *slot) == books()[0]);
    assert_eq!(near.count(), usize::from(Slot::COUNT) / 2);
    let sent = wire::of_pb(wire::to_pb(&now)).unwrap();
    assert_eq!(sent.groups, now.groups);
    assert_eq!(sent.members(books()[1]), now.members(orders));
}

#[test]
fn a_group_without_members_that_lies_in_none_is_refused() {
    let without = |genesis: Genesis, gone: GroupId| {
        let groups = genesis.groups.into_iter();
        let none = |(group, members)| (group, if group == gone { Vec::new() } else { members });
        Genesis { groups: groups.map(none).collect(), ..genesis }
    };
    let mut fewer = without(genesis(2), id(GroupKind::Inventory, 1));
    fewer.groups.retain(|(group, _)| *group != id(GroupKind::Orders, 1));
    for bad in [
        fewer,
        without(genesis(2), id(GroupKind::Orders, 1)),
        without(genesis(2), id(GroupKind::Directory, 0)),
        without(joint(1), id(GroupKind::Orders, 0)),
    ] {
        let (state, outcome) = bootstrapped(bad);
        assert_eq!(outcome, Outcome::Refused(Refusal::BadMembers));
        assert!(state.snapshot().is_none());
    }
    let (state, _) = bootstrapped(joint(1));
    let mut sent = wire::to_pb(&state.snapshot().unwrap());
    sent.groups.retain(|group| group.group != id(GroupKind::Orders, 0).number());
    assert!(wire::of_pb(sent).is_err(), "nor does half of it route anything");
}

#[test]
fn whoever_keeps_a_part_is_said_of_the_group_in_which_it_lies() {
    let (mut state, _) = bootstrapped(joint(1));
    let (group, orders) = (books()[0], id(GroupKind::Orders, 0));
    let remove = |group| {
        let change = MemberChange::Remove { node: NodeId(3), force: false };
        Command::ChangeMembers { group, change }
    };
    let put = Command::PutGroup { group, members: vec![NodeId(1)] };
    let left = Command::Left { group, node: NodeId(3) };
    let digest = state.digest();
    for command in [remove(group), put, left] {
        let refused = Refusal::PartOf { part: group, host: orders };
        assert_eq!(apply(&mut state, &command), Outcome::Refused(refused));
    }
    assert_eq!(state.digest(), digest);
    let none = Command::PutGroup { group: id(GroupKind::Inventory, 1), members: Vec::new() };
    assert_eq!(apply(&mut state, &none), Outcome::Refused(Refusal::BadMembers), "from genesis on");
    // Who is to leave may still lead: the part is looked for there, too.
    assert!(matches!(apply(&mut state, &remove(orders)), Outcome::Changed { .. }));
    let now = state.snapshot().unwrap();
    assert!(now.members(group).ends_with(&[NodeId(3)]) && now.counts_on(group, NodeId(3)));
    let left = Command::Left { group: orders, node: NodeId(3) };
    assert!(matches!(apply(&mut state, &left), Outcome::Changed { .. }));
    let now = state.snapshot().unwrap();
    assert_eq!(now.members(group), [NodeId(1), NodeId(2)]);
    assert_eq!(now.outside(NodeId(3)), [orders].into(), "a part is no group of its own");
}

#[test]
fn a_node_that_is_rebuilt_has_another_id_in_the_groups_with_a_log() {
    let (mut state, _) = bootstrapped(joint(1));
    let again = Command::ReplaceNode { node: NodeId(2), request: "r-1".into() };
    assert!(matches!(apply(&mut state, &again), Outcome::Changed { .. }));
    let now = state.snapshot().unwrap();
    assert!(books().iter().all(|part| now.groups[part].is_empty()));
    assert!(now.members(books()[0]).contains(&NodeId(100_001)));
}

#[test]
fn what_was_a_part_in_the_backup_is_one_after_the_restore() {
    let node = |id| Node { id: NodeId(id), ..region("eu-west").nodes[0].clone() };
    for (genesis, fits) in [(joint(1), true), (genesis(1), false)] {
        let (mut state, _) = bootstrapped(genesis);
        let members = |group| match books().contains(&group) {
            true => Vec::new(),
            false => vec![NodeId(901)],
        };
        let groups = state.snapshot().unwrap().groups.into_keys();
        let groups = groups.map(|group| (group, members(group))).collect();
        let joint = Restored { nodes: vec![node(901)], groups, epoch: 2, owner: None };
        let mut apart = joint.clone();
        apart.groups.iter_mut().for_each(|(_, members)| *members = vec![NodeId(901)]);
        let (good, bad) = if fits { (joint, apart) } else { (apart, joint) };
        let refused = apply(&mut state, &Command::Restore(Box::new(bad)));
        assert_eq!(refused, Outcome::Refused(Refusal::BadMembers));
        let restored = apply(&mut state, &Command::Restore(Box::new(good)));
        assert!(matches!(restored, Outcome::Changed { .. }), "{restored:?}");
        let now = state.snapshot().unwrap();
        assert_eq!(now.logs().count(), if fits { 2 } else { 4 });
        assert_eq!(now.members(books()[0]), [NodeId(901)]);
    }
}
