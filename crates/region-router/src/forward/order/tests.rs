use std::sync::Mutex;
use std::task::{Context, Poll};

use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use hansa_api::pb::node::node_intake_service_server::{NodeIntakeService, NodeIntakeServiceServer};
use hansa_api::principal::Roles;
use hansa_node::env::test::SeededEntropy;
use hansa_node::listen::Leaving;
use hansa_node::many::{Desk, Question, Serve};
use hansa_types::id::{GroupId, GroupKind};
use hansa_types::region::RegionName;
use http::Request;
use http_body_util::Full;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt as _};

use super::*;
use crate::book::Book;
use crate::testing::snapshot;

/// What a node does with the orders of a stream, and with orders as calls.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Places,
    NotLeader(u64),
    /// Is about to stop once it has begun with so many, which it answers a second later.
    Leaves(usize),
    Breaks,
    /// Takes messages of 4 KiB at most.
    Small,
    /// Takes calls only.
    Older,
}

#[derive(Clone, Default)]
struct Nodes {
    does: Arc<Mutex<BTreeMap<u64, Vec<Does>>>>,
    /// Orders and calls that arrived, by node, and whose they were.
    seen: Arc<Mutex<Vec<(u64, String)>>>,
}

impl Nodes {
    /// Streams of `node` do these things in turn, the last one for ever.
    fn with(self, node: u64, does: &[Does]) -> Self {
        self.does.lock().unwrap().insert(node, does.iter().rev().copied().collect());
        self
    }

    fn seen(&self) -> Vec<u64> {
        self.seen.lock().unwrap().iter().map(|(node, _)| *node).collect()
    }
}

struct Peer {
    nodes: Nodes,
    node: u64,
    does: Does,
}

impl Upstreams for Nodes {
    type Peer = Peer;

    fn node(&self, node: NodeId) -> Peer {
        let mut does = self.does.lock().unwrap();
        let script = does.get_mut(&node.0).expect("a node that was not expected");
        let does = if script.len() > 1 { script.pop().unwrap() } else { script[0] };
        Peer { nodes: self.clone(), node: node.0, does }
    }

    fn gateway(&self, region: &RegionName) -> Peer {
        panic!("nothing is for {region}")
    }
}

#[derive(Clone)]
struct Intake {
    nodes: Nodes,
    node: u64,
    does: Does,
    leaving: Leaving,
    unread: Vec<OrderToTake>,
    begun: usize,
}

impl Intake {
    fn take(&self, order: OrderToTake) -> Result<Bytes, Status> {
        assert_eq!((order.roles.as_str(), order.entry.as_str()), ("storefront", "eu-west"));
        assert!(order.timeout_ms > 0 && order.first_sent_ms == 9);
        self.nodes.seen.lock().unwrap().push((self.node, order.principal));
        match self.does {
            Does::NotLeader(leader) => Err(Failure::not_leader(Some(NodeId(leader))).into()),
            _ => Ok(order.order),
        }
    }
}

/// As a group's leader serves its streams.
impl Desk for Intake {
    type Request = TakeOrdersRequest;

    fn read(&mut self, message: TakeOrdersRequest) {
        self.unread = message.orders;
        self.unread.reverse();
    }

    fn begin(&mut self) -> Result<Option<Question>, Failure> {
        if self.unread.is_empty() || self.leaving.now.is_cancelled() {
            return Ok(None);
        }
        self.begun += 1;
        let slow = matches!(self.does, Does::Leaves(_));
        if self.does == Does::Leaves(self.begun) {
            self.leaving.now.cancel();
        }
        let Some(order) = self.unread.pop() else { return Ok(None) };
        let (tag, due) = (order.tag, Deadline::after(Duration::from_secs(60)));
        let result = self.take(order);
        let doing = Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(slow.into())).await;
            result
        });
        Ok(Some(Question { tag, due, within: trace::Within::begin("test", PATH), doing }))
    }
}

type Taken = BoxStream<'static, Result<TakeOrdersResponse, Status>>;

#[tonic::async_trait]
impl NodeIntakeService for Intake {
    type TakeOrdersStream = Taken;

