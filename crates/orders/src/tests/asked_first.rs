//! A region that starts again asks the others before it goes on by itself.

use std::time::Duration;

use hansa_api::pb::directory as pb;
use hansa_api::pb::directory::ownership_service_server::{
    OwnershipService, OwnershipServiceServer,
};
use hansa_api::status::Reason;
use hansa_consensus::testing::eventually;
use hansa_types::id::NodeId;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::regions::serve_routes;
use super::rig::{Rig, ca, order};

/// What another region makes of the question; nothing is answered before somebody says what.
#[derive(Clone)]
struct Other {
    asked: watch::Sender<bool>,
    says: watch::Receiver<Option<pb::RenewEpochsResponse>>,
}

#[tonic::async_trait]
impl OwnershipService for Other {
    async fn renew_epochs(
        &self,
        request: Request<pb::RenewEpochsRequest>,
    ) -> Result<Response<pb::RenewEpochsResponse>, Status> {
        let births = request.into_inner().epochs.into_iter().map(|of| of.birth_region);
        assert_eq!(births.collect::<Vec<_>>(), ["eu-west"]);
        self.asked.send_replace(true);
        let mut says = self.says.clone();
        let says = says.wait_for(Option::is_some).await;
        let says = says.map_err(|_| Status::unavailable("no word"))?.clone();
        says.map(Response::new).ok_or_else(|| Status::unavailable("no word"))
    }

    async fn exchange_ownership(
        &self,
        _: Request<pb::ExchangeOwnershipRequest>,
    ) -> Result<Response<pb::ExchangeOwnershipResponse>, Status> {
        Err(Status::unavailable("not asked"))
    }

    async fn read_heir(
        &self,
        _: Request<pb::ReadHeirRequest>,
    ) -> Result<Response<pb::ReadHeirResponse>, Status> {
        Err(Status::unavailable("not asked"))
    }

    async fn fence_epoch(
        &self,
        _: Request<pb::FenceEpochRequest>,
    ) -> Result<Response<pb::FenceEpochResponse>, Status> {
        Err(Status::unavailable("not asked"))
    }
}

/// A region of one node that is down, its other region, and what that one says when it is asked.
struct Back {
    home: Rig,
    /// Serves the other region's port.
    _abroad: Rig,
    asked: watch::Receiver<bool>,
    say: watch::Sender<Option<pb::RenewEpochsResponse>>,
}

impl Back {
    async fn new() -> Self {
        let home = Rig::start_unbooted(1).await;
        let ca = ca(&home.dir);
        let abroad = Rig::region(2, 1, 1, home.dir.clone(), ca).await;
        let (asking, asked) = watch::channel(false);
        let (say, says) = watch::channel(None);
        let other = OwnershipServiceServer::new(Other { asked: asking, says });
        let at = serve_routes(&abroad, NodeId(1), Routes::new(other)).await;
        let mut home = home;
        home.others.insert("us-east".parse().unwrap(), vec![at]);
        home.boot(NodeId(1)).await;
        Self { home, _abroad: abroad, asked, say }
    }

    async fn is_asked(&mut self) {
        let asked = self.asked.wait_for(|asked| *asked);
        tokio::time::timeout(Duration::from_secs(5), asked).await.expect("it asks").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_taken_until_the_others_have_answered_and_then_at_once() {
    let mut back = Back::new().await;
    back.is_asked().await;
    let begun = Instant::now();
    let first = order("r-1");
    let place = back.home.place(&first);
    tokio::pin!(place);
    let early = tokio::time::timeout(Duration::from_millis(500), &mut place).await;
    assert!(early.is_err(), "before anybody said that the births are still here: {early:?}");
    back.say.send_replace(Some(pb::RenewEpochsResponse { granted: vec![true], records: vec![] }));
    place.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_told_of_a_successor_takes_nothing_and_who_is_told_nothing_goes_on() {
    let mut back = Back::new().await;
    let record = pb::OwnershipRecord {
        birth_region: "eu-west".into(),
        owner_region: "us-east".into(),
        epoch: 2,
        ..Default::default()
    };
    let records = vec![record];
    back.say.send_replace(Some(pb::RenewEpochsResponse { granted: vec![false], records }));
    back.is_asked().await;
    eventually("somebody leads", || back.home.leader_now().is_some()).await;
    let refused = back.home.place(&order("r-1")).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::HomeMoving);
    let shell = back.home.nodes[&NodeId(1)].orders.shell();
    assert!(!shell.groups[&0].lease.open(), "nor do steps begin");

    // Nobody says anything: it is alone.
    let mut alone = Back::new().await;
    alone.is_asked().await;
    alone.home.place(&order("r-1")).await.unwrap();
}
