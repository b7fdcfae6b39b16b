//! Replicas that differ: which one stops, for how long, and who hears of it.

use hansa_types::id::NodeId;

use crate::outcome::Role;
use crate::testing::counter::Counters;
use crate::testing::{Cluster, Settings, eventually, group_id, soon};

async fn cluster(nodes: u64) -> Cluster<Counters> {
    let settings = Settings { nodes, disks: None, ..Settings::paused() };
    let cluster = Cluster::with(settings, Counters::default).await;
    for _ in 0..5 {
        cluster.submit("add a 1").await;
    }
    cluster.settled().await;
    cluster
}

fn corrupt(cluster: &Cluster<Counters>, node: NodeId) {
    cluster.group(node).access.corrupt(&mut Counters::apply_unseen);
}

/// Waits until the group has stopped on `odd`, durably.
async fn stops(cluster: &Cluster<Counters>, odd: NodeId) {
    let marker = cluster.dir(odd).join("groups").join(group_id().to_string()).join("STOPPED");
    eventually("the odd one stops for good", || {
        // A digest is compared with those of its peers as it grows.
        cluster.group(odd).status().stopped.is_some() && marker.exists()
    })
    .await;
    assert!(cluster.node(odd).exit.whys().is_empty(), "that group only, not the process");
}

fn sound(cluster: &Cluster<Counters>, odd: NodeId) {
    for node in cluster.up().into_iter().filter(|node| *node != odd) {
        assert_eq!(cluster.group(node).status().stopped, None, "node {node} is healthy");
    }
}

/// Takes the stopped one down and starts it again: it is listed as stopped, with the reason.
async fn stays_stopped(cluster: &mut Cluster<Counters>, odd: NodeId) {
    cluster.kill(odd).await;
    let booted = cluster.try_boot(odd).await.unwrap();
    let status = booted.host.statuses().remove(0);
    assert_eq!(status.role, Role::Stopped);
    let why = status.stopped.unwrap();
    assert!(why.contains("differs from"), "{why}");
    assert!(booted.groups.is_empty(), "it serves nothing");
    booted.host.stop().await;
}

/// `odd` stops, alone and for good, and the others serve.
async fn stops_alone(cluster: &mut Cluster<Counters>, odd: NodeId) {
    corrupt(cluster, odd);
    cluster.submit("add a 1").await;
    stops(cluster, odd).await;
    sound(cluster, odd);
    stays_stopped(cluster, odd).await;
    cluster.submit("add a 1").await;
    assert_eq!(cluster.read(|m| m.value("a")).await, 7);
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_differs_stops_for_good_and_the_others_serve() {
    let mut cluster = cluster(3).await;
    let leader = cluster.leader().await;
    let odd = cluster.up().into_iter().find(|node| *node != leader).unwrap();
    stops_alone(&mut cluster, odd).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_differs_stops_itself_and_accuses_nobody() {
    let mut cluster = cluster(3).await;
    let odd = cluster.leader().await;
    stops_alone(&mut cluster, odd).await;
}

#[tokio::test(start_paused = true)]
async fn of_two_that_differ_nobody_can_tell_who_is_wrong_and_both_go_on() {
    let mut cluster = cluster(3).await;
    let leader = cluster.leader().await;
    let others: Vec<NodeId> = cluster.up().into_iter().filter(|node| *node != leader).collect();
    cluster.kill(others[0]).await;
    corrupt(&cluster, others[1]);
    for _ in 0..4 {
        cluster.submit("add a 1").await;
        // More than one comparison's time: what must not come of it would come in one.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    sound(&cluster, NodeId(0));
    // With the third a majority is against it.
    cluster.boot(others[0]).await;
    let group = cluster.group(cluster.leader().await);
    let _ = group.submit("add a 1".into(), soon()).await;
    stops(&cluster, others[1]).await;
    sound(&cluster, others[1]);
}