    async fn take_orders(
        &self,
        request: tonic::Request<Streaming<TakeOrdersRequest>>,
    ) -> Result<tonic::Response<Taken>, Status> {
        let (intake, orders) = (self.clone(), request.into_inner());
        if self.does == Does::Breaks {
            let broken = orders.map(move |read| {
                read?.orders.into_iter().for_each(|order| drop(intake.take(order)));
                Err(Reason::Unavailable.into())
            });
            return Ok(tonic::Response::new(broken.boxed()));
        }
        if self.does == Does::Leaves(0) {
            self.leaving.now.cancel();
        }
        let (tasks, leaving) = (Tasks::new("intake-test"), self.leaving.clone());
        let serve = Serve { name: "intake", tasks, under_way_max: 1_024, leaving };
        let answers = serve.answers(intake, orders).map(|said| said.map(Into::into));
        Ok(tonic::Response::new(answers.boxed()))
    }
}

impl Service<Request<Body>> for Peer {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (nodes, node, does) = (self.nodes.clone(), self.node, self.does);
        if request.uri().path() == PATH {
            nodes.seen.lock().unwrap().push((node, "a call".to_owned()));
            let answer = Bytes::from_static(b"\0\0\0\0\x02ab");
            return Box::pin(async { Ok(Response::new(Body::new(Full::new(answer)))) });
        }
        if does == Does::Older {
            return Box::pin(async { Ok(Status::from(Reason::Unimplemented).into_http()) });
        }
        let leaving = Leaving { now: CancellationToken::new(), within: Duration::from_secs(8) };
        let intake = Intake { nodes, node, does, leaving, unread: Vec::new(), begun: 0 };
        let bytes_max = if does == Does::Small { 4_096 } else { PEER_MESSAGE_BYTES_MAX };
        let server = NodeIntakeServiceServer::new(intake).max_decoding_message_size(bytes_max);
        server
            .oneshot(request)
            .map(|served| match served {
                Ok(answer) => Ok(answer),
                Err(never) => match never {},
            })
            .boxed()
    }
}

fn forward(nodes: &Nodes) -> Forward<Nodes> {
    let entropy = Arc::new(SeededEntropy::new(7));
    let forward = Forward::new(nodes.clone(), Book::of(snapshot(1, 1, &[])), entropy);
    forward.with_lanes(Tasks::new("forward-test"))
}

fn order() -> Order {
    Order {
        to: To::Group(GroupId::new(GroupKind::Orders, 0)),
        order: Bytes::from_static(b"ab"),
        principal: Principal {
            id: "spiffe://hansa/client/storefront".parse().unwrap(),
            roles: [hansa_api::principal::Role::Storefront].into_iter().collect::<Roles>(),
            region: "eu-west".parse().unwrap(),
        },
        first_sent_ms: 9,
        deadline: Deadline::after(Duration::from_secs(10)),
    }
}

#[tokio::test(start_paused = true)]
async fn orders_share_a_stream_to_the_leader_that_a_hint_names() {
    let nodes = Nodes::default().with(1, &[Does::NotLeader(3)]).with(3, &[Does::Places]);
    let forward = forward(&nodes);
    let placed = async || forward.order(&order()).await.unwrap().unwrap();
    assert_eq!(placed().await, "ab");
    for bytes in futures::future::join_all((0..5).map(|_| placed())).await {
        assert_eq!(bytes, "ab");
    }
    assert_eq!(nodes.seen(), [1, 3, 3, 3, 3, 3, 3]);
    let seen = nodes.seen.lock().unwrap().clone();
    assert!(seen.iter().all(|(_, whose)| whose == "spiffe://hansa/client/storefront"));
}

/// Passes so many orders on at one moment; who placed each and after how long, or `None`.
async fn placed(forward: &Forward<Nodes>, orders: usize) -> Vec<Option<Duration>> {
    let began = Instant::now();
    let place = async || match forward.order(&order()).await {
        Ok(placed) => placed.is_ok_and(|bytes| bytes == "ab").then(|| began.elapsed()),
        Err(_) => None,
    };
    futures::future::join_all((0..orders).map(|_| place())).await
}

fn count<T: PartialEq>(all: &[T], one: T) -> usize {
    all.iter().filter(|other| **other == one).count()
}

#[tokio::test(start_paused = true)]
async fn what_a_leaving_node_did_not_read_goes_to_the_next() {
    let nodes = Nodes::default().with(1, &[Does::Leaves(0)]).with(2, &[Does::Places]);
    assert_eq!(forward(&nodes).order(&order()).await.unwrap().unwrap(), "ab");
    assert_eq!(nodes.seen(), [2]);
}

