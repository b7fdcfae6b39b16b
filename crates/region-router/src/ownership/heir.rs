//! Whether this region could take births over, as each of its orders groups says.

use futures::future::join_all;
use hansa_api::pb::directory as pb;
use hansa_api::pb::directory::ownership_service_client::OwnershipServiceClient;
use hansa_api::pb::node::node_takeover_service_client::NodeTakeoverServiceClient;
use hansa_api::pb::node::{GetNodeHeirRequest, HeirGroup};
use hansa_api::status::Failure;
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_types::id::GroupKind;
use hansa_types::region::RegionName;

use super::ask::within;
use crate::core::directory::{Node, Snapshot};
use crate::forward::Upstreams;

/// All but one of so many parts of the time are for the nodes: one that is away must not use up all
/// of the caller's.
const PARTS: u32 = 4;

/// Of a group for which no leader spoke nothing is known, and that is said.
pub(super) async fn read<U: Upstreams>(
    upstreams: &U,
    now: &Snapshot,
    birth: &str,
    due: Deadline,
) -> pb::ReadHeirResponse {
    let left = due.remaining().unwrap_or_default();
    let due = Deadline::after(left / PARTS * (PARTS - 1)).min(due);
    let nodes = now.own_region().map(|region| region.nodes.clone()).unwrap_or_default();
    let asked = nodes.iter().map(|node| node_heir(upstreams, node, birth, due));
    let told = join_all(asked).await.into_iter().flatten();
    let mut groups: Vec<_> = told.flatten().collect();
    groups.sort_by_key(|of| of.group);
    let all = now.groups.keys().filter(|group| group.kind() == GroupKind::Orders);
    let unheard = all.filter(|group| groups.iter().all(|of| of.group != group.number()));
    let unheard_groups = unheard.map(ToString::to_string).collect();
    pb::ReadHeirResponse { groups, unheard_groups }
}

async fn node_heir<U: Upstreams>(
    upstreams: &U,
    node: &Node,
    birth: &str,
    due: Deadline,
) -> Result<Vec<HeirGroup>, Failure> {
    let mut client = NodeTakeoverServiceClient::new(upstreams.node(node.id));
    let request = outgoing(GetNodeHeirRequest { birth: birth.to_owned() }, due)?;
    Ok(within(due, client.get_node_heir(request)).await?.groups)
}

/// Asks another region whether it could take births over.
///
/// # Errors
/// It did not answer.
pub async fn ask<U: Upstreams>(
    upstreams: &U,
    region: &RegionName,
    request: pb::ReadHeirRequest,
    due: Deadline,
) -> Result<pb::ReadHeirResponse, Failure> {
    let mut client = OwnershipServiceClient::new(upstreams.gateway(region));
    let request = outgoing(request, due)?;
    within(due, client.read_heir(request)).await
}
