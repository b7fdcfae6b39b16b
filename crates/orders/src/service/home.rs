//! The internal HomeService: what one home of a customer asks another.

use std::future::Future;

use hansa_api::convert::order::PlaceOrder;
use hansa_api::pb::order as orders;
use hansa_api::pb::replication as wire;
use hansa_api::pb::replication::home_service_server::HomeService;
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_node::tls::PeerIdentity;
use hansa_types::id::NodeId;
use hansa_types::identity::Role;
use hansa_types::region::{RegionName, Slot};
use prost::Message;
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status};

use super::{Answer, Service, find_request, place_moved, take_customer};
use crate::shell::{Hosted, Shell};

/// Set by a node that passes the question on to the leader.
const RELAYED: &str = "hansa-relayed";

#[tonic::async_trait]
impl HomeService for Service {
    async fn find_request(
        &self,
        request: Request<wire::FindRequestRequest>,
    ) -> Answer<wire::FindRequestResponse> {
        find_request::run(&self.shell, request).await
    }

    async fn take_customer(
        &self,
        request: Request<wire::TakeCustomerRequest>,
    ) -> Answer<wire::TakeCustomerResponse> {
        take_customer::run(&self.shell, request).await
    }

    async fn place_moved(
        &self,
        request: Request<wire::PlaceMovedRequest>,
    ) -> Answer<wire::PlaceMovedResponse> {
        place_moved::run(&self.shell, request).await
    }
}

/// The region that asks, which its certificate must say; a node of ours may pass the question on.
pub(super) struct Asker {
    pub region: RegionName,
    pub relayed: bool,
}

impl Asker {
    pub fn of<T>(shell: &Shell, request: &Request<T>, named: &str) -> Result<Self, Failure> {
        let relayed = request.metadata().contains_key(RELAYED);
        let peer = request.extensions().get::<PeerIdentity>().ok_or(Reason::Unauthenticated)?;
        let Some(Role::Node { region, .. }) = peer.0.role() else {
            return Err(Reason::PermissionDenied.into());
        };
        let named: RegionName = named.parse().map_err(|_| Failure::of(Reason::MessageMalformed))?;
        match region == *if relayed { &shell.region } else { &named } {
            true => Ok(Self { region: named, relayed }),
            false => Err(Reason::PermissionDenied.into()),
        }
    }
}

/// A PlaceOrder that a question is about.
pub(super) struct Told {
    pub place: PlaceOrder,
    /// As it is fingerprinted.
    pub body: Vec<u8>,
    pub slot: Slot,
}

impl Told {
    pub fn of(request: &[u8]) -> Result<Self, Failure> {
        let placed = orders::PlaceOrderRequest::decode(request);
        let placed = placed.map_err(|_| Failure::of(Reason::MessageMalformed))?;
        let body = placed.encode_to_vec();
        let place = PlaceOrder::try_from(placed)?;
        let slot = match &place.customer_id {
            Some(customer) => Slot::of(customer.as_str().as_bytes()),
            None => Slot::of(place.request_id.as_str().as_bytes()),
        };
        Ok(Self { place, body, slot })
    }
}

/// The leader to ask where this node is not it.
///
/// # Errors
/// `NOT_LEADER` where none is known, or the question was passed on before.
pub(super) fn led_by(hosted: &Hosted, relayed: bool) -> Result<Option<NodeId>, Failure> {
    let leadership = *hosted.group.leadership().borrow();
    if leadership.mine {
        return Ok(None);
    }
    let leader = leadership.leader.filter(|_| !relayed);
    leader.map(Some).ok_or_else(|| Failure::not_leader(leadership.leader))
}

/// A question on its way to this region's leader.
pub(super) fn passed_on<T>(question: T, due: Instant) -> Result<Request<T>, Failure> {
    let mut request = outgoing(question, Deadline(due))?;
    let mark = tonic::metadata::MetadataValue::from_static("1");
    request.metadata_mut().insert(RELAYED, mark);
    Ok(request)
}

pub(super) async fn in_time<T>(
    due: Instant,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<Response<T>, Status> {
    timeout_at(due, answer).await.map_err(|_| Status::from(Reason::DeadlineExceeded))?
}
