//! One node's part of what AdminService puts together; every node serves it on its internal port.

use std::sync::Arc;

use hansa_api::pb::admin::InvariantReport;
use hansa_api::pb::node as pb;
use hansa_api::pb::node::node_service_server::{NodeService, NodeServiceServer};
use tonic::{Request, Response, Status};

/// What a node can tell of itself. The binary, which knows the node's groups, supplies it.
#[tonic::async_trait]
pub trait Local: Send + Sync + 'static {
    /// The groups this node hosts.
    fn replicas(&self) -> Vec<pb::Replica>;

    /// The invariants that it can check now in the groups it leads.
    async fn check_invariants(&self) -> Vec<InvariantReport>;
}

/// The service for the internal port.
pub fn service(local: Arc<dyn Local>) -> NodeServiceServer<Serve> {
    NodeServiceServer::new(Serve { local })
}

/// See [`service`].
pub struct Serve {
    local: Arc<dyn Local>,
}

#[tonic::async_trait]
impl NodeService for Serve {
    async fn list_replicas(
        &self,
        _request: Request<pb::ListReplicasRequest>,
    ) -> Result<Response<pb::ListReplicasResponse>, Status> {
        Ok(Response::new(pb::ListReplicasResponse { replicas: self.local.replicas() }))
    }

    async fn check_node_invariants(
        &self,
        _request: Request<pb::CheckNodeInvariantsRequest>,
    ) -> Result<Response<pb::CheckNodeInvariantsResponse>, Status> {
        let reports = self.local.check_invariants().await;
        Ok(Response::new(pb::CheckNodeInvariantsResponse { reports }))
    }
}
