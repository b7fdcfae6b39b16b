use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use hansa_backup::manifest::Group as Entry;
use hansa_backup::part::{frame, head};
use hansa_backup::{Manifest, PartKind, verify};
use hansa_node::env::test::seeded;
use hansa_types::id::NodeId;
use hansa_types::time::WallTime;
use hansa_wal::fs::{Fs, RealFs};

use crate::group::Group;
use crate::host::{
    Cursor, ExportError, Exports, GroupSpec, Host, HostConfig, RestoreError, RestoredGroup,
    check_state, plan_hash,
};
use crate::testing::backup::{Memory, copy};
use crate::testing::counter::{CLOSED, Counters};
use crate::testing::{Board, Cluster, Settings, eventually, group_id, soon};
use crate::timing::Timing;

async fn fill(cluster: &Cluster<Counters>, from: usize, count: usize) {
    for n in from..from + count {
        cluster.submit(format!("add k{} 1", n % 7)).await;
        if n % 5 == 0 {
            cluster.submit(format!("add gone{n} {n}")).await;
            cluster.submit(format!("close gone{n}")).await;
        }
    }
}

pub(super) async fn backup(cluster: &Cluster<Counters>) -> (Memory, Manifest) {
    let leader = cluster.leader().await;
    let follower = cluster.up().into_iter().find(|node| *node != leader).unwrap();
    let index = Exports::new(cluster.node(leader).host.clone());
    let index = index.read_index(group_id(), soon()).await.unwrap();
    let exports = Exports::new(cluster.node(follower).host.clone());
    let cut = exports.freeze("b-1", group_id(), index, soon()).await.unwrap();
    assert!(cut.index >= index && cut.node == follower);
    // What comes after the cut is not in it.
    fill(cluster, 1_000, 10).await;
    let made = copy(&exports, &cut, 2).await;
    exports.end("b-1");
    assert!(exports.read("b-1", group_id(), Cursor::default()).is_err());
    made
}

fn fine(outcome: &i64) -> Result<(), String> {
    if *outcome >= 0 { Ok(()) } else { Err("no such command".to_owned()) }
}

fn plan(command: &'static str) -> RestoredGroup {
    let members = vec![NodeId(11), NodeId(12), NodeId(13)];
    RestoredGroup { id: group_id(), members, first: vec![Bytes::from_static(command.as_bytes())] }
}

struct New {
    dir: tempfile::TempDir,
    board: Board,
}

impl New {
    fn host(&self, node: NodeId) -> Host {
        let began = WallTime(1_700_000_000_000);
        let (env, exit) = seeded(&format!("new-{node}"), node.0, began);
        let settings = Settings::default();
        let dir = self.dir.path().join(node.to_string());
        let config =
            HostConfig { timing: Timing::quick(), wal: settings.wal, ..HostConfig::new(node, dir) };
        let fs: Arc<dyn Fs> = Arc::new(RealFs);
        let exit = exit as Arc<dyn hansa_node::env::Exit>;
        Host::open_with(config, fs, env, |inbound| self.board.plug(node, inbound, exit)).unwrap()
    }
}

