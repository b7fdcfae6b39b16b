use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hansa_types::id::NodeId;
use tokio::time::sleep;

use crate::host::GroupSpec;
use crate::machine::Machine as _;
use crate::membership::ChangeError;
use crate::outcome::SubmitError;
use crate::raft::wire;
use crate::testing::counter::{CLOSED, Counters};
use crate::testing::{Cluster, Settings, eventually, group_id, soon};
use crate::timing::Timing;

/// Checkpoints come quickly, so that logs are purged within a test.
fn eager() -> Settings {
    let timing = Timing { checkpoint_entries: 20, ..Timing::quick() };
    Settings { timing, ..Settings::paused() }
}

async fn fill(cluster: &Cluster<Counters>, count: usize) {
    for n in 0..count {
        cluster.submit("add filled 1").await;
        if n % 5 == 0 {
            cluster.submit(format!("add gone{n} {n}")).await;
            cluster.submit(format!("close gone{n}")).await;
        }
    }
}

/// Writes until every log has lost its beginning.
async fn purge(cluster: &Cluster<Counters>) {
    let whole = |node: &NodeId| cluster.group(*node).status().purged.is_none();
    while cluster.up().iter().any(whole) {
        fill(cluster, 10).await;
        for node in cluster.up() {
            cluster.group(node).checkpoint().await;
        }
    }
}

async fn value(cluster: &Cluster<Counters>, key: &str) -> i64 {
    cluster.read(|m| m.value(key)).await
}

