//! Which nodes a region has, had and wants in its groups.
//!
//! A node id is given once: the registry keeps every id that was ever used, so that a node which
//! lost its log can never come back as one that has not. What is wanted of a group changes here in
//! one step; the group's leader then leads the group there and says when a node has left.

use hansa_types::id::{GroupId, NodeId, RequestId};
use hansa_types::region::RegionNumber;
use serde::{Deserialize, Serialize};

use super::apply::{Change, MEMBERS_MAX};
use super::command::{MemberChange, Refusal};
use super::{NODES_MAX, Node, Region, State};

/// Node ids that one region may ever use.
pub const IDS_MAX: usize = 10_000;
/// Ids that the directory gives away begin here, times the region's number: apart from those that
/// people write in configs, and apart from other regions'.
const IDS_PER_REGION: u64 = 100_000;

/// What is kept of a node id for ever.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Registered {
    /// The last part of its SPIFFE id.
    pub name: String,
    /// Nothing that comes under this id is accepted any more.
    pub retired: bool,
    /// The reseed that gave this id; empty when none did.
    pub request: String,
}

impl Registered {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), retired: false, request: String::new() }
    }
}

/// What is wanted of a group beside its voters.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// Nodes that receive its state and do not vote until they are promoted.
    pub learners: Vec<NodeId>,
    /// Nodes that are to leave and may still be in it.
    pub leaving: Vec<NodeId>,
    /// Whether the change under way was forced.
    pub forced: bool,
}

/// The nodes of a region after its config was read: known ones move, new ones join, and an id that
/// was used stays what it was.
///
/// A node is known by its name: whoever was reseeded has another id than configs say.
pub fn follow_config(known: &[Node], used: impl Fn(NodeId) -> bool, config: &[Node]) -> Vec<Node> {
    let mut nodes = known.to_vec();
    for told in config {
        match nodes.iter_mut().find(|node| node.name == told.name) {
            Some(node) => {
                node.internal.clone_from(&told.internal);
                node.roles.clone_from(&told.roles);
            }
            None if !used(told.id) => nodes.push(told.clone()),
            None => {}
        }
    }
    nodes
}

/// The id that an earlier reseed of the node `name`, asked for by the same request, gave it.
///
/// # Errors
/// The request was another node's, or what it gave is retired.
pub fn given_by<'a>(
    registry: impl IntoIterator<Item = (&'a NodeId, &'a Registered)>,
    name: &str,
    request: &str,
) -> Result<Option<NodeId>, Refusal> {
    match registry.into_iter().find(|(_, record)| record.request == request) {
        None => Ok(None),
        Some((_, record)) if record.name != name => Err(Refusal::RequestIdReused),
        Some((id, record)) if record.retired => Err(Refusal::RequestSuperseded(*id)),
        Some((id, _)) => Ok(Some(*id)),
    }
}

impl State {
    /// The region as the directory keeps it: of our own, the registry has the last word.
    pub(super) fn as_registered(&self, number: RegionNumber, told: Region) -> Region {
        if self.here() != Some(number) {
            return told;
        }
        let nodes = follow_config(self.nodes(), |id| self.registry.contains(&id), &told.nodes);
        Region { nodes, ..told }
    }

    /// Remembers the ids of a region's nodes, if it is our own.
    pub(super) fn register_all(&mut self, number: RegionNumber, nodes: &[Node]) {
        if self.here() != Some(number) {
            return;
        }
        for node in nodes {
            if !self.registry.contains(&node.id) {
                let record = Registered::new(&node.name);
                self.registry.insert(node.id, record);
            }
        }
    }

    /// A node that joins; id 0 asks for one that was never used.
    pub(super) fn register_node(&mut self, mut node: Node) -> Change {
        let known = self.nodes().iter().find(|known| known.name == node.name).cloned();
        if let Some(known) = known {
            if node.id.0 != 0 && node.id != known.id {
                return Err(Refusal::NodeNameTaken { name: node.name, node: known.id });
            }
            node.id = known.id;
            let changed = node != known;
            self.edit_nodes(|nodes| {
                nodes.iter_mut().filter(|n| n.id == node.id).for_each(|n| n.clone_from(&node));
            });
            return Ok(changed);
        }
        if self.nodes().len() >= NODES_MAX || self.registry.len() >= IDS_MAX {
            return Err(Refusal::TooMany("nodes"));
        }
        if node.id.0 == 0 {
            node.id = self.next_id()?;
        } else if self.registry.contains(&node.id) {
            return Err(Refusal::NodeIdUsed(node.id));
        }
        let record = Registered::new(&node.name);
        self.registry.insert(node.id, record);
        self.edit_nodes(|nodes| nodes.push(node));
        Ok(true)
    }

    pub(super) fn retire_node(&mut self, node: NodeId) -> Change {
        if self.registry.get(&node).ok_or(Refusal::UnknownNode(node))?.retired {
            return Ok(false);
        }
        if let Some(group) = self.groups_of(node).first() {
            return Err(Refusal::StillMember { node, group: *group });
        }
        self.retire(node);
        self.edit_nodes(|nodes| nodes.retain(|known| known.id != node));
        Ok(true)
    }

