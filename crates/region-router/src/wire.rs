//! A snapshot on the wire and back, for processes that run without the directory role.

pub mod loss;

use std::sync::Arc;

use hansa_api::pb::directory as pb;
use hansa_types::id::{GroupId, GroupKind, NodeId};
use hansa_types::region::{RegionName, RegionNumber, Slot};
use hansa_types::time::LogTime;

use crate::core::directory::{
    BadSnapshot, Former, Node, NodeRole, Ownership, Plan, Region, Registered, SlotMap, SlotRun,
    Snapshot,
};
use crate::core::policy::Policy;

/// The snapshot as the directory service sends it.
pub fn to_pb(snapshot: &Snapshot) -> pb::Directory {
    let name = |number: RegionNumber| {
        snapshot.region(number).map(|r| r.name.to_string()).unwrap_or_default()
    };
    pb::Directory {
        version: snapshot.version,
        region: name(snapshot.here),
        policy: snapshot.policy_text.as_bytes().to_vec().into(),
        policy_version: snapshot.policy.version(),
        former_policies: (snapshot.former.iter())
            .map(|former| pb::FormerPolicy {
                policy: former.text.as_bytes().to_vec().into(),
                until_ms: former.until.0,
            })
            .collect(),
        regions: snapshot
            .regions
            .iter()
            .map(|(n, region)| region_pb(snapshot, *n, region))
            .collect(),
        groups: (snapshot.groups.iter())
            .map(|(group, members)| group_pb(snapshot, *group, members))
            .collect(),
        registry: (snapshot.registry.iter())
            .map(|(node, record)| pb::RegisteredNode {
                node: node.0,
                name: record.name.clone(),
                retired: record.retired,
                request: record.request.clone(),
            })
            .collect(),
        slots: snapshot.slots.iter().flat_map(|(kind, map)| runs_pb(*kind, map)).collect(),
        forwardings: (snapshot.moved.iter())
            .map(|((birth, slot), ownership)| pb::Forwarding {
                birth_region: birth.get().into(),
                birth_slot: slot.get().into(),
                owner_region: name(ownership.owner),
                epoch: ownership.epoch,
            })
            .collect(),
        records: (snapshot.records.values())
            .map(|record| loss::record_pb(record, snapshot))
            .collect(),
        drains: loss::drains_pb(snapshot),
        fences: loss::fences_pb(snapshot),
    }
}

fn group_pb(snapshot: &Snapshot, group: GroupId, members: &[NodeId]) -> pb::DirectoryGroup {
    let plan = snapshot.plans.get(&group).cloned().unwrap_or_default();
    let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
    pb::DirectoryGroup {
        group: group.number(),
        member_nodes: numbers(members),
        learner_nodes: numbers(&plan.learners),
        leaving_nodes: numbers(&plan.leaving),
        forced: plan.forced,
    }
}

fn region_pb(snapshot: &Snapshot, number: RegionNumber, region: &Region) -> pb::DirectoryRegion {
    let ownership = snapshot.owners.get(&number);
    let owner = ownership.and_then(|o| snapshot.region(o.owner));
    let ground: Vec<_> = snapshot.policy.ground(&region.name).map(|j| j.name.to_string()).collect();
    pb::DirectoryRegion {
        name: region.name.to_string(),
        number: number.get().into(),
        jurisdiction: ground.join(" "),
        epoch: ownership.map_or(0, |o| o.epoch),
        public_endpoints: region.public.clone(),
        nodes: (region.nodes.iter())
            .map(|node| pb::DirectoryNode {
                node: node.id.0,
                name: node.name.clone(),
                internal_endpoint: node.internal.clone(),
                roles: node.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            })
            .collect(),
        owner_region: owner.map(|r| r.name.to_string()).unwrap_or_default(),
        lease_ms: snapshot.isolation(number).lease_ms().unwrap_or(0),
    }
}

fn runs_pb(kind: GroupKind, map: &SlotMap) -> impl Iterator<Item = pb::SlotRange> + '_ {
    map.runs().iter().map(move |run| pb::SlotRange {
        kind: GroupId::new(kind, 0).number() >> 16,
        first_slot: run.first.get().into(),
        last_slot: run.last.get().into(),
        group: run.group.into(),
    })
}

/// The snapshot that was sent.
///
/// # Errors
/// Anything that does not parse or does not fit together: half a directory routes nothing.
pub fn of_pb(sent: pb::Directory) -> Result<Snapshot, BadSnapshot> {
    let text = std::str::from_utf8(&sent.policy).map_err(|_| BadSnapshot("policy"))?;
    let policy = Policy::trusted(text).map_err(|_| BadSnapshot("policy"))?;
    let mut snapshot = Snapshot {
        version: sent.version,
        // Replaced below, once the names are known.
        here: number(1)?,
        policy: Arc::new(policy),
        policy_text: text.into(),
        former: former_of(&sent.former_policies)?,
        regions: Default::default(),
        owners: Default::default(),
        moved: Default::default(),
        groups: Default::default(),
        slots: Default::default(),
        by_name: Default::default(),
        plans: Default::default(),
        registry: Default::default(),
        found_at: Default::default(),
        records: Default::default(),
        draining: Default::default(),
        fences: Default::default(),
        isolation: Default::default(),
    };
    for region in &sent.regions {
        let known = number(region.number)?;
        snapshot.by_name.insert(name(&region.name)?, known);
        snapshot.regions.insert(known, region_of(region)?);
    }
    let owner_of = |snapshot: &Snapshot, owner: &str| -> Result<RegionNumber, BadSnapshot> {
        snapshot.number(&name(owner)?).ok_or(BadSnapshot("an owner is missing"))
    };
    snapshot.here = owner_of(&snapshot, &sent.region)?;
    for region in &sent.regions {
        let owner = owner_of(&snapshot, &region.owner_region)?;
        let ownership = Ownership { owner, epoch: region.epoch };
        snapshot.owners.insert(number(region.number)?, ownership);
    }
    loss::take(&sent, &mut snapshot)?;
    for moved in &sent.forwardings {
        let owner = owner_of(&snapshot, &moved.owner_region)?;
        let place = (number(moved.birth_region)?, slot(moved.birth_slot)?);
        snapshot.moved.insert(place, Ownership { owner, epoch: moved.epoch });
    }
    for sent in sent.groups {
        let group = GroupId::from_number(sent.group).ok_or(BadSnapshot("group"))?;
        let nodes = |nodes: Vec<u64>| nodes.into_iter().map(NodeId).collect();
        snapshot.groups.insert(group, nodes(sent.member_nodes));
        let (learners, leaving) = (nodes(sent.learner_nodes), nodes(sent.leaving_nodes));
        let plan = Plan { learners, leaving, forced: sent.forced };
        if plan != Plan::default() {
            snapshot.plans.insert(group, plan);
        }
    }
    snapshot.registry = sent.registry.into_iter().map(registered).collect();
    slots_of(&sent.slots, &mut snapshot)?;
    snapshot.check()
}

