//! A stream over mTLS between a lane and a node that drains: both ends as they are.

use hansa_api::client::lane::{self, Error, Exchange, Lane};
use hansa_api::pb::node::node_intake_service_client::NodeIntakeServiceClient;
use hansa_api::pb::node::node_intake_service_server::{NodeIntakeService, NodeIntakeServiceServer};
use hansa_api::pb::node::taken_order::Result as Said;
use hansa_api::pb::node::{OrderToTake, TakeOrdersRequest, TakeOrdersResponse};
use hansa_types::id::NodeId;

use super::*;
use crate::fixture::{House, stack};
use crate::listen::{Limits, Serving};
use crate::peers::{PeerService, Peers, Timing};

struct Intake {
    echo: Echo,
    tasks: Tasks,
}

struct Taking(Echo);

impl Desk for Taking {
    type Request = TakeOrdersRequest;

    fn read(&mut self, message: TakeOrdersRequest) {
        self.0.unread = message.orders.into_iter().rev().map(|order| order.tag).collect();
    }

    fn begin(&mut self) -> Result<Option<Question>, Failure> {
        self.0.begin()
    }
}

type Taken = Pin<Box<dyn Stream<Item = Result<TakeOrdersResponse, Status>> + Send>>;

#[tonic::async_trait]
impl NodeIntakeService for Intake {
    type TakeOrdersStream = Taken;

    async fn take_orders(
        &self,
        request: tonic::Request<Streaming<TakeOrdersRequest>>,
    ) -> Result<tonic::Response<Taken>, Status> {
        let leaving = Leaving::of_call(request.extensions());
        let tasks = self.tasks.clone();
        let serve = Serve { name: "intake", tasks, under_way_max: 2, leaving };
        let answers = serve.answers(Taking(self.echo.clone()), request.into_inner());
        Ok(tonic::Response::new(Box::pin(answers.map(|said| said.map(Into::into)))))
    }
}

struct ToNode(PeerService);

#[tonic::async_trait]
impl Exchange for ToNode {
    type Ask = u64;
    type Answer = u64;
    type Request = TakeOrdersRequest;
    type Response = TakeOrdersResponse;

    fn size(_: &u64) -> usize {
        20
    }

    fn is_late(_: &u64) -> bool {
        false
    }

    fn request(asks: Vec<(u64, u64)>) -> TakeOrdersRequest {
        let order = |(tag, _)| OrderToTake { tag, ..Default::default() };
        TakeOrdersRequest { orders: asks.into_iter().map(order).collect() }
    }

    fn heard(response: TakeOrdersResponse) -> lane::Heard<u64> {
        let said = |result| match result {
            Some(Said::Placed(_)) => Ok(0),
            _ => Err(Status::from(Reason::Internal)),
        };
        let answers = response.orders.into_iter().map(|of| (of.tag, said(of.result))).collect();
        lane::Heard { answers, taken: response.taken }
    }

    async fn open(
        &self,
        requests: lane::Requests<TakeOrdersRequest>,
    ) -> Result<Streaming<TakeOrdersResponse>, Status> {
        Ok(NodeIntakeServiceClient::new(self.0.clone()).take_orders(requests).await?.into_inner())
    }
}

fn unsent(answer: &Result<u64, Error>) -> bool {
    matches!(answer, Err(Error::Unsent(status)) if status.code() == Code::Unavailable)
}

/// A node that serves streams, and a lane to it.
async fn served(house: &House, limits: Limits) -> (Echo, Serving, Lane<ToNode>) {
    let echo = Echo::default();
    let intake = Intake { echo: echo.clone(), tasks: house.tasks.clone() };
    let server = stack(NodeIntakeServiceServer::new(intake));
    let (address, serving) = house.serve("n1", server, limits).await;
    let peers = Peers::new(NodeId(2), house.net("n2"), Timing::default(), house.tasks.clone());
    peers.set_node(NodeId(1), address);
    let life = Duration::from_secs(60);
    let settings = lane::Settings { batch_max: 3, batch_bytes: 1_000, life };
    let (lane, run) = Lane::new(ToNode(peers.to(NodeId(1))), settings);
    house.tasks.spawn("lane", OnError::Log, run);
    (echo, serving, lane)
}

async fn begun(echo: &Echo, questions: usize) {
    while echo.begun.lock().len() < questions {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn what_a_draining_node_did_not_take_is_known_at_once_and_the_rest_is_answered() {
    let house = House::new();
    let (echo, serving, lane) = served(&house, Limits::default()).await;
    let lane = &lane;
    let asks = futures::future::join_all((0..6).map(|n| async move {
        let answer = lane.ask(n).await;
        (answer, Instant::now())
    }));
    let drain = async {
        begun(&echo, 2).await;
        let draining = Instant::now();
        let (drained, answered) = tokio::join!(serving.drain(), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            echo.lets.0.add_permits(2);
            Instant::now()
        });
        let () = drained;
        (draining, answered)
    };
    let (asked, (draining, answered)) = tokio::join!(asks, drain);
    let (went, stayed): (Vec<_>, Vec<_>) = asked.iter().partition(|(answer, _)| unsent(answer));
    assert_eq!((went.len(), stayed.len()), (4, 2));
    assert!(stayed.iter().all(|(answer, _)| answer.is_ok()), "{stayed:?}");
    assert!(went.iter().all(|(_, when)| *when < answered), "only when the rest was answered");
    assert!(draining.elapsed() < Duration::from_secs(5), "the drain waited out its bound");
    assert!(unsent(&lane.ask(9).await), "and nobody else is taken in");
    assert_eq!(echo.begun.lock().len(), 2);
}

#[tokio::test]
async fn a_stream_ends_in_order_however_short_the_drain_is() {
    let house = House::new();
    let drain_max = Duration::from_secs(1);
    let (echo, serving, lane) = served(&house, Limits { drain_max, ..Limits::default() }).await;
    let drain = async {
        begun(&echo, 1).await;
        serving.drain().await;
    };
    let (answer, ()) = tokio::join!(lane.ask(1), drain);
    let Err(Error::Lost(status)) = answer else { panic!("it was begun with: {answer:?}") };
    assert!(status.message().contains("about to close"), "the connection was cut: {status:?}");
}
