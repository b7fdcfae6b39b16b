//! Passes a call on: to the leader of a group of this region, or to another region's gateway.
//!
//! The body is opaque. A call is sent again only when it provably did nothing: the node does not
//! lead, or the call never left. What is unhealthy is refused, never replaced by something else.

mod order;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hansa_api::principal::{self, FORWARDED, POLICY, Principal};
use hansa_api::status::{Failure, Reason};
use hansa_node::env::Entropy;
use hansa_node::layers::{Deadline, trace};
use hansa_node::peers::{PeerService, Peers, not_sent};
use hansa_types::id::{GroupId, NodeId};
use hansa_types::region::{RegionName, RegionNumber};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use http_body_util::Full;
use parking_lot::RwLock;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use crate::book::Book;
use crate::core::hunt::{Hunt, Miss};
use crate::metrics::{self, Outcome};
use crate::refusal::HOME_RETRY;

pub use order::Order;

/// When a call is to be repeated that found nobody here: another gateway may be less alone.
const AWAY_RETRY: Duration = Duration::from_millis(200);
/// When a call whose connection broke is to be repeated.
const LOST_RETRY: Duration = Duration::from_millis(100);
/// What `grpc-status` says for UNAVAILABLE; only such answers are looked into.
const UNAVAILABLE: &[u8] = b"14";

/// Where calls can be sent: other nodes in production, fakes in tests.
pub trait Upstreams: Clone + Send + Sync + 'static {
    /// A peer; always ready.
    type Peer: Service<Request<Body>, Response = Response<Body>, Error = Status, Future: Send>
        + Send;

    /// A node of this region.
    fn node(&self, node: NodeId) -> Self::Peer;

    /// Any gateway of another region.
    fn gateway(&self, region: &RegionName) -> Self::Peer;
}

impl Upstreams for Peers {
    type Peer = PeerService;

    fn node(&self, node: NodeId) -> PeerService {
        self.to(node)
    }

    fn gateway(&self, region: &RegionName) -> PeerService {
        Self::gateway(self, region)
    }
}

/// Where one call goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum To {
    Group(GroupId),
    Region(RegionNumber),
}

/// A call to pass on. Its message is whole and kept, so that it can be sent again.
#[derive(Clone, Debug)]
pub struct Call {
    pub to: To,
    pub uri: Uri,
    /// The client's own, without any that only nodes may set.
    pub headers: HeaderMap,
    /// One gRPC frame.
    pub frame: Bytes,
    pub principal: Principal,
    pub deadline: Deadline,
    /// The answer is a stream: it ends when the client's own timeout does, which `headers` carry.
    pub streams: bool,
}

/// The forwarding service; clones share the memory of who leads.
#[derive(Clone)]
pub struct Forward<U> {
    upstreams: U,
    book: Book,
    leaders: Arc<RwLock<BTreeMap<GroupId, NodeId>>>,
    /// Regions that the last call did not reach.
    lost: Arc<RwLock<BTreeSet<RegionNumber>>>,
    entropy: Arc<dyn Entropy>,
    /// Streams to this region's nodes, for orders that came on one.
    lanes: Option<Arc<order::Lanes>>,
}

/// What came of asking one node.
enum Tried<A> {
    Answered(A),
    Missed(Miss),
    /// It never left.
    Unreached,
    /// Nobody knows what it did.
    Lost(Failure),
}

impl<A> Tried<A> {
    fn of_failure(failure: Failure) -> Self {
        if not_sent(&failure) { Self::Unreached } else { Self::Lost(failure) }
    }
}

/// Something to ask one node after another for, until one of them leads.
trait Attempt: Sync {
    type Answer: Send;

    fn at(&self, node: NodeId) -> impl Future<Output = Tried<Self::Answer>> + Send;
}

/// A call as it is.
struct ByCall<'a, U> {
    forward: &'a Forward<U>,
    call: &'a Call,
}

