use hansa_api::pb::admin::{DrainNodeRequest, DrainNodeResponse};
use hansa_api::pb::node::DrainRequest;
use hansa_api::pb::node::node_membership_service_client::NodeMembershipServiceClient;
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::deadline::outgoing;
use hansa_region_router::forward::Upstreams;
use tokio::time::timeout_at;

use super::Desk;

impl<U: Upstreams> Desk<'_, U> {
    pub async fn drain_node(
        &self,
        request: &DrainNodeRequest,
    ) -> Result<DrainNodeResponse, Failure> {
        let node = self.node(&request.node)?.id;
        let mut client = NodeMembershipServiceClient::new(self.upstreams.node(node));
        let answer = timeout_at(self.due.0, client.drain(outgoing(DrainRequest {}, self.due)?));
        let answer = answer.await.map_err(|_| Failure::of(Reason::DeadlineExceeded))?;
        let answer = answer.map_err(|status| Failure::from(&status))?.into_inner();
        let (handed_over_groups, kept_groups) = (answer.handed_over_groups, answer.kept_groups);
        Ok(DrainNodeResponse { handed_over_groups, kept_groups })
    }
}
