//! Planted differences are found, each in its class, and none where none is.

use bytes::Bytes;
use hansa_api::pb::node as pb;
use hansa_api::pb::replication::{DifferenceKind, OrderView};
use hansa_consensus::testing::{eventually, soon};
use hansa_types::id::OrderId;
use prost::Message;

use super::regions::copies;
use super::rig::order;
use super::views::{Pair, policy};
use crate::core::command::{Command, Outcome};
use crate::core::remote::{Copy, RemoteStep};

impl Pair {
    fn copy(&self, n: usize) -> (OrderId, Copy) {
        let shell = self.away().orders.shell();
        shell.groups[&0].group.peek(|m| {
            let mut all: Vec<_> = m.state.remote.copies.iter().collect();
            all.sort_by_key(|(order, _)| order.to_bytes());
            (*all[n].0, all[n].1.clone())
        })
    }

    async fn submit(&self, step: RemoteStep) {
        let shell = self.away().orders.shell();
        let done = shell.groups[&0].submit(&Command::Remote(step), soon()).await.unwrap();
        assert!(matches!(done, Outcome::Noted | Outcome::Received(_)), "{done:?}");
    }

    /// The copy is gone.
    pub async fn lose(&self, order: OrderId) {
        self.submit(RemoteStep::Plant(order, None)).await;
    }

    /// The copy is this instead.
    pub async fn forge(&self, order: OrderId, copy: &Copy, version: u64, view: Bytes) {
        let copy = Copy { version, view, ..copy.clone() };
        self.submit(RemoteStep::Plant(order, Some(Box::new(copy)))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_class_of_difference_is_found_and_mended_by_asking_again() {
    let pair = Pair::start().await;
    for n in 0..8 {
        pair.home.place(&order(&format!("r-{n}"))).await.unwrap();
    }
    pair.home.at_rest().await;
    eventually("copies", || copies(pair.away()) == 8).await;
    pair.agree().await;

    let (missing, _) = pair.copy(0);
    pair.lose(missing).await;
    let (stale, old) = pair.copy(1);
    pair.forge(stale, &old, old.version - 1, old.view.clone()).await;
    let (conflicting, copy) = pair.copy(2);
    let mut other = OrderView::decode(copy.view.clone()).unwrap();
    other.order.as_mut().unwrap().client_reference = "another".into();
    pair.forge(conflicting, &copy, copy.version, other.encode_to_vec().into()).await;
    let extra = OrderId::try_from(u128::from(stale) + 1).unwrap();
    pair.forge(extra, &copy, 1, copy.view.clone()).await;

    let expected = [
        (missing, DifferenceKind::Missing),
        (stale, DifferenceKind::Stale),
        (conflicting, DifferenceKind::Conflicting),
        (extra, DifferenceKind::Extra),
    ];
    eventually("all four are found, and nothing else", || {
        let found = pair.stream().found;
        found.len() == 4
            && expected.iter().all(|(id, kind)| found.get(id).is_some_and(|f| f.kind == *kind))
    })
    .await;
    let found = pair.stream().found;
    assert_eq!(found[&missing].copy_version, 0);
    assert_eq!(found[&stale].copy_version + 1, found[&stale].home_version);
    assert_eq!(found[&extra].home_version, 0);

    // What home can mend, it mends when it is asked: missing and stale.
    let desk = pair.away().orders.replication();
    for order in [missing, stale] {
        let order = desk.shell.map.name_of(order);
        let asked = pb::RetryNodeParkedRequest { order, ship_again: false };
        let told = desk.retry(&asked, soon()).await.unwrap();
        assert!(!told.known, "nothing of it is parked");
        let asked = pb::RetryNodeParkedRequest { ship_again: true, ..asked };
        assert!(desk.retry(&asked, soon()).await.unwrap().asked_again);
    }
    let shell = pair.here().orders.shell();
    eventually("two are left", || {
        let found = pair.stream().found;
        found.len() == 2 && found.contains_key(&conflicting) && found.contains_key(&extra)
    })
    .await;
    assert!(shell.groups[&0].group.peek(|m| m.state.remote.parked.is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_differs_under_live_traffic_and_restarts() {
    let mut pair = Pair::start().await;
    let mut seen = 0;
    for n in 0..40 {
        pair.home.place(&order(&format!("r-{n}"))).await.unwrap();
        let stream = pair.stream();
        assert_eq!(stream.differences, 0, "{:?}", stream.found);
        seen = stream.compared_ms.max(seen);
        if n == 20 {
            let id = pair.home.cluster.ids()[0];
            pair.home.kill(id).await;
            pair.home.cluster.boot(id).await;
            pair.home.boot(id).await;
            pair.here().peers.set_gateways("us-east".parse().unwrap(), vec![pair.address.clone()]);
        }
    }
    pair.home.at_rest().await;
    eventually("copies", || copies(pair.away()) == 40).await;
    pair.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_lost_everything_is_seeded_again_by_the_same_way() {
    let mut pair = Pair::start().await;
    for n in 0..10 {
        pair.home.place(&order(&format!("r-{n}"))).await.unwrap();
    }
    eventually("copies", || copies(pair.away()) == 10).await;
    // Another machine, another disk, the same place.
    let (dir, ca) = (pair.home.dir.clone(), pair.home.ca.clone());
    let id = pair.abroad.cluster.ids()[0];
    pair.abroad.kill(id).await;
    pair.abroad = super::rig::Rig::region(2, 1, 1, dir, ca).await;
    let address = super::regions::serve(&pair.abroad, id).await;
    pair.here().peers.set_gateways("us-east".parse().unwrap(), vec![address]);
    pair.home.place(&order("r-10")).await.unwrap();
    eventually("all of them again", || copies(pair.away()) == 11).await;
    pair.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_never_rests_is_compared_all_the_same() {
    let pair = Pair::start().await;
    for n in 0..3 {
        pair.home.place(&order(&format!("r-{n}"))).await.unwrap();
    }
    pair.home.at_rest().await;
    pair.agree().await;
    let shell = pair.here().orders.shell();
    let flood = || async {
        loop {
            // Changes nothing, and wakes everybody who looks at the group.
            let _ = shell.groups[&0].submit(&Command::BindVault { vault: 0 }, soon()).await;
        }
    };
    // The same law under another number: the sender looks at all its orders again.
    pair.legislate(&policy(2, false));
    tokio::select! {
        biased;
        () = pair.agree() => {}
        _ = futures::future::join_all((0..8).map(|_| flood())) => {}
    }
    assert_eq!(pair.stream().view_version, 2);
}
