//! Facts and repairs of this region, from the leaders of its groups.

use futures::future::join_all;
use futures::stream::{BoxStream, StreamExt as _};
use hansa_api::convert::id::order_from_bytes;
use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::reconcile_service_server::ReconcileService;
use hansa_api::pb::node;
use hansa_api::pb::node::node_reconcile_service_client::NodeReconcileServiceClient;
use hansa_api::pb::node::submit_repair_request::What;
use hansa_api::principal::Principal;
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_region_router::core::directory::Snapshot;
use hansa_region_router::forward::Upstreams;
use hansa_types::id::{GroupId, GroupKind, NodeId};
use hansa_types::limits::PEER_MESSAGE_BYTES_MAX;
use tonic::{Request, Response, Status};

use super::{Own, due, only_here, within};

/// Nodes tried for one answer: each member, and leaders that some of them named.
const TRIES_MAX: usize = 8;
/// What a node says that is not the one, or not now.
const LOOK_ON: [Reason; 3] = [Reason::NotLeader, Reason::Unavailable, Reason::GroupStopped];

/// Said to who comes through another region: amounts and references pass through none.
const HERE_ONLY: &str = "a region's books are read and repaired at that region";

type Answer<T> = Result<Response<T>, Status>;
type Facts = BoxStream<'static, Result<pb::ReadFactsResponse, Status>>;

#[tonic::async_trait]
impl<U: Upstreams> ReconcileService for Own<U>
where
    U::Peer: Sync,
{
    type ReadFactsStream = Facts;

    async fn read_facts(&self, request: Request<pb::ReadFactsRequest>) -> Answer<Facts> {
        let (due, directory) = (due(&request), self.directory()?);
        only_here(&request, &directory, HERE_ONLY)?;
        let asked = request.into_inner();
        let known = GroupId::from_number(asked.group).filter(|g| directory.groups.contains_key(g));
        let group = known.ok_or_else(|| Failure::new(Reason::NotFound, "no such group here"))?;
        let pb::ReadFactsRequest { group: number, orders, totals_only, .. } = asked;
        let question = node::ReadGroupFactsRequest { group: number, orders, totals_only };
        let facts = self
            .leader(&directory, group, due, |mut client| {
                let question = question.clone();
                // As long as the client reads: no deadline of ours.
                async move { client.read_group_facts(question).await }
            })
            .await?;
        let facts = facts.map(|answer| match answer {
            Ok(answer) => answer.facts.ok_or_else(|| Reason::Internal.into()),
            Err(status) => Err(Status::from(Failure::from(status))),
        });
        Ok(Response::new(facts.boxed()))
    }

    async fn propose_plan(
        &self,
        request: Request<pb::ProposePlanRequest>,
    ) -> Answer<pb::ProposePlanResponse> {
        let by = Principal::of(&request)?.id.to_string();
        let (due, directory) = (due(&request), self.directory()?);
        only_here(&request, &directory, HERE_ONLY)?;
        let what = What::Propose(request.into_inner());
        self.everywhere(&directory, &by, &what, due).await?;
        Ok(Response::new(pb::ProposePlanResponse { planned_by: by }))
    }

    async fn approve_plan(
        &self,
        request: Request<pb::ApprovePlanRequest>,
    ) -> Answer<pb::ApprovePlanResponse> {
        let by = Principal::of(&request)?.id.to_string();
        let (due, directory) = (due(&request), self.directory()?);
        only_here(&request, &directory, HERE_ONLY)?;
        let what = What::Approve(request.into_inner());
        let answers = self.everywhere(&directory, &by, &what, due).await?;
        let plan = answers.into_iter().find_map(|answer| answer.plan);
        Ok(Response::new(pb::ApprovePlanResponse { plan }))
    }

    async fn apply_repair(
        &self,
        request: Request<pb::ApplyRepairRequest>,
    ) -> Answer<pb::ApplyRepairResponse> {
        let by = Principal::of(&request)?.id.to_string();
        let (due, directory) = (due(&request), self.directory()?);
        only_here(&request, &directory, HERE_ONLY)?;
        let asked = request.into_inner();
        let found = asked.entry.as_ref().and_then(|entry| entry.difference.as_ref());
        // What is about no order is any group's matter: the first one's.
        let group = match found.and_then(|found| order_from_bytes(&found.order_id).ok()) {
            Some(order) => directory.group(GroupKind::Orders, order.slot()),
            None => GroupId::new(GroupKind::Orders, 0),
        };
        let answer = self.submit(&directory, group, &by, &What::Apply(asked), due).await?;
        Ok(Response::new(pb::ApplyRepairResponse { repair: answer.repair }))
    }

    async fn list_repairs(
        &self,
        request: Request<pb::ListRepairsRequest>,
    ) -> Answer<pb::ListRepairsResponse> {
        let (due, directory) = (due(&request), self.directory()?);
        only_here(&request, &directory, HERE_ONLY)?;
        let plan = request.into_inner().plan;
        let groups = orders_groups(&directory);
        let asked = groups.iter().map(|group| {
            let message =
                node::ListGroupRepairsRequest { group: group.number(), plan: plan.clone() };
            self.leader(&directory, *group, due, move |mut client| {
                let request = outgoing(message.clone(), due);
                async move { client.list_group_repairs(request?).await }
            })
        });
        let mut told = pb::ListRepairsResponse::default();
        for (group, answer) in groups.iter().zip(join_all(asked).await) {
            match answer {
                Ok(answer) => {
                    told.plans.extend(answer.plans);
                    told.repairs.extend(answer.repairs);
                }
                Err(_) => told.unknown.push(group.number()),
            }
        }
        Ok(Response::new(told))
    }
}