#[tokio::test(start_paused = true)]
async fn a_node_joins_and_another_leaves_without_anybody_losing_anything() {
    let mut cluster = Cluster::paused(Counters::default).await;
    fill(&cluster, 10).await;
    cluster.join(NodeId(4)).await;
    assert!(cluster.group(NodeId(4)).status().voters.is_empty(), "it waits to be added");
    cluster.want(&[1, 2, 4]);
    cluster.members_are(&[1, 2, 4]).await;
    cluster.kill(NodeId(3)).await;
    fill(&cluster, 5).await;
    cluster.settled().await;
    assert_eq!(value(&cluster, "filled").await, 15);
    assert_eq!(cluster.group(NodeId(4)).peek(|m| m.value("filled")), 15);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_to_leave_hands_over_first() {
    let mut cluster = Cluster::paused(Counters::default).await;
    let leader = cluster.leader().await;
    cluster.join(NodeId(4)).await;
    let mut voters: Vec<u64> = (1..=4).filter(|node| *node != leader.0).collect();
    voters.sort_unstable();
    cluster.want(&voters);
    cluster.members_are(&voters).await;
    assert_ne!(cluster.leader().await, leader);
    cluster.submit("add a 1").await;
}

#[tokio::test(start_paused = true)]
async fn a_new_node_gets_hot_state_and_the_archive_when_the_log_is_purged() {
    let mut cluster = Cluster::with(eager(), Counters::default).await;
    fill(&cluster, 10).await;
    purge(&cluster).await;
    cluster.join(NodeId(4)).await;
    cluster.want(&[1, 2, 3, 4]);
    cluster.members_are(&[1, 2, 3, 4]).await;
    cluster.settled().await;
    let all = |node| cluster.group(node).archive_scan(CLOSED, b"", 1_000).unwrap();
    let leader = cluster.leader().await;
    let other = cluster.up().into_iter().find(|node| *node != leader && node.0 != 4).unwrap();
    assert!(cluster.group(NodeId(4)).status().purged.is_some(), "it came as a snapshot");
    assert_eq!(all(NodeId(4)), all(other));
    let entries = |node| {
        let archive = &cluster.group(node).running.archive;
        archive.read_entries(0, 20, usize::MAX).unwrap()
    };
    assert_eq!(entries(NodeId(4)), entries(other), "the archive reaches back to genesis");
}

#[tokio::test(start_paused = true)]
async fn of_two_changes_at_once_one_is_refused_and_none_is_lost() {
    let mut cluster = Cluster::paused(Counters::default).await;
    cluster.join(NodeId(4)).await;
    cluster.join(NodeId(5)).await;
    let leader = cluster.leader().await;
    let group = cluster.group(leader);
    group.add_learner(NodeId(4), soon()).await.unwrap();
    let both = tokio::join!(group.add_learner(NodeId(5), soon()), group.promote(NodeId(4), soon()));
    let busy = |done: &Result<(), ChangeError>| matches!(done, Err(ChangeError::Busy(_)));
    let refused = usize::from(busy(&both.0)) + usize::from(busy(&both.1));
    assert!(refused <= 1, "{both:?}");
    eventually("settled", || !group.membership().joint).await;
    let held = group.membership();
    assert_eq!(held.learners.contains(&NodeId(5)), both.0.is_ok(), "{held:?}");
    assert_eq!(held.voters.contains(&NodeId(4)), both.1.is_ok(), "{held:?}");
    let follower = cluster.up().into_iter().find(|node| *node != leader).unwrap();
    let told = cluster.group(follower).add_learner(NodeId(5), soon()).await;
    assert!(matches!(told, Err(ChangeError::NotLeader { .. })), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_change_survives_every_leader_that_dies_over_it() {
    let mut cluster = Cluster::paused(Counters::default).await;
    fill(&cluster, 5).await;
    for node in 4..=6 {
        cluster.join(NodeId(node)).await;
    }
    let wishes: [&[u64]; 5] = [&[1, 2, 4], &[2, 4, 5], &[1, 2, 3, 4, 5], &[4, 5, 6], &[1, 2, 3]];
    for (round, wish) in wishes.into_iter().enumerate() {
        cluster.want(wish);
        // Wherever the change is by now, its leader dies and comes back.
        sleep(Duration::from_millis(40 * (1 + round as u64 % 3))).await;
        if let Some(leader) = cluster.leader_now() {
            cluster.kill(leader).await;
            sleep(Duration::from_millis(100)).await;
            cluster.boot(leader).await;
        }
        cluster.members_are(wish).await;
        fill(&cluster, 2).await;
    }
    assert_eq!(value(&cluster, "filled").await, 5 + 2 * 5);
}

#[tokio::test(start_paused = true)]
async fn the_power_fails_in_the_middle_of_each_step() {
    for ops in [1, 4, 9, 16, 25, 40] {
        let settings = Settings { disks: Some(ops), ..Settings::paused() };
        let mut cluster = Cluster::with(settings, Counters::default).await;
        fill(&cluster, 3).await;
        cluster.join(NodeId(4)).await;
        let leader = cluster.leader().await;
        let others: Vec<u64> = (1..=4).filter(|node| *node != leader.0).collect();
        cluster.disk(leader).cut_power_after(ops);
        cluster.disk(NodeId(4)).cut_power_after(ops);
        cluster.want(&others);
        sleep(Duration::from_millis(150)).await;
        for node in [leader, NodeId(4)] {
            cluster.kill(node).await;
            cluster.disk(node).crash();
        }
        cluster.join(NodeId(4)).await;
        cluster.boot(leader).await;
        cluster.members_are(&others).await;
        assert_eq!(value(&cluster, "filled").await, 3, "after {ops} operations");
    }
}

#[tokio::test(start_paused = true)]
async fn members_come_and_go_under_writes_and_nothing_is_lost() {
    come_and_go(eager()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go_with_real_threads_too() {
    come_and_go(Settings { simulated_time: false, ..eager() }).await;
}

async fn come_and_go(settings: Settings) {
    let mut cluster = Cluster::with(settings, Counters::default).await;
    for node in 4..=5 {
        cluster.join(NodeId(node)).await;
    }
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let groups: Vec<_> = cluster.up().into_iter().map(|n| cluster.group(n).clone()).collect();
    let unknown = Arc::new(AtomicU64::new(0));
    let (halt, written, open) = (stop.clone(), done.clone(), unknown.clone());
    let writer = cluster.node(NodeId(1)).env.tasks.clone();
    let (ended, end) = tokio::sync::oneshot::channel();
    writer.spawn("writer", hansa_node::tasks::OnError::Log, async move {
        while !halt.load(Ordering::Relaxed) {
            for group in &groups {
                match group.submit("add written 1".into(), soon()).await {
                    Ok(_) => _ = written.fetch_add(1, Ordering::Relaxed),
                    Err(SubmitError::Unknown) => _ = open.fetch_add(1, Ordering::Relaxed),
                    Err(_) => {}
                }
            }
            sleep(Duration::from_millis(100)).await;
        }
        let _ = ended.send(());
    });
    for wish in [&[1, 2, 4][..], &[1, 4, 5], &[3, 4, 5], &[1, 2, 3]] {
        cluster.want(wish);
        cluster.members_are(wish).await;
    }
    stop.store(true, Ordering::Relaxed);
    end.await.unwrap();
    let (written, open) = (done.load(Ordering::Relaxed), unknown.load(Ordering::Relaxed));
    let value = value(&cluster, "written").await as u64;
    // One in each tenth of a second or so; some 170 is usual.
    assert!(written >= 40, "only {written} were written");
    assert!(value >= written && value <= written + open, "{written} + {open}, found {value}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_voter_is_replaced_and_a_majority_is_never_given_up() {
    let mut cluster = Cluster::paused(Counters::default).await;
    let leader = cluster.leader().await;
    let dead = cluster.up().into_iter().find(|node| *node != leader).unwrap();
    let living = cluster.up().into_iter().find(|n| *n != leader && *n != dead).unwrap();
    cluster.kill(dead).await;
    // Two voters of which one is dead would be no majority.
    let mut few = [leader.0, dead.0];
    few.sort_unstable();
    cluster.want(&few);
    let refuses = || {
        let next = cluster.group(leader).membership().next;
        next.contains("only 1 of the 2") || next.contains("too few")
    };
    eventually("the leader refuses", refuses).await;
    cluster.join(NodeId(4)).await;
    let mut well = [leader.0, living.0, 4];
    well.sort_unstable();
    cluster.want(&well);
    cluster.members_are(&well).await;
}

/// A joint membership of which one side has no living majority ends only when its dead return.
#[tokio::test(start_paused = true)]
async fn a_forced_removal_that_cannot_be_committed_waits_and_the_group_serves_on() {
    let mut cluster = Cluster::paused(Counters::default).await;
    cluster.submit("add a 1").await;
    let leader = cluster.leader().await;
    let dead = cluster.up().into_iter().find(|node| *node != leader).unwrap();
    cluster.kill(dead).await;
    let mut few = [leader.0, dead.0];
    few.sort_unstable();
    cluster.force(&few);
    let told = || {
        let next = |node| cluster.group(node).membership().next;
        let told = format!("start node {dead}");
        cluster.leader_now().is_some_and(|leader| next(leader).contains(&told))
    };
    eventually("the leader says what to do", told).await;
    assert_eq!(cluster.submit("add a 1").await, 2, "it serves on");
    cluster.boot(dead).await;
    cluster.members_are(&few).await;
    assert_eq!(cluster.submit("add a 1").await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_drain_skips_the_dead_and_the_drained_never_lead_again() {
    let mut cluster = Cluster::paused(Counters::default).await;
    cluster.submit("add a 1").await;
    let leader = cluster.leader().await;
    let dead = cluster.up().into_iter().find(|node| *node != leader).unwrap();
    cluster.kill(dead).await;
    let known = || {
        let progress = cluster.group(leader).membership().progress;
        progress.iter().any(|of| of.node == dead && !of.alive)
    };
    eventually("the leader knows", known).await;
    let (handed, kept) = cluster.node(leader).host.drain().await;
    assert_eq!((handed.len(), kept.len()), (1, 0));
    cluster.submit("add a 1").await;
    let next = cluster.leader().await;
    assert_ne!(next, leader);
}

#[tokio::test(start_paused = true)]
async fn only_the_leaders_word_stops_a_replica() {
    let cluster = Cluster::paused(Counters::default).await;
    fill(&cluster, 3).await;
    cluster.settled().await;
    let leader = cluster.leader().await;
    let others: Vec<_> = cluster.up().into_iter().filter(|node| *node != leader).collect();
    let victim = cluster.group(others[0]);
    let index = victim.status().applied;
    let lie = wire::Digest { index, alone: true, ..wire::Digest::default() };
    let ask = crate::link::Ask {
        group: group_id(),
        kind: hansa_api::pb::raft::PeerMessageKind::Digest,
        body: wire::digest(&lie),
        entries: Vec::new(),
        within: Duration::from_secs(5),
    };
    let link = cluster.group(others[1]).running.link.clone();
    link.call(others[0], ask).await.unwrap();
    assert_eq!(victim.status().stopped, None, "not the leader's word");
}

#[tokio::test(start_paused = true)]
async fn a_group_is_started_once_however_many_ask() {
    let cluster =
        Cluster::with(Settings { groups: vec![], ..Settings::paused() }, Counters::default).await;
    let host = &cluster.node(NodeId(1)).host;
    let start = || {
        let spec = GroupSpec { id: group_id(), members: vec![NodeId(1)] };
        host.start_group(spec, Counters::default)
    };
    let (a, b) = tokio::join!(start(), start());
    assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1);
    let group = a.or(b).unwrap();
    eventually("it leads alone", || group.leadership().borrow().mine).await;
    assert_eq!(group.peek(Counters::digest_full), group.peek(Counters::digest));
    let voters: BTreeSet<_> = group.membership().voters.into_iter().collect();
    assert_eq!(voters, BTreeSet::from([NodeId(1)]));
}