impl<U: Upstreams> Attempt for ByCall<'_, U> {
    type Answer = Response<Body>;

    async fn at(&self, node: NodeId) -> Tried<Response<Body>> {
        let peer = self.forward.upstreams.node(node);
        match self.forward.send(peer, self.call, None).await {
            Ok(answer) => match missed(&answer) {
                None => Tried::Answered(answer),
                Some(miss) => Tried::Missed(miss),
            },
            Err(failure) => Tried::of_failure(failure),
        }
    }
}

impl<U: Upstreams> Forward<U> {
    pub fn new(upstreams: U, book: Book, entropy: Arc<dyn Entropy>) -> Self {
        let (leaders, lost) = (Arc::default(), Arc::default());
        Self { upstreams, book, leaders, lost, entropy, lanes: None }
    }

    /// # Errors
    /// `NOT_LEADER` or `UNAVAILABLE` with a time to come back for a group without a reachable
    /// leader, `HOME_UNREACHABLE` for a region, `DEADLINE_EXCEEDED`; the upstream's own answer is
    /// no error.
    async fn pass(self, call: Call) -> Result<Response<Body>, Failure> {
        match call.to {
            To::Group(group) => {
                let attempt = ByCall { forward: &self, call: &call };
                self.to_group(group, call.deadline, &attempt).await
            }
            To::Region(region) => self.to_region(region, &call).await,
        }
    }

    async fn to_group<A: Attempt>(
        &self,
        group: GroupId,
        deadline: Deadline,
        attempt: &A,
    ) -> Result<A::Answer, Failure> {
        let directory = self.book.now().ok_or_else(starting)?;
        let led_last = self.led_by(group);
        let mut hunt = Hunt::start(directory.members(group), led_last).ok_or_else(starting)?;
        loop {
            let node = hunt.node();
            let (miss, failure) = match attempt.at(node).await {
                Tried::Answered(answer) => {
                    self.remember(group, node);
                    metrics::forwarded("group", Outcome::Answered);
                    return Ok(answer);
                }
                Tried::Missed(miss) => (miss, leaderless()),
                Tried::Unreached => {
                    self.forget(group, node);
                    (Miss::Unreachable, away())
                }
                Tried::Lost(failure) => {
                    // Whoever repeats the call must not begin with the node that was lost.
                    self.forget(group, node);
                    metrics::forwarded("group", Outcome::Lost);
                    return Err(failure);
                }
            };
            let pause = hunt.missed(miss).map(|pause| self.spread(pause));
            let left = deadline.remaining().unwrap_or_default();
            match pause.filter(|pause| *pause < left) {
                Some(pause) => {
                    metrics::retried(if miss == Miss::Unreachable {
                        "unreachable"
                    } else {
                        "not_leader"
                    });
                    let before = self.led_by(group);
                    tokio::time::sleep(pause).await;
                    // One call finds the leader for all that wait.
                    if let Some(leader) = self.led_by(group).filter(|now| Some(*now) != before) {
                        hunt.found(leader);
                    }
                }
                // Better a refusal that says "nothing happened" than a deadline that does not.
                None => {
                    metrics::forwarded("group", Outcome::Refused);
                    return Err(failure);
                }
            }
        }
    }

    async fn to_region(&self, to: RegionNumber, call: &Call) -> Result<Response<Body>, Failure> {
        let directory = self.book.now().ok_or_else(starting)?;
        let region = directory.region(to).ok_or(Reason::UnknownRegion)?;
        let entry = directory.own_region().ok_or_else(starting)?;
        let gateway = self.upstreams.gateway(&region.name);
        let policy = directory.policy.version();
        match self.send(gateway, call, Some((&entry.name, policy))).await {
            Ok(answer) => {
                self.note(to, true);
                metrics::forwarded("region", Outcome::Answered);
                Ok(answer)
            }
            Err(failure) if failure.reason() == Reason::DeadlineExceeded => Err(failure),
            Err(failure) => {
                let never_left = not_sent(&failure);
                self.note(to, false);
                metrics::forwarded(
                    "region",
                    if never_left { Outcome::Refused } else { Outcome::Lost },
                );
                let what =
                    if never_left { "cannot be reached" } else { "was lost during the call" };
                let message = format!("the home region {} {what}", region.name);
                // One gateway of the region is gone: the others may serve.
                let wait = if never_left { HOME_RETRY } else { LOST_RETRY };
                Err(Failure::new(Reason::HomeUnreachable, message).retry_after(wait))
            }
        }
    }