    /// A new id for a node that is to be rebuilt from nothing, in every group at once.
    pub(super) fn replace_node(&mut self, old: NodeId, request: String) -> Change {
        if request.parse::<RequestId>().is_err() {
            return Err(Refusal::Malformed);
        }
        let known = self.registry.get(&old).ok_or(Refusal::UnknownNode(old))?;
        if given_by(self.registry.iter(), &known.name, &request)?.is_some() {
            return Ok(false);
        }
        let mut node = self.active(old)?.clone();
        if self.registry.len() >= IDS_MAX {
            return Err(Refusal::TooMany("nodes"));
        }
        node.id = self.next_id()?;
        let new = node.id;
        self.retire(old);
        let record = Registered { request, ..Registered::new(&node.name) };
        self.registry.insert(new, record);
        self.edit_nodes(|nodes| {
            nodes.iter_mut().filter(|n| n.id == old).for_each(|n| n.clone_from(&node));
        });
        for group in self.groups_of(old) {
            let (mut members, mut plan) = self.wanted(group)?;
            members.iter_mut().chain(&mut plan.learners).filter(|n| **n == old).for_each(|n| {
                *n = new;
            });
            leave(&mut plan, old);
            self.want(group, members, plan)?;
        }
        Ok(true)
    }

    pub(super) fn change_members(&mut self, group: GroupId, change: MemberChange) -> Change {
        let (mut members, mut plan) = self.wanted(group)?;
        match change {
            MemberChange::Add { node, hold } => {
                self.active(node)?;
                if members.contains(&node) {
                    return Ok(false);
                }
                plan.leaving.retain(|leaving| *leaving != node);
                if !hold {
                    plan.learners.retain(|learner| *learner != node);
                    members.push(node);
                } else if !plan.learners.contains(&node) {
                    plan.learners.push(node);
                }
            }
            MemberChange::Promote { node } => {
                if !members.contains(&node) {
                    let held = plan.learners.iter().position(|learner| *learner == node);
                    plan.learners.remove(held.ok_or(Refusal::NotMember { node, group })?);
                    members.push(node);
                }
            }
            MemberChange::Remove { node, force } => {
                members.retain(|member| *member != node);
                plan.learners.retain(|learner| *learner != node);
                let (held, _) = self.wanted(group)?;
                if held.contains(&node) || self.plan(group).learners.contains(&node) {
                    leave(&mut plan, node);
                }
                plan.forced = force && !plan.leaving.is_empty();
            }
            MemberChange::Replace { old, new, force } => {
                self.active(new)?;
                let place = members.iter().position(|member| *member == old);
                if place.is_none() && !(members.contains(&new) && plan.leaving.contains(&old)) {
                    return Err(Refusal::NotMember { node: old, group });
                }
                if let Some(place) = place {
                    members.retain(|member| *member != new);
                    let place = members.iter().position(|member| *member == old).unwrap_or(place);
                    members[place] = new;
                }
                plan.learners.retain(|learner| *learner != new);
                plan.leaving.retain(|leaving| *leaving != new);
                leave(&mut plan, old);
                plan.forced = force;
            }
        }
        self.want(group, members, plan)
    }

    /// A node that was to leave a group is no longer in it: its leader says so.
    pub(super) fn left(&mut self, group: GroupId, node: NodeId) -> Change {
        let (members, mut plan) = self.wanted(group)?;
        plan.leaving.retain(|leaving| *leaving != node);
        plan.forced &= !plan.leaving.is_empty();
        self.want(group, members, plan)
    }

    fn want(&mut self, group: GroupId, members: Vec<NodeId>, plan: Plan) -> Change {
        if plan.learners.len() + members.len() > MEMBERS_MAX {
            return Err(Refusal::BadMembers);
        }
        let changed = self.put_members(group, members)?;
        let before = match plan == Plan::default() {
            true => self.plans.remove(&group).unwrap_or_default(),
            false => self.plans.insert(group, plan.clone()).unwrap_or_default(),
        };
        Ok(changed || before != plan)
    }

    fn wanted(&self, group: GroupId) -> Result<(Vec<NodeId>, Plan), Refusal> {
        let members = self.groups.get(&group).ok_or(Refusal::UnknownGroup(group))?;
        self.refuse_part(group)?;
        Ok((members.clone(), self.plan(group)))
    }

    fn plan(&self, group: GroupId) -> Plan {
        self.plans.get(&group).cloned().unwrap_or_default()
    }

    /// Groups in which a node is, is wanted, or may still be.
    fn groups_of(&self, node: NodeId) -> Vec<GroupId> {
        let in_plan = |group| {
            let plan = self.plan(group);
            plan.learners.contains(&node) || plan.leaving.contains(&node)
        };
        let groups = self.groups.iter();
        let of = groups.filter(|(group, members)| members.contains(&node) || in_plan(**group));
        of.map(|(group, _)| *group).collect()
    }

    fn active(&self, node: NodeId) -> Result<&Node, Refusal> {
        let found = self.nodes().iter().find(|known| known.id == node);
        found.ok_or(Refusal::UnknownNode(node))
    }

    fn nodes(&self) -> &[Node] {
        let here = self.here().and_then(|here| self.regions.get(&here));
        here.map_or(&[], |region| &region.nodes)
    }

    fn edit_nodes(&mut self, edit: impl FnOnce(&mut Vec<Node>)) {
        if let Some(here) = self.here() {
            self.regions.update(&here, |region| edit(&mut region.nodes));
        }
    }

    fn retire(&mut self, node: NodeId) {
        self.registry.update(&node, |record| record.retired = true);
    }

    pub(super) fn here(&self) -> Option<RegionNumber> {
        self.meta.get(&0).map(|meta| meta.here)
    }

    fn next_id(&self) -> Result<NodeId, Refusal> {
        let here = self.here().ok_or(Refusal::NotBootstrapped)?;
        let first = u64::from(here.get()) * IDS_PER_REGION;
        let ours = self.registry.iter().map(|(id, _)| id.0);
        let last = ours.filter(|id| (first..first + IDS_PER_REGION).contains(id)).max();
        Ok(NodeId(last.unwrap_or(first) + 1))
    }
}

fn leave(plan: &mut Plan, node: NodeId) {
    if !plan.leaving.contains(&node) {
        plan.leaving.push(node);
    }
}

#[cfg(test)]
mod tests;
