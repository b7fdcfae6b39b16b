//! Disks that run full, and disks that must not: the log's bound over hours.

use std::time::Duration;

use bytes::Bytes;
use hansa_types::id::{GroupId, GroupKind, NodeId};
use tokio::time::timeout;

use crate::outcome::SubmitError;
use crate::testing::counter::{CLOSED, Counters};
use crate::testing::{Cluster, Settings, eventually, full, soon};
use crate::timing::Timing;

const SEGMENT: u64 = 64 << 10;
/// More than any test writes.
const AMPLE: u64 = 1 << 30;

fn small() -> Settings {
    let wal = hansa_wal::Config {
        segment_bytes: SEGMENT as u32,
        batch_bytes: 16 << 10,
        queue_bytes_max: 64 << 10,
        cache_bytes: 64 << 10,
        disk_bytes_max: 8 * SEGMENT,
        ..hansa_wal::Config::default()
    };
    Settings { wal, disks: Some(5), ..Settings::paused() }
}

async fn cluster() -> Cluster<Counters> {
    let cluster = Cluster::with(small(), Counters::default).await;
    for node in cluster.ids() {
        cluster.disk(node).set_capacity(AMPLE);
    }
    for n in 0..10 {
        cluster.submit(format!("add a{n} 1")).await;
    }
    cluster.settled().await;
    cluster
}

/// Leaves so many bytes free on a node's disk, beside what the log has allocated.
fn leave(cluster: &Cluster<Counters>, node: NodeId, bytes: u64) {
    let disk = cluster.disk(node);
    disk.set_capacity(disk.used() + bytes);
}

fn filler(n: u64) -> Bytes {
    Bytes::from(format!("none {n} {}", "x".repeat(4_000)))
}

async fn refused(cluster: &Cluster<Counters>) -> bool {
    let Some(leader) = cluster.leader_now() else { return false };
    let answer = cluster.group(leader).submit("add b 1".into(), soon()).await;
    matches!(answer, Err(SubmitError::DiskFull { .. }))
}

