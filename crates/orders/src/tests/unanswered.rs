//! A peer that takes its time: no more is on its way than the window allows, however much waits,
//! and what waits goes as one.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use hansa_api::pb::replication as wire;
use hansa_api::pb::replication::replication_service_server::{
    ReplicationService, ReplicationServiceServer,
};
use hansa_consensus::testing::eventually;
use hansa_types::id::NodeId;
use parking_lot::Mutex;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use super::regions::serve_routes;
use super::rig::{Rig, ca, order};

/// Of one stream: what came on it, and what of that was answered.
#[derive(Default)]
struct Seen {
    came: usize,
    answered: usize,
    /// The most that was on its way at once.
    most: usize,
    orders: BTreeSet<Vec<u8>>,
    /// The most orders in one message.
    together: usize,
}

/// Answers the first message of a stream, and as many others as it may.
#[derive(Clone)]
struct Slow {
    seen: Arc<Mutex<Seen>>,
    may: watch::Receiver<usize>,
}

type Answers = Pin<Box<dyn Stream<Item = Result<wire::ReplicateResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ReplicationService for Slow {
    type ReplicateStream = Answers;

    async fn replicate(
        &self,
        request: Request<Streaming<wire::ReplicateRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let mut inbound = request.into_inner();
        inbound.message().await?;
        *self.seen.lock() = Seen::default();
        let (seen, may) = (self.seen.clone(), self.may.clone());
        // All that comes is taken at once: what holds the sender back is the missing answer.
        let came = inbound.map(move |message| {
            let message = message?;
            let mut seen = seen.lock();
            seen.came += 1;
            seen.most = seen.most.max(seen.came - seen.answered);
            seen.together = seen.together.max(message.envelopes.len());
            seen.orders.extend(message.envelopes.iter().map(|of| of.order_id.to_vec()));
            Ok::<_, Status>(message.upto_sequence)
        });
        let (tx, rx) = tokio::sync::mpsc::unbounded_channel();
        let reads = came.for_each(move |upto| {
            let _gone = tx.send(upto);
            std::future::ready(())
        });
        let seen = self.seen.clone();
        let answers = stream::unfold((rx, 0), move |(mut rx, applied)| {
            let (seen, mut may) = (seen.clone(), may.clone());
            async move {
                let upto = rx.recv().await?;
                let enough = seen.lock().answered;
                may.wait_for(|may| *may > enough).await.ok()?;
                seen.lock().answered += 1;
                let applied = upto.map_or(applied, |upto: u64| upto.max(applied));
                let answer =
                    wire::ReplicateResponse { applied_sequence: applied, ..Default::default() };
                Some((Ok(answer), (rx, applied)))
            }
        });
        let first = stream::once(async { Ok(wire::ReplicateResponse::default()) });
        // Reading goes on beside the answers, for as long as somebody listens to these.
        let reads = stream::once(reads).map(|()| None);
        let all = stream::select(reads, first.chain(answers).map(Some));
        Ok(Response::new(Box::pin(all.filter_map(std::future::ready))))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_its_way_to_a_slow_peer_is_bounded_and_nobody_at_home_waits() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let ca = ca(&dir);
    let home = Rig::region(1, 1, 1, dir.clone(), ca.clone()).await;
    let abroad = Rig::region(2, 1, 1, dir, ca).await;
    let (let_go, may) = watch::channel(0);
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let slow = Slow { seen: seen.clone(), may };
    let routes = Routes::new(ReplicationServiceServer::new(slow));
    let address = serve_routes(&abroad, NodeId(1), routes).await;
    let node = home.leader().await;
    node.peers.set_gateways("us-east".parse().unwrap(), vec![address]);
    let window = node.orders.shell().cfg.replicate.window;

    let orders = 8 * window;
    for n in 0..orders {
        home.place(&order(&format!("r-{n}"))).await.unwrap();
    }
    home.at_rest().await;
    // A stream that is silent for long begins anew: none of them had more on its way.
    eventually("the window is full", || seen.lock().came == window).await;
    let most = seen.lock().most;
    let came = seen.lock().orders.len();
    assert!(most == window && came < orders, "{most}, {came}: the rest waits at home");
    let_go.send_replace(usize::MAX);
    eventually("all of it has come", || seen.lock().orders.len() == orders).await;
    let seen = seen.lock();
    assert!(seen.most <= window, "{} on their way", seen.most);
    assert!(seen.together > 1, "what waited goes together");
    assert!(seen.came < orders, "{} messages of {orders} orders", seen.came);
}
