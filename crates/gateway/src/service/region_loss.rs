//! What was born in one region goes to another: each verb does the next step that can be done now.
//!
//! # Source
//! docs/adr/0016-region-loss.md

mod failover;
mod get_region_loss;
mod heir;
mod lists;
mod set_isolation;
mod spread;
mod switchover;

use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::region_loss_service_server::RegionLossService;
use hansa_api::pb::directory::OwnershipRecord as Signed;
use hansa_api::pb::node as inner;
use hansa_api::pb::node::node_takeover_service_client::NodeTakeoverServiceClient;
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_region_router::core::directory::{OwnershipRecord, Snapshot};
use hansa_region_router::core::heir::{Heirs, lawful};
use hansa_region_router::forward::Upstreams;
use hansa_region_router::wire::loss::record_of;
use hansa_types::id::GroupKind;
use hansa_types::limits::PEER_MESSAGE_BYTES_MAX;
use hansa_types::region::RegionNumber;
use tonic::{Request, Response, Status};

use super::{Own, Told, ask_nodes, change_directory, due, here};

type Answer<T> = Result<Response<T>, Status>;
type Part<U> = NodeTakeoverServiceClient<<U as Upstreams>::Peer>;

/// Rows of one list when the caller names no number, and at most.
const LISTED: u32 = 1_000;
const LISTED_MAX: u32 = 10_000;

fn listed(asked: u32) -> u32 {
    if asked == 0 { LISTED } else { asked.min(LISTED_MAX) }
}

/// Asks every node that has orders.
async fn ask<U, T, F, Fut>(own: &Own<U>, now: &Snapshot, due: Deadline, how: F) -> Told<T>
where
    U: Upstreams,
    F: Fn(Part<U>) -> Fut,
    Fut: Future<Output = Result<Response<T>, Status>>,
{
    ask_nodes(&own.upstreams, now, due, |peer| {
        let client = NodeTakeoverServiceClient::new(peer);
        how(client.max_decoding_message_size(PEER_MESSAGE_BYTES_MAX))
    })
    .await
}

/// What the region's orders groups hold of births, each as its leader says.
#[derive(Default)]
struct Held {
    groups: Vec<inner::GroupTakeover>,
    leases: Vec<inner::EpochLease>,
    silent: Vec<String>,
}

async fn held<U: Upstreams>(own: &Own<U>, now: &Snapshot, due: Deadline) -> Held {
    let told = ask(own, now, due, |mut node| async move {
        let request = inner::GetNodeTakeoverRequest {};
        node.get_node_takeover(hansa_node::layers::deadline::outgoing(request, due)?).await
    })
    .await;
    let mut held = Held { silent: told.silent, ..Held::default() };
    for (node, of) in told.answers {
        held.groups.extend(of.groups);
        let named = |lease| inner::EpochLease { node_name: node.name.clone(), ..lease };
        held.leases.extend(of.leases.into_iter().map(named));
    }
    held.groups.sort_by_key(|group| group.group);
    held
}

/// Groups for which nobody has spoken: they have no leader, or it is silent.
fn unheard(now: &Snapshot, held: &Held) -> Vec<String> {
    let orders = now.groups.keys().filter(|group| group.kind() == GroupKind::Orders);
    let told = |number| held.groups.iter().any(|of| of.group == number);
    orders.filter(|group| !told(group.number())).map(ToString::to_string).collect()
}

/// The record that a call carries, by the regions that the directory knows.
fn record(sent: Option<Signed>, now: &Snapshot) -> Result<OwnershipRecord, Failure> {
    let missing = || Failure::field(Reason::FieldEmpty, "record", "is required");
    let wrong = |bad: hansa_region_router::core::directory::BadSnapshot| {
        Failure::field(Reason::FieldInvalid, "record", bad.0)
    };
    record_of(&sent.ok_or_else(missing)?, now).map_err(wrong)
}

/// Who is served by an heir and who is not.
fn heirs(now: &Snapshot, birth: RegionNumber, heir: RegionNumber) -> Heirs {
    match (now.region(birth), now.region(heir)) {
        (Some(birth), Some(heir)) => lawful(&now.policy, &birth.name, &heir.name),
        _ => Heirs::default(),
    }
}

/// Refuses an owner that some of those who live there may not have, unless that is accepted.
fn check_laws(
    now: &Snapshot,
    of: &OwnershipRecord,
    accepted: bool,
) -> Result<Vec<String>, Failure> {
    let heirs = heirs(now, of.birth, of.owner);
    let refused: Vec<String> = heirs.refused.iter().map(ToString::to_string).collect();
    if refused.is_empty() || (accepted && !heirs.served.is_empty()) {
        return Ok(refused);
    }
    let owner = now.region(of.owner).map(|region| region.name.to_string()).unwrap_or_default();
    let why = format!("the law of these residents does not admit {owner}: {}", refused.join(", "));
    Err(Failure::new(Reason::NoLawfulRegion, why))
}

fn refused(why: impl Into<String>) -> Failure {
    Failure::new(Reason::OwnershipRefused, why.into())
}

#[tonic::async_trait]
impl<U: Upstreams> RegionLossService for Own<U>
where
    U::Peer: Sync,
{
    async fn get_region_loss(
        &self,
        request: Request<pb::GetRegionLossRequest>,
    ) -> Answer<pb::GetRegionLossResponse> {
        let (due, now) = (due(&request), self.directory()?);
        Ok(Response::new(get_region_loss::run(self, &now, due).await))
    }

    async fn switchover(
        &self,
        request: Request<pb::SwitchoverRequest>,
    ) -> Answer<pb::SwitchoverResponse> {
        let due = due(&request);
        Ok(Response::new(switchover::run(self, request.into_inner(), due).await?))
    }

    async fn cancel_switchover(
        &self,
        request: Request<pb::CancelSwitchoverRequest>,
    ) -> Answer<pb::CancelSwitchoverResponse> {
        let due = due(&request);
        Ok(Response::new(switchover::cancel(self, &request.into_inner(), due).await?))
    }

    async fn failover(
        &self,
        request: Request<pb::FailoverRequest>,
    ) -> Answer<pb::FailoverResponse> {
        let due = due(&request);
        Ok(Response::new(failover::run(self, request.into_inner(), due).await?))
    }

    async fn set_isolation(
        &self,
        request: Request<pb::SetIsolationRequest>,
    ) -> Answer<pb::SetIsolationResponse> {
        let due = due(&request);
        Ok(Response::new(set_isolation::run(self, &request.into_inner(), due).await?))
    }

    async fn list_not_adopted(
        &self,
        request: Request<pb::ListNotAdoptedRequest>,
    ) -> Answer<pb::ListNotAdoptedResponse> {
        let (due, now) = (due(&request), self.directory()?);
        Ok(Response::new(lists::not_adopted(self, &now, &request.into_inner(), due).await))
    }

    async fn list_tail(
        &self,
        request: Request<pb::ListTailRequest>,
    ) -> Answer<pb::ListTailResponse> {
        let (due, now) = (due(&request), self.directory()?);
        Ok(Response::new(lists::tail(self, &now, &request.into_inner(), due).await))
    }
}
