//! Power cuts on simulated disks that lose, tear and reorder what was not synced.

use std::time::Duration;

use hansa_types::id::NodeId;
use hansa_wal::fs::Op;
use tokio::time::timeout;

use crate::testing::counter::{CLOSED, Counters};
use crate::testing::{Cluster, Settings, eventually, group_id};
use crate::timing::Timing;

const ROUNDS: i64 = 4;
const PER_ROUND: i64 = 30;

fn settings(seed: u64) -> Settings {
    let timing = Timing { checkpoint_entries: 15, ..Timing::quick() };
    Settings { timing, disks: Some(seed), ..Settings::paused() }
}

/// Writes and cuts the power of all nodes, again and again; what was lost or could not start.
async fn lost(settings: Settings, ignore_syncs: bool) -> Result<(), String> {
    let seed = settings.disks.unwrap_or_default();
    let mut cluster = Cluster::with(settings, Counters::default).await;
    for round in 1..=ROUNDS {
        for node in cluster.ids() {
            cluster.disk(node).ignore_syncs(ignore_syncs);
        }
        for n in 1..=PER_ROUND {
            cluster.submit("add a 1").await;
            if n % 10 == 0 {
                cluster.submit(format!("add gone{round}-{n} 1")).await;
                cluster.submit(format!("close gone{round}-{n}")).await;
            }
        }
        let before: Vec<_> = cluster.ids().iter().map(|n| cluster.group(*n).status()).collect();
        cluster.power_cut(seed * 3 % 11).await;
        let mut up = Vec::new();
        for node in cluster.ids() {
            let booted = cluster.try_boot(node).await.map_err(|e| e.to_string())?;
            if let Some(why) = booted.host.statuses()[0].stopped.clone() {
                return Err(why);
            }
            up.push((node, booted));
        }
        up.into_iter().for_each(|(node, booted)| cluster.plug_in(node, booted));
        let found = cluster.read(|m| m.value("a")).await;
        let most = round * PER_ROUND + cluster.doubted() as i64;
        if !(round * PER_ROUND..=most).contains(&found) {
            return Err(format!("{found} of {} in round {round}", round * PER_ROUND));
        }
        let group = cluster.group(cluster.leader().await);
        let applied = group.status().applied;
        if before.iter().any(|status| status.applied > applied) {
            return Err("a replica had applied what is gone".to_owned());
        }
        let archived = group.archive_scan(CLOSED, b"", 1_000).map_err(|e| e.to_string())?;
        if archived.len() as i64 != round * (PER_ROUND / 10) {
            return Err(format!("{} archived records in round {round}", archived.len()));
        }
    }
    cluster.settled().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn nothing_acknowledged_is_lost_when_the_power_of_all_nodes_fails() {
    for seed in 1..=2 {
        assert_eq!(lost(settings(seed), false).await, Ok(()), "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_with_real_threads_either() {
    let settings = Settings { simulated_time: false, ..settings(3) };
    assert_eq!(lost(settings, false).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn the_power_cut_test_catches_a_disk_that_does_not_sync() {
    assert!(lost(settings(1), true).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_of_the_log_ends_the_process_and_acknowledges_nothing() {
    let cluster = Cluster::with(settings(9), Counters::default).await;
    cluster.submit("add a 1").await;
    let leader = cluster.leader().await;
    cluster.disk(leader).cut_power_after(0);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(2);
    let answer = cluster.group(leader).submit("add a 1".into(), deadline).await;
    // A quorum of the others may still commit it: then it is durable on two nodes.
    assert!(!matches!(answer, Err(crate::SubmitError::Overloaded { .. })), "{answer:?}");
    crate::testing::eventually("the process ends", || !cluster.node(leader).exit.whys().is_empty())
        .await;
    let others: Vec<NodeId> = cluster.ids().into_iter().filter(|node| *node != leader).collect();
    crate::testing::eventually("another leads", || {
        others.iter().any(|node| cluster.group(*node).leadership().borrow().mine)
    })
    .await;
}

/// openraft applies what it has submitted to the log, synced or not.
#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_never_ahead_of_the_log_that_joins_it_to_the_older_one() {
    for seed in 1..=8 {
        let timing = Timing { checkpoint_entries: 1_000_000, ..Timing::quick() };
        let settings = Settings { timing, ..settings(seed) };
        let mut cluster = Cluster::with(settings, Counters::default).await;
        for _ in 0..10 {
            cluster.submit("add a 1").await;
        }
        cluster.settled().await;
        let leader = cluster.leader().await;
        let node = cluster.up().into_iter().find(|node| *node != leader).unwrap();
        let group = cluster.group(node).clone();
        group.checkpoint().await;
        let older = group.status().checkpoint.unwrap();
        // Its log takes its time; the others commit without it.
        cluster.disk(node).set_latency(Op::Sync, Duration::from_millis(250));
        for _ in 0..5 {
            cluster.submit("add a 1").await;
        }
        eventually("it applies more", || group.status().applied >= older + 3).await;
        let _written = timeout(Duration::from_millis(100), group.checkpoint()).await;
        drop(group);
        cluster.disk(node).cut_power_after(0);
        cluster.kill(node).await;
        cluster.disk(node).crash();
        cluster.disk(node).set_latency(Op::Sync, Duration::ZERO);
        cluster.boot(node).await;
        let running = &cluster.group(node).running;
        let kept = running.checkpoints.kept();
        let oldest = kept[0].index().unwrap();
        assert!(running.wal.begins(group_id()) <= oldest + 1, "seed {seed}: {} kept", kept.len());
        cluster.settled().await;
        assert_eq!(cluster.read(|m| m.value("a")).await, 15);
    }
}
