//! Rolling upgrade and rollback: binaries of several releases in one cluster, and the entry that
//! changes what they do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use hansa_types::id::NodeId;
use tokio::time::{Instant, sleep};

use crate::outcome::{GroupStatus, SubmitError};
use crate::raise::RaiseError;
use crate::testing::counter::Counters;
use crate::testing::{Cluster, Node, Settings, eventually, group_id, soon};
use crate::timing::Timing;
use crate::version::Versions;

/// A cluster of the release before version 2, which checkpoints now and then.
async fn old_release() -> Cluster<Counters> {
    let timing = Timing { checkpoint_entries: 20, ..Timing::quick() };
    let settings = Settings { timing, first_release: Some(1), ..Settings::paused() };
    Cluster::with(settings, Counters::default).await
}

/// Stops a node and starts it with the binary whose last version is `last`.
async fn install(cluster: &mut Cluster<Counters>, node: NodeId, last: u32) {
    cluster.kill(node).await;
    cluster.releases.insert(node, Versions::upto(last));
    cluster.boot(node).await;
    cluster.leader().await;
}

async fn install_everywhere(cluster: &mut Cluster<Counters>, last: u32) {
    for node in cluster.ids() {
        install(cluster, node, last).await;
        add(cluster, "writes", 1).await;
    }
}

async fn add(cluster: &Cluster<Counters>, name: &str, by: i64) -> i64 {
    cluster.submit(format!("add {name} {by}")).await
}

/// Raises by whoever leads, again while leaders change.
async fn raise(cluster: &Cluster<Counters>, to: u32) -> Result<u32, RaiseError> {
    let end = soon();
    loop {
        let leader = cluster.leader().await;
        match cluster.group(leader).raise_version(to, end).await {
            Err(RaiseError::NotLeader { .. } | RaiseError::Busy | RaiseError::Unknown)
                if Instant::now() < end =>
            {
                sleep(Duration::from_millis(5)).await;
            }
            other => return other,
        }
    }
}

fn versions(cluster: &Cluster<Counters>) -> Vec<u32> {
    cluster.up().into_iter().map(|node| cluster.group(node).status().version).collect()
}

fn status(node: &Node<Counters>) -> GroupStatus {
    node.host.statuses().into_iter().find(|status| status.group == group_id()).unwrap()
}

/// Waits until a node says that its binary is too old for the group, and its peers go on without.
async fn refuses_by_name(node: &Node<Counters>) {
    let named = || {
        let why = status(node).stopped;
        why.is_some_and(|why| {
            why.contains("orders-0 is at version 2, this node's binary applies version 1")
        })
    };
    eventually("the old binary names both versions", named).await;
    assert!(node.exit.whys().is_empty(), "the process serves its other groups");
}

#[tokio::test(start_paused = true)]
async fn nodes_are_upgraded_one_by_one_under_writes_and_change_behaviour_at_one_entry() {
    let mut cluster = old_release().await;
    assert_eq!(add(&cluster, "debt", -5).await, -5);
    install_everywhere(&mut cluster, 2).await;
    assert_eq!(add(&cluster, "debt", -1).await, -6, "new binaries, old behaviour");
    assert_eq!(raise(&cluster, 2).await, Ok(2));
    assert_eq!(add(&cluster, "debt", -1).await, 0, "new behaviour");
    cluster.settled().await;
    assert_eq!(versions(&cluster), [2, 2, 2]);
    assert_eq!(raise(&cluster, 2).await, Ok(2), "a repeat changes nothing");
}

