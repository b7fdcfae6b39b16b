//! Other nodes as tower services: looked up when called, dialled when needed, verified by name.
//!
//! A call to ourselves takes no socket but passes the same served stack, so a role finds its peers
//! the same way whether they share its process or not.

mod channel;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use hansa_api::methods;
use hansa_api::status::Failure;
use hansa_api::status::key::NOT_SENT;
use hansa_types::id::NodeId;
use hansa_types::region::RegionName;
use http::{Request, Response};
use parking_lot::RwLock;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use self::channel::Channel;
use crate::layers::Stack;
pub use crate::net::Address;
use crate::net::Net;
use crate::refusal;
use crate::tasks::Tasks;
use crate::tls::PeerIdentity;

/// How connections to peers are made and kept.
#[derive(Debug, Clone)]
pub struct Timing {
    /// For name, TCP and TLS together.
    pub connect_max: Duration,
    /// Wait after a failed connect, doubled each time up to the second; calls fail at once
    /// meanwhile.
    pub retry_first: Duration,
    pub retry_max: Duration,
    /// Silence after which a ping goes out, also on an idle connection, and how long its answer
    /// may take.
    ///
    /// Without it a connection outlives a network partition by many seconds.
    pub keepalive_interval: Duration,
    pub keepalive_timeout: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect_max: Duration::from_secs(3),
            retry_first: Duration::from_millis(50),
            retry_max: Duration::from_millis(100),
            keepalive_interval: Duration::from_millis(500),
            keepalive_timeout: Duration::from_millis(1_500),
        }
    }
}

/// The register of peers; cheap to clone, changed at run time.
#[derive(Clone)]
pub struct Peers {
    inner: Arc<Inner>,
}

struct Inner {
    me: NodeId,
    net: Arc<dyn Net>,
    timing: Timing,
    tasks: Tasks,
    local: ArcSwapOption<Stack>,
    book: RwLock<Book>,
    turn: AtomicUsize,
}

#[derive(Default)]
struct Book {
    nodes: BTreeMap<NodeId, Peer>,
    gateways: BTreeMap<RegionName, Vec<Peer>>,
    /// One per address and way, whoever asks for it.
    peers: BTreeMap<(Address, Way), Peer>,
}

/// The connections to one process. What watchers leave unread fills theirs, and no other.
#[derive(Clone)]
struct Peer {
    calls: Arc<Channel>,
    watches: Arc<Channel>,
}

impl Peer {
    fn over(&self, path: &str) -> &Arc<Channel> {
        if methods::is_watch(path) { &self.watches } else { &self.calls }
    }
}

impl Peers {
    /// Peers of the node `me`, reached over `net`.
    pub fn new(me: NodeId, net: Arc<dyn Net>, timing: Timing, tasks: Tasks) -> Self {
        let (local, book) = (ArcSwapOption::empty(), RwLock::default());
        let turn = AtomicUsize::new(0);
        Self { inner: Arc::new(Inner { me, net, timing, tasks, local, book, turn }) }
    }

    /// This node.
    pub fn me(&self) -> NodeId {
        self.inner.me
    }

    /// What calls to ourselves reach: the internal listener's stack, layers included.
    pub fn set_local(&self, stack: Stack) {
        self.inner.local.store(Some(Arc::new(stack)));
    }

    /// Forgets what calls to ourselves reach. Breaks the cycle of a stack that holds these peers.
    pub fn clear_local(&self) {
        self.inner.local.store(None);
    }

    /// Learns or changes where a node of our own region is.
    pub fn set_node(&self, node: NodeId, address: Address) {
        let mut book = self.inner.book.write();
        let peer = self.inner.peer(&mut book, (address, Way::Within));
        book.nodes.insert(node, peer);
        book.forget_unused();
    }

    /// Forgets a node: calls to it fail from now on.
    pub fn remove_node(&self, node: NodeId) {
        let mut book = self.inner.book.write();
        book.nodes.remove(&node);
        book.forget_unused();
    }

    /// Learns the gateways of another region.
    pub fn set_gateways(&self, region: RegionName, addresses: Vec<Address>) {
        let mut book = self.inner.book.write();
        let peer = |address| self.inner.peer(&mut book, (address, Way::Between));
        let peers = addresses.into_iter().map(peer).collect();
        book.gateways.insert(region, peers);
        book.forget_unused();
    }

