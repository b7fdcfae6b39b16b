//! Copies of this region, put together from its nodes' parts.

mod cut;
mod settle;

use futures::future::join_all;
use futures::stream::{BoxStream, StreamExt as _};
use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::backup_service_server::BackupService;
use hansa_api::pb::node::node_backup_service_client::NodeBackupServiceClient;
use hansa_api::pb::node::{DropExportRequest, ReadExportRequest};
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_region_router::core::directory::Snapshot;
use hansa_region_router::forward::Upstreams;
use hansa_types::id::NodeId;
use hansa_types::limits::PEER_MESSAGE_BYTES_MAX;
use tonic::{Request, Response, Status};

use super::{Own, due, nodes, only_here, within};

/// A node's part, to be called.
fn part<U: Upstreams>(upstreams: &U, node: NodeId) -> NodeBackupServiceClient<U::Peer> {
    NodeBackupServiceClient::new(upstreams.node(node))
        .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
}

/// Said to who comes through another region.
const HERE_ONLY: &str = "a backup is read at its own region";

type Chunks = BoxStream<'static, Result<pb::ReadBackupResponse, Status>>;
type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl<U: Upstreams> BackupService for Own<U>
where
    U::Peer: Sync,
{
    async fn start_backup(
        &self,
        request: Request<pb::StartBackupRequest>,
    ) -> Answer<pb::StartBackupResponse> {
        let (due, directory) = (due(&request), self.directory()?);
        only_here(&request, &directory, HERE_ONLY)?;
        Ok(Response::new(cut::start(self, &directory, due).await?))
    }

    type ReadBackupStream = Chunks;

    async fn read_backup(&self, request: Request<pb::ReadBackupRequest>) -> Answer<Chunks> {
        let directory = self.directory()?;
        only_here(&request, &directory, HERE_ONLY)?;
        let pb::ReadBackupRequest { backup, group, node, from, .. } = request.into_inner();
        let known = nodes(&directory).iter().any(|of| of.id.0 == node);
        if !known {
            return Err(Failure::new(Reason::NotFound, "the region has no such node").into());
        }
        // As long as the client reads: no deadline of ours.
        let mut client = part(&self.upstreams, NodeId(node));
        let chunks = client.read_export(ReadExportRequest { backup, group, from }).await?;
        let chunks = chunks.into_inner().map(|answer| match answer {
            Ok(answer) => answer.chunk.ok_or_else(|| Reason::Internal.into()),
            Err(status) => Err(Status::from(Failure::from(status))),
        });
        Ok(Response::new(chunks.boxed()))
    }

    async fn end_backup(
        &self,
        request: Request<pb::EndBackupRequest>,
    ) -> Answer<pb::EndBackupResponse> {
        let (due, directory) = (due(&request), self.directory()?);
        self.drop_cut(&directory, &request.get_ref().backup, due).await;
        Ok(Response::new(pb::EndBackupResponse {}))
    }

    async fn get_restore(
        &self,
        request: Request<pb::GetRestoreRequest>,
    ) -> Answer<pb::GetRestoreResponse> {
        let (due, directory) = (due(&request), self.directory()?);
        Ok(Response::new(settle::status(self, &directory, due).await))
    }

    async fn settle_restore(
        &self,
        request: Request<pb::SettleRestoreRequest>,
    ) -> Answer<pb::SettleRestoreResponse> {
        let (due, directory) = (due(&request), self.directory()?);
        let asked = request.into_inner();
        let decided = settle::decide(self, &directory, &asked, due).await?;
        Ok(Response::new(pb::SettleRestoreResponse { decided }))
    }

    async fn list_epochs(
        &self,
        request: Request<pb::ListEpochsRequest>,
    ) -> Answer<pb::ListEpochsResponse> {
        let (due, directory) = (due(&request), self.directory()?);
        let origins = settle::origins(self, &directory, due).await?;
        let births = settle::births(&directory);
        Ok(Response::new(pb::ListEpochsResponse { origins, births }))
    }

    async fn list_differences(
        &self,
        request: Request<pb::ListDifferencesRequest>,
    ) -> Answer<pb::ListDifferencesResponse> {
        let (due, directory) = (due(&request), self.directory()?);
        let asked = request.into_inner();
        Ok(Response::new(settle::differences(self, &directory, &asked, due).await?))
    }
}

impl<U: Upstreams> Own<U> {
    /// Lets go of a cut on every node; one that does not answer lets go by itself.
    async fn drop_cut(&self, directory: &Snapshot, backup: &str, due: Deadline) {
        let nodes = nodes(directory);
        let drops = nodes.iter().map(|node| async {
            let mut client = part(&self.upstreams, node.id);
            let request = outgoing(DropExportRequest { backup: backup.to_owned() }, due)?;
            within(due, client.drop_export(request)).await
        });
        let missed = join_all(drops).await.into_iter().filter(Result::is_err).count();
        if missed > 0 {
            tracing::debug!(backup, missed, "cut not dropped everywhere");
        }
    }
}
