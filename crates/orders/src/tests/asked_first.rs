//! A region that starts again asks the others before it goes on by itself.

use std::time::Duration;

use hansa_api::pb::directory as pb;
use hansa_api::pb::directory::ownership_service_server::{
    OwnershipService, OwnershipServiceServer,
};
use hansa_api::status::Reason;
use hansa_consensus::testing::eventually;
use hansa_region_router::core::directory::{Isolation, Ownership};
use hansa_region_router::wire::loss::record_of;
use hansa_types::id::NodeId;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::regions::serve_routes;
use super::rig::{Rig, ca, order};
use crate::shell::lease;

/// Far more than any answer takes here, and far less than it is waited for.
const FAR: Duration = Duration::from_secs(30);
const ASK_MS: u64 = 60_000;

/// What another region makes of the question.
#[derive(Clone, Default)]
enum Says {
    /// It does not answer yet.
    #[default]
    Nothing,
    NotNow,
    This(pb::RenewEpochsResponse),
}

#[derive(Clone)]
struct Other {
    asked: watch::Sender<u32>,
    says: watch::Receiver<Says>,
}

#[tonic::async_trait]
impl OwnershipService for Other {
    async fn renew_epochs(
        &self,
        request: Request<pb::RenewEpochsRequest>,
    ) -> Result<Response<pb::RenewEpochsResponse>, Status> {
        let births = request.into_inner().epochs.into_iter().map(|of| of.birth_region);
        assert_eq!(births.collect::<Vec<_>>(), ["eu-west"]);
        self.asked.send_modify(|asked| *asked += 1);
        let mut says = self.says.clone();
        let says = says.wait_for(|says| !matches!(says, Says::Nothing)).await;
        let says = says.map_err(|_| Status::unavailable("no word"))?.clone();
        match says {
            Says::This(answer) => Ok(Response::new(answer)),
            Says::Nothing | Says::NotNow => Err(Status::unavailable("it starts")),
        }
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
    asked: watch::Receiver<u32>,
    say: watch::Sender<Says>,
}

impl Back {
    async fn new(ask_first_ms: u64) -> Self {
        let home = Rig::start_unbooted(1).await;
        let ca = ca(&home.dir);
        let abroad = Rig::region(2, 1, 1, home.dir.clone(), ca).await;
        let (asking, asked) = watch::channel(0);
        let (say, says) = watch::channel(Says::Nothing);
        let other = OwnershipServiceServer::new(Other { asked: asking, says });
        let at = serve_routes(&abroad, NodeId(1), Routes::new(other)).await;
        let mut home = home;
        home.others.insert("us-east".parse().unwrap(), vec![at]);
        home.ask_first_ms = ask_first_ms;
        home.boot(NodeId(1)).await;
        eventually("somebody leads", || home.leader_now().is_some()).await;
        Self { home, _abroad: abroad, asked, say }
    }

    async fn is_asked(&mut self, times: u32) {
        let asked = self.asked.wait_for(|asked| *asked >= times);
        tokio::time::timeout(FAR, asked).await.expect("it asks").unwrap();
    }

    fn lease(&self) -> lease::Lease {
        self.home.nodes[&NodeId(1)].orders.shell().groups[&0].lease.clone()
    }
}

fn granted() -> Says {
    Says::This(pb::RenewEpochsResponse { granted: vec![true], records: vec![] })
}

/// Of the other region, which has these births since.
fn successor() -> pb::OwnershipRecord {
    pb::OwnershipRecord {
        birth_region: "eu-west".into(),
        owner_region: "us-east".into(),
        epoch: 2,
        kind: "failover".into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_taken_until_the_others_have_answered_and_then_at_once() {
    let mut back = Back::new(ASK_MS).await;
    let begun = Instant::now();
    // As it says while it starts itself, after the same power cut.
    back.say.send_replace(Says::NotNow);
    back.is_asked(3).await;
    let first = order("r-1");
    let place = back.home.place(&first);
    tokio::pin!(place);
    let early = tokio::time::timeout(Duration::from_millis(500), &mut place).await;
    assert!(early.is_err(), "before anybody said that the births are still here: {early:?}");
    back.say.send_replace(granted());
    place.await.unwrap();
    assert!(begun.elapsed() < FAR);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_told_of_a_successor_takes_nothing() {
    let mut back = Back::new(ASK_MS).await;
    back.is_asked(1).await;
    let begun = Instant::now();
    let records = vec![successor()];
    back.say.send_replace(Says::This(pb::RenewEpochsResponse { granted: vec![false], records }));
    let refused = back.home.place(&order("r-1")).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::HomeMoving);
    assert!(!back.lease().open(), "nor do steps begin");
    assert!(begun.elapsed() < FAR);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_told_nothing_goes_on() {
    let back = Back::new(1_000).await;
    back.home.place(&order("r-1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_while_the_others_are_asked_is_followed() {
    let mut back = Back::new(ASK_MS).await;
    back.is_asked(1).await;
    let begun = Instant::now();
    let book = &back.home.nodes[&NodeId(1)].book;
    let mut now = (*book.now().unwrap()).clone();
    now.isolation.insert(now.here, Isolation::Lease { ms: 10_000 });
    now.version += 1;
    book.publish(now);
    let lease = back.lease();
    eventually("it needs a lease", || !lease.held().is_empty()).await;
    assert!(!lease.open() && begun.elapsed() < FAR);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_owned_in_another_epoch_by_now_is_asked_for_again() {
    let mut back = Back::new(ASK_MS).await;
    back.is_asked(1).await;
    let book = &back.home.nodes[&NodeId(1)].book;
    let mut now = (*book.now().unwrap()).clone();
    let here = now.here;
    now.owners.insert(here, Ownership { owner: here, epoch: 5 });
    now.version += 1;
    book.publish(now.clone());
    back.say.send_replace(granted());
    back.is_asked(2).await;

    // That epoch is a claim: no record tells of it, and one of another owner beats it.
    assert_eq!(lease::told(&now, &[successor()]), [(here, 6)].into());
    let unknown = pb::OwnershipRecord { kind: "?".into(), ..successor() };
    assert_eq!(lease::told(&now, &[unknown]), [].into());
    let ours = pb::OwnershipRecord { owner_region: "eu-west".into(), epoch: 5, ..successor() };
    now.records.insert(here, record_of(&ours, &now).unwrap());
    assert_eq!(lease::told(&now, &[successor()]), [].into(), "older than a record of ours");
}
