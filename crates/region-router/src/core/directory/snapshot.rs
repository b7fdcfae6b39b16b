//! The directory as routing reads it: in memory, whole, never half changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hansa_types::id::{GroupId, GroupKind, NodeId};
use hansa_types::region::{RegionName, RegionNumber, Slot};
use thiserror::Error;

use super::{
    Drain, Fence, Former, Isolation, Node, NodeRole, Ownership, OwnershipRecord, Plan, Region,
    Registered, SlotMap, State, host_of,
};
use crate::core::policy::Policy;

/// One version of the directory.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub version: u64,
    pub here: RegionNumber,
    pub policy: Arc<Policy>,
    /// The policy file, to hand on.
    pub policy_text: Arc<str>,
    /// Policies under which somebody lived elsewhere, not long ago; oldest first.
    pub former: Vec<Former>,
    pub regions: BTreeMap<RegionNumber, Region>,
    pub owners: BTreeMap<RegionNumber, Ownership>,
    /// Slots whose owner is not that of their birth region.
    pub moved: BTreeMap<(RegionNumber, Slot), Ownership>,
    /// The newest change of owner of each region's births, if there was any.
    pub records: BTreeMap<RegionNumber, OwnershipRecord>,
    /// What this region is handing over; its orders groups take no new order of these births.
    pub draining: BTreeMap<RegionNumber, Drain>,
    /// Epochs that this region has promised to renew no longer.
    pub fences: BTreeMap<RegionNumber, Fence>,
    /// Regions that do something else than serve while they are cut off.
    pub isolation: BTreeMap<RegionNumber, Isolation>,
    /// The voters that each group is to have; none for books that are a part of an orders group.
    pub groups: BTreeMap<GroupId, Vec<NodeId>>,
    /// What is wanted of a group beside them; a group without an entry wants nothing more.
    pub plans: BTreeMap<GroupId, Plan>,
    /// Every node id that this region ever used.
    pub registry: BTreeMap<NodeId, Registered>,
    pub slots: BTreeMap<GroupKind, SlotMap>,
    pub(crate) by_name: BTreeMap<RegionName, RegionNumber>,
    /// Where a group may be found: its wanted voters and those that have not left yet.
    pub(crate) found_at: BTreeMap<GroupId, Vec<NodeId>>,
}

/// A snapshot from elsewhere that does not fit together.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("the directory that was sent is not whole: {0}")]
pub struct BadSnapshot(pub &'static str);

impl State {
    /// The directory as it is now, `None` before the bootstrap.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let meta = self.meta.get(&0)?;
        let mut snapshot = Snapshot {
            version: meta.version,
            here: meta.here,
            policy: self.policy.clone()?,
            policy_text: meta.policy.clone(),
            former: self.formers(),
            regions: self.regions.iter().map(|(k, v)| (*k, v.clone())).collect(),
            owners: self.owners.iter().map(|(k, v)| (*k, *v)).collect(),
            moved: self.moved.iter().map(|(k, v)| (*k, *v)).collect(),
            records: self.records.iter().map(|(k, v)| (*k, v.clone())).collect(),
            draining: self.draining.iter().map(|(k, v)| (*k, *v)).collect(),
            fences: self.fences.iter().map(|(k, v)| (*k, *v)).collect(),
            isolation: self.isolation.iter().map(|(k, v)| (*k, *v)).collect(),
            groups: self.groups.iter().map(|(k, v)| (*k, v.clone())).collect(),
            slots: self.slots.iter().map(|(k, v)| (*k, v.clone())).collect(),
            by_name: self.regions.iter().map(|(k, v)| (v.name.clone(), *k)).collect(),
            plans: self.plans.iter().map(|(k, v)| (*k, v.clone())).collect(),
            registry: self.registry.iter().map(|(k, v)| (*k, v.clone())).collect(),
            found_at: BTreeMap::new(),
        };
        snapshot.find_groups();
        Some(snapshot)
    }
}

impl Snapshot {
    /// Fills in what is derived and checks that every reference has a target.
    ///
    /// # Errors
    /// A region that is named but not listed, or groups without a slot map.
    pub fn check(mut self) -> Result<Self, BadSnapshot> {
        self.by_name = self.regions.iter().map(|(k, v)| (v.name.clone(), *k)).collect();
        if self.by_name.len() != self.regions.len() {
            return Err(BadSnapshot("two regions of one name"));
        }
        if !self.regions.contains_key(&self.here) {
            return Err(BadSnapshot("own region missing"));
        }
        let owners = self.owners.values().chain(self.moved.values());
        if owners.into_iter().any(|o| !self.regions.contains_key(&o.owner)) {
            return Err(BadSnapshot("an owner is missing"));
        }
        let births = self.records.keys().chain(self.draining.keys()).chain(self.fences.keys());
        if births.into_iter().any(|birth| !self.regions.contains_key(birth)) {
            return Err(BadSnapshot("the region of a record is missing"));
        }
        if self.regions.keys().any(|number| !self.owners.contains_key(number)) {
            return Err(BadSnapshot("a region without an owner"));
        }
        if self.groups.keys().any(|group| !self.slots.contains_key(&group.kind())) {
            return Err(BadSnapshot("a kind of group without a slot map"));
        }
        let empty = self.groups.iter().filter(|(_, members)| members.is_empty());
        let hosted = |part| host_of(part).is_some_and(|host| self.has_log(host));
        if empty.into_iter().any(|(part, _)| !hosted(*part)) {
            return Err(BadSnapshot("a group without members that lies in none"));
        }
        self.find_groups();
        Ok(self)
    }

