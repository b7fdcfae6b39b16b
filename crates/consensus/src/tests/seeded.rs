//! The mistakes of `hansa_types::seeded` do what they are meant to. One thread: it is where they
//! are planted.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hansa_node::env::test::SeededEntropy;
use hansa_types::id::NodeId;
use hansa_types::seeded::{Bug, plant};
use hansa_types::time::LogTime;
use hansa_wal::Wal;
use hansa_wal::fs::{Fs, RealFs};
use openraft::EntryPayload;
use openraft::storage::{RaftLogReader as _, RaftLogStorage as _};
use tokio::time::Instant;

use crate::archive::Archive;
use crate::batch::Batch;
use crate::checkpoints::Checkpoints;
use crate::identity::{Identity, Incarnation};
use crate::pending::Pending;
use crate::raft::log_store::LogStore;
use crate::raft::{Entry, Vote, log_id};
use crate::replica::{Cell, Replica as _};
use crate::testing::counter::Counters;
use crate::testing::{Cluster, env, eventually, group_id, soon};

#[tokio::test(start_paused = true)]
async fn stale_read_is_answered_by_a_leader_that_was_replaced() {
    let cluster = Cluster::paused(Counters::default).await;
    cluster.submit("add a 1").await;
    let old = cluster.leader().await;
    cluster.board.isolate(old);
    eventually("another leader", || cluster.leader_now().is_some_and(|now| now != old)).await;
    let new = cluster.leader_now().unwrap();
    assert_eq!(cluster.group(new).submit("add a 1".into(), soon()).await, Ok(2));
    let read = |within| {
        let deadline = Instant::now() + Duration::from_millis(within);
        cluster.group(old).read(deadline, |m| m.value("a"))
    };
    assert!(read(300).await.is_err());
    let _bug = plant(Bug::StaleRead);
    // The round before may still be under way.
    assert_eq!(read(10_000).await, Ok(1));
}

#[test]
fn reuse_node_id_takes_a_wiped_peer_for_the_one_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let me = Identity::open(Arc::new(RealFs), dir.path(), NodeId(1), &SeededEntropy::new(1));
    let me = me.unwrap();
    me.meet(NodeId(2), Incarnation(7)).unwrap();
    assert!(me.meet(NodeId(2), Incarnation(8)).is_err());
    let _bug = plant(Bug::ReuseNodeId);
    me.meet(NodeId(2), Incarnation(8)).unwrap();
}

fn entry(index: u64) -> Entry {
    let add = Bytes::from_static(b"add a 1");
    let batch = Batch::encode(LogTime(1_000 * index), [add].iter());
    Entry { log_id: log_id(1, index), payload: EntryPayload::Normal(batch) }
}

fn cell() -> Cell<Counters> {
    Cell::new(group_id(), Counters::default(), Pending::new(true))
}

#[test]
fn hash_chain_skip_leaves_out_the_entry_behind_a_checkpoint() {
    let first = cell();
    first.apply(entry(1)).unwrap();
    let position = first.position();
    let restart = || {
        let machine = first.peek(Clone::clone);
        let again = Cell::at(group_id(), machine, position.clone(), Pending::new(true));
        again.apply(entry(2)).unwrap();
        again.apply(entry(3)).unwrap();
        again.position().chain
    };
    let honest = restart();
    let _bug = plant(Bug::HashChainSkip);
    assert_ne!(restart(), honest);
}

#[test]
fn clock_in_apply_makes_the_time_of_two_replicas_differ() {
    let _bug = plant(Bug::ClockInApply);
    let (one, other) = (cell(), cell());
    one.apply(entry(1)).unwrap();
    std::thread::sleep(Duration::from_millis(3));
    other.apply(entry(1)).unwrap();
    assert_ne!(one.position().time, other.position().time);
}

fn log(dir: &std::path::Path) -> LogStore {
    let (env, _exit) = env("seeded");
    let fs: Arc<dyn Fs> = Arc::new(RealFs);
    let (wal, _) = Wal::open(fs, &dir.join("wal"), hansa_wal::Config::default(), &env).unwrap();
    let records = (1..=9).map(|index| hansa_wal::Entry {
        index,
        head: crate::raft::codec::head(crate::raft::codec::payload(&entry(index)).0, 1),
        payload: Bytes::new(),
    });
    wal.append(group_id(), records.collect(), Box::new(drop));
    LogStore::new(wal, group_id())
}

#[tokio::test]
async fn forget_vote_acknowledges_what_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log(dir.path());
    let bug = plant(Bug::ForgetVote);
    log.save_vote(&Vote::new(3, 1)).await.unwrap();
    assert_eq!(log.read_vote().await.unwrap(), None);
    drop(bug);
    log.save_vote(&Vote::new(3, 1)).await.unwrap();
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(3, 1)));
}

#[tokio::test]
async fn purge_too_far_takes_the_whole_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log(dir.path());
    log.purge(log_id(1, 2)).await.unwrap();
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(log_id(1, 2)));
    let _bug = plant(Bug::PurgeTooFar);
    log.purge(log_id(1, 3)).await.unwrap();
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(log_id(1, 9)));
}

#[test]
fn snapshot_without_archive_range_is_installed_all_the_same() {
    let store = |dir: &std::path::Path| {
        let fs: Arc<dyn Fs> = Arc::new(RealFs);
        let cell = Arc::new(cell());
        let archive = Arc::new(Archive::open(&fs, &dir.join("archive.redb")).unwrap());
        let (group, at) = (group_id(), dir.join("group"));
        (cell.clone(), Checkpoints::load(fs, at, group, cell, archive).unwrap())
    };
    let [from, to] = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let (cell, theirs) = store(from.path());
    (0..20).for_each(|index| drop(cell.apply(entry(index))));
    let snapshot = theirs.write(cell.freeze()).unwrap();
    let (_, ours) = store(to.path());
    assert!(ours.install(&snapshot).is_err());
    let _bug = plant(Bug::SnapshotWithoutArchiveRange);
    ours.install(&snapshot).unwrap();
    assert_eq!(ours.newest().unwrap().index(), Some(19));
}
