//! A replica that forgets, and what may come in between.

use std::path::{Path, PathBuf};

use hansa_types::id::NodeId;
use hansa_wal::fs::{Fs as _, SimFs};

use super::lasting::{SECRET, audited, holds};
use crate::outcome::Role;
use crate::testing::counter::Counters;
use crate::testing::{Cluster, Settings, eventually, group_id};
use crate::timing::Timing;

const NODE: NodeId = NodeId(1);
const MARK: u64 = 7;

/// What was set aside, and what has arrived of a snapshot.
const BESIDE: [&str; 2] = ["00000000000000000003.damaged", "incoming.tmp"];

/// A node with two checkpoints, secrets in its log before, between and behind them, and beside.
async fn cluster(seed: u64) -> Cluster<Counters> {
    let timing = Timing { checkpoint_entries: 1_000_000, ..Timing::quick() };
    let wal = hansa_wal::Config {
        segment_bytes: 128 << 10,
        disk_bytes_max: 4 << 20,
        ..hansa_wal::Config::default()
    };
    let settings = Settings { nodes: 1, timing, wal, disks: Some(seed), ..Settings::paused() };
    let cluster = Cluster::with(settings, Counters::default).await;
    for n in 0..9 {
        cluster.submit("add a 1").await;
        cluster.submit(format!("secret {SECRET} {n}")).await;
        if n % 4 == 3 {
            cluster.group(NODE).checkpoint().await;
        }
    }
    let (disk, folder) = (cluster.disk(NODE), folder(&cluster));
    for name in BESIDE {
        let file = disk.create(&folder.join(name)).unwrap();
        file.write_at(format!("of before: {SECRET}").as_bytes(), 0).unwrap();
        file.sync_data().unwrap();
    }
    disk.sync_dir(&folder).unwrap();
    cluster
}

fn folder(cluster: &Cluster<Counters>) -> PathBuf {
    cluster.dir(NODE).join("groups").join(group_id().to_string())
}

fn below(disk: &SimFs, path: &Path) -> Vec<PathBuf> {
    match disk.list(path) {
        Ok(names) => names.iter().flat_map(|name| below(disk, &path.join(name))).collect(),
        Err(_) => vec![path.to_owned()],
    }
}

fn left(cluster: &Cluster<Counters>) -> Vec<PathBuf> {
    let disk = cluster.disk(NODE);
    let mut files = below(disk, &cluster.dir(NODE));
    files.retain(|file| holds(&disk.read(file, u64::MAX).unwrap_or_default()));
    files
}

fn checkpoints(cluster: &Cluster<Counters>) -> Vec<PathBuf> {
    let mut files = below(cluster.disk(NODE), &folder(cluster));
    files.retain(|file| file.extension().is_some_and(|ending| ending == "ckpt"));
    files
}

