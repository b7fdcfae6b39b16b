//! Walks over a region's chains, and the anchors that its nodes keep of other regions.

use futures::future::join_all;
use futures::stream::{BoxStream, StreamExt as _};
use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::audit_service_server::AuditService;
use hansa_api::pb::node::node_audit_service_client::NodeAuditServiceClient;
use hansa_api::pb::node::{ListNodeAnchorsRequest, WalkChainRequest};
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::deadline::outgoing;
use hansa_region_router::forward::Upstreams;
use hansa_types::id::NodeId;
use tokio::time::timeout_at;
use tonic::{Request, Response, Status};

use super::{Own, due, nodes};

/// Heads that one walk is asked for.
const MARKS_MAX: usize = 1_024;

type Steps = BoxStream<'static, Result<pb::VerifyChainResponse, Status>>;

#[tonic::async_trait]
impl<U: Upstreams> AuditService for Own<U>
where
    U::Peer: Sync,
{
    type VerifyChainStream = Steps;

    async fn verify_chain(
        &self,
        request: Request<pb::VerifyChainRequest>,
    ) -> Result<Response<Steps>, Status> {
        let directory = self.directory()?;
        let asked = request.into_inner();
        if asked.marks.len() > MARKS_MAX {
            let why = format!("at most {MARKS_MAX} marks");
            return Err(Failure::new(Reason::MessageMalformed, why).into());
        }
        let node = NodeId(asked.node);
        if !nodes(&directory).iter().any(|known| known.id == node) {
            return Err(Failure::new(Reason::NotFound, "the region has no such node").into());
        }
        // As long as the client reads: no deadline of ours.
        let mut client = NodeAuditServiceClient::new(self.upstreams.node(node));
        let steps = client.walk_chain(WalkChainRequest { walk: Some(asked) }).await?;
        let steps = steps.into_inner().map(|answer| match answer {
            Ok(answer) => answer.step.ok_or_else(|| Reason::Internal.into()),
            Err(status) => Err(Status::from(Failure::from(status))),
        });
        Ok(Response::new(steps.boxed()))
    }

    async fn list_anchors(
        &self,
        request: Request<pb::ListAnchorsRequest>,
    ) -> Result<Response<pb::ListAnchorsResponse>, Status> {
        let (due, directory) = (due(&request), self.directory()?);
        let origin_region = &request.get_ref().origin_region;
        let nodes = nodes(&directory);
        let asked = nodes.iter().map(|node| async move {
            let mut client = NodeAuditServiceClient::new(self.upstreams.node(node.id));
            let question = ListNodeAnchorsRequest { origin_region: origin_region.clone() };
            let asked = client.list_node_anchors(outgoing(question, due).ok()?);
            let answer = timeout_at(due.0, asked).await.ok()?.ok()?;
            Some(answer.into_inner().anchors)
        });
        let answers = join_all(asked).await;
        let mut told = pb::ListAnchorsResponse::default();
        for (node, answer) in nodes.iter().zip(answers) {
            match answer {
                Some(anchors) => told.anchors.extend(anchors),
                None => told.silent_nodes.push(node.name.clone()),
            }
        }
        told.anchors.sort_by(|a, b| {
            (a.group, a.epoch, a.index, &a.head).cmp(&(b.group, b.epoch, b.index, &b.head))
        });
        told.anchors.dedup();
        Ok(Response::new(told))
    }
}
