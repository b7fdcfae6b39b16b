//! The groups of this region, as each of their nodes sees them.

use std::collections::BTreeMap;

use futures::future::join_all;
use hansa_api::pb::admin::{Group, GroupKind as Kind, GroupReplica, ReplicaRole};
use hansa_api::pb::node::node_service_client::NodeServiceClient;
use hansa_api::pb::node::{ListReplicasRequest, Replica};
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_region_router::core::directory::{Node, Snapshot};
use hansa_region_router::forward::Upstreams;
use hansa_types::id::{GroupId, GroupKind, NodeId};
use tokio::time::timeout_at;
use tonic::Status;

use super::nodes;

/// Asks every node; one that does not answer in time is listed as unreachable.
pub async fn ask<U: Upstreams>(upstreams: &U, directory: &Snapshot, due: Deadline) -> Vec<Group> {
    let nodes = nodes(directory);
    let asked = nodes.iter().map(|node| replicas(upstreams, node, due));
    let answers = join_all(asked).await;
    let answers = nodes.iter().zip(answers).map(|(node, answer)| (node, answer.ok())).collect();
    put_together(directory, answers)
}

async fn replicas<U: Upstreams>(
    upstreams: &U,
    node: &Node,
    due: Deadline,
) -> Result<Vec<Replica>, Status> {
    let mut client = NodeServiceClient::new(upstreams.node(node.id));
    let request = outgoing(ListReplicasRequest {}, due)?;
    let answer = timeout_at(due.0, client.list_replicas(request)).await;
    let late = |_| hansa_api::status::Reason::DeadlineExceeded;
    Ok(answer.map_err(late)??.into_inner().replicas)
}

/// One group per id, one replica per node that hosts it or should. A part has those of the group in
/// which it lies.
pub fn put_together(
    directory: &Snapshot,
    answers: Vec<(&Node, Option<Vec<Replica>>)>,
) -> Vec<Group> {
    let mut groups: BTreeMap<GroupId, Vec<GroupReplica>> =
        directory.logs().map(|(group, _)| (*group, Vec::new())).collect();
    for (node, answer) in answers {
        let reachable = answer.is_some();
        let mut told: BTreeMap<GroupId, GroupReplica> = BTreeMap::new();
        for Replica { group, replica } in answer.into_iter().flatten() {
            if let (Some(group), Some(replica)) = (GroupId::from_number(group), replica) {
                told.insert(group, replica);
            }
        }
        let should = directory.logs().filter(|(_, members)| members.contains(&node.id));
        for group in should.map(|(group, _)| *group).collect::<Vec<_>>() {
            told.entry(group).or_default();
        }
        for (group, replica) in told {
            let (node, node_name) = (node.id.0, node.name.clone());
            let mut named = GroupReplica { node, node_name, reachable, ..replica };
            if named.stopped.is_empty() && !directory.counts_on(group, NodeId(node)) {
                named.set_role(ReplicaRole::Outsider);
            }
            groups.entry(group).or_default().push(named);
        }
    }
    let parts = directory.groups.keys().filter(|group| directory.lies_in(**group) != **group);
    for part in parts {
        let host = groups.get(&directory.lies_in(*part)).cloned().unwrap_or_default();
        groups.insert(*part, host);
    }
    let group = |(id, replicas): (GroupId, _)| {
        let host = Some(directory.lies_in(id)).filter(|host| *host != id);
        let (group, kind) = (id.number(), kind(id.kind()).into());
        Group { group, kind, replicas, part_of: host.map_or(0, GroupId::number) }
    };
    groups.into_iter().map(group).collect()
}

pub fn kind(kind: GroupKind) -> Kind {
    match kind {
        GroupKind::Directory => Kind::Directory,
        GroupKind::Orders => Kind::Orders,
        GroupKind::Inventory => Kind::Inventory,
        GroupKind::Payments => Kind::Payments,
    }
}
