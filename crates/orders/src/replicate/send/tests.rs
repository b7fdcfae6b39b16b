//! A sender whose peer is away, silent or slow.

use std::collections::VecDeque;
use std::pin::Pin;

use futures::Stream;
use hansa_api::pb::inventory as stock;
use hansa_api::pb::inventory::inventory_service_server::InventoryService;
use hansa_api::pb::replication::replication_service_server::{
    ReplicationService, ReplicationServiceServer,
};
use hansa_consensus::testing::eventually;
use hansa_types::id::NodeId;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use super::*;
use crate::tests::regions::serve_routes;
use crate::tests::rig::{Node, Rig, ca, call, order};

fn seq(node: &Node) -> u64 {
    node.orders.shell().groups[&0].group.peek(|machine| machine.state.meta.seq)
}

fn lag(node: &Node) -> Option<Lag> {
    let lags = node.orders.lags().into_iter();
    lags.filter(|(peer, ..)| peer.as_str() == "us-east").map(|(.., lag)| lag).next()
}

/// Nobody answers for the other regions. Its leader says at least how far they lag since it leads,
/// by the first event and not by the last of the order that goes on changing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_was_never_heard_lags_by_the_first_event_since_this_node_leads() {
    let home = Rig::start(1).await;
    let node = home.leader().await;
    let wall = || node.orders.shell().env.clock.wall().ms();
    // It counts from where its sender began.
    eventually("it looks", || lag(node).is_some()).await;
    let before = wall();
    let name = home.place(&order("r-1")).await.unwrap().order.unwrap().name;
    let after = wall();
    eventually("two seconds", || wall() > after + 2_000).await;
    let ship = stock::RecordShipmentRequest {
        order: name,
        request_id: "s-1".into(),
        ..Default::default()
    };
    node.service.record_shipment(call(ship)).await.unwrap();
    let mut last = None;
    eventually("all that is known is said", || {
        last = lag(node);
        last.is_some_and(|lag| lag.events == seq(node) && lag.ms > 0)
    })
    .await;
    let (lag, now) = (last.unwrap(), wall());
    assert!(!lag.heard && !lag.connected, "{lag:?}");
    assert!(lag.ms >= 2_000 && lag.ms <= now - before + 1_000, "{lag:?} of {}", now - before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leads_no_more_shows_no_lag() {
    let home = Rig::start(1).await;
    let node = home.leader().await;
    let (shell, lags) = (node.orders.shell(), Lags::default());
    let hosted = shell.groups[&0].clone();
    let sender = Sender::new(shell, hosted, "us-east".parse().unwrap(), lags.clone());
    let recorder = PrometheusBuilder::new().build_recorder();
    let page = recorder.handle();
    let shown = || {
        let page = page.render();
        let values = page.lines().filter(|line| line.starts_with("hansa_orders_replication_"));
        values.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    ::metrics::with_local_recorder(&recorder, || {
        sender.lead_no_more();
        assert_eq!(shown(), [""; 0], "a follower never had any");
        sender.begin_to_lead();
        sender.level_again();
        assert_eq!(shown(), ["0", "0"]);
        sender.lead_no_more();
        assert_eq!(shown(), ["NaN", "NaN", "NaN"]);
    });
    assert_eq!(lags.all(), []);
}

/// A peer that takes whatever comes and answers only while it may.
#[derive(Clone)]
struct Slow {
    answers: watch::Receiver<bool>,
    /// Messages that have no answer, now and at most.
    open: watch::Sender<(usize, usize)>,
}

type Answers = Pin<Box<dyn Stream<Item = Result<wire::ReplicateResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ReplicationService for Slow {
    type ReplicateStream = Answers;

    async fn replicate(
        &self,
        request: Request<Streaming<wire::ReplicateRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let (inbound, slow) = (request.into_inner(), self.clone());
        slow.open.send_replace((0, 0));
        Ok(Response::new(Box::pin(slow.answered(inbound))))
    }
}

impl Slow {
    /// The first message asks how far it is, and is answered whatever happens.
    fn answered(
        self,
        inbound: Streaming<wire::ReplicateRequest>,
    ) -> impl Stream<Item = Result<wire::ReplicateResponse, Status>> {
        let answer = |(mut owed, mut inbound, mut slow): (Owed, Streaming<_>, Self)| async move {
            loop {
                let may = *slow.answers.borrow_and_update() || owed.first;
                if let Some(applied_sequence) = may.then(|| owed.answers.pop_front()).flatten() {
                    owed.first = false;
                    slow.note(owed.answers.len());
                    let answer = wire::ReplicateResponse { applied_sequence, ..Default::default() };
                    return Some((Ok(answer), (owed, inbound, slow)));
                }
                tokio::select! {
                    message = inbound.message() => {
                        let message: wire::ReplicateRequest = message.ok()??;
                        owed.applied = owed.applied.max(message.upto_sequence);
                        owed.answers.push_back(owed.applied);
                        slow.note(owed.answers.len());
                    }
                    changed = slow.answers.changed() => changed.ok()?,
                }
            }
        };
        futures::stream::unfold((Owed { first: true, ..Owed::default() }, inbound, self), answer)
    }

    fn note(&self, open: usize) {
        self.open.send_modify(|(now, most)| (*now, *most) = (open, open.max(*most)));
    }
}

/// What a peer has taken, and not answered.
#[derive(Default)]
struct Owed {
    first: bool,
    applied: u64,
    answers: VecDeque<u64>,
}

/// Orders and bookmarks fill the window, and nothing goes beyond it however many more are due.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_answer_is_sent_four_messages_and_no_more_until_it_does() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let ca = ca(&dir);
    let home = Rig::region(1, 1, 1, dir.clone(), ca.clone()).await;
    let abroad = Rig::region(2, 1, 1, dir, ca).await;
    let (may, answers) = watch::channel(false);
    let (open, mut seen) = watch::channel((0, 0));
    let slow = ReplicationServiceServer::new(Slow { answers, open });
    let address = serve_routes(&abroad, NodeId(1), Routes::new(slow)).await;
    let node = home.leader().await;
    let window = node.orders.shell().cfg.replicate.window;
    assert_eq!(window, 4);
    node.peers.set_gateways("us-east".parse().unwrap(), vec![address]);
    eventually("the stream is open", || lag(node).is_some_and(|lag| lag.heard)).await;

    for n in 0..window {
        home.place(&order(&format!("r-{n}"))).await.unwrap();
    }
    let full = seen.wait_for(|(now, _)| *now >= window);
    tokio::time::timeout(Duration::from_secs(5), full).await.expect("as many as may").unwrap();
    // Ten bookmarks are due, and orders go on.
    tokio::time::sleep(Duration::from_secs(1)).await;
    home.place(&order("r-more")).await.unwrap();
    assert_eq!(*seen.borrow(), (window, window), "unanswered now, and at most");
    assert!(lag(node).is_some_and(|lag| lag.events > 0 && lag.connected));

    may.send_replace(true);
    eventually("the rest comes", || lag(node).is_some_and(|lag| lag.acknowledged == seq(node)))
        .await;
    assert!(seen.borrow().1 <= window, "{:?}", *seen.borrow());
}
