//! A region's directory: who owns which slots, which group keeps them, and under which policy.
//!
//! One small replicated group per region. Every change is a [`Command`]; every replica decides
//! alike and answers with an [`Outcome`]. What routing reads is a [`Snapshot`], made after a
//! change.

mod apply;
mod command;
mod load_policy;
mod loss;
mod ownership;
mod registry;
mod restore;
mod snapshot;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

use hansa_pages::{FrozenTable, ReadError, Table};
use hansa_types::hash::StateHash;
use hansa_types::id::{GroupId, GroupKind, NodeId};
use hansa_types::region::{RegionName, RegionNumber, Slot};
use serde::{Deserialize, Serialize};

pub use self::command::{Command, Genesis, MemberChange, Outcome, Refusal, Restored};
pub use self::load_policy::{FORMER_LIFE_MS, FORMERS_MAX, Former};
pub use self::ownership::{
    Drain, Fence, Isolation, Kind, LEASE_MS, LEASE_MS_MAX, OwnershipRecord, Proof, SUBMIT_MS_MAX,
};
pub use self::registry::{IDS_MAX, Plan, Registered, follow_config, given_by};
pub use self::snapshot::{BadSnapshot, Snapshot};
use super::policy::Policy;

/// Regions that one directory knows at most.
pub const REGIONS_MAX: usize = 256;
/// Nodes that one region lists at most.
pub const NODES_MAX: usize = 256;
/// Bytes of a policy file.
pub const POLICY_BYTES_MAX: usize = 256 << 10;

/// A process of a region, as the others dial it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Node {
    pub id: NodeId,
    /// The last part of its SPIFFE id.
    pub name: String,
    /// `host:port` of its internal listener.
    pub internal: String,
    pub roles: Vec<NodeRole>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeRole {
    Gateway,
    Orders,
    Inventory,
    Payments,
    Directory,
}

impl NodeRole {
    pub const ALL: [Self; 5] =
        [Self::Gateway, Self::Orders, Self::Inventory, Self::Payments, Self::Directory];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Orders => "orders",
            Self::Inventory => "inventory",
            Self::Payments => "payments",
            Self::Directory => "directory",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// The role of nodes that host groups of a kind.
    pub fn hosting(kind: GroupKind) -> Self {
        match kind {
            GroupKind::Directory => Self::Directory,
            GroupKind::Orders => Self::Orders,
            GroupKind::Inventory => Self::Inventory,
            GroupKind::Payments => Self::Payments,
        }
    }
}

/// A region of the league, as this one knows it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Region {
    pub name: RegionName,
    /// `host:port` of its gateways, for clients.
    pub public: Vec<String>,
    pub nodes: Vec<Node>,
}

/// Who serves what was born in a place, and since which epoch.
///
/// # Invariant
/// The epoch of a place only grows: a change with an older or equal epoch is refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Ownership {
    pub owner: RegionNumber,
    pub epoch: u64,
}

/// Slots `first..=last` lie in the group of this index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SlotRun {
    pub first: Slot,
    pub last: Slot,
    pub group: u16,
}

/// The group of each slot, as runs in order without gaps.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SlotMap(Vec<SlotRun>);

/// The orders group whose part a group of books would be.
fn host_of(group: GroupId) -> Option<GroupId> {
    match group.kind() {
        GroupKind::Inventory | GroupKind::Payments => {
            Some(GroupId::new(GroupKind::Orders, group.index()))
        }
        GroupKind::Directory | GroupKind::Orders => None,
    }
}

/// What is one of a kind: under the key 0 of its table, so that the digest covers it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
struct Meta {
    here: RegionNumber,
    /// Counts changes; a snapshot carries it.
    version: u64,
    policy: Arc<str>,
}

