//! A region that came back from a backup: other nodes, the same groups, a newer epoch.

use std::collections::BTreeSet;

use hansa_types::id::NodeId;
use hansa_types::region::RegionNumber;

use super::apply::Change;
use super::command::{Refusal, Restored};
use super::registry::Registered;
use super::{NODES_MAX, Ownership, State};

impl State {
    /// # Outcomes
    /// Refused, and nothing changed: a node id that was ever used (it may have promised what the
    /// backup does not know of), a group that the backup does not have or one that is missing, an
    /// epoch that is not newer, an owner whom nobody knows.
    pub(super) fn restore(&mut self, restored: Restored) -> Change {
        let Restored { nodes, groups, epoch, owner } = restored;
        let here = self.meta.get(&0).ok_or(Refusal::NotBootstrapped)?.here;
        if nodes.len() > NODES_MAX {
            return Err(Refusal::TooMany("nodes"));
        }
        if let Some(used) = nodes.iter().find(|node| self.registry.contains(&node.id)) {
            return Err(Refusal::NodeIdUsed(used.id));
        }
        let given: BTreeSet<_> = groups.iter().map(|(group, _)| *group).collect();
        let held: BTreeSet<_> = self.groups.iter().map(|(group, _)| *group).collect();
        if let Some(odd) = given.symmetric_difference(&held).next() {
            return Err(Refusal::UnknownGroup(*odd));
        }
        let known: BTreeSet<NodeId> = nodes.iter().map(|node| node.id).collect();
        for (group, members) in &groups {
            let distinct: BTreeSet<_> = members.iter().copied().collect();
            let good = distinct.len() == members.len() && distinct.is_subset(&known);
            // What was a part in the backup is in its host's state, and nowhere else.
            let part = self.groups.get(group).is_some_and(Vec::is_empty);
            if !good || members.is_empty() != part {
                return Err(Refusal::BadMembers);
            }
        }
        let owned = self.owners.get(&here).copied();
        let moved = self.moved.iter().filter(|((birth, _), _)| *birth == here);
        let have = moved.map(|(_, of)| of.epoch).chain(owned.map(|of| of.epoch)).max();
        if epoch <= have.unwrap_or(0) {
            return Err(Refusal::EpochNotNewer { have: have.unwrap_or(0) });
        }
        if let Some(unknown) = owner.filter(|owner| !self.regions.contains(owner)) {
            return Err(Refusal::UnknownRegion(unknown));
        }
        let old: Vec<NodeId> = self.registry.iter().map(|(id, _)| *id).collect();
        for id in old {
            self.registry.update(&id, |record| record.retired = true);
        }
        for node in &nodes {
            let record = Registered::new(&node.name);
            self.registry.insert(node.id, record);
        }
        self.regions.update(&here, |region| region.nodes = nodes);
        for (group, members) in groups {
            self.plans.remove(&group);
            self.groups.insert(group, members);
        }
        let owner = owner.or(owned.map(|of| of.owner)).unwrap_or(here);
        self.own_again(here, Ownership { owner, epoch });
        Ok(true)
    }

    /// What this region owned it goes on with in an epoch in which it has not written.
    fn own_again(&mut self, here: RegionNumber, own: Ownership) {
        let mine = self.owners.iter().filter(|(birth, of)| of.owner == here && **birth != here);
        let mine: Vec<_> = mine.map(|(birth, of)| (*birth, of.epoch)).collect();
        for (birth, had) in mine {
            let epoch = own.epoch.max(had.saturating_add(1));
            self.owners.insert(birth, Ownership { owner: here, epoch });
        }
        // Its groups begin in the restore's own epoch: a newer one tells them that they are
        // another region's.
        let epoch = own.epoch.saturating_add((own.owner != here).into());
        self.owners.insert(here, Ownership { epoch, ..own });
    }
}

#[cfg(test)]
mod tests {
    use hansa_types::id::{GroupId, GroupKind};

    use super::*;
    use crate::core::directory::{Command, Node, NodeRole, Outcome};
    use crate::testing::{genesis, number, record};

    fn node(id: u64) -> Node {
        let (name, internal) = (format!("eu-west-{id}"), "127.0.0.1:1".to_owned());
        Node { id: NodeId(id), name, internal, roles: NodeRole::ALL.to_vec() }
    }

    fn apply(state: &mut State, command: &Command) -> Outcome {
        state.apply(&command.encode().unwrap())
    }

