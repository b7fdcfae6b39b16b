use hansa_types::id::GroupKind;

use super::*;
use crate::core::directory::{Command, NodeRole, Outcome};
use crate::testing::{genesis, number, region};

fn apply(state: &mut State, command: &Command) -> Outcome {
    state.apply(&command.encode().unwrap())
}

fn bootstrapped() -> State {
    let mut state = State::default();
    apply(&mut state, &Command::Bootstrap(Box::new(genesis(1))));
    state
}

fn node(id: u64, name: &str) -> Node {
    let (name, internal) = (name.to_owned(), format!("{name}:7443"));
    Node { id: NodeId(id), name, internal, roles: NodeRole::ALL.to_vec() }
}

fn register(id: u64, name: &str) -> Command {
    Command::RegisterNode { node: node(id, name) }
}

fn orders() -> GroupId {
    GroupId::new(GroupKind::Orders, 0)
}

fn change(change: MemberChange) -> Command {
    Command::ChangeMembers { group: orders(), change }
}

fn refused(state: &mut State, command: &Command, refusal: Refusal) {
    let digest = state.digest();
    assert_eq!(apply(state, command), Outcome::Refused(refusal));
    assert_eq!(state.digest(), digest, "a refusal changes nothing");
}

fn changed(state: &mut State, command: &Command) {
    let outcome = apply(state, command);
    assert!(matches!(outcome, Outcome::Changed { .. }), "{command:?}: {outcome:?}");
    let again = apply(state, command);
    assert!(!matches!(again, Outcome::Changed { .. }), "{command:?} twice: {again:?}");
}

/// Voters, learners and leaving nodes that are wanted of the orders group.
fn wanted(state: &State) -> [Vec<u64>; 3] {
    let snapshot = state.snapshot().unwrap();
    let plan = snapshot.plans.get(&orders()).cloned().unwrap_or_default();
    let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
    [numbers(&snapshot.groups[&orders()]), numbers(&plan.learners), numbers(&plan.leaving)]
}

fn reseed(node: u64, request: &str) -> Command {
    Command::ReplaceNode { node: NodeId(node), request: request.into() }
}

#[test]
fn an_id_is_given_once_for_ever() {
    let mut state = bootstrapped();
    changed(&mut state, &register(4, "eu-west-4"));
    changed(&mut state, &Command::RetireNode { node: NodeId(4) });
    refused(&mut state, &register(4, "eu-west-4"), Refusal::NodeIdUsed(NodeId(4)));
    refused(&mut state, &register(2, "eu-west-5"), Refusal::NodeIdUsed(NodeId(2)));
    let taken = Refusal::NodeNameTaken { name: "eu-west-1".into(), node: NodeId(1) };
    refused(&mut state, &register(9, "eu-west-1"), taken);
    changed(&mut state, &register(0, "eu-west-4"));
    let snapshot = state.snapshot().unwrap();
    assert_eq!(snapshot.own_node("eu-west-4").unwrap().id, NodeId(100_001));
    assert!(snapshot.registry[&NodeId(4)].retired);
}

#[test]
fn a_config_moves_known_nodes_and_brings_no_id_back() {
    let mut state = bootstrapped();
    changed(&mut state, &reseed(2, "r-1"));
    let mut told = region("eu-west");
    let put = |region| Command::PutRegion { number: number(1), region };
    let same = apply(&mut state, &put(told.clone()));
    assert!(matches!(same, Outcome::Unchanged { .. }), "the config still has the old id: {same:?}");
    told.nodes[1].internal = "elsewhere:1".into();
    told.nodes.push(node(8, "eu-west-8"));
    changed(&mut state, &put(told));
    let snapshot = state.snapshot().unwrap();
    let moved = snapshot.own_node("eu-west-2").unwrap();
    assert_eq!((moved.id, &*moved.internal), (NodeId(100_001), "elsewhere:1"));
    assert_eq!(snapshot.own_node("eu-west-8").unwrap().id, NodeId(8));
    assert_eq!(snapshot.registry.len(), 5);
}

#[test]
fn a_reseeded_node_takes_its_own_place_in_every_group() {
    let mut state = bootstrapped();
    changed(&mut state, &change(MemberChange::Remove { node: NodeId(3), force: false }));
    let before = state.snapshot().unwrap();
    changed(&mut state, &reseed(2, "r-1"));
    let snapshot = state.snapshot().unwrap();
    let new = NodeId(100_001);
    for (group, members) in &snapshot.groups {
        assert_eq!(members.len(), before.groups[group].len());
        assert!(members.contains(&new) && !members.contains(&NodeId(2)), "{group}: {members:?}");
        assert!(snapshot.plans[group].leaving.contains(&NodeId(2)));
        assert!(snapshot.members(*group).contains(&NodeId(2)), "it may still be asked");
    }
    let repeated = apply(&mut state, &reseed(2, "r-1"));
    assert!(matches!(repeated, Outcome::Unchanged { .. }), "one request, one id: {repeated:?}");
    let repeated = apply(&mut state, &reseed(new.0, "r-1"));
    assert!(matches!(repeated, Outcome::Unchanged { .. }), "by any id: {repeated:?}");
    assert_eq!(state.snapshot().unwrap().registry[&new].request, "r-1");
    refused(&mut state, &reseed(2, "r-2"), Refusal::UnknownNode(NodeId(2)));
    changed(&mut state, &reseed(new.0, "r-2"));
    assert_eq!(state.snapshot().unwrap().own_node("eu-west-2").unwrap().id, NodeId(100_002));
}