fn orders_groups(directory: &Snapshot) -> Vec<GroupId> {
    let groups = directory.groups.keys().copied();
    groups.filter(|group| group.kind() == GroupKind::Orders).collect()
}

impl<U: Upstreams> Own<U>
where
    U::Peer: Sync,
{
    /// Asks the leader of a group, found by asking.
    async fn leader<T, F, Fut>(
        &self,
        directory: &Snapshot,
        group: GroupId,
        due: Deadline,
        ask: F,
    ) -> Result<T, Failure>
    where
        F: Fn(NodeReconcileServiceClient<U::Peer>) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let mut nodes: Vec<NodeId> = directory.members(group).to_vec();
        let mut last = Failure::of(Reason::Unavailable);
        for _ in 0..TRIES_MAX {
            let Some(node) = nodes.pop() else { break };
            let client = NodeReconcileServiceClient::new(self.upstreams.node(node))
                .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX);
            match within(due, ask(client)).await {
                Err(failure) if LOOK_ON.contains(&failure.reason()) => {
                    nodes.extend(failure.leader());
                    last = failure;
                }
                answer => return answer,
            }
        }
        // Of a group behind us: nobody looks for another leader of ours.
        match last.reason() {
            Reason::NotLeader => Err(Failure::of(Reason::Unavailable)),
            _ => Err(last),
        }
    }

    async fn submit(
        &self,
        directory: &Snapshot,
        group: GroupId,
        by: &str,
        what: &What,
        due: Deadline,
    ) -> Result<node::SubmitRepairResponse, Failure> {
        let (by, what) = (by.to_owned(), Some(what.clone()));
        let message = node::SubmitRepairRequest { group: group.number(), by, what };
        self.leader(directory, group, due, |mut client| {
            let request = outgoing(message.clone(), due);
            async move { client.submit_repair(request?).await }
        })
        .await
    }

    /// The same in every orders group; all of them must answer, and a repeat does no harm.
    async fn everywhere(
        &self,
        directory: &Snapshot,
        by: &str,
        what: &What,
        due: Deadline,
    ) -> Result<Vec<node::SubmitRepairResponse>, Failure> {
        let groups = orders_groups(directory);
        let asked = groups.iter().map(|group| self.submit(directory, *group, by, what, due));
        join_all(asked).await.into_iter().collect()
    }
}