    #[test]
    fn a_region_comes_back_on_new_nodes_in_a_newer_epoch_or_not_at_all() {
        let mut state = State::default();
        apply(&mut state, &Command::Bootstrap(Box::new(genesis(1))));
        let before = state.snapshot().unwrap();
        let old: Vec<NodeId> = before.own_region().unwrap().nodes.iter().map(|n| n.id).collect();
        let all = |ids: &[u64]| Restored {
            nodes: ids.iter().map(|id| node(*id)).collect(),
            groups: before
                .groups
                .keys()
                .map(|group| (*group, ids.iter().map(|id| NodeId(*id)).collect()))
                .collect(),
            epoch: 2,
            owner: None,
        };
        let good = all(&[901, 902, 903]);
        let mut lacks = good.clone();
        lacks.groups.pop();
        let mut strange = good.clone();
        strange.groups.push((GroupId::new(GroupKind::Orders, 77), vec![NodeId(901)]));
        let mut alone = good.clone();
        alone.groups[0].1 = vec![NodeId(77)];
        let stale = Restored { epoch: 1, ..good.clone() };
        let nowhere = Restored { owner: Some(number(9)), ..good.clone() };
        for bad in [all(&[old[0].0, 902]), lacks, strange, alone, stale, nowhere] {
            let digest = state.digest();
            let outcome = apply(&mut state, &Command::Restore(Box::new(bad)));
            assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
            assert_eq!(state.digest(), digest);
        }
        let outcome = apply(&mut state, &Command::Restore(Box::new(good.clone())));
        assert!(matches!(outcome, Outcome::Changed { .. }), "{outcome:?}");
        let now = state.snapshot().unwrap();
        assert_eq!(now.own_region().unwrap().nodes, good.nodes);
        assert_eq!(now.owners[&number(1)].epoch, 2);
        assert!(now.groups.values().all(|members| members.len() == 3 && members[0].0 == 901));
        assert!(old.iter().all(|id| now.registry[id].retired));
        let again = apply(&mut state, &Command::Restore(Box::new(good)));
        assert!(matches!(again, Outcome::Refused(_)), "once");
        assert_eq!(state.digest(), state.digest_full());
    }

    fn restored(state: &State, epoch: u64, owner: Option<u16>) -> Command {
        let groups = state.snapshot().unwrap().groups.into_keys();
        Command::Restore(Box::new(Restored {
            nodes: [901, 902, 903].map(node).to_vec(),
            groups: groups.map(|group| (group, vec![NodeId(901)])).collect(),
            epoch,
            owner: owner.map(number),
        }))
    }

    fn owner(state: &State, birth: u16) -> (u16, u64) {
        let of = state.snapshot().unwrap().owners[&number(birth)];
        (of.owner.get(), of.epoch)
    }

    #[test]
    fn what_another_region_has_taken_over_is_not_owned_again_after_a_restore() {
        let mut state = State::default();
        apply(&mut state, &Command::Bootstrap(Box::new(genesis(1))));
        let restored = restored(&state, 3, Some(2));
        assert!(matches!(apply(&mut state, &restored), Outcome::Changed { .. }));
        assert_eq!(owner(&state, 1), (2, 4), "beyond the epoch in which its groups begin");
    }

    #[test]
    fn everything_that_was_owned_is_owned_in_a_newer_epoch_after_a_restore() {
        let mut state = State::default();
        apply(&mut state, &Command::Bootstrap(Box::new(genesis(1))));
        let taken = Command::TakeRecord(Box::new(record(2, 1, 7)));
        assert!(matches!(apply(&mut state, &taken), Outcome::Changed { .. }));
        let restored = restored(&state, 5, None);
        assert!(matches!(apply(&mut state, &restored), Outcome::Changed { .. }));
        assert_eq!((owner(&state, 1), owner(&state, 2)), ((1, 5), (1, 8)));
        assert_eq!(owner(&state, 3), (3, 1), "another region's");
    }

    #[test]
    fn what_was_taken_over_after_the_backup_is_not_gone_on_with_in_the_forgotten_epoch() {
        let mut state = State::default();
        apply(&mut state, &Command::Bootstrap(Box::new(genesis(1))));
        let restored = restored(&state, 5, None);
        assert!(matches!(apply(&mut state, &restored), Outcome::Changed { .. }));
        // A failover is made by who takes over: here, and nobody remembers.
        for (told, then) in [(record(2, 1, 2), 5), (record(3, 1, 9), 10)] {
            let birth = told.birth.get();
            let taken = apply(&mut state, &Command::TakeRecord(Box::new(told)));
            assert!(matches!(taken, Outcome::Changed { .. }));
            assert_eq!(owner(&state, birth), (1, then));
        }
    }
}
