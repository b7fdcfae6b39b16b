//! This node's part of MembershipService, on the internal port.

use std::sync::Arc;

use hansa_api::pb::node as pb;
use hansa_api::pb::node::node_membership_service_server::{
    NodeMembershipService, NodeMembershipServiceServer,
};
use hansa_api::status::{Failure, Reason};
use hansa_consensus::Membership;
use hansa_types::id::{GroupId, NodeId};
use tonic::{Request, Response, Status};

use super::inside::Inside;

/// The service for the internal port.
pub fn service(inside: Arc<Inside>) -> NodeMembershipServiceServer<Serve> {
    NodeMembershipServiceServer::new(Serve { inside })
}

/// See [`service`].
pub struct Serve {
    inside: Arc<Inside>,
}

#[tonic::async_trait]
impl NodeMembershipService for Serve {
    async fn list_memberships(
        &self,
        _request: Request<pb::ListMembershipsRequest>,
    ) -> Result<Response<pb::ListMembershipsResponse>, Status> {
        let held = self.inside.host().memberships();
        let memberships = held.into_iter().map(|(group, held)| membership(group, held)).collect();
        Ok(Response::new(pb::ListMembershipsResponse { memberships }))
    }

    async fn transfer_leadership(
        &self,
        request: Request<pb::TransferLeadershipRequest>,
    ) -> Result<Response<pb::TransferLeadershipResponse>, Status> {
        let pb::TransferLeadershipRequest { group, to_node } = request.into_inner();
        let malformed = || Failure::of(Reason::MessageMalformed);
        let group = GroupId::from_number(group).ok_or_else(malformed)?;
        self.inside.host().transfer_leadership(group, NodeId(to_node)).await?;
        Ok(Response::new(pb::TransferLeadershipResponse {}))
    }

    async fn drain(
        &self,
        _request: Request<pb::DrainRequest>,
    ) -> Result<Response<pb::DrainResponse>, Status> {
        let (handed, kept) = self.inside.host().drain().await;
        tracing::warn!(handed = handed.len(), kept = kept.len(), "drained by an operator");
        // The process ends its calls, this one among them, before it stops.
        self.inside.drained().cancel();
        let numbers = |groups: Vec<GroupId>| groups.into_iter().map(GroupId::number).collect();
        let (handed_over_groups, kept_groups) = (numbers(handed), numbers(kept));
        Ok(Response::new(pb::DrainResponse { handed_over_groups, kept_groups }))
    }
}

fn membership(group: GroupId, held: Membership) -> pb::Membership {
    let numbers = |nodes: Vec<NodeId>| nodes.into_iter().map(|node| node.0).collect();
    let progress = held.progress.into_iter().map(|of| pb::ReplicaProgress {
        node: of.node.0,
        alive: of.alive,
        lag_entries: of.lag_entries,
    });
    pb::Membership {
        group: group.number(),
        leads: held.leads,
        term: held.term,
        voters: numbers(held.voters),
        learners: numbers(held.learners),
        joint: held.joint,
        progress: progress.collect(),
        next: held.next,
    }
}
