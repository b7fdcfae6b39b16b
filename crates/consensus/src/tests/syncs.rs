//! Every sync of a node's disk that may fail: the first one that does is the node's end, named by
//! its file, and nobody tries again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hansa_types::id::{GroupId, GroupKind, NodeId};
use hansa_wal::fs::{Op, Rule};
use tokio::time::{sleep, timeout};

use crate::audit::Mark;
use crate::host::Exports;
use crate::testing::counter::Counters;
use crate::testing::{Cluster, Settings, eventually, group_id, soon};
use crate::timing::Timing;

const NODE: NodeId = NodeId(1);
const PATIENCE: Duration = Duration::from_secs(3);

fn settings(nodes: u64) -> Settings {
    let timing = Timing { checkpoint_entries: 1_000_000, ..Timing::quick() };
    Settings { nodes, timing, ..Settings::paused() }
}

fn folder(cluster: &Cluster<Counters>, node: NodeId) -> PathBuf {
    cluster.dir(node).join("groups").join(group_id().to_string())
}

fn fail(cluster: &Cluster<Counters>, node: NodeId, path: &Path) {
    cluster.disk(node).inject(Rule::once(Op::Sync).at(path).full());
}

/// The node has ended once, over this path, and no sync reaches its disk any more.
async fn ended_over(cluster: &Cluster<Counters>, node: NodeId, path: &Path) {
    let exit = cluster.node(node).exit.clone();
    eventually("the node ends", || !exit.whys().is_empty()).await;
    let syncs = cluster.disk(node).syncs();
    sleep(Duration::from_secs(5)).await;
    let whys = exit.whys();
    let told = format!("sync {}: ", path.display());
    assert!(whys.len() == 1 && whys[0].starts_with(&told), "{told}{whys:?}");
    assert_eq!(cluster.disk(node).syncs(), syncs, "{told}no second try");
}

/// One node that has something to archive; `path` is below its folder of the group.
async fn alone(path: &str, work: impl AsyncFnOnce(&Cluster<Counters>)) {
    let cluster = Cluster::with(settings(1), Counters::default).await;
    cluster.submit("add gone 1").await;
    cluster.submit("close gone").await;
    let path = match path {
        "" => folder(&cluster, NODE),
        name => folder(&cluster, NODE).join(name),
    };
    fail(&cluster, NODE, &path);
    work(&cluster).await;
    ended_over(&cluster, NODE, &path).await;
}

#[tokio::test(start_paused = true)]
async fn a_checkpoints_file_its_folder_and_the_archive() {
    for path in ["writing.tmp", "", "archive.redb"] {
        alone(path, async |cluster| {
            let written = timeout(PATIENCE, cluster.group(NODE).checkpoint()).await;
            assert!(cluster.group(NODE).status().checkpoint.is_none(), "{path}: {written:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_file_of_a_backups_cut_and_the_archive_behind_it() {
    for path in ["cut-b-1.tmp", "archive.redb"] {
        alone(path, async |cluster| {
            let exports = Exports::new(cluster.node(NODE).host.clone());
            exports.freeze("b-1", group_id(), 1, soon()).await.unwrap();
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_anchors() {
    let cluster = Cluster::with(settings(1), Counters::default).await;
    let path = cluster.dir(NODE).join("anchors.tmp");
    fail(&cluster, NODE, &path);
    let mark = Mark { index: 7, head: [7; 32] };
    let heads = [(GroupId::new(GroupKind::Orders, 1), mark)];
    cluster.node(NODE).host.keep_anchors("us-east", 1, &heads).await;
    ended_over(&cluster, NODE, &path).await;
}

#[tokio::test(start_paused = true)]
async fn the_identity_when_a_peer_is_met() {
    let mut cluster = Cluster::with(settings(3), Counters::default).await;
    cluster.submit("add a 1").await;
    let new = NodeId(4);
    cluster.join(new).await;
    let path = cluster.dir(new).join("identity.tmp");
    fail(&cluster, new, &path);
    cluster.want(&[1, 2, 3, 4]);
    ended_over(&cluster, new, &path).await;
    for node in cluster.up().into_iter().filter(|node| *node != new) {
        assert_eq!(cluster.node(node).exit.whys(), Vec::<String>::new(), "nobody is a stranger");
    }
}

#[tokio::test(start_paused = true)]
async fn what_arrives_of_a_snapshot() {
    for name in ["incoming.tmp", "archive.redb"] {
        let mut cluster = Cluster::with(settings(3), Counters::default).await;
        cluster.submit("add a 1").await;
        cluster.settled().await;
        let leader = cluster.leader().await;
        let lags = cluster.up().into_iter().find(|node| *node != leader).unwrap();
        let seen = cluster.group(lags).status().applied;
        cluster.kill(lags).await;
        let behind = |node: &NodeId| {
            cluster.group(*node).status().purged.is_none_or(|purged| purged <= seen)
        };
        while cluster.up().iter().any(behind) {
            for n in 0..10 {
                cluster.submit(format!("add k{n} 1")).await;
            }
            for node in cluster.up() {
                cluster.group(node).checkpoint().await;
            }
        }
        let path = folder(&cluster, lags).join(name);
        let booted = cluster.try_boot(lags).await.unwrap();
        fail(&cluster, lags, &path);
        cluster.plug_in(lags, booted);
        ended_over(&cluster, lags, &path).await;
    }
}
