use std::sync::Mutex;

use hansa_api::principal::Roles;
use hansa_node::env::test::SeededEntropy;
use hansa_types::id::GroupKind;
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::*;
use crate::testing::{number, snapshot};

/// What one upstream does with a call.
#[derive(Clone, Copy)]
enum Does {
    Answer,
    NotLeader(Option<u64>),
    Overloaded,
    Unreachable,
    Breaks,
    Hangs,
}

#[derive(Clone, Default)]
struct Fake {
    nodes: Arc<Mutex<BTreeMap<u64, Vec<Does>>>>,
    gateway: Arc<Mutex<Option<Does>>>,
    /// Who was called, with which headers and body.
    seen: Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>,
}

impl Fake {
    /// Node `node` does these things in turn, the last one for ever.
    fn node(self, node: u64, does: &[Does]) -> Self {
        self.nodes.lock().unwrap().insert(node, does.iter().rev().copied().collect());
        self
    }

    fn gateway(self, does: Does) -> Self {
        *self.gateway.lock().unwrap() = Some(does);
        self
    }

    fn calls(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(who, ..)| who.clone()).collect()
    }

    fn last(&self) -> (String, HeaderMap, Bytes) {
        self.seen.lock().unwrap().last().unwrap().clone()
    }
}

struct FakePeer {
    fake: Fake,
    who: String,
    does: Does,
}

impl Upstreams for Fake {
    type Peer = FakePeer;

    fn node(&self, node: NodeId) -> FakePeer {
        let mut nodes = self.nodes.lock().unwrap();
        let script = nodes.get_mut(&node.0).expect("a node that was not expected");
        let does = if script.len() > 1 { script.pop().unwrap() } else { script[0] };
        FakePeer { fake: self.clone(), who: format!("node {node}"), does }
    }

    fn gateway(&self, region: &RegionName) -> FakePeer {
        let does = self.gateway.lock().unwrap().expect("no gateway was expected");
        FakePeer { fake: self.clone(), who: format!("gateway {region}"), does }
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
        let (fake, who, does) = (self.fake.clone(), self.who.clone(), self.does);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            fake.seen.lock().unwrap().push((who.clone(), head.headers, body));
            match does {
                Does::Answer => Ok(Response::new(Body::new(Full::new(Bytes::from(who))))),
                Does::NotLeader(leader) => {
                    Ok(Status::from(Failure::not_leader(leader.map(NodeId))).into_http())
                }
                Does::Overloaded => Ok(Status::from(Reason::Overloaded).into_http()),
                Does::Unreachable => {
                    let failure = Failure::of(Reason::Unavailable).with("not_sent", "true");
                    Err(failure.into())
                }
                Does::Breaks => Err(Reason::Unavailable.into()),
                Does::Hangs => std::future::pending().await,
            }
        })
    }
}

fn call(to: To) -> Call {
    let mut headers = HeaderMap::new();
    headers.insert("x-own", HeaderValue::from_static("kept"));
    headers.insert("te", HeaderValue::from_static("trailers"));
    headers.insert("hansa-principal", HeaderValue::from_static("spiffe://hansa/client/king"));
    headers.insert("hansa-forwarded", HeaderValue::from_static("us-east"));
    headers.insert("grpc-timeout", HeaderValue::from_static("90S"));
    headers.insert("content-length", HeaderValue::from_static("7"));
    Call {
        to,
        uri: "/hansa.order.v1.OrderService/GetOrder".parse().unwrap(),
        headers,
        frame: Bytes::from_static(b"\0\0\0\0\x02ab"),
        principal: Principal {
            id: "spiffe://hansa/client/storefront".parse().unwrap(),
            roles: Roles::default(),
            region: "eu-west".parse().unwrap(),
        },
        deadline: Deadline::after(Duration::from_secs(10)),
        streams: false,
    }
}

fn group() -> To {
    To::Group(GroupId::new(GroupKind::Orders, 0))
}

fn forward(fake: &Fake) -> Forward<Fake> {
    let entropy = Arc::new(SeededEntropy::new(7));
    Forward::new(fake.clone(), Book::of(snapshot(1, 1, &[])), entropy)
}

