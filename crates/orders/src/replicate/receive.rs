//! The receiver: takes another region's events into the matching group here.

mod doubts;
mod erasures;
mod keys;
mod probe;
mod withdrawn;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use hansa_api::convert::id::order_to_bytes;
use hansa_api::convert::time::to_ms;
use hansa_api::pb::replication as wire;
use hansa_api::pb::replication::replication_service_client::ReplicationServiceClient;
use hansa_api::pb::replication::replication_service_server::ReplicationService;
use hansa_api::status::{Failure, Reason};
use hansa_consensus::Mark;
use hansa_node::tls::PeerIdentity;
use hansa_types::id::{GroupId, GroupKind, NodeId, OrderId};
use hansa_types::identity::Role;
use hansa_types::limits::PEER_MESSAGE_BYTES_MAX;
use hansa_types::region::RegionNumber;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::law::{Law, terms_from_wire, terms_to_wire};
use super::{SettledBirth, check};
use crate::core::command::{Command, Outcome};
use crate::core::remote::{
    Batch, Origin, Received, Refill, Remote, RemoteEvent, RemoteStep, Sweep, Terms,
};
use crate::shell::{Hosted, Shell};

/// Marks a stream that a node of this region passed on to its leader: it is not passed on again.
const RELAYED: &str = "hansa-relayed";
/// Heads of one message that are looked at.
const HEADS_MAX: usize = 1_024;
/// Births that one message may call settled.
const SETTLED_MAX: usize = 64;
const APPLY_MAX: Duration = Duration::from_secs(10);
/// The first message says what the stream is about; it must come at once.
const FIRST_MAX: Duration = Duration::from_secs(5);
/// Orders asked for again in one answer.
const WANTS_MAX: usize = 64;

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
            let (shell, term) = (self.shell.clone(), leadership.term);
            let stream = Inbound::new(shell, hosted.clone(), term, first, inbound)?;
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
    /// The term of this node's office in which it began: it does not outlive that.
    office: u64,
    origin: Origin,
    first: Option<wire::ReplicateRequest>,
    rest: Streaming<wire::ReplicateRequest>,
    /// The last sequence that came on this stream: messages follow one another without a gap.
    reached: u64,
    /// Waits for the sender to come back to where we are.
    rewinding: bool,
    /// What the origin says that this region may know.
    told: Arc<Terms>,
    /// The same by our own policy; looked up again when that changes.
    own: Arc<Law>,
    /// What was last said of the terms that copies are held under.
    said: Option<wire::ViewState>,
    /// Orders whose keys are missing, and how often they were asked for.
    keyless: BTreeMap<OrderId, u8>,
}

impl Inbound {
    fn new(
        shell: Arc<Shell>,
        hosted: Arc<Hosted>,
        office: u64,
        first: wire::ReplicateRequest,
        rest: Streaming<wire::ReplicateRequest>,
    ) -> Result<Self, Failure> {
        let malformed = || Failure::of(Reason::MessageMalformed);
        let region = first.origin_region.parse().map_err(|_| malformed())?;
        let region =
            shell.map.region_number(&region).ok_or_else(|| Failure::of(Reason::UnknownRegion))?;
        let group = GroupId::from_number(first.group).ok_or_else(malformed)?.index();
        let origin = Origin { region, group, epoch: first.epoch };
        let (reached, asked) = hosted.group.peek(|machine| {
            let remote = &machine.state.remote;
            let reached = remote.cursors.get(&origin).map_or(0, |cursor| cursor.applied);
            (reached, remote.asked_of(origin.place()))
        });
        // What another leader asked for may not have been answered.
        for order in asked {
            shell.heard.want(origin.place(), order);
        }
        let own = Law::of(&*shell.map.now()?, &shell.region);
        let (told, said, rewinding) = (Arc::default(), None, false);
        let (first, keyless) = (Some(first), BTreeMap::new());
        Ok(Self {
            shell,
            hosted,
            office,
            origin,
            first,
            rest,
            reached,
            rewinding,
            told,
            own,
            said,
            keyless,
        })
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
        self.shell.freshness.mark(self.origin, message.origin_last_sequence);
        self.law(&message).await?;
        let live = self.events(&message.envelopes)?;
        let (gone, again) = match &message.refill {
            Some(refill) => withdrawn::apart(&refill.envelopes),
            None => Default::default(),
        };
        let again = self.events(&again)?;
        // Before what they open, and before a cursor says that they were taken.
        self.take_keys(&message, live.iter().chain(&again)).await?;
        let orders: Vec<OrderId> = live.iter().chain(&again).map(|event| event.order).collect();
        let mut rewind = false;
        if !live.is_empty() || message.upto_sequence > self.reached {
            rewind = self.apply(&message, live).await?;
        }
        if let Some(refill) = message.refill.as_ref().filter(|_| !rewind) {
            self.refill(refill, again).await?;
            self.withdraw(&gone).await?;
        }
        self.want_keys(&orders);
        self.settled(&message).await?;
        if let Some(at) = message.origin_time.as_ref().and_then(to_ms) {
            self.shell.freshness.note(self.origin, message.origin_last_sequence, at);
        }
        let probe = message.probe.as_ref().map(|asked| {
            let at = if rewind { u64::MAX } else { message.upto_sequence };
            probe::answer(&self.hosted, self.origin, &self.told, &self.own, at, asked)
        });
        let view = self.view_state();
        let place = self.origin.place();
        let parked = self.hosted.group.peek(|machine| machine.state.remote.waiting_of(place));
        let wants = self.shell.heard.take_wants(place, WANTS_MAX);
        Ok(Some(wire::ReplicateResponse {
            origin_region: message.origin_region,
            group: message.group,
            epoch: message.epoch,
            applied_sequence: self.reached,
            rewind,
            view: (self.said.as_ref() != Some(&view)).then(|| view.clone()),
            wants: wants.into_iter().map(order_to_bytes).collect(),
            probe,
            parked,
        })
        .inspect(|_| self.said = Some(view)))
    }

