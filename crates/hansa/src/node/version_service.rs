//! This node's part of VersionService, on the internal port.

use std::sync::Arc;
use std::time::Duration;

use hansa_api::pb::node as pb;
use hansa_api::pb::node::node_version_service_server::{
    NodeVersionService, NodeVersionServiceServer,
};
use hansa_api::status::{Failure, Reason};
use hansa_consensus::{GroupStatus, RaiseError, Role};
use hansa_node::layers::Deadline;
use hansa_types::id::GroupId;
use tonic::{Request, Response, Status};

use super::inside::Inside;

/// This binary's release.
const RELEASE: &str = if cfg!(feature = "version-2-test") {
    concat!(env!("CARGO_PKG_VERSION"), "+version-2-test")
} else {
    env!("CARGO_PKG_VERSION")
};

/// For a caller that named no deadline.
const RAISE_MAX: Duration = Duration::from_secs(10);

/// The service for the internal port.
pub fn service(inside: Arc<Inside>) -> NodeVersionServiceServer<Serve> {
    NodeVersionServiceServer::new(Serve { inside })
}

/// See [`service`].
pub struct Serve {
    inside: Arc<Inside>,
}

#[tonic::async_trait]
impl NodeVersionService for Serve {
    async fn get_release(
        &self,
        _request: Request<pb::GetReleaseRequest>,
    ) -> Result<Response<pb::GetReleaseResponse>, Status> {
        let groups = self.inside.host().statuses().into_iter().map(hosted).collect();
        let foreign = self.inside.host().foreign_peers();
        let foreign = foreign.into_iter().map(|(node, why)| pb::ForeignPeer { node: node.0, why });
        Ok(Response::new(pb::GetReleaseResponse {
            release: RELEASE.to_owned(),
            groups,
            foreign_peers: foreign.collect(),
            policy_version: self.inside.policy_version(),
        }))
    }

    async fn raise_group(
        &self,
        request: Request<pb::RaiseGroupRequest>,
    ) -> Result<Response<pb::RaiseGroupResponse>, Status> {
        let most = Deadline::after(RAISE_MAX);
        let due = request.extensions().get::<Deadline>().map_or(most, |given| (*given).min(most));
        let pb::RaiseGroupRequest { group, version } = request.into_inner();
        let malformed = || Failure::of(Reason::MessageMalformed);
        let group = GroupId::from_number(group).ok_or_else(malformed)?;
        let raised = self.inside.host().raise_version(group, version, due.0).await;
        let version = raised.map_err(|error| failure(group, &error))?;
        tracing::warn!(%group, version, "version raised by an operator");
        Ok(Response::new(pb::RaiseGroupResponse { version }))
    }
}

fn failure(group: GroupId, error: &RaiseError) -> Failure {
    let reason = match error {
        RaiseError::NotLeader { .. } => Reason::NotLeader,
        RaiseError::Unsupported { .. } => Reason::VersionNotSupported,
        // Certainly or possibly not done; a repeat does what is left.
        RaiseError::Busy | RaiseError::Unknown | RaiseError::Stopped => Reason::Unavailable,
    };
    Failure::new(reason, format!("{group}: {error}"))
}

fn hosted(status: GroupStatus) -> pb::HostedVersion {
    pb::HostedVersion {
        group: status.group.number(),
        version: status.version,
        first: status.versions.first,
        last: status.versions.last,
        leads: status.role == Role::Leader,
        term: status.term,
    }
}
