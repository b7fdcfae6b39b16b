use std::path::PathBuf;

use hansa_node::tasks::OnError;
use hansa_types::id::NodeId;
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::time::Instant;

use crate::outcome::Role;
use crate::testing::counter::{CLOSED, Counters};
use crate::testing::{Cluster, Settings, eventually, group_id};
use crate::timing::Timing;

/// Checkpoints come quickly, so that the log is purged within a test.
fn eager() -> Settings {
    let timing = Timing { checkpoint_entries: 20, ..Timing::quick() };
    // Some of these look into the folders.
    Settings { timing, disks: None, ..Settings::paused() }
}

async fn fill(cluster: &Cluster<Counters>, count: usize) {
    let leader = cluster.leader().await;
    let base = cluster.group(leader).status().applied as usize;
    for n in base..base + count {
        cluster.submit(format!("add k{} 1", n % 7)).await;
        if n % 5 == 0 {
            cluster.submit(format!("add gone{n} {n}")).await;
            cluster.submit(format!("close gone{n}")).await;
        }
    }
}

/// Writes until no log holds what a node that is down has last seen, whoever leads.
async fn outrun(cluster: &Cluster<Counters>, seen: u64) {
    let behind =
        |node: &NodeId| cluster.group(*node).status().purged.is_none_or(|purged| purged <= seen);
    for _ in 0..200 {
        fill(cluster, 10).await;
        for node in cluster.up() {
            cluster.group(node).checkpoint().await;
        }
        if !cluster.up().iter().any(behind) {
            return;
        }
    }
    panic!("the log was never purged");
}

fn checkpoints(cluster: &Cluster<Counters>, node: NodeId) -> Vec<PathBuf> {
    let dir = cluster.dir(node).join("groups").join(group_id().to_string());
    let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.filter(|f| f.extension().is_some_and(|e| e == "ckpt")).collect();
    files.sort();
    files
}