#[test]
fn a_reseed_request_is_one_nodes_and_gives_no_id_that_is_retired() {
    let mut state = bootstrapped();
    refused(&mut state, &reseed(2, ""), Refusal::Malformed);
    changed(&mut state, &reseed(2, "r-1"));
    refused(&mut state, &reseed(3, "r-1"), Refusal::RequestIdReused);
    refused(&mut state, &reseed(9, "r-1"), Refusal::UnknownNode(NodeId(9)));
    changed(&mut state, &reseed(100_001, "r-2"));
    let superseded = Refusal::RequestSuperseded(NodeId(100_001));
    refused(&mut state, &reseed(2, "r-1"), superseded.clone());
    refused(&mut state, &reseed(100_002, "r-1"), superseded);
}

#[test]
fn members_come_are_promoted_and_go() {
    let mut state = bootstrapped();
    let add = |node, hold| change(MemberChange::Add { node: NodeId(node), hold });
    refused(&mut state, &add(4, false), Refusal::UnknownNode(NodeId(4)));
    changed(&mut state, &register(4, "eu-west-4"));
    changed(&mut state, &add(4, true));
    assert_eq!(wanted(&state), [vec![1, 2, 3], vec![4], vec![]]);
    changed(&mut state, &change(MemberChange::Promote { node: NodeId(4) }));
    assert_eq!(wanted(&state), [vec![1, 2, 3, 4], vec![], vec![]]);
    changed(&mut state, &change(MemberChange::Remove { node: NodeId(1), force: false }));
    assert_eq!(wanted(&state), [vec![2, 3, 4], vec![], vec![1]]);
    let still = Refusal::StillMember { node: NodeId(4), group: orders() };
    refused(&mut state, &Command::RetireNode { node: NodeId(4) }, still);
    changed(&mut state, &Command::Left { group: orders(), node: NodeId(1) });
    assert_eq!(wanted(&state), [vec![2, 3, 4], vec![], vec![]]);
    let stranger = Refusal::NotMember { node: NodeId(1), group: orders() };
    refused(&mut state, &change(MemberChange::Promote { node: NodeId(1) }), stranger);
}

#[test]
fn one_node_takes_anothers_place() {
    let mut state = bootstrapped();
    changed(&mut state, &register(4, "eu-west-4"));
    let replace = |force| change(MemberChange::Replace { old: NodeId(2), new: NodeId(4), force });
    changed(&mut state, &replace(false));
    assert_eq!(wanted(&state), [vec![1, 4, 3], vec![], vec![2]]);
    let forced = apply(&mut state, &replace(true));
    assert!(matches!(forced, Outcome::Changed { .. }), "it may be forced later");
    assert!(state.snapshot().unwrap().plans[&orders()].forced);
    changed(&mut state, &Command::Left { group: orders(), node: NodeId(2) });
    assert!(state.snapshot().unwrap().plans.is_empty(), "nothing is left to do");
}

#[test]
fn a_group_never_wants_nobody() {
    let mut state = bootstrapped();
    for node in [1, 2] {
        changed(&mut state, &change(MemberChange::Remove { node: NodeId(node), force: true }));
    }
    let last = change(MemberChange::Remove { node: NodeId(3), force: true });
    refused(&mut state, &last, Refusal::BadMembers);
}

#[test]
fn the_registry_survives_a_checkpoint() {
    let mut state = bootstrapped();
    changed(&mut state, &reseed(2, "r-1"));
    let mut bytes = Vec::new();
    state.freeze().write(&mut bytes).unwrap();
    let back = State::thaw(&mut &bytes[..]).unwrap();
    assert_eq!((back.digest(), back.digest_full()), (state.digest(), state.digest()));
}

#[test]
fn a_node_is_outside_of_a_group_once_it_has_left_it() {
    let mut state = bootstrapped();
    changed(&mut state, &register(4, "eu-west-4"));
    let outside = |state: &State, node| state.snapshot().unwrap().outside(NodeId(node));
    assert_eq!(outside(&state, 4).len(), 4, "it hosts groups of every kind, and is in none");
    let (old, new, force) = (NodeId(1), NodeId(4), false);
    changed(&mut state, &change(MemberChange::Replace { old, new, force }));
    assert!(!outside(&state, 4).contains(&orders()));
    assert_eq!(outside(&state, 1), [].into(), "it has not left yet");
    changed(&mut state, &Command::Left { group: orders(), node: NodeId(1) });
    assert_eq!(outside(&state, 1), [orders()].into());
    assert_eq!(outside(&state, 9), [].into(), "nobody's");
}
