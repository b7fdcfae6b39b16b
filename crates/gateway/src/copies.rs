//! One node's part of BackupService; every node serves it on its internal port.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt as _};
use hansa_api::pb::admin as public;
use hansa_api::pb::node as pb;
use hansa_api::pb::node::node_backup_service_server::{NodeBackupService, NodeBackupServiceServer};
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_types::id::{GroupId, OrderId, OrderName};
use tonic::{Request, Response, Status};

/// For a call that came through no deadline layer.
const OTHERWISE: Duration = Duration::from_secs(5);

/// Chunks on their way.
pub type Chunks = BoxStream<'static, Result<public::ReadBackupResponse, Failure>>;

/// What a node can do for copies of its region. The binary, which knows the groups, supplies it.
#[tonic::async_trait]
pub trait Copies: Send + Sync + 'static {
    /// On the leader of an orders group: the pause's number, and the index it began at.
    fn hold_steps(&self, group: GroupId, length: Duration) -> Result<(u64, u64), Failure>;

    /// Whether the pause lasted.
    async fn release_steps(
        &self,
        group: GroupId,
        hold: u64,
        due: Deadline,
    ) -> Result<bool, Failure>;

    /// On a group's leader: an index that shows everything acknowledged before.
    async fn read_index(&self, group: GroupId, due: Deadline) -> Result<u64, Failure>;

    async fn freeze(
        &self,
        backup: &str,
        group: GroupId,
        min_index: u64,
        due: Deadline,
    ) -> Result<public::GroupCut, Failure>;

    fn read(
        &self,
        backup: &str,
        group: GroupId,
        from: public::BackupCursor,
    ) -> Result<Chunks, Failure>;

    fn end(&self, backup: &str);

    fn restores(&self) -> pb::GetNodeRestoreResponse;

    async fn settle(
        &self,
        key: Option<String>,
        cancel: bool,
        due: Deadline,
    ) -> Result<u32, Failure>;

    /// As of the groups that this node leads.
    async fn origins(&self, due: Deadline) -> (Vec<GroupId>, Vec<public::OriginEpoch>);

    /// At most `max` of each group that this node leads, of orders after `after`.
    fn differences(
        &self,
        origin: &str,
        after: Option<OrderId>,
        max: usize,
    ) -> Result<(Vec<GroupId>, Vec<public::CopyDifference>), Failure>;
}

/// The service for the internal port.
pub fn service(copies: Arc<dyn Copies>) -> NodeBackupServiceServer<Serve> {
    NodeBackupServiceServer::new(Serve { copies })
}

/// See [`service`].
pub struct Serve {
    copies: Arc<dyn Copies>,
}

fn group_of(number: u32) -> Result<GroupId, Failure> {
    GroupId::from_number(number).ok_or_else(|| Failure::of(Reason::NotFound))
}

fn due<T>(request: &Request<T>) -> Deadline {
    let given = request.extensions().get::<Deadline>().copied();
    given.unwrap_or_else(|| Deadline::after(OTHERWISE))
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl NodeBackupService for Serve {
    async fn hold_steps(
        &self,
        request: Request<pb::HoldStepsRequest>,
    ) -> Answer<pb::HoldStepsResponse> {
        let asked = request.get_ref();
        let length = Duration::from_millis(asked.hold_ms);
        let (hold, index) = self.copies.hold_steps(group_of(asked.group)?, length)?;
        Ok(Response::new(pb::HoldStepsResponse { hold, index }))
    }

    async fn release_steps(
        &self,
        request: Request<pb::ReleaseStepsRequest>,
    ) -> Answer<pb::ReleaseStepsResponse> {
        let (due, asked) = (due(&request), request.get_ref());
        let held = self.copies.release_steps(group_of(asked.group)?, asked.hold, due).await?;
        Ok(Response::new(pb::ReleaseStepsResponse { held }))
    }

    async fn read_index(
        &self,
        request: Request<pb::ReadIndexRequest>,
    ) -> Answer<pb::ReadIndexResponse> {
        let due = due(&request);
        let index = self.copies.read_index(group_of(request.get_ref().group)?, due).await?;
        Ok(Response::new(pb::ReadIndexResponse { index }))
    }

    async fn freeze_group(
        &self,
        request: Request<pb::FreezeGroupRequest>,
    ) -> Answer<pb::FreezeGroupResponse> {
        let (due, asked) = (due(&request), request.get_ref());
        let group = group_of(asked.group)?;
        let cut = self.copies.freeze(&asked.backup, group, asked.min_index, due).await?;
        Ok(Response::new(pb::FreezeGroupResponse { cut: Some(cut) }))
    }

    type ReadExportStream = BoxStream<'static, Result<pb::ReadExportResponse, Status>>;

    async fn read_export(
        &self,
        request: Request<pb::ReadExportRequest>,
    ) -> Answer<Self::ReadExportStream> {
        let asked = request.into_inner();
        let from = asked.from.unwrap_or_default();
        let chunks = self.copies.read(&asked.backup, group_of(asked.group)?, from)?;
        let named = chunks.map(|chunk| match chunk {
            Ok(chunk) => Ok(pb::ReadExportResponse { chunk: Some(chunk) }),
            Err(failure) => Err(failure.into()),
        });
        Ok(Response::new(named.boxed()))
    }

    async fn drop_export(
        &self,
        request: Request<pb::DropExportRequest>,
    ) -> Answer<pb::DropExportResponse> {
        self.copies.end(&request.get_ref().backup);
        Ok(Response::new(pb::DropExportResponse {}))
    }

    async fn get_node_restore(
        &self,
        _request: Request<pb::GetNodeRestoreRequest>,
    ) -> Answer<pb::GetNodeRestoreResponse> {
        Ok(Response::new(self.copies.restores()))
    }

    async fn settle_node_restore(
        &self,
        request: Request<pb::SettleNodeRestoreRequest>,
    ) -> Answer<pb::SettleNodeRestoreResponse> {
        let due = due(&request);
        let asked = request.into_inner();
        let cancel = match asked.decision() {
            public::StrayDecision::Cancel => true,
            public::StrayDecision::Keep => false,
            public::StrayDecision::Unspecified => {
                return Err(Failure::field(Reason::FieldEmpty, "decision", "cancel or keep").into());
            }
        };
        let key = Some(asked.key).filter(|key| !key.is_empty());
        let decided = self.copies.settle(key, cancel, due).await?;
        Ok(Response::new(pb::SettleNodeRestoreResponse { decided }))
    }

    async fn list_node_origins(
        &self,
        request: Request<pb::ListNodeOriginsRequest>,
    ) -> Answer<pb::ListNodeOriginsResponse> {
        let (led, origins) = self.copies.origins(due(&request)).await;
        let groups = led.into_iter().map(GroupId::number).collect();
        Ok(Response::new(pb::ListNodeOriginsResponse { origins, groups }))
    }

    async fn list_node_differences(
        &self,
        request: Request<pb::ListNodeDifferencesRequest>,
    ) -> Answer<pb::ListNodeDifferencesResponse> {
        let asked = request.get_ref();
        let max = usize::try_from(asked.max).unwrap_or(usize::MAX);
        let after = Some(asked.after.as_str()).filter(|after| !after.is_empty());
        let after = after.map(str::parse::<OrderName>).transpose();
        let after = after.map_err(|_| Failure::of(Reason::MessageMalformed))?.map(|name| name.id);
        let (led, differences) = self.copies.differences(&asked.origin, after, max)?;
        let groups = led.into_iter().map(GroupId::number).collect();
        Ok(Response::new(pb::ListNodeDifferencesResponse { differences, groups }))
    }
}
