//! What replicas tell of one history, of two, and of one that was never touched.

mod edits;

use std::collections::BTreeSet;

use hansa_types::id::NodeId;

use super::*;
use crate::testing::counter::Counters;
use crate::testing::{Cluster, Settings, group_id};
use crate::timing::Timing;

/// What one replica tells: heads, and hashes over records.
type Told = (Vec<Mark>, Vec<Mark>);

async fn walk(host: &Host, wanted: BTreeSet<u64>, upto: Option<u64>) -> Result<Told, AuditError> {
    let mut audit = host.audit(group_id(), wanted, upto).await?;
    let (mut marks, mut records) = (Vec::new(), Vec::new());
    loop {
        let (next, walked) = audit.step().await?;
        marks.extend(walked.marks);
        records.extend(walked.records);
        if walked.done {
            marks.push(next.applied());
            return Ok((marks, records));
        }
        audit = next;
    }
}

async fn filled(nodes: u64) -> Cluster<Counters> {
    let timing = Timing { checkpoint_entries: 40, ..Timing::quick() };
    let settings = Settings { nodes, timing, ..Settings::paused() };
    let cluster = Cluster::with(settings, Counters::default).await;
    fill(&cluster, 150).await;
    cluster.settled().await;
    cluster
}

async fn fill(cluster: &Cluster<Counters>, count: usize) {
    for n in 0..count {
        cluster.submit(format!("add k{} 1", n % 7)).await;
        if n % 4 == 0 {
            cluster.submit(format!("secret number {n}")).await;
        }
        if n % 3 == 0 {
            cluster.submit(format!("add gone{n} {n}")).await;
            cluster.submit(format!("close gone{n}")).await;
        }
    }
}

/// Walks every replica that is up; all must be sound, and tell the same of the same.
async fn calm(cluster: &Cluster<Counters>, when: &str) {
    let applied = |node: &NodeId| cluster.group(*node).status().applied;
    let upto = cluster.up().iter().map(applied).max().unwrap();
    let wanted = BTreeSet::from([0, upto / 3, upto / 2]);
    let mut told: Vec<(NodeId, Told)> = Vec::new();
    for node in cluster.up() {
        let walked = walk(&cluster.node(node).host, wanted.clone(), Some(upto)).await;
        let (mut marks, records) = walked.unwrap_or_else(|e| panic!("{when}, node {node}: {e}"));
        marks.retain(|mark| wanted.contains(&mark.index) || mark.index == upto);
        marks.dedup();
        assert_eq!(marks.len(), 4, "{when}: what was asked for, and the end");
        assert!(!records.is_empty(), "{when}: no records");
        told.push((node, (marks, records)));
    }
    for (node, one) in &told[1..] {
        assert_eq!(*one, told[0].1, "{when}: nodes {node} and {} differ", told[0].0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_untouched_history_alarms_nobody_whatever_its_replicas_went_through() {
    let mut cluster = filled(3).await;
    calm(&cluster, "from genesis to now").await;
    cluster.group(NodeId(2)).checkpoint().await;
    calm(&cluster, "with checkpoints apart").await;
    let leader = cluster.leader().await;
    let lagging = cluster.up().into_iter().find(|node| *node != leader).unwrap();
    let seen = cluster.group(lagging).status().applied;
    cluster.kill(lagging).await;
    while cluster.up().iter().any(|n| cluster.group(*n).status().purged.is_none_or(|p| p <= seen)) {
        fill(&cluster, 20).await;
        for node in cluster.up() {
            cluster.group(node).checkpoint().await;
        }
    }
    calm(&cluster, "with one away, and purged").await;
    cluster.boot(lagging).await;
    cluster.settled().await;
    calm(&cluster, "after a snapshot").await;
    cluster.kill_all().await;
    for node in cluster.ids() {
        cluster.boot(node).await;
    }
    fill(&cluster, 5).await;
    cluster.settled().await;
    calm(&cluster, "after a restart, under another leader").await;
    cluster.join(NodeId(4)).await;
    cluster.want(&[1, 2, 4]);
    cluster.members_are(&[1, 2, 4]).await;
    cluster.kill(NodeId(3)).await;
    fill(&cluster, 5).await;
    cluster.settled().await;
    calm(&cluster, "with a node that was rebuilt").await;
}

#[tokio::test(start_paused = true)]
async fn walks_beside_writes_and_purges_alarm_nobody() {
    let cluster = filled(1).await;
    let walks = async {
        for n in 0..20 {
            calm(&cluster, &format!("walk {n}")).await;
        }
    };
    let writes = async {
        for _ in 0..10 {
            fill(&cluster, 20).await;
            cluster.group(NodeId(1)).checkpoint().await;
        }
    };
    tokio::join!(walks, writes);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_forgets_under_a_walk_alarms_nobody() {
    for at in 0..8 {
        let timing = Timing { checkpoint_entries: 1_000_000, ..Timing::quick() };
        let settings = Settings { nodes: 1, timing, ..Settings::paused() };
        let cluster = Cluster::with(settings, Counters::default).await;
        fill(&cluster, 30).await;
        if at % 2 == 1 {
            cluster.group(NodeId(1)).checkpoint().await;
            fill(&cluster, 30).await;
        }
        let host = cluster.node(NodeId(1)).host.clone();
        let mut audit = host.audit(group_id(), BTreeSet::new(), None).await.unwrap();
        for step in 0.. {
            if step == at / 2 {
                // Only what comes after the walk's end, so that the archive is ahead of it.
                fill(&cluster, at).await;
                assert!(cluster.group(NodeId(1)).forget(1).await);
                assert_eq!(cluster.group(NodeId(1)).running.wal.span(group_id()), None);
            }
            let (next, walked) = audit.step().await.unwrap_or_else(|e| panic!("{at}: {e}"));
            if walked.done {
                break;
            }
            audit = next;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_history_rewritten_from_the_beginning_shows_against_a_peers_heads() {
    // Two regions that never met: each sound by itself, and no head in common behind the edit.
    let alone = Settings { nodes: 1, ..Settings::paused() };
    let (one, other) = (filled(1).await, Cluster::with(alone, Counters::default).await);
    for n in 0..170 {
        other.submit(format!("add k{} 2", n % 7)).await;
    }
    other.settled().await;
    let wanted: BTreeSet<u64> = [50, 100, 150].into();
    let told = walk(&one.node(NodeId(1)).host, wanted.clone(), None).await.unwrap();
    let forged = walk(&other.node(NodeId(1)).host, wanted, None).await.unwrap();
    let mut pairs = told.0[..3].iter().zip(&forged.0);
    assert!(pairs.all(|(a, b)| a.index == b.index && a.head != b.head));
}
