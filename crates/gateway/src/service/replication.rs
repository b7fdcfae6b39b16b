//! How orders travel between regions, put together from this region's nodes. One verb per file.

mod differences;
mod parked;
mod status;

use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::replication_service_server::ReplicationService;
use hansa_api::pb::node::node_replication_service_client::NodeReplicationServiceClient;
use hansa_node::layers::Deadline;
use hansa_region_router::core::directory::Snapshot;
use hansa_region_router::forward::Upstreams;
use hansa_types::limits::PEER_MESSAGE_BYTES_MAX;
use tonic::{Request, Response, Status};

use super::{Own, Told, ask_nodes, due, here};

/// How far a peer has acknowledged one group's stream.
pub(super) struct Acknowledged {
    pub(super) group: u32,
    pub(super) peer: String,
    pub(super) epoch: u64,
    pub(super) sequence: u64,
    /// Orders of which something waits there for an operator.
    pub(super) parked: u64,
}

/// How far each peer has acknowledged each group.
pub(super) async fn outgoing_streams<U: Upstreams>(
    own: &Own<U>,
    directory: &Snapshot,
    due: Deadline,
) -> Vec<Acknowledged> {
    let told = status::run(own, directory, due).await;
    let of = |stream: pb::OutgoingStream| Acknowledged {
        group: stream.group,
        peer: stream.peer,
        epoch: stream.epoch,
        sequence: stream.acknowledged_sequence,
        parked: stream.parked_at_peer,
    };
    told.outgoing.into_iter().map(of).collect()
}

/// Rows of one list.
const LISTED_MAX: u32 = 10_000;

type Answer<T> = Result<Response<T>, Status>;
type Part<U> = NodeReplicationServiceClient<<U as Upstreams>::Peer>;

/// Asks every node that has orders.
async fn ask<U, T, F, Fut>(upstreams: &U, directory: &Snapshot, due: Deadline, how: F) -> Told<T>
where
    U: Upstreams,
    F: Fn(Part<U>) -> Fut,
    Fut: Future<Output = Result<Response<T>, Status>>,
{
    ask_nodes(upstreams, directory, due, |peer| {
        let client = NodeReplicationServiceClient::new(peer);
        how(client.max_decoding_message_size(PEER_MESSAGE_BYTES_MAX))
    })
    .await
}

#[tonic::async_trait]
impl<U: Upstreams> ReplicationService for Own<U>
where
    U::Peer: Sync,
{
    async fn get_replication_status(
        &self,
        request: Request<pb::GetReplicationStatusRequest>,
    ) -> Answer<pb::GetReplicationStatusResponse> {
        let (due, directory) = (due(&request), self.directory()?);
        Ok(Response::new(status::run(self, &directory, due).await))
    }

    async fn list_parked_events(
        &self,
        request: Request<pb::ListParkedEventsRequest>,
    ) -> Answer<pb::ListParkedEventsResponse> {
        let (due, directory) = (due(&request), self.directory()?);
        let asked = request.into_inner();
        Ok(Response::new(parked::list(self, &directory, &asked.origin, due).await))
    }

    async fn retry_parked_events(
        &self,
        request: Request<pb::RetryParkedEventsRequest>,
    ) -> Answer<pb::RetryParkedEventsResponse> {
        let (due, directory) = (due(&request), self.directory()?);
        let asked = request.into_inner();
        Ok(Response::new(parked::retry(self, &directory, &asked, due).await?))
    }

    async fn resolve_parked_events(
        &self,
        request: Request<pb::ResolveParkedEventsRequest>,
    ) -> Answer<pb::ResolveParkedEventsResponse> {
        let (due, directory) = (due(&request), self.directory()?);
        let by = hansa_api::principal::Principal::of(&request)?.id.to_string();
        let asked = request.into_inner();
        Ok(Response::new(parked::resolve(self, &directory, &asked, by, due).await?))
    }

    async fn list_replica_differences(
        &self,
        request: Request<pb::ListReplicaDifferencesRequest>,
    ) -> Answer<pb::ListReplicaDifferencesResponse> {
        let (due, directory) = (due(&request), self.directory()?);
        let asked = request.into_inner();
        Ok(Response::new(differences::run(self, &directory, &asked.peer, due).await))
    }
}