#[tokio::test(start_paused = true)]
async fn a_raise_is_refused_while_a_member_cannot_apply_it_or_does_not_answer() {
    let mut cluster = old_release().await;
    for node in [1, 2].map(NodeId) {
        install(&mut cluster, node, 3).await;
    }
    let old = (NodeId(3), Some(Versions::upto(1)));
    let refused = RaiseError::Unsupported { to: 2, unable: vec![old] };
    // The leader may be the old one: it names all that cannot, itself among them.
    assert_eq!(raise(&cluster, 2).await, Err(refused));
    cluster.kill(NodeId(3)).await;
    let silent = RaiseError::Unsupported { to: 2, unable: vec![(NodeId(3), None)] };
    assert_eq!(raise(&cluster, 2).await, Err(silent), "who knows what it comes back with");
    cluster.releases.insert(NodeId(3), Versions::upto(2));
    cluster.boot(NodeId(3)).await;
    let beyond = raise(&cluster, 3).await;
    assert!(matches!(&beyond, Err(RaiseError::Unsupported { to: 3, .. })), "{beyond:?}");
    assert_eq!(raise(&cluster, 2).await, Ok(2));
    install(&mut cluster, NodeId(3), 3).await;
    assert_eq!(raise(&cluster, 3).await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn a_rollback_before_the_raise_is_as_good_as_an_upgrade() {
    let mut cluster = old_release().await;
    install_everywhere(&mut cluster, 2).await;
    for node in cluster.ids() {
        cluster.group(node).checkpoint().await;
    }
    install_everywhere(&mut cluster, 1).await;
    assert_eq!(add(&cluster, "debt", -5).await, -5);
    assert_eq!(add(&cluster, "writes", 0).await, 6, "nothing was lost on the way");
    cluster.settled().await;
    assert_eq!(versions(&cluster), [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn after_the_raise_an_old_binary_refuses_by_name_and_the_new_one_goes_on() {
    let mut cluster = old_release().await;
    install_everywhere(&mut cluster, 2).await;
    assert_eq!(raise(&cluster, 2).await, Ok(2));
    cluster.settled().await;
    for checkpointed in [false, true] {
        let node = NodeId(2);
        if checkpointed {
            cluster.group(node).checkpoint().await;
        }
        cluster.kill(node).await;
        cluster.releases.insert(node, Versions::upto(1));
        let booted = cluster.try_boot(node).await.unwrap();
        refuses_by_name(&booted).await;
        cluster.board.unplug(node);
        booted.host.stop().await;
        drop(booted.groups);
        booted.env.tasks.drain(std::time::Duration::from_secs(5)).await;
        // Nothing on its disk was touched.
        install(&mut cluster, node, 2).await;
        add(&cluster, "after", 1).await;
        cluster.settled().await;
        assert_eq!(versions(&cluster), [2, 2, 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_across_the_raise_gives_the_same_state() {
    let mut cluster = old_release().await;
    install_everywhere(&mut cluster, 2).await;
    add(&cluster, "debt", -5).await;
    assert_eq!(raise(&cluster, 2).await, Ok(2));
    for name in ["debt", "other"] {
        add(&cluster, name, -3).await;
    }
    cluster.settled().await;
    let before = cluster.group(NodeId(1)).status();
    cluster.kill_all().await;
    for node in cluster.ids() {
        cluster.boot(node).await;
    }
    cluster.leader().await;
    cluster.settled().await;
    let after = cluster.group(NodeId(1)).status();
    assert_eq!((after.state_hash, after.version), (before.state_hash, 2));
    assert_eq!(cluster.read(|m| (m.value("debt"), m.value("other"))).await, (0, 0));
}

/// Writes and checkpoints until no log holds what a node that is down has last seen.
async fn outrun(cluster: &Cluster<Counters>, seen: u64) {
    let behind =
        |node: &NodeId| cluster.group(*node).status().purged.is_none_or(|purged| purged <= seen);
    for _ in 0..200 {
        for _ in 0..20 {
            add(cluster, "writes", 1).await;
        }
        for node in cluster.up() {
            cluster.group(node).checkpoint().await;
        }
        if !cluster.up().iter().any(behind) {
            return;
        }
    }
    panic!("the log was never purged");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_carries_the_version_and_an_old_binary_refuses_it_by_name() {
    let mut cluster = old_release().await;
    install_everywhere(&mut cluster, 2).await;
    assert_eq!(raise(&cluster, 2).await, Ok(2));
    let seen = cluster.group(NodeId(3)).status().applied;
    cluster.kill(NodeId(3)).await;
    outrun(&cluster, seen).await;
    cluster.releases.insert(NodeId(4), Versions::upto(1));
    cluster.settings.nodes = 4;
    cluster.join(NodeId(4)).await;
    cluster.want(&[1, 2, 4]);
    let waits = || {
        let leader = cluster.leader_now();
        leader.is_some_and(|leader| cluster.group(leader).membership().next.contains("upgrade it"))
    };
    eventually("a node with an old binary is not added", waits).await;
    cluster.kill(NodeId(4)).await;
    cluster.releases.insert(NodeId(4), Versions::upto(2));
    cluster.boot(NodeId(4)).await;
    cluster.members_are(&[1, 2, 4]).await;
    cluster.settled().await;
    assert_eq!(cluster.group(NodeId(4)).status().version, 2);
    assert_eq!(add(&cluster, "debt", -1).await, 0);

    // The same for one that is a member, and lags beyond the log when it is put back.
    let seen = cluster.group(NodeId(4)).status().applied;
    cluster.kill(NodeId(4)).await;
    outrun(&cluster, seen).await;
    cluster.releases.insert(NodeId(4), Versions::upto(1));
    let booted = cluster.try_boot(NodeId(4)).await.unwrap();
    refuses_by_name(&booted).await;
    add(&cluster, "after", 1).await;
}

/// Binaries that change what they do when they are installed, not when the log says so.
#[tokio::test(start_paused = true)]
async fn without_the_barrier_mixed_binaries_diverge_and_are_caught() {
    let careless = Arc::new(AtomicU32::new(1));
    let installed = careless.clone();
    let genesis = move || Counters::careless(installed.load(Ordering::Relaxed));
    let mut cluster = Cluster::with(Settings::paused(), genesis).await;
    careless.store(2, Ordering::Relaxed);
    let leader = cluster.leader().await;
    let node = cluster.up().into_iter().find(|node| *node != leader).unwrap();
    cluster.kill(node).await;
    cluster.boot(node).await;
    let caught = AtomicBool::new(false);
    let end = soon();
    while !caught.load(Ordering::Relaxed) {
        assert!(Instant::now() < end, "the divergence was not caught");
        let leader = cluster.leader().await;
        let added = cluster.group(leader).submit("add debt -1".into(), soon()).await;
        assert!(!matches!(added, Err(SubmitError::TooLarge)));
        let status = cluster.group(node).status();
        caught.store(status.stopped.is_some_and(|why| why.contains("differs")), Ordering::Relaxed);
        sleep(Duration::from_millis(5)).await;
    }
}