async fn text(answer: Response<Body>) -> String {
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_hint_leads_to_the_leader_and_is_remembered() {
    let fake = Fake::default().node(1, &[Does::NotLeader(Some(3))]).node(3, &[Does::Answer]);
    let mut forward = forward(&fake);
    assert_eq!(text(forward.call(call(group())).await.unwrap()).await, "node 3");
    assert_eq!(text(forward.call(call(group())).await.unwrap()).await, "node 3");
    assert_eq!(fake.calls(), ["node 1", "node 3", "node 3"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_left_goes_to_the_next_node() {
    let fake = Fake::default().node(1, &[Does::Unreachable]).node(2, &[Does::Answer]);
    assert_eq!(text(forward(&fake).call(call(group())).await.unwrap()).await, "node 2");
}

#[tokio::test(start_paused = true)]
async fn an_election_is_waited_for_within_the_deadline() {
    let nobody = [Does::NotLeader(None)];
    let elected = [Does::NotLeader(None), Does::NotLeader(None), Does::Answer];
    let fake = Fake::default().node(1, &nobody).node(2, &elected).node(3, &nobody);
    assert_eq!(text(forward(&fake).call(call(group())).await.unwrap()).await, "node 2");
    assert_eq!(fake.calls().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_group_without_a_leader_is_refused_before_the_deadline_with_a_time_to_retry() {
    let nobody = [Does::NotLeader(None)];
    let fake = Fake::default().node(1, &nobody).node(2, &nobody).node(3, &nobody);
    let deadline = Deadline::after(Duration::from_secs(1));
    let call = Call { deadline, ..call(group()) };
    let failure = forward(&fake).call(call).await.unwrap_err();
    assert_eq!(failure.reason(), Reason::NotLeader);
    assert!(failure.wait().is_some());
    assert!(Instant::now() < deadline.0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_have_been_carried_out_is_never_sent_again() {
    let fake = Fake::default().node(1, &[Does::Breaks]);
    let failure = forward(&fake).call(call(group())).await.unwrap_err();
    assert_eq!(failure.reason(), Reason::Unavailable);
    assert_eq!(fake.calls().len(), 1);
    let fake = Fake::default().node(1, &[Does::Hangs]);
    let failure = forward(&fake).call(call(group())).await.unwrap_err();
    assert_eq!(failure.reason(), Reason::DeadlineExceeded);
    assert_eq!(fake.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn any_other_answer_is_the_callers() {
    let fake = Fake::default().node(1, &[Does::Overloaded]);
    let answer = forward(&fake).call(call(group())).await.unwrap();
    let failure = Failure::from_headers(answer.headers()).unwrap();
    assert_eq!(failure.reason(), Reason::Overloaded);
    assert_eq!(fake.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_not_known_is_unavailable() {
    let missing = To::Group(GroupId::new(GroupKind::Orders, 9));
    let failure = forward(&Fake::default()).call(call(missing)).await.unwrap_err();
    assert_eq!(failure.reason(), Reason::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn what_goes_on_carries_our_headers_and_none_of_the_callers_claims() {
    let fake = Fake::default().node(1, &[Does::Answer]);
    let call = call(group());
    tokio::time::advance(Duration::from_secs(4)).await;
    forward(&fake).call(call).await.unwrap();
    let (_, headers, body) = fake.last();
    assert_eq!(body, b"\0\0\0\0\x02ab"[..]);
    assert_eq!(headers["hansa-principal"], "spiffe://hansa/client/storefront");
    assert_eq!(headers["grpc-timeout"], "6000000u");
    assert_eq!(
        (&headers["x-own"], &headers["te"]),
        (&HeaderValue::from_static("kept"), &HeaderValue::from_static("trailers"))
    );
    assert!(!headers.contains_key("hansa-forwarded") && !headers.contains_key("content-length"));
}

#[tokio::test(start_paused = true)]
async fn a_stream_keeps_the_timeout_that_its_client_asked() {
    let fake = Fake::default().node(1, &[Does::Answer]);
    forward(&fake).call(Call { streams: true, ..call(group()) }).await.unwrap();
    assert_eq!(fake.last().1["grpc-timeout"], "90S");
}

#[tokio::test(start_paused = true)]
async fn another_regions_gateway_learns_who_passed_the_call_on() {
    let fake = Fake::default().gateway(Does::Answer);
    let to = To::Region(number(2));
    assert_eq!(text(forward(&fake).call(call(to)).await.unwrap()).await, "gateway us-east");
    assert_eq!(fake.last().1["hansa-forwarded"], "eu-west");
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_home_is_refused_and_never_replaced() {
    for does in [Does::Unreachable, Does::Breaks] {
        let fake = Fake::default().gateway(does);
        let failure = forward(&fake).call(call(To::Region(number(2)))).await.unwrap_err();
        assert_eq!(failure.reason(), Reason::HomeUnreachable);
        assert!(failure.wait().is_some());
        assert_eq!(fake.calls(), ["gateway us-east"]);
    }
}

#[tokio::test(start_paused = true)]
async fn no_call_is_made_after_its_deadline() {
    let fake = Fake::default().node(1, &[Does::Answer]);
    let late = Call { deadline: Deadline::after(Duration::ZERO), ..call(group()) };
    let failure = forward(&fake).call(late).await.unwrap_err();
    assert_eq!(failure.reason(), Reason::DeadlineExceeded);
    assert!(fake.calls().is_empty());
}
