//! The directory as routing reads it: in memory, whole, never half changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use hansa_types::id::{GroupId, GroupKind, NodeId};
use hansa_types::region::{RegionName, RegionNumber, Slot};
use thiserror::Error;

use super::{Node, NodeRole, Ownership, Region, SlotMap, State};
use crate::core::policy::Policy;

/// One version of the directory.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub version: u64,
    pub here: RegionNumber,
    pub policy: Arc<Policy>,
    /// The policy file, to hand on.
    pub policy_text: Arc<str>,
    pub regions: BTreeMap<RegionNumber, Region>,
    pub owners: BTreeMap<RegionNumber, Ownership>,
    /// Slots whose owner is not that of their birth region.
    pub moved: BTreeMap<(RegionNumber, Slot), Ownership>,
    pub groups: BTreeMap<GroupId, Vec<NodeId>>,
    pub slots: BTreeMap<GroupKind, SlotMap>,
    pub(crate) by_name: BTreeMap<RegionName, RegionNumber>,
}

/// A snapshot from elsewhere that does not fit together.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("the directory that was sent is not whole: {0}")]
pub struct BadSnapshot(pub &'static str);

impl State {
    /// The directory as it is now, `None` before the bootstrap.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let meta = self.meta.get(&0)?;
        Some(Snapshot {
            version: meta.version,
            here: meta.here,
            policy: self.policy.clone()?,
            policy_text: meta.policy.clone(),
            regions: self.regions.iter().map(|(k, v)| (*k, v.clone())).collect(),
            owners: self.owners.iter().map(|(k, v)| (*k, *v)).collect(),
            moved: self.moved.iter().map(|(k, v)| (*k, *v)).collect(),
            groups: self.groups.iter().map(|(k, v)| (*k, v.clone())).collect(),
            slots: self.slots.iter().map(|(k, v)| (*k, v.clone())).collect(),
            by_name: self.regions.iter().map(|(k, v)| (v.name.clone(), *k)).collect(),
        })
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
        if self.regions.keys().any(|number| !self.owners.contains_key(number)) {
            return Err(BadSnapshot("a region without an owner"));
        }
        if self.groups.keys().any(|group| !self.slots.contains_key(&group.kind())) {
            return Err(BadSnapshot("a kind of group without a slot map"));
        }
        Ok(self)
    }

    pub fn number(&self, name: &RegionName) -> Option<RegionNumber> {
        self.by_name.get(name).copied()
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

    /// The group of this region in which a slot lies.
    pub fn group(&self, kind: GroupKind, slot: Slot) -> GroupId {
        GroupId::new(kind, self.slots.get(&kind).map_or(0, |map| map.group(slot)))
    }

    /// The nodes that keep a group of this region; empty for a group it does not have.
    pub fn members(&self, group: GroupId) -> &[NodeId] {
        self.groups.get(&group).map_or(&[], Vec::as_slice)
    }

    /// The nodes of a region that play a role.
    pub fn nodes(&self, region: RegionNumber, role: NodeRole) -> impl Iterator<Item = &Node> {
        let nodes = self.regions.get(&region).map_or(&[][..], |region| &region.nodes);
        nodes.iter().filter(move |node| node.roles.contains(&role))
    }
}
