use std::sync::Mutex;

use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use hansa_api::pb::node::TakenOrder;
use hansa_api::pb::node::node_intake_service_server::{NodeIntakeService, NodeIntakeServiceServer};
use hansa_api::principal::Roles;
use hansa_node::env::test::SeededEntropy;
use hansa_types::id::GroupKind;
use http_body_util::Full;
use tower::ServiceExt as _;

use super::*;
use crate::testing::snapshot;

/// What a node does with the orders of a stream, and with orders as calls.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Places,
    NotLeader(u64),
    /// Ends its streams in order, and reads nothing.
    Leaves,
    Breaks,
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

struct Intake {
    nodes: Nodes,
    node: u64,
    does: Does,
}

type Taken = BoxStream<'static, Result<TakeOrdersResponse, Status>>;

#[tonic::async_trait]
impl NodeIntakeService for Intake {
    type TakeOrdersStream = Taken;

    async fn take_orders(
        &self,
        request: tonic::Request<Streaming<TakeOrdersRequest>>,
    ) -> Result<tonic::Response<Taken>, Status> {
        let (nodes, node, does) = (self.nodes.clone(), self.node, self.does);
        if does == Does::Leaves {
            return Ok(tonic::Response::new(futures::stream::empty().boxed()));
        }
        let answer = move |read: Result<TakeOrdersRequest, Status>| {
            let answered = |order: OrderToTake| {
                assert_eq!((order.roles.as_str(), order.entry.as_str()), ("storefront", "eu-west"));
                assert!(order.timeout_ms > 0 && order.first_sent_ms == 9);
                nodes.seen.lock().unwrap().push((node, order.principal));
                let result = match does {
                    Does::NotLeader(leader) => {
                        let failure = Failure::not_leader(Some(NodeId(leader)));
                        Said::Refused(Bytes::copy_from_slice(Status::from(failure).details()))
                    }
                    _ => Said::Placed(order.order),
                };
                TakenOrder { tag: order.tag, result: Some(result) }
            };
            let orders: Vec<_> = read?.orders.into_iter().map(answered).collect();
            match does {
                Does::Breaks => Err(Reason::Unavailable.into()),
                _ => Ok(TakeOrdersResponse { orders }),
            }
        };
        Ok(tonic::Response::new(request.into_inner().map(answer).boxed()))
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
        let server = NodeIntakeServiceServer::new(Intake { nodes, node, does });
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

#[tokio::test(start_paused = true)]
async fn what_a_leaving_node_did_not_read_goes_to_the_next() {
    let nodes = Nodes::default().with(1, &[Does::Leaves]).with(2, &[Does::Places]);
    assert_eq!(forward(&nodes).order(&order()).await.unwrap().unwrap(), "ab");
    assert_eq!(nodes.seen(), [2]);
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
    let nodes = Nodes::default().with(1, &[Does::Leaves]).with(2, &[Does::Leaves]);
    let nodes = nodes.with(3, &[Does::Leaves]);
    let deadline = Deadline::after(Duration::from_secs(1));
    let refused = forward(&nodes).order(&Order { deadline, ..order() }).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::Unavailable);
    assert!(refused.wait().is_some(), "and nothing happened: {refused:?}");
}
