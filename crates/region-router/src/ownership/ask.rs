//! The calls, from whoever makes them.

use hansa_api::pb::directory as pb;
use hansa_api::pb::directory::ownership_service_client::OwnershipServiceClient;
use hansa_api::pb::directory::registry_service_client::RegistryServiceClient;
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_types::id::NodeId;
use hansa_types::region::RegionName;
use tokio::time::timeout_at;
use tonic::{Response, Status};

use super::keepers;
use crate::change::at_leader;
use crate::core::directory::Snapshot;
use crate::core::standing::Standing;
use crate::forward::Upstreams;
use crate::wire::loss::standing_of;

/// Who owns what, by a linearizable read of this region's directory.
///
/// # Errors
/// As of a change: no leader answered in time.
pub async fn read<U: Upstreams>(
    upstreams: &U,
    now: &Snapshot,
    due: Deadline,
) -> Result<Standing, Failure> {
    let ask = |node: NodeId, due: Deadline| {
        let mut client = RegistryServiceClient::new(upstreams.node(node));
        async move {
            let request = outgoing(pb::ReadOwnershipRequest {}, due)?;
            within(due, client.read_ownership(request)).await
        }
    };
    let read = at_leader(keepers(now), due, ask).await?;
    standing_of(&read, now).map_err(|bad| Failure::new(Reason::Unavailable, bad.to_string()))
}

/// Asks another region whether it renews what we say that we own.
///
/// # Errors
/// It did not answer.
pub async fn renew<U: Upstreams>(
    upstreams: &U,
    region: &RegionName,
    request: pb::RenewEpochsRequest,
    due: Deadline,
) -> Result<pb::RenewEpochsResponse, Failure> {
    let mut client = OwnershipServiceClient::new(upstreams.gateway(region));
    let request = outgoing(request, due)?;
    within(due, client.renew_epochs(request)).await
}

/// Asks another region to fence.
///
/// # Errors
/// It did not answer, or its directory refuses.
pub async fn fence<U: Upstreams>(
    upstreams: &U,
    region: &RegionName,
    request: pb::FenceEpochRequest,
    due: Deadline,
) -> Result<pb::FenceEpochResponse, Failure> {
    let mut client = OwnershipServiceClient::new(upstreams.gateway(region));
    let request = outgoing(request, due)?;
    within(due, client.fence_epoch(request)).await
}

pub(super) async fn within<T>(
    due: Deadline,
    asked: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Failure> {
    let answer = timeout_at(due.0, asked).await;
    let answer = answer.map_err(|_| Failure::of(Reason::DeadlineExceeded))?;
    Ok(answer.map_err(Failure::from)?.into_inner())
}