/// The replicated state.
pub struct State {
    meta: Table<u8, Meta>,
    regions: Table<RegionNumber, Region>,
    owners: Table<RegionNumber, Ownership>,
    moved: Table<(RegionNumber, Slot), Ownership>,
    groups: Table<GroupId, Vec<NodeId>>,
    slots: Table<GroupKind, SlotMap>,
    registry: Table<NodeId, Registered>,
    plans: Table<GroupId, Plan>,
    /// Policies by version under which somebody lived elsewhere, not long ago.
    former: Table<u64, load_policy::Replaced>,
    /// The newest record of each region's births; none before the first change of owner.
    records: Table<RegionNumber, OwnershipRecord>,
    draining: Table<RegionNumber, Drain>,
    fences: Table<RegionNumber, Fence>,
    isolation: Table<RegionNumber, Isolation>,
    /// The policy text of `meta`, parsed.
    policy: Option<Arc<Policy>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            meta: Table::new("directory.meta"),
            regions: Table::new("directory.regions"),
            owners: Table::new("directory.owners"),
            moved: Table::new("directory.moved"),
            groups: Table::new("directory.groups"),
            slots: Table::new("directory.slots"),
            registry: Table::new("directory.registry"),
            plans: Table::new("directory.plans"),
            former: Table::new("directory.former"),
            records: Table::new("directory.records"),
            draining: Table::new("directory.draining"),
            fences: Table::new("directory.fences"),
            isolation: Table::new("directory.isolation"),
            policy: None,
        }
    }
}

/// A view of the state that later commands do not change.
pub struct Frozen {
    meta: FrozenTable<u8, Meta>,
    regions: FrozenTable<RegionNumber, Region>,
    owners: FrozenTable<RegionNumber, Ownership>,
    moved: FrozenTable<(RegionNumber, Slot), Ownership>,
    groups: FrozenTable<GroupId, Vec<NodeId>>,
    slots: FrozenTable<GroupKind, SlotMap>,
    registry: FrozenTable<NodeId, Registered>,
    plans: FrozenTable<GroupId, Plan>,
    former: FrozenTable<u64, load_policy::Replaced>,
    records: FrozenTable<RegionNumber, OwnershipRecord>,
    draining: FrozenTable<RegionNumber, Drain>,
    fences: FrozenTable<RegionNumber, Fence>,
    isolation: FrozenTable<RegionNumber, Isolation>,
}

/// Why a stored directory could not be read back.
#[derive(Debug, thiserror::Error)]
pub enum Thaw {
    #[error(transparent)]
    Table(#[from] ReadError),
    #[error("the stored policy no longer parses: {0}")]
    Policy(#[from] super::policy::Refused),
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "directory version {} digest {}", self.version(), self.digest())
    }
}

impl State {
    pub fn freeze(&self) -> Frozen {
        Frozen {
            meta: self.meta.freeze(),
            regions: self.regions.freeze(),
            owners: self.owners.freeze(),
            moved: self.moved.freeze(),
            groups: self.groups.freeze(),
            slots: self.slots.freeze(),
            registry: self.registry.freeze(),
            plans: self.plans.freeze(),
            former: self.former.freeze(),
            records: self.records.freeze(),
            draining: self.draining.freeze(),
            fences: self.fences.freeze(),
            isolation: self.isolation.freeze(),
        }
    }

    /// # Errors
    /// A stream that does not hold a directory of this format.
    pub fn thaw(from: &mut dyn Read) -> Result<Self, Thaw> {
        let mut state = Self {
            meta: Table::read("directory.meta", from)?,
            regions: Table::read("directory.regions", from)?,
            owners: Table::read("directory.owners", from)?,
            moved: Table::read("directory.moved", from)?,
            groups: Table::read("directory.groups", from)?,
            slots: Table::read("directory.slots", from)?,
            registry: Table::read("directory.registry", from)?,
            plans: Table::read("directory.plans", from)?,
            former: Table::read("directory.former", from)?,
            records: Table::read("directory.records", from)?,
            draining: Table::read("directory.draining", from)?,
            fences: Table::read("directory.fences", from)?,
            isolation: Table::read("directory.isolation", from)?,
            policy: None,
        };
        if let Some(meta) = state.meta.get(&0) {
            state.policy = Some(Arc::new(Policy::trusted(&meta.policy)?));
        }
        Ok(state)
    }