fn registered(sent: pb::RegisteredNode) -> (NodeId, Registered) {
    let pb::RegisteredNode { node, name, retired, request } = sent;
    (NodeId(node), Registered { name, retired, request })
}

fn former_of(sent: &[pb::FormerPolicy]) -> Result<Vec<Former>, BadSnapshot> {
    let former = |sent: &pb::FormerPolicy| {
        let text = std::str::from_utf8(&sent.policy).map_err(|_| BadSnapshot("former policy"))?;
        let policy = Policy::trusted(text).map_err(|_| BadSnapshot("former policy"))?;
        let until = LogTime(sent.until_ms);
        Ok(Former { policy: Arc::new(policy), text: text.into(), until })
    };
    sent.iter().map(former).collect()
}

fn region_of(sent: &pb::DirectoryRegion) -> Result<Region, BadSnapshot> {
    let node = |node: &pb::DirectoryNode| {
        let roles: Option<Vec<_>> = node.roles.iter().map(|r| NodeRole::parse(r)).collect();
        Some(Node {
            id: NodeId(node.node),
            name: node.name.clone(),
            internal: node.internal_endpoint.clone(),
            roles: roles?,
        })
    };
    let nodes: Option<Vec<_>> = sent.nodes.iter().map(node).collect();
    Ok(Region {
        name: name(&sent.name)?,
        public: sent.public_endpoints.clone(),
        nodes: nodes.ok_or(BadSnapshot("node role"))?,
    })
}

fn slots_of(sent: &[pb::SlotRange], snapshot: &mut Snapshot) -> Result<(), BadSnapshot> {
    for kind in GroupKind::ALL {
        let number = GroupId::new(kind, 0).number() >> 16;
        let runs: Vec<_> = sent.iter().filter(|run| run.kind == number).collect();
        if runs.is_empty() {
            continue;
        }
        let run = |run: &&pb::SlotRange| {
            let group = u16::try_from(run.group).map_err(|_| BadSnapshot("slot map"))?;
            Ok(SlotRun { first: slot(run.first_slot)?, last: slot(run.last_slot)?, group })
        };
        let runs = runs.iter().map(run).collect::<Result<Vec<_>, BadSnapshot>>()?;
        let map = SlotMap::of_runs(runs).ok_or(BadSnapshot("slot map"))?;
        snapshot.slots.insert(kind, map);
    }
    Ok(())
}

fn number(n: u32) -> Result<RegionNumber, BadSnapshot> {
    let narrow = u16::try_from(n).map_err(|_| BadSnapshot("region number"))?;
    narrow.try_into().map_err(|_| BadSnapshot("region number"))
}

fn slot(n: u32) -> Result<Slot, BadSnapshot> {
    u16::try_from(n).ok().and_then(Slot::new).ok_or(BadSnapshot("slot"))
}

fn name(text: &str) -> Result<RegionName, BadSnapshot> {
    text.parse().map_err(|_| BadSnapshot("region name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::directory::Command;
    use crate::testing::{number, snapshot};

    #[test]
    fn a_snapshot_survives_the_wire() {
        let own = |slot, epoch| Command::Own { birth: number(1), slot, owner: number(2), epoch };
        let sent = snapshot(3, 3, &[own(None, 2), own(Slot::new(7), 3)]);
        let back = of_pb(to_pb(&sent)).unwrap();
        assert_eq!(to_pb(&back), to_pb(&sent));
        assert_eq!((back.here, back.owners, back.moved), (sent.here, sent.owners, sent.moved));
        assert_eq!((back.slots, back.groups), (sent.slots, sent.groups));
    }

    #[test]
    fn half_a_snapshot_is_refused() {
        let whole = to_pb(&snapshot(1, 2, &[]));
        let spoil: [fn(&mut pb::Directory); 8] = [
            |d| d.region = "mars-1".into(),
            |d| d.regions[1].owner_region = "mars-1".into(),
            |d| d.regions[1].name = "eu-west".into(),
            |d| d.regions[1].number = 5000,
            |d| d.policy = "x".into(),
            |d| d.slots.truncate(1),
            |d| d.groups[0].group = 9 << 16,
            |d| d.regions[0].nodes[0].roles[0] = "king".into(),
        ];
        for (n, spoil) in spoil.into_iter().enumerate() {
            let mut bad = whole.clone();
            spoil(&mut bad);
            assert!(of_pb(bad).is_err(), "case {n}");
        }
    }
}
