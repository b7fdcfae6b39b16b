use hansa_api::pb::admin::{TransferLeaderRequest, TransferLeaderResponse};
use hansa_api::pb::node::TransferLeadershipRequest;
use hansa_api::pb::node::node_membership_service_client::NodeMembershipServiceClient;
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::deadline::outgoing;
use hansa_region_router::forward::Upstreams;

use super::super::within;
use super::Desk;
use super::list_members::led;

impl<U: Upstreams> Desk<'_, U> {
    pub async fn transfer_leader(
        &self,
        request: &TransferLeaderRequest,
    ) -> Result<TransferLeaderResponse, Failure> {
        let to = self.node(&request.node)?.id;
        let groups = self.groups(&[request.group], |_| false)?;
        let told = self.ask_members().await;
        let leader = groups.first().and_then(|group| led(&told, *group)).map(|(node, _)| node);
        let nobody = || Failure::new(Reason::NotLeader, "no leader of the group answered");
        let from = leader.ok_or_else(nobody)?;
        if from != to {
            let mut client = NodeMembershipServiceClient::new(self.upstreams.node(from));
            let ask = TransferLeadershipRequest { group: request.group, to_node: to.0 };
            let ask = outgoing(ask, self.due)?;
            within(self.due, client.transfer_leadership(ask)).await?;
        }
        Ok(TransferLeaderResponse { leader_node: to.0, former_leader_node: from.0 })
    }
}