async fn start(host: &Host) -> Group<Counters> {
    let spec = GroupSpec { id: group_id(), members: plan("none").members };
    host.start_group(spec, Counters::default).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_backup_comes_up_on_new_nodes_with_its_past_and_goes_on() {
    let timing = Timing { checkpoint_entries: 20, ..Timing::quick() };
    let settings = Settings { timing, ..Settings::paused() };
    let cluster = Cluster::with(settings, Counters::default).await;
    fill(&cluster, 0, 40).await;
    let (files, manifest) = backup(&cluster).await;
    let checked = verify(&files, &manifest, &mut |_| {}).expect("what we write verifies");
    assert_eq!(checked.entries, manifest.groups[0].index + 1);
    drop(cluster);
    let new = New { dir: tempfile::tempdir().unwrap(), board: Board::default() };
    let files: crate::host::Files = Arc::new(files);
    let mut groups = Vec::new();
    for node in plan("none").members {
        let host = new.host(node);
        assert!(host.is_empty());
        let (group, plan) = (manifest.groups[0].clone(), plan("add epoch 2"));
        let first =
            host.restore_group::<Counters>(files.clone(), group.clone(), plan.clone(), fine);
        first.await.unwrap();
        let again = host.restore_group::<Counters>(files.clone(), group, plan, fine).await;
        assert!(matches!(again, Err(RestoreError::NotEmpty)));
        // As a process does between the restore and its first start.
        new.board.unplug(node);
        host.stop().await;
        let host = new.host(node);
        assert!(!host.is_empty());
        groups.push((start(&host).await, host));
    }
    let leads = |groups: &[(Group<Counters>, Host)]| {
        groups.iter().position(|(group, _)| group.leadership().borrow().mine)
    };
    eventually("a leader of the new nodes", || leads(&groups).is_some()).await;
    let leader = &groups[leads(&groups).unwrap()].0;
    assert!(leader.status().voters.iter().all(|node| node.0 > 10), "{:?}", leader.status());
    assert!(leader.status().term > manifest.groups[0].term);
    let sum =
        leader.read(soon(), |state| (0..7).map(|k| state.value(&format!("k{k}"))).sum()).await;
    assert_eq!(sum, Ok(40_i64), "all before the cut, nothing after it");
    assert_eq!(leader.peek(|state| state.value("epoch")), 2);
    assert_eq!(leader.archive_get(CLOSED, b"gone35").unwrap().unwrap(), 35_i64.to_le_bytes()[..]);
    assert_eq!(leader.submit("add k0 1".into(), soon()).await, Ok(7));
    eventually("all at one state and one chain", || {
        let all: Vec<_> = groups.iter().map(|(group, _)| group.status()).collect();
        all.windows(2).all(|p| p[0].applied == p[1].applied && p[0].state_hash == p[1].state_hash)
            && all.windows(2).all(|p| p[0].chain_head == p[1].chain_head)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_cut_that_nobody_reads_goes_by_itself_and_one_that_is_ended_at_once() {
    let cluster = Cluster::paused(Counters::default).await;
    fill(&cluster, 0, 12).await;
    let node = cluster.leader().await;
    let folder = cluster.dir(node).join("groups").join(group_id().to_string());
    let cuts = || {
        let names = cluster.disk(node).list(&folder).unwrap();
        names.into_iter().filter(|name| name.starts_with("cut-")).count()
    };
    let exports = Exports::new(cluster.node(node).host.clone());
    exports.freeze("b-1", group_id(), 1, soon()).await.unwrap();
    eventually("written", || cuts() == 1).await;
    tokio::time::sleep(std::time::Duration::from_secs(601)).await;
    assert_eq!(cuts(), 0);
    assert!(exports.read("b-1", group_id(), Cursor::default()).is_err());
    // Before it was written too.
    exports.freeze("b-2", group_id(), 1, soon()).await.unwrap();
    exports.end("b-2");
    let first = exports.freeze("b-3", group_id(), 1, soon()).await.unwrap();
    let read = async || {
        let chunks = exports.read("b-3", group_id(), Cursor::default()).unwrap();
        chunks.map(Result::unwrap).map(|chunk| (chunk.part, chunk.data)).collect::<Vec<_>>().await
    };
    let before = read().await;
    // What was asked for twice is one cut: nothing changes under who reads it.
    fill(&cluster, 12, 8).await;
    assert_eq!(exports.freeze("b-3", group_id(), 1, soon()).await.unwrap(), first);
    assert!(read().await == before);
    let later = exports.freeze("b-3", group_id(), first.index + 1, soon()).await;
    assert!(matches!(later, Err(ExportError::Name)), "it is another one's");
    assert_eq!(cuts(), 1);
    exports.end("b-3");
    eventually("removed", || cuts() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_state_that_is_not_the_manifests_is_refused_before_anything_changes() {
    let cluster = Cluster::paused(Counters::default).await;
    fill(&cluster, 0, 12).await;
    let (files, manifest) = backup(&cluster).await;
    let (fs, scratch): (Arc<dyn Fs>, _) = (Arc::new(RealFs), tempfile::tempdir().unwrap());
    let group = &manifest.groups[0];
    let check = |files: &Memory, group: &Entry, command| {
        let plan = plan(command);
        check_state::<Counters>(&fs, scratch.path(), files, group, Some((&plan, fine)))
    };
    check(&files, group, "add epoch 2").unwrap();
    let other = Entry { state_hash: "0".repeat(32), ..group.clone() };
    assert!(check(&files, &other, "none").unwrap_err().is_damage());
    assert!(matches!(check(&files, group, "what"), Err(RestoreError::Refused(..))));
    let state = &files.0["orders-0/state"];
    // A checkpoint whose bytes were changed, with frames and part rewritten over it.
    let mut content = state[32..].to_vec();
    let at = content.len() - 24;
    content[at] ^= 1;
    let mut forged = files.clone();
    let file = [&head(PartKind::State)[..], &frame(0, &content)[..]].concat();
    forged.0.insert("orders-0/state".into(), file);
    assert!(check(&forged, group, "none").unwrap_err().is_damage());
    assert!(std::fs::read_dir(scratch.path()).unwrap().next().is_none(), "scratch is clean");
    assert_ne!(plan_hash(&[plan("a")]), plan_hash(&[plan("b")]));
}

/// `cargo test -p hansa-consensus --lib figures_of_backup -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures: takes a minute"]
async fn figures_of_backup() {
    const ENTRIES: usize = 400;
    const COMMANDS: usize = 500;
    let cluster = Cluster::start(Counters::default).await;
    let leader = cluster.leader().await;
    for n in 0..ENTRIES {
        let name = |m: usize| format!("add {:0>180} 1", n * COMMANDS + m);
        let commands = (0..COMMANDS).map(|m| Bytes::from(name(m))).collect();
        cluster.group(leader).submit_many(commands, soon()).await.expect("submitted");
    }
    let follower = cluster.up().into_iter().find(|node| *node != leader).unwrap();
    cluster.settled().await;
    let began = std::time::Instant::now();
    let exports = Exports::new(cluster.node(follower).host.clone());
    let cut = exports.freeze("b-1", group_id(), 1, soon()).await.unwrap();
    eprintln!("frozen in {:?}", began.elapsed());
    let (files, manifest) = copy(&exports, &cut, usize::MAX).await;
    let (bytes, took) = (manifest.bytes() as f64 / f64::from(1 << 20), began.elapsed());
    eprintln!("export: {bytes:.0} MiB in {took:?}, {:.0} MiB/s", bytes / took.as_secs_f64());
    let began = std::time::Instant::now();
    verify(&files, &manifest, &mut |_| {}).expect("good");
    let took = began.elapsed();
    eprintln!("verify: {took:?}, {:.0} MiB/s", bytes / took.as_secs_f64());
    let new = New { dir: tempfile::tempdir().unwrap(), board: Board::default() };
    let began = std::time::Instant::now();
    let (files, group): (crate::host::Files, _) = (Arc::new(files), manifest.groups[0].clone());
    let host = new.host(NodeId(11));
    host.restore_group::<Counters>(files, group, plan("add epoch 2"), fine).await.unwrap();
    let took = began.elapsed();
    eprintln!("install on one node: {took:?}, {:.0} MiB/s", bytes / took.as_secs_f64());
}