    /// Whether there is anybody to ask in another region.
    pub fn knows_gateway(&self, region: &RegionName) -> bool {
        self.inner.book.read().gateways.get(region).is_some_and(|known| !known.is_empty())
    }

    /// The node `node`: ourselves without a socket, others over the net, verified to be that node.
    pub fn to(&self, node: NodeId) -> PeerService {
        PeerService { peers: self.inner.clone(), target: Target::Node(node) }
    }

    /// Any gateway of `region`: in turn, and the next one when one cannot be reached.
    pub fn gateway(&self, region: &RegionName) -> PeerService {
        PeerService { peers: self.inner.clone(), target: Target::Gateway(region.clone()) }
    }
}

/// What a connection is for, as its handshake says it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Way {
    /// Among the nodes of one region, which alone are given such a connection.
    Within,
    /// Between regions: what is open to other regions' nodes, and no more.
    Between,
}

/// Whether a failure says that the call never left this process, so that it may go elsewhere.
pub fn not_sent(failure: &Failure) -> bool {
    failure.metadata(NOT_SENT).is_some()
}

impl Inner {
    fn peer(&self, book: &mut Book, to: (Address, Way)) -> Peer {
        let known = book.peers.entry(to.clone());
        let channel = || {
            let (net, timing) = (self.net.clone(), self.timing.clone());
            Arc::new(Channel::new(to.clone(), net, timing, self.tasks.clone()))
        };
        known.or_insert_with(|| Peer { calls: channel(), watches: channel() }).clone()
    }

    async fn call(self: Arc<Self>, target: Target, request: Request<Body>) -> Answer {
        match target {
            Target::Node(node) if node == self.me => self.call_local(request).await,
            Target::Node(node) => {
                let peer = self.book.read().nodes.get(&node).cloned();
                let peer = peer.ok_or_else(|| refusal::no_peer(format!("node {node}")))?;
                let channel = peer.over(request.uri().path());
                channel.send(channel.ready().await?, request).await
            }
            Target::Gateway(region) => self.call_gateway(&region, request).await,
        }
    }

    async fn call_local(&self, mut request: Request<Body>) -> Answer {
        let stack = self.local.load_full();
        let stack = stack.ok_or_else(|| refusal::no_peer("this node, which is starting".into()))?;
        request.extensions_mut().insert(PeerIdentity(self.net.id().clone()));
        match Stack::clone(&stack).call(request).await {
            Ok(response) => Ok(response),
            Err(never) => match never {},
        }
    }

    /// A gateway is chosen before the request is given away, so trying the next one repeats
    /// nothing.
    async fn call_gateway(&self, region: &RegionName, request: Request<Body>) -> Answer {
        let gateways = self.book.read().gateways.get(region).cloned().unwrap_or_default();
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut last = refusal::no_peer(format!("a gateway of {region}"));
        for n in 0..gateways.len() {
            let gateway = &gateways[(first.wrapping_add(n)) % gateways.len()];
            let gateway = gateway.over(request.uri().path());
            match gateway.ready().await {
                Ok(up) => return gateway.send(up, request).await,
                Err(status) => last = status,
            }
        }
        Err(last)
    }
}

impl Book {
    fn forget_unused(&mut self) {
        let (nodes, gateways) = (&self.nodes, &self.gateways);
        self.peers.retain(|_, peer| {
            let mut used = nodes.values().chain(gateways.values().flatten());
            let used = used.any(|used| Arc::ptr_eq(&used.calls, &peer.calls));
            if !used {
                peer.calls.retire();
                peer.watches.retire();
            }
            used
        });
    }
}

type Answer = Result<Response<Body>, Status>;

#[derive(Clone)]
enum Target {
    Node(NodeId),
    Gateway(RegionName),
}

/// A peer as a tower service; always ready, generated clients take it as their transport.
///
/// # Errors
/// `UNAVAILABLE` with [`not_sent`] when the call was never made, without it when the connection
/// broke.
#[derive(Clone)]
pub struct PeerService {
    peers: Arc<Inner>,
    target: Target,
}

impl Service<Request<Body>> for PeerService {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.peers.clone().call(self.target.clone(), request))
    }
}
