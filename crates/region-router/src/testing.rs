//! A small league for this crate's tests.

use hansa_types::id::{GroupId, GroupKind, NodeId};
use hansa_types::region::RegionNumber;

use crate::core::directory::{
    Command, Genesis, Kind, Node, NodeRole, OwnershipRecord, Proof, Region, Snapshot, State,
};

/// The policy as shipped.
pub const POLICY: &str = include_str!("../../../deploy/policy/residency.toml");

pub fn number(n: u16) -> RegionNumber {
    n.try_into().unwrap()
}

/// Three nodes with all roles.
pub fn region(name: &str) -> Region {
    let node = |n: u64| Node {
        id: NodeId(n),
        name: format!("{name}-{n}"),
        internal: format!("{name}-{n}:7443"),
        roles: NodeRole::ALL.to_vec(),
    };
    Region {
        name: name.parse().unwrap(),
        public: vec![format!("{name}:443")],
        nodes: (1..=3).map(node).collect(),
    }
}

/// The league as eu-west sees it, with this many groups of each kind but one directory.
pub fn genesis(groups: u16) -> Genesis {
    let members = || (1..=3).map(NodeId).collect::<Vec<_>>();
    let kinds = [GroupKind::Orders, GroupKind::Inventory, GroupKind::Payments];
    let groups = kinds.into_iter().flat_map(|k| (0..groups).map(move |n| GroupId::new(k, n)));
    let directory = GroupId::new(GroupKind::Directory, 0);
    Genesis {
        here: number(1),
        policy: POLICY.into(),
        regions: ["eu-west", "us-east", "ap-south"]
            .into_iter()
            .zip(1..)
            .map(|(name, n)| (number(n), region(name)))
            .collect(),
        groups: std::iter::once(directory).chain(groups).map(|g| (g, members())).collect(),
    }
}

/// The same, with the books of index 0 in the log of the first orders group.
pub fn joint(groups: u16) -> Genesis {
    let part = |group: GroupId| {
        group.index() == 0 && matches!(group.kind(), GroupKind::Inventory | GroupKind::Payments)
    };
    let mut joint = genesis(groups);
    joint.groups.iter_mut().filter(|(group, _)| part(*group)).for_each(|(_, of)| of.clear());
    joint
}

/// The directory after its bootstrap and these commands, seen from region `here`.
pub fn snapshot(here: u16, groups: u16, commands: &[Command]) -> Snapshot {
    let mut state = State::default();
    let first = Command::Bootstrap(Box::new(Genesis { here: number(here), ..genesis(groups) }));
    for command in std::iter::once(&first).chain(commands) {
        let outcome = state.apply(&command.encode().unwrap());
        let refused = matches!(outcome, crate::core::directory::Outcome::Refused(_));
        assert!(!refused, "{outcome:?}");
    }
    state.snapshot().unwrap()
}

/// A failover that nobody signed.
pub fn record(birth: u16, owner: u16, epoch: u64) -> OwnershipRecord {
    OwnershipRecord {
        birth: number(birth),
        owner: number(owner),
        epoch,
        ends: epoch - 1,
        kind: Kind::Failover,
        confirmed_stopped: false,
        reason: "flood".into(),
        ticket: "INC-1".into(),
        time_ms: 1,
        by: "spiffe://hansa/client/operator".into(),
        proof: Proof::default(),
    }
}
