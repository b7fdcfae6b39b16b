//! Nodes and members: as wanted, and as the groups' leaders have them.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use hansa_api::pb::admin::{ListMembersResponse, Member, MemberGroup, MemberPlace, RegionNode};
use hansa_api::pb::node::node_membership_service_client::NodeMembershipServiceClient;
use hansa_api::pb::node::{ListMembershipsRequest, Membership};
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_region_router::core::directory::Snapshot;
use hansa_region_router::forward::Upstreams;
use hansa_types::id::{GroupId, NodeId};
use tokio::time::timeout_at;

use super::Desk;
use crate::service::{list_groups, nodes};

/// What each node that answered says of its groups.
pub(super) type Told = BTreeMap<NodeId, Vec<Membership>>;

impl<U: Upstreams> Desk<'_, U> {
    pub async fn list_members(&self) -> ListMembersResponse {
        put_together(&self.now, &self.ask_members().await)
    }

    /// Asks every node; one that does not answer in time is left out.
    pub(super) async fn ask_members(&self) -> Told {
        let nodes = nodes(&self.now);
        let asked = nodes.iter().map(|node| memberships(self.upstreams, node.id, self.due));
        let answers = join_all(asked).await;
        let told = nodes.iter().zip(answers);
        told.filter_map(|(node, answer)| Some((node.id, answer?))).collect()
    }
}

async fn memberships<U: Upstreams>(
    upstreams: &U,
    node: NodeId,
    due: Deadline,
) -> Option<Vec<Membership>> {
    let mut client = NodeMembershipServiceClient::new(upstreams.node(node));
    let request = outgoing(ListMembershipsRequest {}, due).ok()?;
    let answer = timeout_at(due.0, client.list_memberships(request)).await;
    Some(answer.ok()?.ok()?.into_inner().memberships)
}

/// A group's membership as its newest leader has it, and who that is.
pub(super) fn led(told: &Told, group: GroupId) -> Option<(NodeId, &Membership)> {
    let all = told.iter().flat_map(|(node, held)| held.iter().map(move |held| (*node, held)));
    let led = all.filter(|(_, held)| held.group == group.number() && held.leads);
    led.max_by_key(|(_, held)| held.term)
}

fn put_together(now: &Snapshot, told: &Told) -> ListMembersResponse {
    let mut known: BTreeMap<NodeId, RegionNode> = BTreeMap::new();
    for (id, record) in &now.registry {
        let (node, name, retired) = (id.0, record.name.clone(), record.retired);
        known.insert(*id, RegionNode { node, name, retired, ..RegionNode::default() });
    }
    for node in nodes(now) {
        let entry = RegionNode {
            node: node.id.0,
            name: node.name,
            internal_endpoint: node.internal,
            roles: node.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            retired: false,
            reachable: told.contains_key(&node.id),
        };
        known.insert(node.id, entry);
    }
    let logs = now.logs().map(|(group, _)| *group);
    let groups = logs.map(|group| member_group(now, told, &known, group)).collect();
    ListMembersResponse { version: now.version, nodes: known.into_values().collect(), groups }
}

fn member_group(
    now: &Snapshot,
    told: &Told,
    known: &BTreeMap<NodeId, RegionNode>,
    group: GroupId,
) -> MemberGroup {
    let voters = now.groups.get(&group).map_or(&[][..], Vec::as_slice);
    let plan = now.plans.get(&group).cloned().unwrap_or_default();
    let led = led(told, group);
    let held = led.map(|(_, held)| held.clone()).unwrap_or_default();
    let ids = |numbers: &[u64]| numbers.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
    let (are_voters, are_learners) = (ids(&held.voters), ids(&held.learners));
    let mut all: BTreeSet<NodeId> = are_voters.union(&are_learners).copied().collect();
    all.extend(voters.iter().chain(&plan.learners).chain(&plan.leaving));
    let place = |votes: bool, learns: bool| match (votes, learns) {
        (true, _) => MemberPlace::Voter,
        (false, true) => MemberPlace::Learner,
        (false, false) => MemberPlace::None,
    };
    let members: Vec<Member> = all
        .iter()
        .map(|node| {
            let leads = led.is_some_and(|(leader, _)| leader == *node);
            let progress = held.progress.iter().find(|of| of.node == node.0);
            Member {
                node: node.0,
                node_name: known.get(node).map(|node| node.name.clone()).unwrap_or_default(),
                wanted: place(voters.contains(node), plan.learners.contains(node)).into(),
                actual: place(are_voters.contains(node), are_learners.contains(node)).into(),
                alive: leads || progress.is_some_and(|of| of.alive),
                lag_entries: progress.map_or(0, |of| of.lag_entries),
            }
        })
        .collect();
    let as_wanted = members.iter().all(|member| member.wanted == member.actual);
    let settled = led.is_some() && as_wanted && !held.joint && plan.leaving.is_empty();
    MemberGroup {
        group: group.number(),
        kind: list_groups::kind(group.kind()).into(),
        leader_node: led.map_or(0, |(leader, _)| leader.0),
        members,
        settled,
        next: match led {
            Some(_) => held.next,
            None => "no leader answered".to_owned(),
        },
    }
}
