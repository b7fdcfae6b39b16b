//! Two regions with a directory each, in one process.

use std::collections::BTreeMap;
use std::sync::Arc;

use hansa_consensus::testing::{Cluster, PATIENCE, Settings, eventually, soon};
use hansa_types::region::RegionNumber;
use http::{Request, Response};
use parking_lot::Mutex;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt as _;
use tower::util::BoxService;

use super::*;
use crate::core::directory::{Fence, Genesis, Isolation, Outcome, Ownership, State};
use crate::directory::{Config, Directory};
use crate::registry;
use crate::testing::{genesis, number, record};

type Doors = Arc<Mutex<BTreeMap<RegionName, Routes>>>;

/// The wires of one region: to itself, and to the others as itself.
#[derive(Clone)]
struct Wires {
    own: RegionName,
    doors: Doors,
}

impl Wires {
    fn peer(&self, region: &RegionName) -> BoxService<Request<Body>, Response<Body>, Status> {
        let routes = self.doors.lock().get(region).cloned();
        let Some(routes) = routes else {
            let away = || Err(Failure::of(Reason::Unavailable).into());
            return BoxService::new(tower::service_fn(move |_| std::future::ready(away())));
        };
        let id = format!("spiffe://hansa/region/{}/node/{}-1", self.own, self.own);
        let id = PeerIdentity(id.parse().unwrap());
        let named = tower::service_fn(move |mut request: Request<Body>| {
            request.extensions_mut().insert(id.clone());
            let answer = routes.clone().oneshot(request);
            async move { Ok(answer.await.unwrap().map(Body::new)) }
        });
        BoxService::new(named)
    }
}

impl Upstreams for Wires {
    type Peer = tower::util::BoxCloneSyncService<Request<Body>, Response<Body>, Status>;

    fn node(&self, _node: NodeId) -> Self::Peer {
        self.gateway(&self.own.clone())
    }

    fn gateway(&self, region: &RegionName) -> Self::Peer {
        let (this, region) = (self.clone(), region.clone());
        Self::Peer::new(tower::service_fn(move |request| this.peer(&region).oneshot(request)))
    }
}

struct Side {
    _cluster: Cluster<State>,
    directory: Directory,
    wires: Wires,
}

impl Side {
    async fn start(here: u16, name: &str, doors: &Doors) -> Self {
        let settings = Settings { nodes: 1, groups: Vec::new(), ..Settings::default() };
        let cluster = Cluster::with(settings, State::default).await;
        let config = Config {
            members: vec![NodeId(1)],
            genesis: Genesis { here: number(here), ..genesis(1) },
            policy_file: None,
            reload_every: Duration::from_secs(1),
            vouch: Vouch::nobody(),
        };
        let node = cluster.node(NodeId(1));
        let directory = Directory::start(&node.host, &node.env, config).await.unwrap();
        let book = directory.book();
        tokio::time::timeout(PATIENCE, book.ready()).await.expect("a directory");
        let wires = Wires { own: name.parse().unwrap(), doors: doors.clone() };
        let routes = Routes::new(registry::service(directory.clone(), Arc::new(|_| false)))
            .add_service(service(book, wires.clone(), Vouch::nobody()));
        doors.lock().insert(wires.own.clone(), routes);
        Self { _cluster: cluster, directory, wires }
    }

    async fn submit(&self, command: Command) {
        let outcome = self.directory.submit(&command, soon()).await.unwrap();
        let Outcome::Changed { version } = outcome else { panic!("{outcome:?}") };
        assert!(self.directory.book().reached(version, PATIENCE).await);
    }

    fn owner(&self, birth: u16) -> Ownership {
        self.directory.book().now().unwrap().owners[&number(birth)]
    }

    /// Whether `region` renews this side's first birth in an epoch.
    async fn renewed(&self, region: &str, birth: &str, epoch: u64) -> (bool, usize) {
        let (birth_region, owner_region) = (birth.to_owned(), self.wires.own.to_string());
        let epochs = vec![pb::KnownEpoch { birth_region, owner_region, epoch }];
        let request = pb::RenewEpochsRequest { region: self.wires.own.to_string(), epochs };
        let due = Deadline::after(PATIENCE);
        let answer = renew(&self.wires, &region.parse().unwrap(), request, due).await.unwrap();
        (answer.granted[0], answer.records.len())
    }
}

async fn league() -> (Side, Side) {
    let doors = Doors::default();
    (Side::start(1, "eu-west", &doors).await, Side::start(2, "us-east", &doors).await)
}

fn of(owner: u16, epoch: u64) -> Ownership {
    Ownership { owner: number(owner), epoch }
}

