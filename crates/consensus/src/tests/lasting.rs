//! What does not last of a command: in no archive, no backup and no new replica, and yet in the
//! chain.

use std::collections::BTreeSet;

use hansa_backup::{PartKind, Shelf as _, verify};
use hansa_types::id::NodeId;

use super::backup::backup;
use crate::pending::ArchivedEntry;
use crate::testing::counter::Counters;
use crate::testing::{Cluster, Settings, eventually, group_id};
use crate::timing::Timing;

pub(super) const SECRET: &str = "4539 1488 0343 6467";

fn settings() -> Settings {
    let timing = Timing { checkpoint_entries: 30, ..Timing::quick() };
    // They look into the folders.
    Settings { timing, disks: None, ..Settings::paused() }
}

async fn fill(cluster: &Cluster<Counters>, count: usize) {
    for n in 0..count {
        cluster.submit(format!("add k{} 1", n % 7)).await;
        cluster.submit(format!("secret {SECRET} {n}")).await;
    }
}

pub(super) fn holds(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
}

/// What a replica's archive has, once it has everything that was committed by now.
async fn archived(cluster: &Cluster<Counters>, node: NodeId) -> Vec<ArchivedEntry> {
    cluster.group(node).checkpoint().await;
    let archive = &cluster.group(node).running.archive;
    let end = archive.end();
    let folder = cluster.dir(node).join("groups").join(group_id().to_string());
    let file = std::fs::read(folder.join("archive.redb")).unwrap();
    assert!(!holds(&file), "in some page of {node}'s archive");
    archive.read_entries(0, end.next_index, usize::MAX).unwrap()
}

/// Walks a replica's chain from genesis; its head.
pub(super) async fn audited(cluster: &Cluster<Counters>, node: NodeId) -> [u8; 32] {
    let audit = cluster.node(node).host.audit(group_id(), BTreeSet::new(), None).await;
    let mut audit = audit.unwrap();
    loop {
        let (next, walked) = audit.step().await.unwrap();
        if walked.done {
            return next.applied().head;
        }
        audit = next;
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_last_is_in_the_log_alone_and_every_replica_chains_the_same() {
    let mut cluster = Cluster::with(settings(), Counters::default).await;
    fill(&cluster, 60).await;
    cluster.settled().await;
    let mut seen = Vec::new();
    for node in cluster.ids() {
        seen.push((archived(&cluster, node).await, audited(&cluster, node).await));
        let wal = &cluster.group(node).running.wal;
        let (first, last) = wal.span(group_id()).unwrap();
        let logged = wal.read(group_id(), first, last + 1, usize::MAX).unwrap();
        assert!(logged.iter().any(|entry| holds(&entry.payload)), "the log has all of it");
    }
    let common = seen.iter().map(|(entries, _)| entries.len()).min().unwrap();
    assert!(common > 100);
    let alike = |pair: &[(Vec<ArchivedEntry>, [u8; 32])]| {
        pair[0].0[..common] == pair[1].0[..common] && pair[0].1 == pair[1].1
    };
    assert!(seen.windows(2).all(alike));
    // A restart replays the log behind the checkpoint: it comes to the same.
    cluster.kill_all().await;
    for node in cluster.ids() {
        cluster.boot(node).await;
    }
    cluster.settled().await;
    for (node, (before, _)) in cluster.ids().into_iter().zip(&seen) {
        assert_eq!(archived(&cluster, node).await[..common], before[..common]);
        audited(&cluster, node).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_replica_and_a_backup_get_what_lasts() {
    let mut cluster = Cluster::with(settings(), Counters::default).await;
    fill(&cluster, 40).await;
    let whole = |node: &NodeId| cluster.group(*node).status().purged.is_none();
    while cluster.up().iter().any(whole) {
        fill(&cluster, 5).await;
        for node in cluster.up() {
            cluster.group(node).checkpoint().await;
        }
    }
    cluster.join(NodeId(4)).await;
    cluster.want(&[1, 2, 3, 4]);
    cluster.members_are(&[1, 2, 3, 4]).await;
    cluster.settled().await;
    let newcomer = archived(&cluster, NodeId(4)).await;
    let other = archived(&cluster, NodeId(1)).await;
    let common = newcomer.len().min(other.len());
    assert!(newcomer[0].index == 0 && newcomer[..common] == other[..common]);
    eventually("one head", || {
        let heads = cluster.ids().into_iter().map(|n| cluster.group(n).status().chain_head);
        heads.collect::<BTreeSet<_>>().len() == 1
    })
    .await;
    audited(&cluster, NodeId(4)).await;

    let (files, manifest) = backup(&cluster).await;
    let checked = verify::verify(&files, &manifest, &mut |_| {}).unwrap();
    assert!(checked.entries > 80, "the walk follows the chain over what lasts");
    for kind in PartKind::ALL {
        let mut part = Vec::new();
        let path = manifest.groups[0].path(kind);
        files.open(&path).unwrap().read_to_end(&mut part).unwrap();
        assert!(!holds(&part), "{path}");
    }
}

/// Every file below a folder.
fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_forgets_has_nothing_left_but_its_state_and_goes_on_after_a_restart() {
    let mut cluster = Cluster::with(settings(), Counters::default).await;
    fill(&cluster, 20).await;
    cluster.settled().await;
    for node in cluster.ids() {
        let left = |folder: &std::path::Path| {
            // Removed meanwhile: not left.
            let read = |file: std::path::PathBuf| std::fs::read(file).unwrap_or_default();
            files(folder).into_iter().any(|file| holds(&read(file)))
        };
        let folder = cluster.dir(node);
        assert!(left(&folder), "the log has all of it");
        assert_eq!(cluster.group(node).forgotten().await, 0);
        assert!(cluster.group(node).forget(7).await);
        assert!(!left(&folder), "no file has it");
        let status = cluster.group(node).status();
        assert!(status.purged >= status.checkpoint && status.purged.is_some(), "{status:?}");
    }
    fill(&cluster, 3).await;
    cluster.settled().await;
    cluster.kill_all().await;
    for node in cluster.ids() {
        cluster.boot(node).await;
    }
    cluster.settled().await;
    fill(&cluster, 3).await;
    for node in cluster.ids() {
        audited(&cluster, node).await;
        assert_eq!(cluster.group(node).forgotten().await, 7, "after a restart too");
    }
}
