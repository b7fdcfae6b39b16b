//! A region that came back from a backup: other nodes, the same groups, a newer epoch.

use std::collections::BTreeSet;

use hansa_types::id::NodeId;

use super::apply::Change;
use super::command::{Refusal, Restored};
use super::registry::Registered;
use super::{NODES_MAX, Ownership, State};

impl State {
    /// # Outcomes
    /// Refused, and nothing changed: a node id that was ever used (it may have promised what the
    /// backup does not know of), a group that the backup does not have or one that is missing, an
    /// epoch that is not newer.
    pub(super) fn restore(&mut self, restored: Restored) -> Change {
        let Restored { nodes, groups, epoch } = restored;
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
        for (_, members) in &groups {
            let distinct: BTreeSet<_> = members.iter().copied().collect();
            let good = distinct.len() == members.len() && distinct.is_subset(&known);
            if !good || members.is_empty() {
                return Err(Refusal::BadMembers);
            }
        }
        let owned = self.owners.get(&here).copied();
        let moved = self.moved.iter().filter(|((birth, _), _)| *birth == here);
        let have = moved.map(|(_, of)| of.epoch).chain(owned.map(|of| of.epoch)).max();
        if epoch <= have.unwrap_or(0) {
            return Err(Refusal::EpochNotNewer { have: have.unwrap_or(0) });
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
        let owner = owned.map_or(here, |of| of.owner);
        self.owners.insert(here, Ownership { owner, epoch });
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use hansa_types::id::{GroupId, GroupKind};

    use super::*;
    use crate::core::directory::{Command, Node, NodeRole, Outcome};
    use crate::testing::{genesis, number};

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
        };
        let good = all(&[901, 902, 903]);
        let mut lacks = good.clone();
        lacks.groups.pop();
        let mut strange = good.clone();
        strange.groups.push((GroupId::new(GroupKind::Orders, 77), vec![NodeId(901)]));
        let mut alone = good.clone();
        alone.groups[0].1 = vec![NodeId(77)];
        let stale = Restored { epoch: 1, ..good.clone() };
        for bad in [all(&[old[0].0, 902]), lacks, strange, alone, stale] {
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
}
