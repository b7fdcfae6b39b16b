//! FindRequest: what this region did for somebody who lives elsewhere by now.

use hansa_api::convert::order::PlaceOrder;
use hansa_api::pb::order as orders;
use hansa_api::pb::replication as wire;
use hansa_api::pb::replication::home_service_client::HomeServiceClient;
use hansa_api::pb::replication::home_service_server::HomeService;
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_node::tls::PeerIdentity;
use hansa_region_router::core::directory::Snapshot;
use hansa_region_router::core::home::home;
use hansa_region_router::core::route::Refusal;
use hansa_types::id::{GroupKind, NodeId};
use hansa_types::identity::Role;
use hansa_types::region::{RegionName, Slot};
use prost::Message;
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status};

use super::Service;
use super::place_order::moving;
use crate::core::command::{Command, Outcome, Refused};
use crate::core::keys::Scope;
use crate::shell::keys::{ScopeOf, Whose, fingerprint};
use crate::shell::{Hosted, Shell, deadline, not_read, personal, refusal};
use crate::wire as show;

/// Set by a node that passes the question on to the leader.
const RELAYED: &str = "hansa-relayed";

#[tonic::async_trait]
impl HomeService for Service {
    async fn find_request(
        &self,
        request: Request<wire::FindRequestRequest>,
    ) -> Result<Response<wire::FindRequestResponse>, Status> {
        let relayed = request.metadata().contains_key(RELAYED);
        let asker = asker(&self.shell, &request, relayed)?;
        let due = deadline(&request);
        let question = request.into_inner();
        let placed = orders::PlaceOrderRequest::decode(question.request.clone());
        let placed = placed.map_err(|_| Reason::MessageMalformed)?;
        let body = placed.encode_to_vec();
        let place = PlaceOrder::try_from(placed)?;
        let now = self.shell.map.now()?;
        let slot = match &place.customer_id {
            Some(customer) => Slot::of(customer.as_str().as_bytes()),
            None => Slot::of(place.request_id.as_str().as_bytes()),
        };
        let hosted = self.shell.hosted(now.group(GroupKind::Orders, slot))?;
        let leadership = *hosted.group.leadership().borrow();
        if !leadership.mine {
            let leader = leadership.leader.filter(|_| !relayed);
            let leader = leader.ok_or_else(|| Failure::not_leader(leadership.leader))?;
            return relay(&self.shell, leader, question, Deadline(due)).await;
        }
        moved_to(&now, &asker, &place, slot)?;
        let caller = question.caller.as_str();
        let asked = Asked { shell: &self.shell, hosted, now: &now, place: &place, slot, caller };
        Ok(Response::new(wire::FindRequestResponse { order: asked.find(&body, due).await? }))
    }
}

/// The region that asks, which its certificate must say; a node of ours may pass the question on.
fn asker(
    shell: &Shell,
    request: &Request<wire::FindRequestRequest>,
    relayed: bool,
) -> Result<RegionName, Failure> {
    let peer = request.extensions().get::<PeerIdentity>().ok_or(Reason::Unauthenticated)?;
    let Some(Role::Node { region, .. }) = peer.0.role() else {
        return Err(Reason::PermissionDenied.into());
    };
    let named = request.get_ref().region.parse();
    let named: RegionName = named.map_err(|_| Failure::of(Reason::MessageMalformed))?;
    match region == *if relayed { &shell.region } else { &named } {
        true => Ok(named),
        false => Err(Reason::PermissionDenied.into()),
    }
}

async fn relay(
    shell: &Shell,
    leader: NodeId,
    question: wire::FindRequestRequest,
    due: Deadline,
) -> Result<Response<wire::FindRequestResponse>, Status> {
    let mut request = outgoing(question, due)?;
    let mark = tonic::metadata::MetadataValue::from_static("1");
    request.metadata_mut().insert(RELAYED, mark);
    let mut client = HomeServiceClient::new(shell.peers.to(leader));
    let answer = timeout_at(due.0, client.find_request(request)).await;
    answer.map_err(|_| Status::from(Reason::DeadlineExceeded))?
}

/// Only who is the home by this region's own policy is told.
fn moved_to(
    now: &Snapshot,
    asker: &RegionName,
    place: &PlaceOrder,
    slot: Slot,
) -> Result<(), Failure> {
    let home = home(place.residence_country, slot, &now.policy, now).map_err(Refusal::NoHome)?;
    match now.number(asker) == Some(home.region) && home.region != now.here {
        true => Ok(()),
        false => Err(moving()),
    }
}

/// A question to the leader of the group that would know.
struct Asked<'a> {
    shell: &'a Shell,
    hosted: &'a Hosted,
    now: &'a Snapshot,
    place: &'a PlaceOrder,
    slot: Slot,
    caller: &'a str,
}

impl Asked<'_> {
    async fn find(&self, body: &[u8], due: Instant) -> Result<Option<orders::Order>, Failure> {
        let Self { shell, hosted, .. } = *self;
        // From here on no order of his is taken here: one that is under way by the older policy is
        // refused in apply, or is in the state that is read below.
        let version = self.now.policy.version();
        let closed = hosted.submit(&Command::UnderPolicy { version, command: None }, due).await?;
        if closed != Outcome::Noted {
            return Err(moving());
        }
        let scope = self.scope()?;
        let look = hosted.group.read(due, |machine| machine.state.keys.table.get(&scope).cloned());
        let Some(row) = look.await.map_err(not_read)? else { return Ok(None) };
        let id = row.target.order;
        if fingerprint(shell, hosted, (id, scope), due, ("PlaceOrder", body)).await? != row.body {
            // Under his key it was made, and that is gone: nobody can tell it from another.
            let erased = hosted.group.read(due, |machine| machine.state.is_erased(id)).await;
            if erased.map_err(not_read)? {
                return Err(refusal(Refused::Erased));
            }
            let why = "used before for another request";
            return Err(Failure::field(Reason::RequestIdReused, "request_id", why));
        }
        let order = hosted.read(id, due, |order, contents| show::order(shell, id, order, contents));
        Ok(Some(order.await?))
    }

    /// As the order was accepted here.
    fn scope(&self) -> Result<Scope, Failure> {
        let Self { shell, place, slot, caller, .. } = *self;
        let customer = place.customer_id.as_ref();
        let subject = personal::subject(shell, customer, (caller, &place.request_id))?;
        let whose = Whose::Subject(subject);
        let (method, home, request) = ("PlaceOrder", shell.number, &place.request_id);
        Ok(ScopeOf { caller, method, home, slot, whose, request }.scope())
    }
}