    pub fn digest(&self) -> StateHash {
        sum([
            self.meta.digest(),
            self.regions.digest(),
            self.owners.digest(),
            self.moved.digest(),
            self.groups.digest(),
            self.slots.digest(),
            self.registry.digest(),
            self.plans.digest(),
            self.former.digest(),
            self.records.digest(),
            self.draining.digest(),
            self.fences.digest(),
            self.isolation.digest(),
        ])
    }

    pub fn digest_full(&self) -> StateHash {
        sum([
            self.meta.recompute_digest(),
            self.regions.recompute_digest(),
            self.owners.recompute_digest(),
            self.moved.recompute_digest(),
            self.groups.recompute_digest(),
            self.slots.recompute_digest(),
            self.registry.recompute_digest(),
            self.plans.recompute_digest(),
            self.former.recompute_digest(),
            self.records.recompute_digest(),
            self.draining.recompute_digest(),
            self.fences.recompute_digest(),
            self.isolation.recompute_digest(),
        ])
    }

    /// How many changes were made; 0 before the bootstrap.
    pub fn version(&self) -> u64 {
        self.meta.get(&0).map_or(0, |meta| meta.version)
    }
}

impl Frozen {
    /// # Errors
    /// What the writer says.
    pub fn write(&self, to: &mut dyn Write) -> std::io::Result<()> {
        self.meta.write(to)?;
        self.regions.write(to)?;
        self.owners.write(to)?;
        self.moved.write(to)?;
        self.groups.write(to)?;
        self.slots.write(to)?;
        self.registry.write(to)?;
        self.plans.write(to)?;
        self.former.write(to)?;
        self.records.write(to)?;
        self.draining.write(to)?;
        self.fences.write(to)?;
        self.isolation.write(to)
    }

    pub fn digest_full(&self) -> StateHash {
        sum([
            self.meta.recompute_digest(),
            self.regions.recompute_digest(),
            self.owners.recompute_digest(),
            self.moved.recompute_digest(),
            self.groups.recompute_digest(),
            self.slots.recompute_digest(),
            self.registry.recompute_digest(),
            self.plans.recompute_digest(),
            self.former.recompute_digest(),
            self.records.recompute_digest(),
            self.draining.recompute_digest(),
            self.fences.recompute_digest(),
            self.isolation.recompute_digest(),
        ])
    }
}

fn sum<const N: usize>(parts: [StateHash; N]) -> StateHash {
    parts.into_iter().fold(StateHash::default(), |mut sum, part| {
        sum.add(part);
        sum
    })
}

impl SlotMap {
    /// Every slot to group `slot % groups`, the default of a new region; runs of one slot unless
    /// there is one group.
    pub fn spread(groups: u16) -> Self {
        let groups = groups.max(1);
        let mut map = Self(Vec::new());
        for slot in (0..Slot::COUNT).filter_map(Slot::new) {
            map.push(SlotRun { first: slot, last: slot, group: slot.get() % groups });
        }
        map
    }

    /// The runs, `None` unless they cover every slot once, in order.
    pub fn of_runs(runs: Vec<SlotRun>) -> Option<Self> {
        let mut next = 0;
        for run in &runs {
            if run.first.get() != next || run.last < run.first {
                return None;
            }
            next = run.last.get() + 1;
        }
        (next == Slot::COUNT).then_some(Self(runs))
    }

    /// The same map with the slots of `run` in its group.
    #[must_use]
    pub fn with(&self, run: SlotRun) -> Self {
        let mut map = Self(Vec::with_capacity(self.0.len() + 2));
        for slot in (0..Slot::COUNT).filter_map(Slot::new) {
            let inside = (run.first..=run.last).contains(&slot);
            let group = if inside { run.group } else { self.group(slot) };
            map.push(SlotRun { first: slot, last: slot, group });
        }
        map
    }

    pub fn runs(&self) -> &[SlotRun] {
        &self.0
    }

    pub fn group(&self, slot: Slot) -> u16 {
        let at = self.0.partition_point(|run| run.last < slot);
        self.0.get(at).map_or(0, |run| run.group)
    }

    fn push(&mut self, run: SlotRun) {
        match self.0.last_mut() {
            Some(last) if last.group == run.group => last.last = run.last,
            _ => self.0.push(run),
        }
    }
}