    /// Takes in of which births the origin has told all.
    async fn settled(&self, message: &wire::ReplicateRequest) -> Result<(), Failure> {
        for of in message.settled.iter().take(SETTLED_MAX) {
            let Some(birth) = region_of(of.birth) else { continue };
            // Before it counts as told: who takes over from it doubts as it does.
            if !self.doubts(birth, of).await? {
                continue;
            }
            let from = of.from.iter().take(SETTLED_MAX).filter_map(taken_from).collect();
            let told = SettledBirth { epoch: of.epoch, sequence: of.sequence, from };
            self.shell.freshness.settled(self.origin, birth, told);
        }
        Ok(())
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

    /// Takes in what this region may know from here on, by the origin and by its own policy.
    async fn law(&mut self, message: &wire::ReplicateRequest) -> Result<(), Failure> {
        let leadership = *self.hosted.group.leadership().borrow();
        if leadership.term != self.office {
            return Err(Failure::not_leader(leadership.leader));
        }
        let now = self.shell.map.now()?;
        if now.policy.version() != self.own.terms.version {
            self.own = Law::of(&now, &self.shell.region);
        }
        if let Some(terms) = &message.terms {
            let terms = terms_from_wire(terms).ok_or(Reason::MessageMalformed)?;
            self.told = Arc::new(terms);
            let held = self.hosted.group.peek(|machine| {
                let views = machine.state.remote.views.get(&self.origin);
                views.map_or(0, |views| views.held.version)
            });
            // A leader that was replaced, or a directory that is behind: what it would send was
            // made by a law that this origin has left.
            let known = self.shell.heard.note(self.office, self.origin, &self.told);
            if !known || held > self.told.version {
                let why = "the origin's policy is older than the one it said before";
                return Err(Failure::new(Reason::Unavailable, why));
            }
        }
        if message.view_version != self.told.version {
            // Views of unknown terms: the sender says them first.
            return Err(Reason::MessageMalformed.into());
        }
        if self.shell.heard.left_behind(self.office, self.origin, &self.told) {
            let why = "the origin has said newer terms on another stream";
            return Err(Failure::new(Reason::Unavailable, why));
        }
        self.one_law()?;
        self.settle().await
    }

    /// Two regions load a policy one after the other. What only one of them allows is neither
    /// taken nor parked meanwhile, for it would stay so: the stream waits until they agree.
    fn one_law(&self) -> Result<(), Failure> {
        let (own, told) = (&self.own.terms, &*self.told);
        if own.version == told.version || told.wider_than(own).is_empty() {
            return Ok(());
        }
        let (ours, theirs) = (own.version, told.version);
        let why = format!("policy {ours} holds here and {theirs} at the origin, which allows more");
        Err(Failure::new(Reason::Unavailable, why))
    }

    /// Notes that everything is held as the origin's terms say, where nothing has to be done for
    /// it: at the beginning, and where they became no wider.
    async fn settle(&self) -> Result<(), Failure> {
        let (origin, told) = (self.origin, &self.told);
        let done = self.hosted.group.peek(|machine| {
            let remote = &machine.state.remote;
            let none = remote.cursors.get(&origin).is_none_or(|cursor| cursor.applied == 0)
                && remote.copies_of(origin.place()) == 0;
            let views = remote.views.get(&origin);
            let settled = match views {
                None => remote.cursors.get(&origin).is_none(),
                Some(views) => {
                    views.held.version < told.version
                        && (none || told.wider_than(&views.held).is_empty())
                        && self.excess(remote) == 0
                }
            };
            settled.then(|| views.map_or(0, |views| views.lowered))
        });
        if let Some(lowered) = done {
            let terms = Terms::clone(told);
            self.commit(Command::Remote(RemoteStep::Held { origin, terms, lowered })).await?;
        }
        Ok(())
    }

    /// Copies of the origin that hold more than they may.
    fn excess(&self, remote: &Remote) -> u64 {
        let allowed = |residence| self.own.terms.of(residence).within(&self.told, residence);
        remote.excess(self.origin.place(), allowed)
    }

    async fn commit(&self, command: Command) -> Result<Outcome, Failure> {
        self.hosted.submit(&command, Instant::now() + APPLY_MAX).await
    }

    fn events(&self, envelopes: &[wire::Envelope]) -> Result<Vec<RemoteEvent>, Failure> {
        let event = |envelope| check::event(envelope, &self.told, &self.own);
        let events = envelopes.iter().map(event).collect::<Option<Vec<_>>>();
        events.ok_or_else(|| Failure::of(Reason::MessageMalformed))
    }

    /// Commits a batch; `true` when the sender must go back.
    async fn apply(
        &mut self,
        message: &wire::ReplicateRequest,
        events: Vec<RemoteEvent>,
    ) -> Result<bool, Failure> {
        let ascending = events.windows(2).all(|pair| pair[0].sequence < pair[1].sequence);
        let last = events.last().map_or(0, |event| event.sequence);
        let upto = last.max(message.upto_sequence);
        let first = events.first().map_or(upto, |event| event.sequence);
        if !ascending || (!self.rewinding && first <= self.reached) {
            return Err(Failure::of(Reason::MessageMalformed));
        }
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
        let received = self.submit(Command::ApplyRemote(Box::new(batch))).await?;
        self.reached = received.applied;
        self.rewinding = received.gap;
        Ok(received.gap)
    }

    async fn refill(&self, refill: &wire::Refill, events: Vec<RemoteEvent>) -> Result<(), Failure> {
        let swept = Sweep { terms: refill.version, swept: refill.upto, end: refill.end };
        let of_now = refill.version == self.told.version;
        let done = refill.last && of_now;
        let refill = Refill {
            origin: self.origin,
            sweep: of_now.then_some(swept),
            lowered: refill.lowered,
            held: done.then(|| Terms::clone(&self.told)),
            events,
        };
        self.submit(Command::Remote(RemoteStep::Refill(Box::new(refill)))).await?;
        Ok(())
    }

    async fn submit(&self, command: Command) -> Result<Received, Failure> {
        match self.commit(command).await? {
            Outcome::Received(received) if received.full => {
                let why = "too many events of other regions are parked here";
                Err(Failure::new(Reason::Overloaded, why))
            }
            Outcome::Received(received) => {
                if received.parked > 0 {
                    let (origin, parked) = (self.origin, received.parked);
                    tracing::warn!(?origin, parked, "replicated events parked");
                    crate::metrics::parked_events(parked);
                }
                Ok(received)
            }
            _ => Err(Failure::of(Reason::Internal)),
        }
    }

    /// Under which terms the origin's copies are held here.
    fn view_state(&self) -> wire::ViewState {
        let origin = self.origin;
        let (views, excess) = self.hosted.group.peek(|machine| {
            let remote = &machine.state.remote;
            let excess = self.excess(remote);
            (remote.views.get(&origin).cloned().unwrap_or_default(), excess)
        });
        let sweep = views.sweep.unwrap_or(Sweep { terms: 0, swept: 0, end: 0 });
        wire::ViewState {
            purged_version: if excess == 0 { self.told.version } else { 0 },
            held: Some(terms_to_wire(&views.held)),
            sweep_version: sweep.terms,
            swept_sequence: sweep.swept,
            sweep_end_sequence: sweep.end,
            lowered: views.lowered,
        }
    }
}

fn region_of(number: u32) -> Option<RegionNumber> {
    RegionNumber::try_from(u16::try_from(number).ok()?).ok()
}

fn taken_from(of: &wire::TakenFrom) -> Option<(Origin, u64)> {
    let (region, group) = (region_of(of.region)?, u16::try_from(of.group).ok()?);
    Some((Origin { region, group, epoch: of.epoch }, of.sequence))
}
