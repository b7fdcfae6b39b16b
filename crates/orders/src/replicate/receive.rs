//! The receiver: takes another region's events into the matching group here.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use hansa_api::convert::id::order_from_bytes;
use hansa_api::convert::time::to_ms;
use hansa_api::pb::replication as wire;
use hansa_api::pb::replication::replication_service_client::ReplicationServiceClient;
use hansa_api::pb::replication::replication_service_server::ReplicationService;
use hansa_api::status::{Failure, Reason};
use hansa_consensus::Mark;
use hansa_node::tls::PeerIdentity;
use hansa_types::id::{GroupId, GroupKind, NodeId};
use hansa_types::identity::Role;
use hansa_types::limits::PEER_MESSAGE_BYTES_MAX;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use crate::core::command::{Command, Outcome};
use crate::core::remote::{Batch, Origin, RemoteEvent};
use crate::shell::{Hosted, Shell};

/// Marks a stream that a node of this region passed on to its leader: it is not passed on again.
const RELAYED: &str = "hansa-relayed";
/// Heads of one message that are looked at.
const HEADS_MAX: usize = 1_024;
const APPLY_MAX: Duration = Duration::from_secs(10);
/// The first message says what the stream is about; it must come at once.
const FIRST_MAX: Duration = Duration::from_secs(5);

/// The internal ReplicationService.
#[derive(Clone)]
pub struct Receiver {
    pub shell: Arc<Shell>,
}

type Answers = Pin<Box<dyn Stream<Item = Result<wire::ReplicateResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ReplicationService for Receiver {
    type ReplicateStream = Answers;

    async fn replicate(
        &self,
        request: Request<Streaming<wire::ReplicateRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let relayed = request.metadata().contains_key(RELAYED);
        let peer = request.extensions().get::<PeerIdentity>().cloned();
        let mut inbound = request.into_inner();
        let first = tokio::time::timeout(FIRST_MAX, inbound.message()).await;
        let first = first.map_err(|_| Status::from(Reason::DeadlineExceeded))??;
        let first = first.ok_or(Reason::MessageMalformed)?;
        self.check_sender(peer.as_ref(), relayed, &first)?;
        let group = self.group_for(&first)?;
        let hosted = self.shell.hosted(group)?;
        let leadership = *hosted.group.leadership().borrow();
        if leadership.mine {
            let stream = Inbound::new(self.shell.clone(), hosted.clone(), first, inbound)?;
            return Ok(Response::new(stream.answers()));
        }
        match leadership.leader.filter(|_| !relayed) {
            Some(leader) => self.relay(leader, first, inbound).await,
            None => Err(Failure::not_leader(leadership.leader).into()),
        }
    }
}

impl Receiver {
    /// Events come from nodes of the region they name; a node of ours may pass them on.
    fn check_sender(
        &self,
        peer: Option<&PeerIdentity>,
        relayed: bool,
        first: &wire::ReplicateRequest,
    ) -> Result<(), Failure> {
        let Some(PeerIdentity(id)) = peer else { return Err(Reason::Unauthenticated.into()) };
        let Some(Role::Node { region, .. }) = id.role() else {
            return Err(Reason::PermissionDenied.into());
        };
        let from = if relayed { self.shell.region.as_str() } else { first.origin_region.as_str() };
        match region.as_str() == from {
            true => Ok(()),
            false => Err(Reason::PermissionDenied.into()),
        }
    }

    /// One origin group is applied in one group here.
    fn group_for(&self, first: &wire::ReplicateRequest) -> Result<GroupId, Failure> {
        let origin = GroupId::from_number(first.group).filter(|g| g.kind() == GroupKind::Orders);
        let origin = origin.ok_or_else(|| Failure::of(Reason::MessageMalformed))?;
        let now = self.shell.map.now()?;
        let mut mine = now.groups.keys().filter(|group| group.kind() == GroupKind::Orders);
        let count = mine.clone().count().max(1);
        let group = mine.nth(usize::from(origin.index()) % count).copied();
        group.ok_or_else(|| Failure::of(Reason::Unavailable))
    }

    async fn relay(
        &self,
        leader: NodeId,
        first: wire::ReplicateRequest,
        inbound: Streaming<wire::ReplicateRequest>,
    ) -> Result<Response<Answers>, Status> {
        let mut client = ReplicationServiceClient::new(self.shell.peers.to(leader))
            .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX);
        // A stream that breaks ends the relayed one; the sender resumes.
        let rest = inbound.take_while(|message| std::future::ready(message.is_ok()));
        let rest = rest.filter_map(|message| std::future::ready(message.ok()));
        let all = stream::once(std::future::ready(first)).chain(rest);
        let mut request = Request::new(all);
        let mark = tonic::metadata::MetadataValue::from_static("1");
        request.metadata_mut().insert(RELAYED, mark);
        let answers = client.replicate(request).await?.into_inner();
        Ok(Response::new(Box::pin(answers)))
    }
}