async fn until_refused(cluster: &Cluster<Counters>, wanted: bool) {
    let asked = async {
        while refused(cluster).await != wanted || cluster.leader_now().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(crate::testing::PATIENCE, asked).await.expect("in time");
}

#[tokio::test(start_paused = true)]
async fn a_quorum_without_room_refuses_commands_early_and_lives_on() {
    let mut cluster = cluster().await;
    cluster.ids().iter().take(2).for_each(|node| leave(&cluster, *node, SEGMENT));
    until_refused(&cluster, true).await;
    let leader = cluster.leader().await;
    let read = cluster.group(leader).read(soon(), |m| m.value("a1")).await;
    assert_eq!(read, Ok(1), "reads go on");
    cluster.kill(leader).await;
    let next = cluster.leader().await;
    let read = cluster.group(next).read(soon(), |m| m.value("a1")).await;
    assert_eq!(read, Ok(1), "votes go on");
    cluster.boot(leader).await;
    cluster.ids().iter().for_each(|node| cluster.disk(*node).set_capacity(AMPLE));
    until_refused(&cluster, false).await;
    cluster.settled().await;
    assert!(cluster.ids().iter().all(|node| cluster.node(*node).exit.whys().is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_timer_fires_on_the_reserve() {
    let cluster = cluster().await;
    let leader = cluster.leader().await;
    assert_eq!(cluster.group(leader).submit("after 3000 a 7".into(), soon()).await, Ok(0));
    cluster.ids().iter().for_each(|node| leave(&cluster, *node, SEGMENT));
    until_refused(&cluster, true).await;
    let fired = || {
        let leader = cluster.leader_now();
        leader.is_some_and(|leader| cluster.group(leader).peek(|m| m.value("a")) == 7)
    };
    eventually("the timer", fired).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_alone_without_room_hands_over_and_commands_go_on() {
    let cluster = cluster().await;
    let first = cluster.leader().await;
    leave(&cluster, first, SEGMENT);
    eventually("one with room leads", || {
        cluster.leader_now().is_some_and(|leader| leader != first)
    })
    .await;
    until_refused(&cluster, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_truly_runs_out_stops_and_returns_when_there_is_room() {
    let mut cluster = cluster().await;
    let leader = cluster.leader().await;
    let follower = cluster.up().into_iter().find(|node| *node != leader).unwrap();
    leave(&cluster, follower, 0);
    let mut n = 0;
    while cluster.node(follower).exit.whys().is_empty() {
        cluster.submit(filler(n)).await;
        n += 1;
        assert!(n < 1_000, "it never ran out");
    }
    let why = cluster.node(follower).exit.whys().remove(0);
    assert!(why.contains("no segment"), "a clear reason: {why}");
    cluster.submit("add a1 1").await;
    cluster.kill(follower).await;
    // Still full: it stops again, and nothing is damaged by the attempt.
    let again = cluster.try_boot(follower).await.expect("opens");
    again.host.stop().await;
    again.env.tasks.drain(Duration::from_secs(5)).await;
    cluster.disk(follower).set_capacity(AMPLE);
    cluster.boot(follower).await;
    cluster.settled().await;
    assert_eq!(cluster.group(follower).peek(|m| m.value("a1")), 2);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_and_an_archive_that_do_not_fit_wait_for_room() {
    let settings = Settings { nodes: 1, ..small() };
    let cluster = Cluster::with(settings, Counters::default).await;
    let node = cluster.leader().await;
    cluster.disk(node).set_capacity(AMPLE);
    for n in 0..20 {
        cluster.submit(format!("add gone{n} {n}")).await;
        cluster.submit(format!("close gone{n}")).await;
    }
    // Enough for the check before, not for what redb then asks for.
    for left in [0, SEGMENT + (8 << 10)] {
        leave(&cluster, node, left);
        let written = timeout(Duration::from_secs(3), cluster.group(node).checkpoint()).await;
        let exits = cluster.node(node).exit.whys();
        assert!(exits.is_empty(), "with {left} bytes left: {exits:?}");
        let scanned = cluster.group(node).archive_scan(CLOSED, b"", 100).unwrap();
        assert_eq!(scanned.len(), 20, "with {left} bytes left, written: {written:?}");
    }
    cluster.disk(node).set_capacity(AMPLE);
    timeout(crate::testing::PATIENCE, cluster.group(node).checkpoint()).await.expect("written");
    assert_eq!(cluster.group(node).archive_scan(CLOSED, b"", 100).unwrap().len(), 20);
    assert!(cluster.group(node).status().checkpoint.is_some());
    assert!(cluster.node(node).exit.whys().is_empty());
}

/// Two hours of commands to some groups when all is tried, a quarter of an hour else, while others
/// hold what they once got.
#[tokio::test(start_paused = true)]
async fn the_log_stays_within_its_bound_whoever_is_idle() {
    let groups: Vec<GroupId> = (0..5).map(|n| GroupId::new(GroupKind::Inventory, n)).collect();
    let profile = crate::Profile::NoisyDisk;
    let timing = Timing { profile, checkpoint_bytes: AMPLE, ..Timing::default() };
    let settings = Settings { nodes: 1, groups: groups.clone(), timing, ..small() };
    let bound = settings.wal.disk_bytes_max + 4 * SEGMENT;
    let cluster = Cluster::with(settings, Counters::default).await;
    let node = cluster.leader().await;
    let submit = async |n: usize, round: u64| {
        let group = &cluster.node(node).groups[&groups[n]];
        let filler = Bytes::from(format!("none {round} {}", "x".repeat(12_000)));
        group.submit(filler, soon()).await.expect("taken");
    };
    let (rounds, seconds, times) = if full() { (600, 12, 8) } else { (200, 4, 2) };
    let mut most = 0;
    for group in &groups {
        let mut led = cluster.node(node).groups[group].leadership();
        led.wait_for(|now| now.mine).await.expect("led");
    }
    // Two groups get much at the beginning, then nothing for hours.
    for round in 0..10 {
        submit(3, round).await;
        submit(4, round).await;
    }
    for round in 0..rounds {
        submit((round % 3) as usize, round).await;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let stats = cluster.node(node).host.log_stats();
        most = most.max(stats.disk_bytes);
        assert!(stats.disk_bytes <= bound, "round {round}: {stats:?}");
    }
    let stats = cluster.node(node).host.log_stats();
    assert!(stats.bytes > times * bound, "much more was written than is kept: {stats:?}");
    assert!(stats.segments_removed > 0 && most > SEGMENT);
}
