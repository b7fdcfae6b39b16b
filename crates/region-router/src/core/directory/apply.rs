//! One command, one outcome: the same on every replica.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hansa_types::id::{GroupId, GroupKind, NodeId};
use hansa_types::region::{RegionNumber, Slot};
use hansa_types::time::LogTime;

use super::command::{Command, Genesis, Outcome, Refusal};
use super::{
    Meta, NODES_MAX, Ownership, REGIONS_MAX, Region, SlotMap, SlotRun, State, host_of,
    load_policy::parse,
};

/// Members of a group at most.
pub(super) const MEMBERS_MAX: usize = 7;

/// Whether the state changed.
pub(super) type Change = Result<bool, Refusal>;

impl State {
    /// Applies one command of the log.
    ///
    /// # Outcomes
    /// [`Refusal`]s are checked in the order of that enum; a refused command changes nothing.
    pub fn apply(&mut self, command: &[u8]) -> Outcome {
        self.apply_at(LogTime(0), command)
    }

    /// The same at a time of the log, which says how long ago something was otherwise.
    pub fn apply_at(&mut self, at: LogTime, command: &[u8]) -> Outcome {
        let change = match Command::decode(command) {
            Ok(Command::Bootstrap(genesis)) => self.bootstrap(*genesis),
            Ok(_) if self.meta.is_empty() => Err(Refusal::NotBootstrapped),
            Ok(Command::LoadPolicy { text }) => self.load_policy(at, &text),
            Ok(Command::PutRegion { number, region }) => self.put_region(number, region),
            Ok(Command::Own { birth, slot, owner, epoch }) => {
                self.own(birth, slot, Ownership { owner, epoch })
            }
            Ok(Command::MapSlots { kind, run }) => self.map_slots(kind, run),
            Ok(Command::PutGroup { group, members }) => self.put_group(group, members),
            Ok(Command::RegisterNode { node }) => self.register_node(node),
            Ok(Command::RetireNode { node }) => self.retire_node(node),
            Ok(Command::ReplaceNode { node, request }) => self.replace_node(node, request),
            Ok(Command::ChangeMembers { group, change }) => self.change_members(group, change),
            Ok(Command::Left { group, node }) => self.left(group, node),
            Ok(Command::Restore(restored)) => self.restore(*restored),
            Ok(Command::MakeRecord { record, drained }) => self.make_record(at, *record, drained),
            Ok(Command::TakeRecord(record)) => self.take_record(*record),
            Ok(Command::HeardEpoch { birth, ownership }) => self.heard_epoch(birth, ownership),
            Ok(Command::Drain { birth, to, epoch }) => self.drain(birth, to, epoch),
            Ok(Command::Undrain { birth, epoch }) => self.undrain(birth, epoch),
            Ok(Command::Fence { birth, fence }) => self.fence(at, birth, fence),
            Ok(Command::SetIsolation { region, isolation }) => {
                self.set_isolation(region, isolation)
            }
            Err(_) => Err(Refusal::Malformed),
        };
        match change {
            Ok(true) => {
                self.meta.update(&0, |meta| meta.version += 1);
                Outcome::Changed { version: self.version() }
            }
            Ok(false) => Outcome::Unchanged { version: self.version() },
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    fn bootstrap(&mut self, genesis: Genesis) -> Change {
        if !self.meta.is_empty() {
            return Ok(false);
        }
        // Built aside: a genesis that is refused half way must leave nothing behind.
        let mut fresh = Self::default();
        let policy = parse(&genesis.policy)?;
        let meta = Meta { here: genesis.here, version: 0, policy: genesis.policy.into() };
        fresh.meta.insert(0, meta);
        fresh.policy = Some(Arc::new(policy));
        for (number, region) in genesis.regions {
            fresh.put_region(number, region)?;
        }
        if !fresh.regions.contains(&genesis.here) {
            return Err(Refusal::UnknownRegion(genesis.here));
        }
        let mut kinds: BTreeMap<GroupKind, u16> = BTreeMap::new();
        for (group, members) in genesis.groups {
            let count = kinds.entry(group.kind()).or_default();
            *count = (*count).max(group.index().saturating_add(1));
            match members.is_empty() {
                true => _ = fresh.groups.insert(group, members),
                false => _ = fresh.put_members(group, members)?,
            }
        }
        fresh.check_parts()?;
        for (kind, count) in kinds {
            // Each index below the count must exist, or slots would map to a group that does not.
            for index in 0..count {
                let group = GroupId::new(kind, index);
                if !fresh.groups.contains(&group) {
                    return Err(Refusal::UnknownGroup(group));
                }
            }
            fresh.slots.insert(kind, SlotMap::spread(count));
        }
        *self = fresh;
        Ok(true)
    }

    fn put_region(&mut self, number: RegionNumber, region: Region) -> Change {
        if region.nodes.len() > NODES_MAX || region.public.len() > NODES_MAX {
            return Err(Refusal::TooMany("nodes"));
        }
        let region = self.as_registered(number, region);
        match self.regions.get(&number) {
            Some(known) if known.name != region.name => {
                return Err(Refusal::NumberTaken { number, name: known.name.clone() });
            }
            Some(known) if *known == region => return Ok(false),
            Some(_) => {}
            None if self.regions.len() >= REGIONS_MAX => return Err(Refusal::TooMany("regions")),
            None => {}
        }
        let same =
            |(n, known): &(&RegionNumber, &Region)| **n != number && known.name == region.name;
        if let Some((&number, known)) = self.regions.iter().find(same) {
            return Err(Refusal::NameTaken { number, name: known.name.clone() });
        }
        self.register_all(number, &region.nodes);
        self.regions.insert(number, region);
        if !self.owners.contains(&number) {
            self.owners.insert(number, Ownership { owner: number, epoch: 1 });
        }
        Ok(true)
    }

    /// A change of owner across regions; the epoch is what keeps a stale record out.
    fn own(&mut self, birth: RegionNumber, slot: Option<Slot>, new: Ownership) -> Change {
        for region in [birth, new.owner] {
            if !self.regions.contains(&region) {
                return Err(Refusal::UnknownRegion(region));
            }
        }
        let whole = self.owners.get(&birth).copied();
        let now = match slot {
            Some(slot) => self.moved.get(&(birth, slot)).copied().max_epoch(whole),
            // A region that moves takes its moved slots along, so it must outgrow them too.
            None => {
                let slots = self.moved.iter().filter(|((region, _), _)| *region == birth);
                slots.map(|(_, o)| *o).fold(whole, |have, o| Some(o).max_epoch(have))
            }
        };
        if now == Some(new) {
            return Ok(false);
        }
        let have = now.map_or(0, |o| o.epoch);
        if new.epoch <= have {
            return Err(Refusal::EpochNotNewer { have });
        }
        match slot {
            Some(slot) => _ = self.moved.insert((birth, slot), new),
            None => self.own_all(birth, new),
        }
        Ok(true)
    }

    pub(super) fn own_all(&mut self, birth: RegionNumber, new: Ownership) {
        let keys: Vec<_> = self.moved.iter().map(|(key, _)| *key).collect();
        for key in keys.into_iter().filter(|(region, _)| *region == birth) {
            self.moved.remove(&key);
        }
        self.owners.insert(birth, new);
    }

    fn map_slots(&mut self, kind: GroupKind, run: SlotRun) -> Change {
        if run.last < run.first {
            return Err(Refusal::BadRun);
        }
        let group = GroupId::new(kind, run.group);
        if !self.groups.contains(&group) {
            return Err(Refusal::UnknownGroup(group));
        }
        let old = self.slots.get(&kind).cloned().unwrap_or_else(|| SlotMap::spread(1));
        let new = old.with(run);
        let changed = new != old;
        self.slots.insert(kind, new);
        Ok(changed)
    }

    fn put_group(&mut self, group: GroupId, members: Vec<NodeId>) -> Change {
        let kind = group.kind();
        let first = !self.slots.contains(&kind);
        if first && group.index() != 0 {
            return Err(Refusal::UnknownGroup(GroupId::new(kind, 0)));
        }
        let changed = self.put_members(group, members)?;
        if first {
            self.slots.insert(kind, SlotMap::spread(1));
        }
        Ok(changed)
    }

    pub(super) fn put_members(&mut self, group: GroupId, members: Vec<NodeId>) -> Change {
        let distinct = members.iter().collect::<BTreeSet<_>>().len();
        if distinct != members.len() || !(1..=MEMBERS_MAX).contains(&distinct) {
            return Err(Refusal::BadMembers);
        }
        self.refuse_part(group)?;
        let old = self.groups.insert(group, members.clone());
        Ok(old != Some(members))
    }

    /// A part stays one: whoever is to keep it is said of the group in which it lies.
    pub(super) fn refuse_part(&self, group: GroupId) -> Result<(), Refusal> {
        let part = self.groups.get(&group).is_some_and(Vec::is_empty);
        match host_of(group).filter(|_| part) {
            Some(host) => Err(Refusal::PartOf { part: group, host }),
            None => Ok(()),
        }
    }

    /// Groups without members are parts of orders groups that have some.
    fn check_parts(&self) -> Result<(), Refusal> {
        let has_log = |group| self.groups.get(&group).is_some_and(|members| !members.is_empty());
        let mut parts = self.groups.iter().filter(|(_, members)| members.is_empty());
        match parts.all(|(part, _)| host_of(*part).is_some_and(has_log)) {
            true => Ok(()),
            false => Err(Refusal::BadMembers),
        }
    }
}

trait MaxEpoch {
    fn max_epoch(self, other: Self) -> Self;
}

impl MaxEpoch for Option<Ownership> {
    fn max_epoch(self, other: Self) -> Self {
        if self.map_or(0, |o| o.epoch) >= other.map_or(0, |o| o.epoch) { self } else { other }
    }
}
