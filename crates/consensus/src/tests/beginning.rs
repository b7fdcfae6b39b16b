//! What a group begins with is in its log: no config of a node makes its replica another. And who
//! begins: nobody, as long as a first member is silent that may remember.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};

use hansa_types::id::NodeId;

use crate::outcome::Role;
use crate::testing::counter::Counters;
use crate::testing::{Cluster, Settings, eventually};
use crate::timing::Timing;

/// Nodes each of which has another rule in its config, and another one at each start.
async fn at_odds() -> Cluster<Counters> {
    let next = AtomicI64::new(3);
    let timing = Timing { checkpoint_entries: 1_000_000, ..Timing::quick() };
    let settings = Settings { timing, ..Settings::paused() };
    Cluster::with(settings, move || Counters::upto(next.fetch_add(1, Ordering::Relaxed))).await
}

fn rules(cluster: &Cluster<Counters>) -> BTreeSet<Option<i64>> {
    cluster.up().into_iter().map(|node| cluster.group(node).peek(Counters::max)).collect()
}

fn serve(cluster: &Cluster<Counters>) -> bool {
    cluster.up().into_iter().all(|node| cluster.group(node).status().role != Role::Stopped)
}

#[tokio::test(start_paused = true)]
async fn replicas_of_other_configs_decide_by_what_the_log_begins_with() {
    let mut cluster = at_odds().await;
    let first = cluster.submit("add a 100").await;
    assert!((3..=5).contains(&first), "by one of the rules: {first}");
    cluster.settled().await;
    assert_eq!(rules(&cluster), BTreeSet::from([Some(first)]));
    // The whole log is read again, by nodes that would begin otherwise.
    for _ in 0..2 {
        cluster.kill_all().await;
        for node in cluster.ids() {
            cluster.boot(node).await;
        }
        assert_eq!(cluster.submit("add b 100").await, first);
        cluster.settled().await;
        assert_eq!(rules(&cluster), BTreeSet::from([Some(first)]));
    }
    // They compare themselves each second.
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    assert!(serve(&cluster));
}

#[tokio::test(start_paused = true)]
async fn one_that_joins_later_begins_as_the_others_did() {
    let mut cluster = at_odds().await;
    let first = cluster.submit("add a 100").await;
    cluster.join(NodeId(4)).await;
    cluster.want(&[1, 2, 3, 4]);
    cluster.members_are(&[1, 2, 3, 4]).await;
    cluster.settled().await;
    eventually("one rule", || rules(&cluster) == BTreeSet::from([Some(first)])).await;
    assert!(serve(&cluster));
}

/// A region that went dark and lost some volumes.
async fn dark(lost: &[u64]) -> Cluster<Counters> {
    let settings = Settings { disks: None, ..Settings::paused() };
    let mut cluster = Cluster::with(settings, Counters::default).await;
    assert_eq!(cluster.submit("add a 1").await, 1);
    cluster.settled().await;
    let met = |node: &NodeId| {
        cluster.ids().iter().all(|other| other == node || cluster.node(*node).host.has_met(*other))
    };
    eventually("all have met", || cluster.ids().iter().all(met)).await;
    cluster.kill_all().await;
    for node in lost {
        std::fs::remove_dir_all(cluster.dir(NodeId(*node))).unwrap();
    }
    cluster
}

#[tokio::test(start_paused = true)]
async fn two_that_lost_their_volumes_begin_no_other_history_and_end_when_the_third_is_back() {
    let mut cluster = dark(&[1, 2]).await;
    for node in [1, 2].map(NodeId) {
        cluster.boot(node).await;
    }
    for _ in 0..60 {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(cluster.leader_now(), None, "another history");
    }
    let untouched = |node: u64| {
        let status = cluster.group(NodeId(node)).status();
        status.last_index == 0 && cluster.node(NodeId(node)).exit.whys().is_empty()
    };
    assert!(untouched(1) && untouched(2), "they wait");
    cluster.boot(NodeId(3)).await;
    for node in [1, 2].map(NodeId) {
        eventually("it hears that it was here before", || {
            let whys = cluster.node(node).exit.whys();
            whys.iter().any(|why| why.contains("it lost its volume"))
        })
        .await;
    }
    assert_eq!(cluster.group(NodeId(3)).peek(|m| m.value("a")), 1, "what is left is all there");
}

#[tokio::test(start_paused = true)]
async fn a_new_region_begins_when_the_last_of_its_first_members_is_there() {
    let mut cluster = dark(&[1, 2, 3]).await;
    cluster.boot(NodeId(1)).await;
    cluster.boot(NodeId(2)).await;
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(cluster.leader_now(), None);
    // One of them is started again meanwhile, in the folder that it has now.
    cluster.kill(NodeId(2)).await;
    cluster.boot(NodeId(2)).await;
    cluster.boot(NodeId(3)).await;
    assert_eq!(cluster.submit("add a 1").await, 1, "nothing is known of before");
    cluster.settled().await;
    // From then on it takes a majority, as ever.
    cluster.kill_all().await;
    cluster.boot(NodeId(1)).await;
    cluster.boot(NodeId(3)).await;
    assert_eq!(cluster.submit("add a 1").await, 2);
}
