//! One node's part of AuditService; every node serves it on its internal port.

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt as _};
use hansa_api::pb::admin as public;
use hansa_api::pb::node as pb;
use hansa_api::pb::node::node_audit_service_server::{NodeAuditService, NodeAuditServiceServer};
use hansa_api::status::Reason;
use tonic::{Request, Response, Status};

/// The steps of a walk; the last one has a verdict.
pub type Steps = BoxStream<'static, public::VerifyChainResponse>;

/// A node's chains. The binary, which knows the node's groups, supplies it.
#[tonic::async_trait]
pub trait Chains: Send + Sync + 'static {
    /// Walks one group's chain.
    async fn walk(&self, asked: public::VerifyChainRequest) -> Steps;

    /// The anchors that this node keeps of another region.
    fn anchors(&self, origin: &str) -> Vec<public::Anchor>;
}

/// The service for the internal port.
pub fn service(chains: Arc<dyn Chains>) -> NodeAuditServiceServer<Serve> {
    NodeAuditServiceServer::new(Serve { chains })
}

/// See [`service`].
pub struct Serve {
    chains: Arc<dyn Chains>,
}

#[tonic::async_trait]
impl NodeAuditService for Serve {
    type WalkChainStream = BoxStream<'static, Result<pb::WalkChainResponse, Status>>;

    async fn walk_chain(
        &self,
        request: Request<pb::WalkChainRequest>,
    ) -> Result<Response<Self::WalkChainStream>, Status> {
        let walk = request.into_inner().walk.ok_or(Reason::MessageMalformed)?;
        let steps = self.chains.walk(walk).await;
        let told = steps.map(|step| Ok(pb::WalkChainResponse { step: Some(step) }));
        Ok(Response::new(told.boxed()))
    }

    async fn list_node_anchors(
        &self,
        request: Request<pb::ListNodeAnchorsRequest>,
    ) -> Result<Response<pb::ListNodeAnchorsResponse>, Status> {
        let anchors = self.chains.anchors(&request.get_ref().origin_region);
        Ok(Response::new(pb::ListNodeAnchorsResponse { anchors }))
    }
}