#[tokio::test(start_paused = true)]
async fn what_a_leaving_node_took_it_answers_and_the_rest_is_elsewhere_at_once() {
    let nodes = Nodes::default().with(1, &[Does::Leaves(5)]).with(2, &[Does::Places]);
    let nodes = nodes.with(3, &[Does::Places]);
    let placed = placed(&forward(&nodes), 20).await;
    assert_eq!(count(&placed, Some(Duration::from_secs(1))), 5, "{placed:?}");
    assert_eq!(count(&placed, Some(Duration::ZERO)), 15, "{placed:?}");
    let seen = nodes.seen();
    assert_eq!((count(&seen, 1), seen.len()), (5, 20), "each once");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_stream_that_breaks_goes_to_the_next_node() {
    let nodes = Nodes::default().with(1, &[Does::Breaks]).with(2, &[Does::Places]);
    let nodes = nodes.with(3, &[Does::Places]);
    let orders = 8 * BATCH_MAX;
    let placed = placed(&forward(&nodes), orders).await;
    let (seen, lost) = (nodes.seen(), count(&placed, None));
    let read = count(&seen, 1);
    assert!(0 < read && read <= lost, "what it has read may have been carried out");
    assert!(lost < orders, "nothing of what waited was placed");
    assert_eq!(seen.len() - read, orders - lost, "each once");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_refuses_a_message_has_judged_none_of_its_orders() {
    let nodes = Nodes::default().with(1, &[Does::Small]).with(2, &[Does::Places]);
    let nodes = nodes.with(3, &[Does::Places]);
    let placed = placed(&forward(&nodes), 100).await;
    assert_eq!(count(&placed, None), 0);
    assert_eq!((count(&nodes.seen(), 1), nodes.seen().len()), (0, 100));
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_streams() {
    let nodes = Nodes::default().with(1, &[Does::Places]);
    let (tasks, forward) = (Tasks::new("forward-test"), forward(&nodes));
    let forward = forward.with_lanes(tasks.clone());
    assert_eq!(forward.order(&order()).await.unwrap().unwrap(), "ab");
    assert_eq!(tasks.running(), ["gateway-intake"]);
    let began = Instant::now();
    assert_eq!(tasks.drain(Duration::from_secs(10)).await, Vec::<String>::new());
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_order_on_a_stream_that_breaks_is_lost_and_not_sent_again() {
    let nodes = Nodes::default().with(1, &[Does::Breaks]).with(2, &[Does::Places]);
    let failure = forward(&nodes).order(&order()).await.unwrap_err();
    assert_eq!(failure.reason(), Reason::Unavailable);
    assert_eq!(nodes.seen(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_node_of_an_older_version_gets_calls_until_it_is_looked_at_again() {
    let nodes = Nodes::default().with(1, &[Does::Older]);
    let forward = forward(&nodes);
    for _ in 0..3 {
        assert_eq!(forward.order(&order()).await.unwrap().unwrap(), "ab");
    }
    assert!(nodes.seen.lock().unwrap().iter().all(|(_, whose)| whose == "a call"));
    nodes.does.lock().unwrap().insert(1, vec![Does::Places]);
    tokio::time::advance(OLDER).await;
    assert_eq!(forward.order(&order()).await.unwrap().unwrap(), "ab");
    assert_ne!(nodes.seen.lock().unwrap().last().unwrap().1, "a call", "it is newer by now");
}

#[tokio::test(start_paused = true)]
async fn a_region_whose_nodes_all_leave_is_refused_with_a_time_to_retry() {
    let nodes = Nodes::default().with(1, &[Does::Leaves(0)]).with(2, &[Does::Leaves(0)]);
    let nodes = nodes.with(3, &[Does::Leaves(0)]);
    let deadline = Deadline::after(Duration::from_secs(1));
    let refused = forward(&nodes).order(&Order { deadline, ..order() }).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::Unavailable);
    assert!(refused.wait().is_some(), "and nothing happened: {refused:?}");
}

#[tokio::test]
async fn an_answer_is_one_whole_message_of_bounded_length() {
    let said = |bytes: Vec<u8>| message(Response::new(Body::new(Full::new(Bytes::from(bytes)))));
    assert_eq!(said(b"\0\0\0\0\x02ab".to_vec()).await.unwrap().unwrap(), "ab");
    for bad in [&b""[..], b"\0\0\0\0\x03ab", b"\0\0\0\0\x01ab", b"\x01\0\0\0\x02ab"] {
        let failure = said(bad.to_vec()).await.unwrap_err();
        assert_eq!(failure.reason(), Reason::Internal, "{bad:?}");
    }
    let failure = said(vec![0; ANSWER_BYTES_MAX + 1]).await.unwrap_err();
    assert_eq!(failure.reason(), Reason::Unavailable);
}