    /// Sends the call once, with what is left of its time.
    async fn send(
        &self,
        mut peer: U::Peer,
        call: &Call,
        forwarded_by: Option<(&RegionName, u64)>,
    ) -> Result<Response<Body>, Failure> {
        let mut headers = call.headers.clone();
        // Whoever made the call, only we say on whose behalf it goes on.
        principal::strip(&mut headers);
        headers.remove(CONTENT_LENGTH);
        call.principal.write(&mut headers);
        if let Some((region, policy)) = forwarded_by {
            // A region's name is a header value by its grammar.
            let name = HeaderValue::try_from(region.as_str()).map_err(|_| Reason::Internal)?;
            headers.insert(FORWARDED, name);
            headers.insert(POLICY, HeaderValue::from(policy));
        }
        if !call.streams {
            call.deadline.put(&mut headers)?;
        }
        trace::put(&mut headers);
        let mut request = Request::new(Body::new(Full::new(call.frame.clone())));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = call.uri.clone();
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = headers;
        // Our own call keeps its bound even if the peer forgets its own.
        let answer = tokio::time::timeout_at(call.deadline.0, peer.call(request)).await;
        answer.map_err(|_| Failure::of(Reason::DeadlineExceeded))?.map_err(Failure::from)
    }

    /// Whether the last call to the region, if there was one, came through.
    pub fn reachable(&self, region: RegionNumber) -> bool {
        !self.lost.read().contains(&region)
    }

    fn note(&self, region: RegionNumber, reached: bool) {
        if self.reachable(region) != reached {
            let mut lost = self.lost.write();
            if reached {
                lost.remove(&region)
            } else {
                lost.insert(region)
            };
        }
    }

    fn led_by(&self, group: GroupId) -> Option<NodeId> {
        self.leaders.read().get(&group).copied()
    }

    fn remember(&self, group: GroupId, node: NodeId) {
        if self.led_by(group) != Some(node) {
            self.leaders.write().insert(group, node);
        }
    }

    /// It does not lead, as far as anybody here can tell.
    fn forget(&self, group: GroupId, node: NodeId) {
        if self.led_by(group) == Some(node) {
            self.leaders.write().remove(&group);
        }
    }

    /// Half to all of the pause, so that callers do not come back in step.
    fn spread(&self, pause: Duration) -> Duration {
        if pause.is_zero() { pause } else { pause / 2 + self.entropy.jitter(pause / 2) }
    }
}

impl<U: Upstreams> Service<Call> for Forward<U> {
    type Response = Response<Body>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Failure>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        Box::pin(self.clone().pass(call))
    }
}

/// Why another node is to be asked, `None` for an answer that is the call's.
///
/// Such an answer has its status in the headers; one that has begun to stream has been carried out.
fn missed(answer: &Response<Body>) -> Option<Miss> {
    let headers = answer.headers();
    headers.get("grpc-status").filter(|code| code.as_bytes() == UNAVAILABLE)?;
    missed_by(&Status::from_header_map(headers)?)
}

fn missed_by(status: &Status) -> Option<Miss> {
    if status.code() != Code::Unavailable {
        return None;
    }
    let failure = Failure::from(status);
    match failure.reason() {
        Reason::NotLeader => Some(Miss::NotLeader(failure.leader())),
        // It did nothing and will do nothing; the others go on.
        Reason::GroupStopped => Some(Miss::NotLeader(None)),
        _ => None,
    }
}

fn starting() -> Failure {
    Failure::new(Reason::Unavailable, "the directory does not know this group yet")
        .retry_after(Duration::from_millis(500))
}

fn leaderless() -> Failure {
    Failure::new(Reason::NotLeader, "the group has no leader now")
        .retry_after(Duration::from_millis(500))
}

fn away() -> Failure {
    Failure::new(Reason::Unavailable, "no node of the group can be reached").retry_after(AWAY_RETRY)
}
