//! What a group begins with is in its log: no config of a node makes its replica another.

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