    fn find_groups(&mut self) {
        let at = |group: &GroupId| {
            let log = self.lies_in(*group);
            let members = self.groups.get(&log).map_or(&[][..], Vec::as_slice);
            let leaving = self.plans.get(&log).map_or(&[][..], |plan| &plan.leaving);
            (*group, members.iter().chain(leaving).copied().collect())
        };
        self.found_at = self.groups.keys().map(at).collect();
    }

    /// The Raft group in whose log a group lies: itself, or for books without members the orders
    /// group of their index.
    pub fn lies_in(&self, group: GroupId) -> GroupId {
        match host_of(group) {
            Some(host) if self.groups.contains_key(&group) && !self.has_log(group) => host,
            _ => group,
        }
    }

    /// The books that lie in an orders group's log.
    pub fn parts(&self) -> impl Iterator<Item = GroupId> {
        self.groups.keys().copied().filter(|group| self.lies_in(*group) != *group)
    }

    /// The groups that have a log of their own, and the voters that each is to have.
    pub fn logs(&self) -> impl Iterator<Item = (&GroupId, &Vec<NodeId>)> {
        self.groups.iter().filter(|(_, members)| !members.is_empty())
    }

    fn has_log(&self, group: GroupId) -> bool {
        self.groups.get(&group).is_some_and(|members| !members.is_empty())
    }

    pub fn number(&self, name: &RegionName) -> Option<RegionNumber> {
        self.by_name.get(name).copied()
    }

    /// The number of a region by its name as text.
    pub fn number_of(&self, name: &str) -> Option<RegionNumber> {
        self.number(&name.parse().ok()?)
    }

    pub fn region(&self, number: RegionNumber) -> Option<&Region> {
        self.regions.get(&number)
    }

    /// This region.
    ///
    /// # Invariant
    /// A bootstrapped or checked directory lists its own region.
    pub fn own_region(&self) -> Option<&Region> {
        self.regions.get(&self.here)
    }

    /// Who serves what was born in `(birth, slot)`.
    pub fn owner(&self, birth: RegionNumber, slot: Slot) -> Option<Ownership> {
        self.moved.get(&(birth, slot)).or_else(|| self.owners.get(&birth)).copied()
    }

    /// What a region does while it is cut off.
    pub fn isolation(&self, region: RegionNumber) -> Isolation {
        self.isolation.get(&region).copied().unwrap_or_default()
    }

    /// The births of which this region owns all, each with its epoch.
    pub fn owned(&self) -> impl Iterator<Item = (RegionNumber, u64)> + '_ {
        let mine = |of: &&Ownership| of.owner == self.here;
        let owners = self.owners.iter().map(|(birth, of)| (*birth, of));
        owners.filter(move |(_, of)| mine(of)).map(|(birth, of)| (birth, of.epoch))
    }

    /// The group of this region in which a slot lies.
    pub fn group(&self, kind: GroupKind, slot: Slot) -> GroupId {
        GroupId::new(kind, self.slots.get(&kind).map_or(0, |map| map.group(slot)))
    }

    /// The nodes at which a group of this region may be found: its wanted voters, then those that
    /// are to leave and may still lead it. Empty for a group it does not have.
    pub fn members(&self, group: GroupId) -> &[NodeId] {
        self.found_at.get(&group).map_or(&[], Vec::as_slice)
    }

    /// Whether a group counts on a node: as a voter, a learner, or one that has not left yet.
    pub fn counts_on(&self, group: GroupId, node: NodeId) -> bool {
        let plan = self.plans.get(&self.lies_in(group));
        self.members(group).contains(&node)
            || plan.is_some_and(|plan| plan.learners.contains(&node))
    }

    /// The groups of a node's roles that do not count on it: what its replicas of them say is old.
    pub fn outside(&self, node: NodeId) -> BTreeSet<GroupId> {
        let mut nodes = self.own_region().into_iter().flat_map(|region| &region.nodes);
        let Some(known) = nodes.find(|known| known.id == node) else { return BTreeSet::new() };
        let logs = self.logs().map(|(group, _)| *group);
        let hosted = logs.filter(|group| known.roles.contains(&NodeRole::hosting(group.kind())));
        hosted.filter(|group| !self.counts_on(*group, node)).collect()
    }

    /// A node of this region by its name or id, as people write it.
    pub fn own_node(&self, text: &str) -> Option<&Node> {
        let nodes = self.own_region().map_or(&[][..], |region| &region.nodes);
        let id = text.parse().ok().map(NodeId);
        nodes.iter().find(|node| node.name == text || Some(node.id) == id)
    }

    /// The nodes of a region that play a role.
    pub fn nodes(&self, region: RegionNumber, role: NodeRole) -> impl Iterator<Item = &Node> {
        let nodes = self.regions.get(&region).map_or(&[][..], |region| &region.nodes);
        nodes.iter().filter(move |node| node.roles.contains(&role))
    }
}
