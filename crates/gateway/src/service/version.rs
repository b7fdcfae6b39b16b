//! Which versions of behaviour this region's groups apply. One verb per file.

mod list_versions;
mod raise_version;

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::version_service_server::VersionService;
use hansa_api::pb::node::node_version_service_client::NodeVersionServiceClient;
use hansa_api::pb::node::{GetReleaseRequest, GetReleaseResponse, HostedVersion};
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_region_router::core::directory::Snapshot;
use hansa_region_router::forward::Upstreams;
use hansa_types::id::{GroupId, NodeId};
use tokio::time::timeout_at;
use tonic::{Request, Response, Status};

use super::{Own, due, nodes};

/// What each node that answered runs.
pub(super) type Told = BTreeMap<NodeId, GetReleaseResponse>;

/// Asks every node; one that does not answer in time is left out.
pub(super) async fn ask<U: Upstreams>(upstreams: &U, now: &Snapshot, due: Deadline) -> Told {
    let nodes = nodes(now);
    let answers = join_all(nodes.iter().map(|node| release(upstreams, node.id, due))).await;
    let told = nodes.iter().zip(answers);
    told.filter_map(|(node, answer)| Some((node.id, answer?))).collect()
}

async fn release<U: Upstreams>(
    upstreams: &U,
    node: NodeId,
    due: Deadline,
) -> Option<GetReleaseResponse> {
    let mut client = NodeVersionServiceClient::new(upstreams.node(node));
    let request = outgoing(GetReleaseRequest {}, due).ok()?;
    let answer = timeout_at(due.0, client.get_release(request)).await;
    Some(answer.ok()?.ok()?.into_inner())
}

/// A group on the nodes that host it.
fn hosted(told: &Told, group: GroupId) -> impl Iterator<Item = (NodeId, &HostedVersion)> {
    told.iter().flat_map(move |(node, release)| {
        let of = release.groups.iter().filter(move |held| held.group == group.number());
        of.map(move |held| (*node, held))
    })
}

/// A group as its newest leader has it, and who that is.
fn led(told: &Told, group: GroupId) -> Option<(NodeId, &HostedVersion)> {
    hosted(told, group).filter(|(_, held)| held.leads).max_by_key(|(_, held)| held.term)
}

/// Everybody who is to keep a group, or keeps it still.
fn members(now: &Snapshot, group: GroupId) -> BTreeSet<NodeId> {
    let mut all: BTreeSet<NodeId> = now.members(group).iter().copied().collect();
    if let Some(plan) = now.plans.get(&group) {
        all.extend(plan.learners.iter().chain(&plan.leaving));
    }
    all
}

#[tonic::async_trait]
impl<U: Upstreams> VersionService for Own<U>
where
    U::Peer: Sync,
{
    async fn list_versions(
        &self,
        request: Request<pb::ListVersionsRequest>,
    ) -> Result<Response<pb::ListVersionsResponse>, Status> {
        let (due, now) = (due(&request), self.directory()?);
        let told = ask(&self.upstreams, &now, due).await;
        Ok(Response::new(list_versions::put_together(&now, &told)))
    }

    async fn raise_version(
        &self,
        request: Request<pb::RaiseVersionRequest>,
    ) -> Result<Response<pb::RaiseVersionResponse>, Status> {
        let (due, now) = (due(&request), self.directory()?);
        let raised = raise_version::run(&self.upstreams, &now, request.get_ref(), due).await;
        Ok(Response::new(raised?))
    }
}