#[tokio::test(start_paused = true)]
async fn the_power_may_go_at_any_operation_of_forgetting() {
    let ops = {
        let cluster = cluster(1).await;
        cluster.disk(NODE).cut_power_after(1_000_000);
        assert!(cluster.group(NODE).forget(MARK).await);
        assert_eq!(left(&cluster), Vec::<PathBuf>::new());
        1_000_000 - cluster.disk(NODE).cut_power_left().unwrap()
    };
    assert!(ops > 10, "{ops}");
    let mut done = 0;
    for at in 0..=ops {
        let mut cluster = cluster(at).await;
        cluster.disk(NODE).cut_power_after(at);
        let forgets = cluster.group(NODE).clone();
        let wait = std::time::Duration::from_secs(5);
        let forgot = tokio::time::timeout(wait, forgets.forget(MARK)).await == Ok(true);
        drop(forgets);
        cluster.kill(NODE).await;
        cluster.disk(NODE).crash();
        let what = format!("power cut before operation {at} of {ops}");
        let noted = left(&cluster);
        cluster.boot(NODE).await;
        let mark = cluster.group(NODE).forgotten().await;
        // What says that it is forgotten is the last of all.
        assert!(mark == 0 || (mark == MARK && noted.is_empty()), "{what}: {mark}, {noted:?}");
        assert!(!forgot || mark == MARK, "{what}");
        done += u64::from(mark == MARK);
        assert_eq!(cluster.read(|m| m.value("a")).await, 9, "{what}");
        audited(&cluster, NODE).await;
        assert!(cluster.group(NODE).forget(MARK).await, "{what}: begun again");
        assert_eq!(left(&cluster), Vec::<PathBuf>::new(), "{what}");
        assert_eq!(cluster.submit("add a 1").await, 10, "{what}");
        audited(&cluster, NODE).await;
    }
    assert!(done > 0, "the last of them comes after all of it");
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_does_not_read_back_keeps_the_older_one() {
    let mut cluster = cluster(1).await;
    cluster.group(NODE).checkpoint().await;
    let newest = checkpoints(&cluster).pop().unwrap();
    let middle = cluster.disk(NODE).read(&newest, u64::MAX).unwrap().len() as u64 - 20;
    cluster.disk(NODE).flip(&newest, middle, 0x20).unwrap();
    assert!(!cluster.group(NODE).forget(MARK).await, "nothing was let go of");
    eventually("another checkpoint in its place", || checkpoints(&cluster).len() == 2).await;
    assert!(cluster.group(NODE).serves());
    eventually("the newer one counts", || {
        let newest = cluster.group(NODE).running.checkpoints.newest();
        newest.and_then(|newest| newest.index()) == Some(cluster.group(NODE).status().applied)
    })
    .await;
    assert!(cluster.group(NODE).forget(MARK).await);
    assert_eq!(checkpoints(&cluster).len(), 1);
    cluster.kill(NODE).await;
    cluster.boot(NODE).await;
    assert_eq!(cluster.read(|m| m.value("a")).await, 9);
}

#[tokio::test(start_paused = true)]
async fn the_only_checkpoint_stops_the_group_if_it_does_not_read_back() {
    let cluster = cluster(1).await;
    assert!(cluster.group(NODE).forget(MARK).await);
    let only = checkpoints(&cluster).pop().unwrap();
    let middle = cluster.disk(NODE).read(&only, u64::MAX).unwrap().len() as u64 - 20;
    cluster.disk(NODE).flip(&only, middle, 0x20).unwrap();
    assert!(!cluster.group(NODE).forget(MARK + 1).await);
    eventually("it stops", || cluster.group(NODE).status().role == Role::Stopped).await;
    assert_eq!(cluster.node(NODE).exit.whys(), Vec::<String>::new(), "the node does not");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_has_stopped_keeps_all_that_its_disk_has() {
    let cluster = cluster(1).await;
    let before = checkpoints(&cluster);
    assert_eq!(before.len(), 2);
    // Everything is in a checkpoint: nothing keeps the older one but this.
    cluster.group(NODE).checkpoint().await;
    let before = checkpoints(&cluster);
    assert_eq!(before.len(), 2);
    cluster.group(NODE).running.trouble.note("its state differs".to_owned(), true);
    cluster.group(NODE).running.give_up().await;
    assert!(!cluster.group(NODE).forget(MARK).await);
    assert_eq!(checkpoints(&cluster), before);
    assert_eq!(cluster.group(NODE).forgotten().await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_set_aside_and_what_has_arrived_in_part_is_forgotten_too() {
    let cluster = cluster(1).await;
    let there = |name: &str| cluster.disk(NODE).exists(&folder(&cluster).join(name)).unwrap();
    assert!(BESIDE.iter().all(|name| there(name)));
    // Somebody sends still: nobody takes the file from under him.
    let running = cluster.group(NODE).running.clone();
    let arriving = running.receiving.lock().await;
    let sending = async {
        tokio::time::sleep(std::time::Duration::from_secs(30)).await;
        assert!(there("incoming.tmp"));
        assert_eq!(cluster.group(NODE).forgotten().await, 0, "not before all of it is gone");
        drop(arriving);
    };
    let (forgotten, ()) = tokio::join!(cluster.group(NODE).forget(MARK), sending);
    assert!(forgotten && !BESIDE.iter().any(|name| there(name)));
    assert_eq!(left(&cluster), Vec::<PathBuf>::new());
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_nobody_knows_of_is_forgotten_too() {
    let cluster = cluster(1).await;
    let (disk, known) = (cluster.disk(NODE), checkpoints(&cluster));
    let bytes = disk.bytes(&known[0]).unwrap();
    for stray in ["00000000000000000001.ckpt", "00000000000000099999.ckpt"] {
        let file = disk.create(&folder(&cluster).join(stray)).unwrap();
        file.write_at(&bytes, 0).unwrap();
        file.sync_data().unwrap();
    }
    assert!(cluster.group(NODE).forget(MARK).await);
    assert_eq!(checkpoints(&cluster).len(), 1);
    assert_eq!(left(&cluster), Vec::<PathBuf>::new());
}

/// openraft takes a purge that a leader has put off for done once that leads no more.
#[tokio::test(start_paused = true)]
async fn a_leader_that_steps_down_while_it_forgets_goes_on_forgetting() {
    let timing = Timing { checkpoint_entries: 1_000_000, ..Timing::quick() };
    let settings = Settings { timing, ..Settings::paused() };
    let cluster = Cluster::with(settings, Counters::default).await;
    cluster.submit(format!("secret {SECRET}")).await;
    cluster.settled().await;
    let leader = cluster.leader().await;
    let others: Vec<_> = cluster.up().into_iter().filter(|node| *node != leader).collect();
    let (away, heir) = (others[0], others[1]);
    cluster.board.freeze(away);
    for n in 0..5 {
        cluster.submit(format!("secret {SECRET} {n}")).await;
    }
    let group = cluster.group(leader);
    let began = tokio::time::Instant::now();
    let stepping_down = async {
        eventually("one checkpoint", || group.status().checkpoint.is_some()).await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        assert_eq!(group.status().purged, None, "put off");
        group.transfer_leadership(heir).await;
        eventually("another leads", || cluster.leader_now() == Some(heir)).await;
        assert_eq!(group.status().purged, None, "put off still");
    };
    let (forgotten, ()) = tokio::join!(group.forget(MARK), stepping_down);
    assert!(forgotten);
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    cluster.board.wake(away);
}

/// openraft puts a purge off while it sends what is to go. To members that are away it sends until
/// they fail to take it; from then on it has a snapshot for them.
#[tokio::test(start_paused = true)]
async fn a_leader_forgets_though_several_members_are_away() {
    for (nodes, frozen) in [(5, false), (5, true), (3, false)] {
        let timing = Timing { checkpoint_entries: 1_000_000, ..Timing::quick() };
        let settings = Settings { nodes, timing, ..Settings::paused() };
        let cluster = Cluster::with(settings, Counters::default).await;
        cluster.submit(format!("secret {SECRET}")).await;
        cluster.settled().await;
        let leader = cluster.leader().await;
        let others = cluster.up().into_iter().filter(|node| *node != leader);
        for node in others.take(2) {
            match frozen {
                true => cluster.board.freeze(node),
                false => cluster.board.isolate(node),
            }
        }
        let group = cluster.group(leader);
        for n in 0..40 {
            if nodes == 5 {
                cluster.submit(format!("secret {SECRET} {n}")).await;
            }
        }
        let began = tokio::time::Instant::now();
        assert!(group.forget(MARK).await);
        assert!(began.elapsed().as_secs() < 20, "{nodes} {frozen}: {:?}", began.elapsed());
        assert!(nodes == 3 || group.leadership().borrow().mine, "it led all the time");
        cluster.board.heal();
    }
}
