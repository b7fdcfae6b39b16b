//! Edits behind the node's back: of archive and log, with checksums made good again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hansa_node::env::Entropy;
use hansa_node::env::test::SeededEntropy;
use hansa_types::id::NodeId;
use hansa_wal::fs::{Fs, RealFs};

use super::*;
use crate::archive::Archive;
use crate::testing::counter::Counters;
use crate::testing::{Cluster, Settings, group_id};
use crate::timing::Timing;

async fn walk(
    host: &Host,
    wanted: BTreeSet<u64>,
    upto: Option<u64>,
) -> Result<(Mark, Vec<Mark>), AuditError> {
    let mut audit = host.audit(group_id(), wanted, upto).await?;
    let mut marks = Vec::new();
    loop {
        let (next, walked) = audit.step().await?;
        marks.extend(walked.marks);
        if walked.done {
            return Ok((next.applied(), marks));
        }
        audit = next;
    }
}

async fn filled(nodes: u64) -> Cluster<Counters> {
    let timing = Timing { checkpoint_entries: 40, ..Timing::quick() };
    let settings = Settings { nodes, timing, ..Settings::default() };
    let cluster = Cluster::with(settings, Counters::default).await;
    for n in 0..150 {
        cluster.submit(format!("add k{} 1", n % 7)).await;
        if n % 3 == 0 {
            cluster.submit(format!("add gone{n} {n}")).await;
            cluster.submit(format!("close gone{n}")).await;
        }
    }
    cluster.settled().await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_tells_one_history_from_genesis_to_now() {
    let cluster = filled(3).await;
    cluster.group(NodeId(2)).checkpoint().await;
    let mut told = Vec::new();
    for node in cluster.ids() {
        let wanted = BTreeSet::from([0, 64, 101]);
        told.push(walk(&cluster.node(node).host, wanted, Some(200)).await.unwrap());
    }
    assert_eq!(told[0].1.len(), 4, "what was asked for, and the end");
    assert!(told.iter().all(|one| one.1 == told[0].1));
}

#[derive(Debug, Clone, Copy)]
enum Edit {
    Payload,
    Term,
    Drop,
    Swap,
    Truncate,
    Rewrite,
    Record,
    LogBit,
}

const EDITS: [Edit; 8] = [
    Edit::Payload,
    Edit::Term,
    Edit::Drop,
    Edit::Swap,
    Edit::Truncate,
    Edit::Rewrite,
    Edit::Record,
    Edit::LogBit,
];

/// A node's folder, copied, so that every edit begins with a sound one.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy(&item.path(), &target);
        } else {
            std::fs::copy(item.path(), &target).unwrap();
        }
    }
}

fn edit(dir: &Path, edit: Edit, dice: &dyn Entropy) -> String {
    let pick = |below: usize| (dice.number() % below as u64) as usize;
    if matches!(edit, Edit::LogBit) {
        let mut segments: Vec<PathBuf> =
            std::fs::read_dir(dir.join("wal")).unwrap().map(|file| file.unwrap().path()).collect();
        segments.retain(|path| path.extension().is_some_and(|e| e == "seg"));
        segments.sort();
        let mut bytes = std::fs::read(&segments[0]).unwrap();
        // The last batch cannot be told from a torn one: architecture.md states it.
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() - 1_024;
        let at = pick(used);
        bytes[at] ^= 1 << pick(8);
        std::fs::write(&segments[0], bytes).unwrap();
        return format!("bit in byte {at} of the log");
    }
    let file = dir.join("groups").join(group_id().to_string()).join("archive.redb");
    let archive = Archive::open(&(Arc::new(RealFs) as Arc<dyn Fs>), &file).unwrap();
    let end = archive.end();
    let mut entries = archive.read_entries(0, end.next_index, usize::MAX).unwrap();
    let mut records = archive.read_records(0, end.records, usize::MAX).unwrap();
    let commands: Vec<usize> = entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry.payload.len() > 20)
        .map(|(at, _)| at)
        .collect();
    let at = commands[pick(commands.len())];
    match edit {
        Edit::Payload => {
            let mut bytes = entries[at].payload.to_vec();
            let byte = pick(bytes.len());
            bytes[byte] ^= 1 << pick(8);
            entries[at].payload = bytes.into();
        }
        Edit::Term => entries[at].term += 1,
        Edit::Drop => drop(entries.remove(at.min(entries.len() - 2))),
        Edit::Swap => {
            let at = at.min(entries.len() - 2);
            let (one, other) = (entries[at].payload.clone(), entries[at + 1].payload.clone());
            if one == other {
                entries[at].term += 1;
            }
            (entries[at].payload, entries[at + 1].payload) = (other, one);
        }
        Edit::Truncate => entries.truncate(at.max(1)),
        Edit::Rewrite => {
            // Heads made good again behind the edit, so that the archive is sound by itself.
            let mut bytes = entries[at].payload.to_vec();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            entries[at].payload = bytes.into();
            let mut head = entries[at].heads.0;
            for entry in &mut entries[at..] {
                let (term, index, kind) = (entry.term, entry.index, entry.kind as u8);
                let link = Link { group: group_id(), term, index, kind, payload: &entry.payload };
                entry.heads = (head, chain::extend(&head, link));
                head = entry.heads.1;
            }
        }
        Edit::Record => {
            let at = pick(records.len() - 1);
            records.remove(at);
        }
        Edit::LogBit => {}
    }
    archive.forge(&entries, &records, end).unwrap();
    format!("entry {at}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_edits_of_archive_and_log_are_all_found() {
    let mut cluster = filled(1).await;
    let node = NodeId(1);
    cluster.group(node).checkpoint().await;
    for _ in 0..20 {
        cluster.submit("add tail 1").await;
    }
    cluster.kill(node).await;
    let (dir, sound) = (cluster.dir(node), cluster.dir(node).with_extension("sound"));
    copy(&dir, &sound);
    let dice = SeededEntropy::new(7);
    let count = std::env::var("EDITS").ok().and_then(|n| n.parse().ok()).unwrap_or(64);
    let mut found = 0;
    for n in 0..count {
        std::fs::remove_dir_all(&dir).unwrap();
        copy(&sound, &dir);
        let kind = EDITS[n % EDITS.len()];
        let what = edit(&dir, kind, &dice);
        let Ok(booted) = cluster.try_boot(node).await else {
            found += 1;
            continue;
        };
        let told = walk(&booted.host, BTreeSet::new(), None).await;
        cluster.plug_in(node, booted);
        cluster.kill(node).await;
        assert!(told.is_err(), "edit {n}, {kind:?} of {what}: not found");
        found += 1;
    }
    println!("{found} of {count} edits found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_rewritten_from_the_beginning_shows_against_a_peers_heads() {
    // Two regions that never met: each sound by itself, and no head in common behind the edit.
    let (one, other) = (filled(1).await, Cluster::start(Counters::default).await);
    for n in 0..300 {
        other.submit(format!("add k{} 2", n % 7)).await;
    }
    other.settled().await;
    let wanted: BTreeSet<u64> = [50, 100, 150].into();
    let told = walk(&one.node(NodeId(1)).host, wanted.clone(), None).await.unwrap();
    let forged = walk(&other.node(NodeId(1)).host, wanted, None).await.unwrap();
    assert!(told.1.iter().zip(&forged.1).all(|(a, b)| a.index == b.index && a.head != b.head));
}
