//! A gateway of eu-west with fakes behind it, for this crate's tests.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use hansa_api::status::{Failure, Reason};
use hansa_node::env::Env;
use hansa_node::tls::PeerIdentity;
use hansa_region_router::book::Book;
use hansa_region_router::core::directory::{
    Command, Genesis, Node, NodeRole, Region, Snapshot, State,
};
use hansa_region_router::forward::Upstreams;
use hansa_types::id::{GroupId, GroupKind, NodeId, OrderId, OrderName};
use hansa_types::region::{RegionName, RegionNumber, Slot};
use hansa_types::time::LogTime;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use prost::Message;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::{Service, ServiceExt as _};

use crate::Gateway;
use crate::config::Config;

const RESIDENCY: &str = include_str!("../../../deploy/policy/residency.toml");

pub fn number(n: u16) -> RegionNumber {
    n.try_into().unwrap()
}

fn region(name: &str) -> Region {
    let node = |n: u64| Node {
        id: NodeId(n),
        name: format!("{name}-{n}"),
        internal: format!("{name}-{n}:7443"),
        roles: NodeRole::ALL.to_vec(),
    };
    let public = vec![format!("{name}:443")];
    Region { name: name.parse().unwrap(), public, nodes: (1..=3).map(node).collect() }
}

/// The directory as region `here` (1 eu-west, 2 us-east, 3 ap-south) sees it after these commands.
pub fn directory(here: u16, commands: &[Command]) -> Snapshot {
    directory_with(here, commands, |_| false)
}

/// The same, where some groups are parts of the orders group.
pub fn directory_with(
    here: u16,
    commands: &[Command],
    part: impl Fn(GroupKind) -> bool,
) -> Snapshot {
    let members = |kind| (1..=3).map(NodeId).filter(|_| !part(kind)).collect::<Vec<_>>();
    let names = ["eu-west", "us-east", "ap-south"].into_iter().zip(1..);
    let genesis = Genesis {
        here: number(here),
        policy: RESIDENCY.into(),
        regions: names.map(|(name, n)| (number(n), region(name))).collect(),
        groups: GroupKind::ALL.map(|kind| (GroupId::new(kind, 0), members(kind))).into(),
    };
    let mut state = State::default();
    let first = Command::Bootstrap(Box::new(genesis));
    for command in std::iter::once(&first).chain(commands) {
        state.apply(&command.encode().unwrap());
    }
    state.snapshot().unwrap()
}

/// What an upstream does.
#[derive(Clone)]
pub enum Does {
    Answer,
    Fails(Reason),
    /// One message, which is this frame.
    Says(Bytes),
    Unreachable,
    Hangs,
    Serves(Routes),
}

/// One call that reached an upstream.
#[derive(Clone, Debug)]
pub struct Seen {
    pub who: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Clone, Default)]
pub struct Fake {
    does: Arc<Mutex<BTreeMap<String, Does>>>,
    pub seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    /// `who` is `node 1` or `gateway us-east`; whoever is not named answers.
    pub fn with(self, who: &str, does: Does) -> Self {
        self.does.lock().unwrap().insert(who.into(), does);
        self
    }

    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().unwrap().clone()
    }

    fn peer(&self, who: String) -> FakePeer {
        let does = self.does.lock().unwrap().get(&who).cloned().unwrap_or(Does::Answer);
        FakePeer { seen: self.seen.clone(), who, does: Mutex::new(does) }
    }
}

pub struct FakePeer {
    seen: Arc<Mutex<Vec<Seen>>>,
    who: String,
    does: Mutex<Does>,
}

impl Upstreams for Fake {
    type Peer = FakePeer;

    fn node(&self, node: NodeId) -> FakePeer {
        self.peer(format!("node {node}"))
    }

    fn gateway(&self, region: &RegionName) -> FakePeer {
        self.peer(format!("gateway {region}"))
    }
}

impl Service<Request<Body>> for FakePeer {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (seen, who) = (self.seen.clone(), self.who.clone());
        let does = self.does.lock().unwrap().clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            if head.uri.path().starts_with("/hansa.node.v1.NodeIntakeService/") {
                // As a node of a version before: orders come as calls.
                return Ok(Status::from(Reason::Unimplemented).into_http());
            }
            let body = body.collect().await?.to_bytes();
            let (path, headers) = (head.uri.path().to_owned(), head.headers.clone());
            seen.lock().unwrap().push(Seen { who: who.clone(), path, headers, body: body.clone() });
            match does {
                Does::Answer => Ok(Response::new(Body::new(Full::new(Bytes::from(who))))),
                Does::Fails(reason) => Ok(Status::from(reason).into_http()),
                Does::Says(frame) => Ok(Response::new(Body::new(Full::new(frame)))),
                Does::Hangs => std::future::pending().await,
                Does::Unreachable => {
                    Err(Failure::of(Reason::Unavailable).with("not_sent", "true").into())
                }
                Does::Serves(routes) => {
                    let request = Request::from_parts(head, Body::new(Full::new(body)));
                    Ok(routes.oneshot(request).await.unwrap().map(Body::new))
                }
            }
        })
    }
}

pub fn env() -> Env {
    hansa_node::env::test::seeded("gateway-test", 7, hansa_types::time::WallTime(0)).0
}

/// A gateway of eu-west; `config` as given.
pub fn gateway_with(fake: &Fake, config: Config) -> Gateway<Fake> {
    let book = Book::of(directory(1, &[]));
    Gateway::start_with(&env(), "hansa", book, fake.clone(), config).unwrap()
}

pub fn gateway(fake: &Fake) -> Gateway<Fake> {
    // Reflection costs more to start than all the rest.
    gateway_with(fake, Config { reflection: false, ..Config::default() })
}

pub fn frame(message: &impl Message) -> Bytes {
    let bytes = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend((bytes.len() as u32).to_be_bytes());
    frame.extend(bytes);
    frame.into()
}

/// A call as the listener hands it on: from `peer`, with these headers.
pub fn call(
    peer: &str,
    method: &str,
    headers: &[(&'static str, &str)],
    body: Bytes,
) -> Request<Body> {
    let mut request = Request::post(format!("/{method}")).body(Body::new(Full::new(body))).unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    request.extensions_mut().insert(PeerIdentity(peer.parse().unwrap()));
    request
}

/// The failure in an answer, `None` for one that began well.
pub fn failure(answer: &Response<Body>) -> Option<Failure> {
    Failure::from_headers(answer.headers())
}

pub async fn text(answer: Response<Body>) -> String {
    assert_eq!(failure(&answer), None);
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

pub fn order(region: &str, n: u16) -> String {
    let id = OrderId::new(LogTime(1), number(n), Slot::of(b"x"), 5);
    OrderName { region: region.parse().unwrap(), id }.to_string()
}