fn us_east() -> RegionName {
    "us-east".parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_any_contact_the_old_side_knows_whoever_asks() {
    let (old, new) = league().await;
    // It was cut off while another one took over.
    new.submit(Command::TakeRecord(Box::new(record(1, 2, 2)))).await;
    assert_eq!(old.owner(1), of(1, 1));
    let (wires, book) = (&old.wires, old.directory.book());
    learn(wires, &book, &us_east(), Deadline::after(PATIENCE)).await.unwrap();
    eventually("the old side knows", || old.owner(1) == of(2, 2)).await;
    // The other way round: the new side calls, and the one that is called takes it in.
    new.submit(Command::TakeRecord(Box::new(record(1, 2, 3)))).await;
    let (wires, book) = (&new.wires, new.directory.book());
    learn(wires, &book, &"eu-west".parse().unwrap(), Deadline::after(PATIENCE)).await.unwrap();
    eventually("the one that was called knows", || old.owner(1) == of(2, 3)).await;
    assert_eq!(old.directory.book().now().unwrap().records[&number(1)], record(1, 2, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_came_back_from_a_backup_says_so() {
    let (old, new) = league().await;
    let ownership = of(1, 4);
    old.submit(Command::HeardEpoch { birth: number(1), ownership }).await;
    let (wires, book) = (&old.wires, old.directory.book());
    learn(wires, &book, &us_east(), Deadline::after(PATIENCE)).await.unwrap();
    eventually("the other knows", || new.owner(1) == ownership).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_came_back_after_it_was_taken_over_gives_in_at_first_contact() {
    let (old, new) = league().await;
    old.submit(Command::HeardEpoch { birth: number(1), ownership: of(1, 3) }).await;
    new.submit(Command::TakeRecord(Box::new(record(1, 2, 2)))).await;
    assert_eq!(old.renewed("us-east", "eu-west", 3).await, (false, 1), "and is told why");
    let (wires, book) = (&old.wires, old.directory.book());
    learn(wires, &book, &us_east(), Deadline::after(PATIENCE)).await.unwrap();
    eventually("the old side gives in", || old.owner(1) == of(2, 4)).await;
    // Nobody else has written in that epoch: the new owner goes on in it.
    learn(wires, &book, &us_east(), Deadline::after(PATIENCE)).await.unwrap();
    eventually("the new owner goes on", || new.owner(1) == of(2, 4)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_is_renewed_until_it_is_fenced_and_then_no_more() {
    let (old, new) = league().await;
    assert_eq!(old.renewed("us-east", "eu-west", 1).await, (true, 0));
    assert_eq!(old.renewed("us-east", "eu-north", 1).await, (false, 0), "nobody knows it");
    let now = new.directory.book().now().unwrap();
    let lease = Command::SetIsolation {
        region: RegionNumber::try_from(1).unwrap(),
        isolation: Isolation::Lease { ms: 5_000 },
    };
    new.submit(lease).await;
    let signed = record_pb(&record(1, 2, 2), &now);
    let ask = |record| pb::FenceEpochRequest { record: Some(record), wait_ms: 9 };
    let due = Deadline::after(PATIENCE);
    let fenced = fence(&old.wires, &us_east(), ask(signed), due).await.unwrap();
    assert_eq!((fenced.refusal.as_str(), fenced.lease_ms), ("", 5_000));
    assert_eq!(old.renewed("us-east", "eu-west", 1).await, (false, 0));
    let held = new.directory.standing(soon()).await.unwrap().fences[&number(1)];
    assert_eq!((held.epoch, held.to, held.wait_ms), (2, number(2), 9));
    // Another operator, another heir: the epoch is given away.
    let other = record_pb(&record(1, 3, 2), &now);
    let refused = fence(&old.wires, &us_east(), ask(other), due).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::OwnershipRefused);
    new.submit(Command::TakeRecord(Box::new(record(1, 2, 2)))).await;
    assert_eq!(old.renewed("us-east", "eu-west", 1).await, (false, 1), "and is told why");
    let late = record_pb(&record(1, 2, 1), &now);
    let told = fence(&old.wires, &us_east(), ask(late), due).await.unwrap();
    assert_eq!((told.refusal_reason.as_str(), told.records.len()), ("EPOCH_ENDED", 1));
    let _: Fence = held;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_speaks_for_another_region() {
    let (old, _new) = league().await;
    let request = pb::RenewEpochsRequest { region: "ap-south".to_owned(), epochs: Vec::new() };
    let due = Deadline::after(PATIENCE);
    let refused = renew(&old.wires, &us_east(), request, due).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::PermissionDenied);
}