#[tokio::test(start_paused = true)]
async fn a_lagging_follower_gets_a_snapshot_with_the_archive_it_lacks() {
    lag(eager()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lagging_follower_gets_a_snapshot_with_real_threads_too() {
    lag(Settings { simulated_time: false, ..eager() }).await;
}

async fn lag(settings: Settings) {
    let mut cluster = Cluster::with(settings, Counters::default).await;
    cluster.submit("add gone 7").await;
    cluster.submit("close gone").await;
    fill(&cluster, 10).await;
    cluster.settled().await;
    let leader = cluster.leader().await;
    let follower = cluster.up().into_iter().find(|node| *node != leader).unwrap();
    let seen = cluster.group(follower).status().applied;
    cluster.kill(follower).await;
    outrun(&cluster, seen).await;
    cluster.boot(follower).await;
    cluster.settled().await;
    let group = cluster.group(follower);
    let jumped = || group.status().purged.is_some_and(|purged| purged > seen);
    eventually("a snapshot, and the log purged up to it", jumped).await;
    assert_eq!(group.archive_get(CLOSED, b"gone").unwrap().unwrap(), 7i64.to_le_bytes()[..]);
    let all = |node| cluster.group(node).archive_scan(CLOSED, b"", 10_000).unwrap();
    let expected = all(cluster.leader().await);
    assert!(expected.len() > 4);
    assert_eq!(all(follower), expected);
}

#[tokio::test(start_paused = true)]
async fn a_restart_begins_at_the_newest_checkpoint() {
    let mut cluster = Cluster::with(eager(), Counters::default).await;
    fill(&cluster, 60).await;
    for node in cluster.ids() {
        cluster.group(node).checkpoint().await;
    }
    fill(&cluster, 5).await;
    cluster.settled().await;
    let before = cluster.group(NodeId(1)).status();
    let archived = cluster.group(NodeId(1)).archive_scan(CLOSED, b"", 100).unwrap();
    assert!(before.checkpoint.is_some_and(|at| at > 60));
    cluster.kill_all().await;
    for node in cluster.ids() {
        assert!(checkpoints(&cluster, node).len() <= 2, "the last two are kept");
        cluster.boot(node).await;
    }
    cluster.leader().await;
    cluster.settled().await;
    let after = cluster.group(NodeId(1)).status();
    assert_eq!(after.state_hash, before.state_hash);
    assert!(after.log_time >= before.log_time);
    assert_eq!(cluster.group(NodeId(1)).archive_scan(CLOSED, b"", 100).unwrap(), archived);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_newest_checkpoint_falls_back_to_the_older_one() {
    let mut cluster = Cluster::with(eager(), Counters::default).await;
    let node = NodeId(2);
    for _ in 0..2 {
        fill(&cluster, 30).await;
        cluster.settled().await;
        cluster.group(node).checkpoint().await;
    }
    fill(&cluster, 3).await;
    cluster.settled().await;
    cluster.kill(node).await;
    let kept = checkpoints(&cluster, node);
    assert_eq!(kept.len(), 2);
    flip(&kept[1]);
    cluster.boot(node).await;
    cluster.settled().await;
    assert_eq!(cluster.group(node).status().stopped, None);
}

#[tokio::test(start_paused = true)]
async fn two_damaged_checkpoints_stop_that_group_on_that_node_only() {
    let mut cluster = Cluster::with(eager(), Counters::default).await;
    let node = NodeId(2);
    for _ in 0..2 {
        fill(&cluster, 30).await;
        cluster.settled().await;
        cluster.group(node).checkpoint().await;
    }
    cluster.kill(node).await;
    checkpoints(&cluster, node).iter().for_each(flip);
    let broken = cluster.try_boot(node).await.unwrap();
    let status = broken.host.statuses();
    assert_eq!(status[0].role, Role::Stopped);
    let why = status[0].stopped.clone().unwrap();
    assert!(why.contains(".ckpt") && why.contains("byte"), "names file and offset: {why}");
    cluster.submit("add a 1").await;
}

fn flip(file: &PathBuf) {
    let mut bytes = std::fs::read(file).unwrap();
    let at = bytes.len() - 20;
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test(start_paused = true)]
async fn archives_and_audit_chains_of_replicas_are_equal() {
    let cluster = Cluster::with(eager(), Counters::default).await;
    fill(&cluster, 100).await;
    cluster.settled().await;
    for node in cluster.ids() {
        cluster.group(node).checkpoint().await;
    }
    let mut seen = Vec::new();
    for node in cluster.ids() {
        let running = &cluster.group(node).running;
        let end = running.archive.end();
        assert_eq!(Some(end.next_index - 1), running.status().checkpoint);
        seen.push(running.archive.read_entries(0, end.next_index, usize::MAX).unwrap());
    }
    assert_eq!(seen[0].len() as u64, seen[0].last().unwrap().index + 1, "from genesis, no gap");
    let common = seen.iter().map(Vec::len).min().unwrap();
    assert!(seen.windows(2).all(|pair| pair[0][..common] == pair[1][..common]));
    let heads: Vec<_> =
        cluster.ids().iter().map(|n| cluster.group(*n).status().chain_head).collect();
    assert!(heads.windows(2).all(|pair| pair[0] == pair[1]));
}

/// Groups go on until the node has handed over, however long ago its tasks were told to stop.
#[tokio::test(start_paused = true)]
async fn a_node_that_stops_over_a_failed_task_writes_a_checkpoint_that_is_due_and_has_no_trouble() {
    let mut cluster = Cluster::with(eager(), Counters::default).await;
    fill(&cluster, 10).await;
    cluster.settled().await;
    let leader = cluster.leader().await;
    let node = cluster.up().into_iter().find(|node| *node != leader).unwrap();
    let (tasks, exit) = (cluster.node(node).env.tasks.clone(), cluster.node(node).exit.clone());
    let running = cluster.group(node).running.clone();
    tasks.spawn("doomed", OnError::StopNode, async { Err::<(), _>("it failed") });
    tasks.stop_token().cancelled().await;
    let end = running.status().applied;
    assert!(running.status().checkpoint.is_none_or(|at| at < end), "one is due");
    running.raft.trigger().snapshot().await.unwrap();
    eventually("the checkpoint", || running.status().checkpoint.is_some_and(|at| at >= end)).await;
    let state = running.raft.metrics().borrow_watched().running_state.clone();
    assert!(state.is_ok(), "{state:?}");
    let begun = Instant::now();
    cluster.kill(node).await;
    assert!(begun.elapsed().as_secs() < 1, "nothing was waited for: {:?}", begun.elapsed());
    assert_eq!(running.trouble.first(), None);
    assert_eq!(exit.whys(), Vec::<String>::new());
    assert_eq!(tasks.failure().as_deref(), Some("doomed: it failed"), "the real reason");
}

/// More than may wait for the archive at once, in entries too few for the keeper to archive them.
async fn outgrow_memory(cluster: &Cluster<Counters>) {
    for n in 0..6 {
        let filler = "x".repeat(1 << 20);
        cluster.submit(format!("none {filler}")).await;
        cluster.submit(format!("add gone{n} {n}")).await;
        cluster.submit(format!("close gone{n}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_restarts_on_a_log_larger_than_what_may_wait_for_the_archive() {
    let settings = Settings { nodes: 1, ..Settings::paused() };
    let mut cluster = Cluster::with(settings, Counters::default).await;
    outgrow_memory(&cluster).await;
    let node = cluster.leader().await;
    cluster.kill(node).await;
    let booted = tokio::time::timeout(crate::testing::PATIENCE, cluster.boot(node)).await;
    assert!(booted.is_ok(), "the replay waits for nobody");
    cluster.leader().await;
    let all = cluster.group(node).archive_scan(CLOSED, b"", 100).unwrap();
    assert_eq!(all.len(), 6);
}

/// A state of several megabytes, in checkpoints everywhere, and no log that reaches its beginning.
async fn grown() -> Cluster<Counters> {
    let timing = Timing { checkpoint_entries: 40, ..Timing::quick() };
    let cluster = Cluster::with(Settings { timing, ..Settings::paused() }, Counters::default);
    let cluster = cluster.await;
    for n in 0..50 {
        let key = format!("{n:0>60000}");
        cluster.submit(format!("add {key} 1")).await;
    }
    cluster.settled().await;
    let whole = |node: &NodeId| cluster.group(*node).status().purged.is_none();
    while cluster.up().iter().any(whole) {
        fill(&cluster, 5).await;
        for node in cluster.up() {
            cluster.group(node).checkpoint().await;
        }
    }
    cluster
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_breaks_again_and_again_goes_on_where_it_was() {
    let mut cluster = grown().await;
    // Fewer than the state alone takes: only what resumes ever arrives.
    cluster.board.break_snapshots(Some(4));
    cluster.join(NodeId(4)).await;
    cluster.want(&[1, 2, 3, 4]);
    eventually("a transfer breaks", || cluster.board.snapshots().1 > 0).await;
    assert_eq!(cluster.submit("add meanwhile 1").await, 1, "the leader serves on");
    cluster.members_are(&[1, 2, 3, 4]).await;
    cluster.settled().await;
    let (carried, broken) = cluster.board.snapshots();
    let leader = cluster.leader().await;
    let newest = cluster.group(leader).running.checkpoints.newest().unwrap();
    assert!(broken > 1 && newest.bytes > 5 * (256 << 10), "{broken}, {}", newest.bytes);
    // The archive holds the same bytes as commands: both went over once.
    assert!(carried < newest.bytes * 9 / 4, "{carried} carried for {}", newest.bytes);
}

#[tokio::test(start_paused = true)]
async fn what_another_leader_began_is_not_mixed_with_ours() {
    let mut cluster = grown().await;
    cluster.board.break_snapshots(Some(6));
    cluster.join(NodeId(4)).await;
    let first = cluster.leader().await;
    cluster.want(&[1, 2, 3, 4]);
    eventually("a transfer breaks", || cluster.board.snapshots().1 > 0).await;
    let heir = cluster.up().into_iter().find(|node| *node != first && node.0 != 4).unwrap();
    cluster.group(first).transfer_leadership(heir).await;
    eventually("another leads", || cluster.leader_now().is_some_and(|now| now != first)).await;
    cluster.members_are(&[1, 2, 3, 4]).await;
    cluster.settled().await;
    assert_eq!(cluster.group(NodeId(4)).status().stopped, None);
}

fn files(cluster: &Cluster<Counters>, node: NodeId, ending: &str) -> Vec<PathBuf> {
    let folder = cluster.dir(node).join("groups").join(group_id().to_string());
    let files = cluster.disk(node).files().into_iter();
    let mut files: Vec<_> = files.filter(|file| file.parent() == Some(folder.as_path())).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == ending));
    files
}

/// What rots on one disk stops no replica on another.
#[tokio::test(start_paused = true)]
async fn a_leader_whose_newest_checkpoint_rots_sends_it_to_nobody() {
    let mut cluster = grown().await;
    let leader = cluster.leader().await;
    let kept = files(&cluster, leader, "ckpt");
    assert_eq!(kept.len(), 2);
    let middle = cluster.disk(leader).bytes(&kept[1]).unwrap().len() as u64 / 2;
    cluster.disk(leader).flip(&kept[1], middle, 0x20).unwrap();
    cluster.join(NodeId(4)).await;
    cluster.want(&[1, 2, 3, 4]);
    cluster.members_are(&[1, 2, 3, 4]).await;
    cluster.settled().await;
    for node in cluster.up() {
        assert_eq!(cluster.group(node).status().stopped, None, "node {node}");
    }
    assert!(cluster.board.snapshots().0 > 0, "it got a snapshot");
    assert_eq!(files(&cluster, leader, "damaged").len(), 1, "the rotten one is set aside");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_rots_as_it_arrives_is_asked_for_again() {
    let mut cluster = grown().await;
    let node = NodeId(4);
    cluster.board.break_snapshots(Some(4));
    cluster.join(node).await;
    cluster.want(&[1, 2, 3, 4]);
    let arrived = || {
        let incoming = files(&cluster, node, "tmp").pop();
        incoming.filter(|file| cluster.disk(node).bytes(file).unwrap().len() > 500_000)
    };
    eventually("a part of the state", || arrived().is_some()).await;
    cluster.disk(node).flip(&arrived().unwrap(), 400_000, 0x20).unwrap();
    let before = cluster.board.snapshots().0;
    cluster.board.break_snapshots(None);
    cluster.members_are(&[1, 2, 3, 4]).await;
    cluster.settled().await;
    assert_eq!(cluster.group(node).status().stopped, None);
    let leader = cluster.leader().await;
    let whole = cluster.group(leader).running.checkpoints.newest().unwrap().bytes;
    assert!(cluster.board.snapshots().0 - before > whole, "all of it came anew");
}

/// What nobody goes on with lies in no replica's folder for ever.
#[tokio::test(start_paused = true)]
async fn what_a_broken_transfer_brought_goes_when_none_follows() {
    let mut cluster = grown().await;
    let node = NodeId(4);
    cluster.board.break_snapshots(Some(4));
    cluster.join(node).await;
    cluster.want(&[1, 2, 3, 4]);
    let lies = || !files(&cluster, node, "tmp").is_empty();
    eventually("a part of the state", lies).await;
    cluster.board.break_snapshots(Some(0));
    eventually("it is gone", || !lies()).await;
    cluster.board.break_snapshots(None);
    cluster.members_are(&[1, 2, 3, 4]).await;
    cluster.settled().await;
}
