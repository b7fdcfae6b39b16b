//! Every damage of a data folder, one after the other: what stops over it, and what it is called.

use std::path::{Path, PathBuf};

use hansa_types::id::{GroupId, GroupKind, NodeId};

use crate::outcome::{ReadError, Role};
use crate::testing::counter::{CLOSED, Counters};
use crate::testing::{Cluster, Settings, eventually, group_id, soon};
use crate::timing::Timing;

const NODE: NodeId = NodeId(1);

fn other_group() -> GroupId {
    GroupId::new(GroupKind::Inventory, 0)
}

/// What a damage must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// The node does not start; the words are in what it says.
    Node(&'static str),
    /// The group stops, the other one serves.
    Group(&'static str),
    /// Nothing is lost, and everything serves.
    Serves,
}

struct Case {
    name: &'static str,
    /// A file below the data folder, by a part of its path; all of them where several fit.
    file: &'static str,
    harm: fn(&Path),
    expect: Expect,
}

fn bytes_of(file: &Path) -> Vec<u8> {
    std::fs::read(file).unwrap()
}

fn flip(file: &Path, at: usize) {
    let mut bytes = bytes_of(file);
    bytes[at] ^= 0x10;
    std::fs::write(file, bytes).unwrap();
}

fn flip_middle(file: &Path) {
    flip(file, bytes_of(file).len() / 2);
}

/// In a segment most is not written yet.
fn flip_written(file: &Path) {
    let written = bytes_of(file).iter().rposition(|byte| *byte != 0).unwrap();
    flip(file, written / 2);
}

fn flip_pages(file: &Path) {
    let mut bytes = bytes_of(file);
    bytes.chunks_mut(4_104).for_each(|page| page[page.len() / 2] ^= 1);
    std::fs::write(file, bytes).unwrap();
}

fn shorten(file: &Path) {
    let bytes = bytes_of(file);
    std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
}

fn shorten_by_pages(file: &Path) {
    std::fs::write(file, &bytes_of(file)[..512 + 4_104]).unwrap();
}

fn zero_the_first_sector(file: &Path) {
    let mut bytes = bytes_of(file);
    bytes[..512].fill(0);
    std::fs::write(file, bytes).unwrap();
}

fn lose(file: &Path) {
    std::fs::remove_file(file).unwrap();
}

/// Puts back what was there when the copies were made.
fn put_back(file: &Path) {
    std::fs::copy(file.with_extension("early"), file).unwrap();
}

fn of_the_other_group(file: &Path) {
    let theirs = file.parent().unwrap().with_file_name(other_group().to_string());
    std::fs::copy(theirs.join(file.file_name().unwrap()), file).unwrap();
}

const CKPT: &str = "groups/orders-0/.ckpt";
const NEWEST: &str = "groups/orders-0/newest.ckpt";
const ARCHIVE: &str = "groups/orders-0/archive.redb";

const CASES: [Case; 19] = [
    Case {
        name: "log, bit",
        file: "wal/.seg",
        harm: flip_written,
        expect: Expect::Node(".seg: damaged at byte"),
    },
    Case { name: "log, cut", file: "wal/first.seg", harm: shorten, expect: Expect::Node(".seg") },
    Case {
        name: "log, segment gone",
        file: "wal/first.seg",
        harm: lose,
        expect: Expect::Node("seg"),
    },
    Case {
        name: "log, all gone with the votes",
        file: "wal/.seg",
        harm: lose,
        expect: Expect::Node(".seg: damaged at byte 0: file missing"),
    },
    Case {
        name: "identity, bit",
        file: "identity",
        harm: flip_middle,
        expect: Expect::Node("identity"),
    },
    Case { name: "identity, gone", file: "identity", harm: lose, expect: Expect::Node("identity") },
    Case {
        name: "checkpoints, bits",
        file: CKPT,
        harm: flip_middle,
        expect: Expect::Group(".ckpt: damaged at byte"),
    },
    Case {
        name: "checkpoints, cut",
        file: CKPT,
        harm: shorten,
        expect: Expect::Group(".ckpt: damaged at byte"),
    },
    Case {
        name: "checkpoints gone, log purged",
        file: CKPT,
        harm: lose,
        expect: Expect::Group(".seg at byte"),
    },
    Case {
        name: "newest checkpoint, bit",
        file: NEWEST,
        harm: flip_middle,
        expect: Expect::Serves,
    },
    Case { name: "newest checkpoint, cut", file: NEWEST, harm: shorten, expect: Expect::Serves },
    Case { name: "newest checkpoint gone", file: NEWEST, harm: lose, expect: Expect::Serves },
    Case {
        name: "archive, bit in its header",
        file: ARCHIVE,
        harm: |file| flip(file, 40),
        expect: Expect::Group("archive.redb: damaged at byte 0"),
    },
    Case {
        name: "archive, first sector zeros",
        file: ARCHIVE,
        harm: zero_the_first_sector,
        expect: Expect::Group("archive.redb: damaged at byte 0"),
    },
    Case {
        name: "archive, bits",
        file: ARCHIVE,
        harm: flip_pages,
        expect: Expect::Group("archive.redb: damaged at byte"),
    },
    Case {
        name: "archive, cut",
        file: ARCHIVE,
        harm: shorten,
        expect: Expect::Group("archive.redb: damaged"),
    },
    Case {
        name: "archive, cut between pages",
        file: ARCHIVE,
        harm: shorten_by_pages,
        expect: Expect::Group("archive.redb: damaged"),
    },
    Case {
        name: "archive gone",
        file: ARCHIVE,
        harm: lose,
        expect: Expect::Group("the checkpoint names"),
    },
    Case {
        name: "archive of another group",
        file: ARCHIVE,
        harm: of_the_other_group,
        expect: Expect::Group("archive.redb: damaged"),
    },
];

const BEHIND: Case = Case {
    name: "archive behind its checkpoint",
    file: ARCHIVE,
    harm: put_back,
    expect: Expect::Group("the checkpoint names"),
};

fn found(dir: &Path, part: &str) -> Vec<PathBuf> {
    let part = Path::new(part);
    let folder = dir.join(part.parent().unwrap());
    let name = part.file_name().unwrap().to_str().unwrap();
    let (which, ending) = name.split_once('.').unwrap_or((name, ""));
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let fits = |file: &PathBuf| match which {
        "" | "newest" | "first" => file.extension().is_some_and(|e| e == ending),
        _ => file.file_name().is_some_and(|of| of == name),
    };
    let mut files: Vec<_> = files.filter(fits).collect();
    files.sort();
    match which {
        "newest" => files.split_off(files.len() - 1),
        "first" => files.into_iter().take(1).collect(),
        _ => files,
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap().map(|item| item.unwrap()) {
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy(&item.path(), &target);
        } else {
            std::fs::copy(item.path(), &target).unwrap();
        }
    }
}

async fn fill(cluster: &Cluster<Counters>, count: usize) {
    for n in 0..count {
        for group in [group_id(), other_group()] {
            let group = &cluster.node(NODE).groups[&group];
            for command in [format!("add a{n} 1"), format!("close a{n}"), "add sum 1".into()] {
                group.submit(command.into(), soon()).await.unwrap();
            }
        }
    }
    for group in [group_id(), other_group()] {
        cluster.node(NODE).groups[&group].checkpoint().await;
    }
}

/// One node with two groups, each with two checkpoints, an archive and a purged log.
async fn sound() -> (Cluster<Counters>, PathBuf) {
    let timing = Timing { checkpoint_entries: 1_000_000, ..Timing::quick() };
    let wal = hansa_wal::Config {
        segment_bytes: 32 << 10,
        disk_bytes_max: 1 << 20,
        ..hansa_wal::Config::default()
    };
    let groups = vec![group_id(), other_group()];
    let settings = Settings { nodes: 1, timing, wal, groups, disks: None, ..Settings::paused() };
    let mut cluster = Cluster::with(settings, Counters::default).await;
    let led = |cluster: &Cluster<Counters>| {
        cluster.node(NODE).groups.values().all(|group| group.leadership().borrow().mine)
    };
    eventually("both lead", || led(&cluster)).await;
    fill(&cluster, 30).await;
    cluster.kill(NODE).await;
    let archive = cluster.dir(NODE).join(ARCHIVE);
    std::fs::copy(&archive, archive.with_extension("early")).unwrap();
    cluster.boot(NODE).await;
    eventually("both lead", || led(&cluster)).await;
    fill(&cluster, 30).await;
    fill(&cluster, 30).await;
    let purged = |group: &GroupId| cluster.node(NODE).groups[group].status().purged.is_some();
    eventually("a purged log", || purged(&group_id()) && purged(&other_group())).await;
    cluster.kill(NODE).await;
    let dir = cluster.dir(NODE);
    (cluster, dir)
}

#[tokio::test(start_paused = true)]
async fn every_damage_of_a_data_folder_is_found_named_and_stops_no_more_than_it_must() {
    let (mut cluster, dir) = sound().await;
    let kept = dir.with_extension("kept");
    copy(&dir, &kept);
    for Case { name, file, harm, expect } in CASES.into_iter().chain([BEHIND]) {
        std::fs::remove_dir_all(&dir).unwrap();
        copy(&kept, &dir);
        let harmed = found(&dir, file);
        assert!(!harmed.is_empty(), "{name}: no {file}");
        harmed.iter().for_each(|file| harm(file));
        let booted = match (cluster.try_boot(NODE).await, expect) {
            (Err(error), Expect::Node(words)) => {
                let said = error.to_string();
                assert!(said.contains(words), "{name}: {said}");
                continue;
            }
            (Err(error), _) => panic!("{name}: the node does not start: {error}"),
            (Ok(_), Expect::Node(_)) => panic!("{name}: the node starts"),
            (Ok(booted), _) => booted,
        };
        let status = booted.host.statuses().into_iter().find(|s| s.group == group_id()).unwrap();
        if let Expect::Group(words) = expect {
            let why = status.stopped.unwrap_or_else(|| panic!("{name}: it serves"));
            assert!(why.contains(words), "{name}: {why}");
            assert!(!booted.groups.contains_key(&group_id()), "{name}");
        } else {
            assert_eq!(status.stopped, None, "{name}");
        }
        let serving: Vec<_> = booted.groups.values().collect();
        for group in serving {
            eventually("it leads", || group.leadership().borrow().mine).await;
            let sum = group.read(soon(), |m| m.value("sum")).await;
            assert_eq!(sum, Ok(90), "{name}: {}", group.id());
        }
        assert!(booted.groups.contains_key(&other_group()), "{name}: the other one serves");
        assert_eq!(booted.exit.whys(), Vec::<String>::new(), "{name}");
        cluster.plug_in(NODE, booted);
        cluster.kill(NODE).await;
    }
}

/// A running node whose groups lead, and all that they archived is remembered.
async fn running() -> (Cluster<Counters>, PathBuf) {
    let (mut cluster, dir) = sound().await;
    cluster.boot(NODE).await;
    let groups = &cluster.node(NODE).groups;
    eventually("both lead", || groups.values().all(|g| g.leadership().borrow().mine)).await;
    let archived = groups[&group_id()].archive_scan(CLOSED, b"", 100);
    assert_eq!(archived.unwrap().len(), 30);
    (cluster, dir)
}

#[tokio::test(start_paused = true)]
async fn rot_under_a_running_group_is_found_in_its_archive_and_stops_it_for_good() {
    let (mut cluster, dir) = running().await;
    let groups = &cluster.node(NODE).groups;
    let (group, other) = (&groups[&group_id()], &groups[&other_group()]);
    found(&dir, ARCHIVE).iter().for_each(|file| flip_pages(file));
    let marker = dir.join("groups/orders-0/STOPPED");
    eventually("the scrubber stops the group for good", || marker.exists()).await;
    let why = group.status().stopped.unwrap();
    assert!(why.contains("archive.redb: damaged at byte"), "{why}");
    assert_eq!(group.status().role, Role::Stopped);
    assert!(group.submit("add sum 1".into(), soon()).await.is_err(), "it serves nothing");
    let read = group.archived(soon(), |of| of.get(CLOSED, b"x").is_ok()).await;
    assert_eq!(read, Err(ReadError::Stopped));
    assert_eq!(other.submit("add sum 1".into(), soon()).await, Ok(91));
    assert!(cluster.node(NODE).exit.whys().is_empty(), "that group only, not the process");
    cluster.kill(NODE).await;
}

/// What a checkpoint holds is in memory too, and the log goes on from there.
#[tokio::test(start_paused = true)]
async fn rot_under_a_running_group_is_found_in_its_checkpoints_and_they_are_written_anew() {
    let (mut cluster, dir) = running().await;
    found(&dir, CKPT).iter().for_each(|file| flip_middle(file));
    let aside = || found(&dir, "groups/orders-0/.damaged").len() == 2;
    eventually("both set aside", aside).await;
    eventually("another is written", || !found(&dir, CKPT).is_empty()).await;
    assert_eq!(cluster.node(NODE).groups[&group_id()].status().stopped, None);
    cluster.kill(NODE).await;
    cluster.boot(NODE).await;
    let group = &cluster.node(NODE).groups[&group_id()];
    eventually("it leads", || group.leadership().borrow().mine).await;
    assert_eq!(group.read(soon(), |m| m.value("sum")).await, Ok(90));
    cluster.kill(NODE).await;
}