/// One stream of one origin.
struct Inbound {
    shell: Arc<Shell>,
    hosted: Arc<Hosted>,
    origin: Origin,
    first: Option<wire::ReplicateRequest>,
    rest: Streaming<wire::ReplicateRequest>,
    /// The last sequence that came on this stream: messages follow one another without a gap.
    reached: u64,
    /// Waits for the sender to come back to where we are.
    rewinding: bool,
}

impl Inbound {
    fn new(
        shell: Arc<Shell>,
        hosted: Arc<Hosted>,
        first: wire::ReplicateRequest,
        rest: Streaming<wire::ReplicateRequest>,
    ) -> Result<Self, Failure> {
        let malformed = || Failure::of(Reason::MessageMalformed);
        let region = first.origin_region.parse().map_err(|_| malformed())?;
        let region =
            shell.map.region_number(&region).ok_or_else(|| Failure::of(Reason::UnknownRegion))?;
        let group = GroupId::from_number(first.group).ok_or_else(malformed)?.index();
        let origin = Origin { region, group, epoch: first.epoch };
        let reached = hosted.group.peek(|machine| {
            machine.state.remote.cursors.get(&origin).map_or(0, |cursor| cursor.applied)
        });
        Ok(Self { shell, hosted, origin, first: Some(first), rest, reached, rewinding: false })
    }

    fn answers(self) -> Answers {
        Box::pin(stream::unfold(Some(self), |inbound| async move {
            let mut inbound = inbound?;
            match inbound.next().await {
                Ok(None) => None,
                Ok(Some(answer)) => Some((Ok(answer), Some(inbound))),
                Err(failure) => Some((Err(failure.into()), None)),
            }
        }))
    }

    /// Takes one message and answers it once what it carried is durable.
    async fn next(&mut self) -> Result<Option<wire::ReplicateResponse>, Failure> {
        let message = match self.first.take() {
            Some(first) => first,
            None => match self.rest.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(None),
                Err(status) => return Err(Failure::from(&status)),
            },
        };
        self.keep_anchors(&message).await;
        let mut rewind = false;
        if !message.envelopes.is_empty() {
            rewind = self.apply(&message).await?;
        }
        if let Some(at) = message.origin_time.as_ref().and_then(to_ms) {
            self.shell.freshness.note(self.origin, message.origin_last_sequence, at);
        }
        Ok(Some(wire::ReplicateResponse {
            origin_region: message.origin_region,
            group: message.group,
            epoch: message.epoch,
            applied_sequence: self.reached,
            rewind,
        }))
    }

    /// Keeps the heads that the origin sent: a history of its that is rewritten later shows.
    async fn keep_anchors(&self, message: &wire::ReplicateRequest) {
        let head = |told: &wire::GroupHead| {
            let group = GroupId::from_number(told.group)?;
            let head = told.head.as_ref().try_into().ok()?;
            Some((group, Mark { index: told.index, head }))
        };
        let heads: Vec<_> = message.heads.iter().take(HEADS_MAX).filter_map(head).collect();
        // The sender was checked for the region that its first message named.
        let region = message.origin_region.parse().ok();
        let named = region.and_then(|region| self.shell.map.region_number(&region));
        if named == Some(self.origin.region) && !heads.is_empty() {
            let host = &self.shell.host;
            host.keep_anchors(&message.origin_region, message.epoch, &heads).await;
        }
    }

    /// Commits a batch; `true` when the sender must go back.
    async fn apply(&mut self, message: &wire::ReplicateRequest) -> Result<bool, Failure> {
        let events = message.envelopes.iter().map(event).collect::<Option<Vec<_>>>();
        let events = events.ok_or_else(|| Failure::of(Reason::MessageMalformed))?;
        let ascending = events.windows(2).all(|pair| pair[0].sequence < pair[1].sequence);
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(false) };
        if !ascending || (!self.rewinding && first.sequence <= self.reached) {
            return Err(Failure::of(Reason::MessageMalformed));
        }
        let upto = last.sequence;
        // Complete as of its time only if the origin had nothing more.
        let all = message.origin_last_sequence <= upto;
        let as_of = message.origin_time.as_ref().and_then(to_ms).filter(|_| all);
        let batch = Batch {
            origin: self.origin,
            after: self.reached,
            upto,
            current_as_of_ms: as_of,
            events,
        };
        let command = Command::ApplyRemote(Box::new(batch));
        let due = Instant::now() + APPLY_MAX;
        match self.hosted.submit(&command, due).await? {
            Outcome::Received(received) => {
                if received.parked > 0 {
                    let (origin, parked) = (self.origin, received.parked);
                    tracing::warn!(
                        ?origin,
                        parked,
                        "replicated events parked: conflicting contents"
                    );
                }
                self.reached = received.applied;
                self.rewinding = received.gap;
                Ok(received.gap)
            }
            _ => Err(Failure::of(Reason::Internal)),
        }
    }
}

fn event(envelope: &wire::Envelope) -> Option<RemoteEvent> {
    Some(RemoteEvent {
        sequence: envelope.sequence,
        order: order_from_bytes(&envelope.order_id).ok()?,
        version: envelope.version,
        view: envelope.view.clone(),
    })
}
