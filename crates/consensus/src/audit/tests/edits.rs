//! Edits behind a node's back, of archive and log, with every checksum made good again.
//!
//! Each begins with a sound disk. The node opens what was made of it and walks; what it tells is
//! put beside what its peers tell of the same history.

use std::path::{Path, PathBuf};

use hansa_node::env::test::SeededEntropy;
use hansa_node::env::{Entropy, Env};
use hansa_wal::Entry as Logged;
use hansa_wal::fs::{Fs, SimFs};

use super::*;
use crate::archive::{Archive, End};
use crate::checkpoints::Checkpoints;
use crate::pending::Pending;
use crate::raft::{Entry, log_id};
use crate::replica::Cell;
use crate::testing::{env, full};

const NODE: NodeId = NodeId(1);
/// Edits that are tried, all kinds alike.
fn edits() -> usize {
    if full() { 1_000 } else { 13 * KINDS.len() }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edit {
    Payload,
    Term,
    Drop,
    /// And those behind it moved up.
    Close,
    Swap,
    Truncate,
    /// An edit, and all heads behind it made good.
    Rewrite,
    RecordValue,
    RecordDrop,
    RecordSwap,
    LogPayload,
    LogTerm,
    LogDrop,
    LogSwap,
    LogTruncate,
    /// One in each, all heads of the archive made good.
    Both,
}

const KINDS: [Edit; 16] = [
    Edit::Payload,
    Edit::Term,
    Edit::Drop,
    Edit::Close,
    Edit::Swap,
    Edit::Truncate,
    Edit::Rewrite,
    Edit::RecordValue,
    Edit::RecordDrop,
    Edit::RecordSwap,
    Edit::LogPayload,
    Edit::LogTerm,
    Edit::LogDrop,
    Edit::LogSwap,
    Edit::LogTruncate,
    Edit::Both,
];

/// What a walk told, as far as others can be compared with it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    heads: Vec<Mark>,
    records: Vec<Mark>,
}

fn wal_config() -> hansa_wal::Config {
    hansa_wal::Config {
        segment_bytes: 128 << 10,
        disk_bytes_max: 4 << 20,
        ..hansa_wal::Config::default()
    }
}

/// A disk with an archive, checkpoints, and a log that overlaps the one and outruns the other.
async fn sound() -> (SimFs, PathBuf) {
    let timing = Timing { checkpoint_entries: 1_000_000, ..Timing::quick() };
    let settings =
        Settings { nodes: 1, timing, disks: Some(1), wal: wal_config(), ..Settings::paused() };
    let mut cluster = Cluster::with(settings, Counters::default).await;
    for n in 0..120 {
        cluster.submit(format!("add k{} {n}", n % 7)).await;
        cluster.submit(format!("add gone{n} {n}")).await;
        cluster.submit(format!("close gone{n}")).await;
        cluster.submit(format!("secret {n}")).await;
        if n == 40 || n == 80 {
            cluster.group(NODE).checkpoint().await;
        }
    }
    cluster.kill(NODE).await;
    (cluster.disk(NODE).clone(), cluster.dir(NODE))
}

fn place(dir: &Path) -> PathBuf {
    dir.join("groups").join(group_id().to_string())
}

/// Opens a disk as a node does at its start: checkpoint, archive, and the log behind them.
fn open(disk: &SimFs, dir: &Path, env: &Env) -> Result<Books, String> {
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    let (id, place) = (group_id(), place(dir));
    let opened = Wal::open(fs.clone(), &dir.join("wal"), wal_config(), env);
    let (wal, _) = opened.map_err(|e| e.to_string())?;
    let cell = Arc::new(Cell::new(id, Counters::default(), Pending::new(true)));
    let archive = Archive::open(&fs, &place.join("archive.redb")).map_err(|e| e.to_string())?;
    let archive = Arc::new(archive);
    let loaded = Checkpoints::load(fs, place, id, cell.clone(), archive.clone());
    let loaded = loaded.map_err(|e| e.to_string())?;
    loaded.check_joins(wal.purged(id)).map_err(|e| e.to_string())?;
    let next = cell.position().applied.map_or(0, |id| id.index() + 1);
    for logged in log_from(&wal, next)? {
        let entry = decoded(&logged).map_err(|e| e.to_string())?;
        cell.apply(entry).map_err(|e| e.to_string())?;
    }
    Ok(Books { id, archive, wal, replica: cell })
}

fn log_from(wal: &Wal, from: u64) -> Result<Vec<Logged>, String> {
    let Some((first, last)) = wal.span(group_id()) else { return Ok(Vec::new()) };
    let from = from.max(first);
    wal.read(group_id(), from, last + 1, usize::MAX).map_err(|e| e.to_string())
}

fn decoded(logged: &Logged) -> Result<Entry, codec::BadBytes> {
    let (kind, term) = codec::head_of(logged.head.clone())?;
    codec::entry_of(log_id(term, logged.index), kind, logged.payload.clone())
}

fn told(books: Books, env: &Env, marks: &[u64], upto: Option<u64>) -> Result<Told, String> {
    let wanted = marks.iter().copied().collect();
    let begun = Audit::begin(books, Writer::start(env), wanted, upto);
    let mut audit = begun.map_err(|e| e.to_string())?;
    let mut told = Told::default();
    loop {
        let walked = audit.advance().map_err(|e| e.to_string())?;
        told.heads.extend(walked.marks);
        told.records.extend(walked.records);
        if walked.done {
            let last = audit.applied();
            told.heads.extend(upto.is_none_or(|upto| upto == last.index).then_some(last));
            return Ok(told);
        }
    }
}

/// Changes one bit of a payload.
fn bent(payload: &bytes::Bytes, dice: &dyn Entropy) -> bytes::Bytes {
    let mut bytes = payload.to_vec();
    let at = (dice.number() % bytes.len() as u64) as usize;
    bytes[at] ^= 1 << (dice.number() % 8);
    bytes.into()
}

/// Heads made good from `at` on, as if it had always been so.
fn rehash(entries: &mut [ArchivedEntry], at: usize) {
    let mut head = entries[at].heads.0;
    for entry in &mut entries[at..] {
        let (term, index, kind) = (entry.term, entry.index, entry.kind as u8);
        let link = Link { group: group_id(), term, index, kind, payload: &entry.payload };
        entry.heads = (head, chain::extend(&head, link));
        head = entry.heads.1;
    }
}

fn edit_archive(archive: &Archive, edit: Edit, dice: &dyn Entropy) -> String {
    let pick = |below: usize| (dice.number() % below as u64) as usize;
    let mut end: End = archive.end();
    let mut entries = archive.read_entries(0, end.next_index, usize::MAX).unwrap();
    let mut records = archive.read_records(0, end.records, usize::MAX).unwrap();
    // Two that can be told apart, so that every edit is one.
    let mut at = pick(entries.len() - 1);
    while entries[at].payload.is_empty() || entries[at].payload == entries[at + 1].payload {
        at = pick(entries.len() - 1);
    }
    let record = pick(records.len() - 1);
    match edit {
        Edit::Payload => entries[at].payload = bent(&entries[at].payload, dice),
        Edit::Term => entries[at].term += 1,
        Edit::Drop => drop(entries.remove(at)),
        Edit::Close => {
            entries.remove(at);
            entries[at..].iter_mut().for_each(|entry| entry.index -= 1);
            end.next_index -= 1;
        }
        Edit::Swap => {
            let (one, other) = (entries[at].payload.clone(), entries[at + 1].payload.clone());
            (entries[at].payload, entries[at + 1].payload) = (other, one);
        }
        Edit::Truncate => entries.truncate(at.max(1)),
        Edit::Rewrite | Edit::Both => {
            entries[at].payload = bent(&entries[at].payload, dice);
            rehash(&mut entries, at);
            end.chain = entries[entries.len() - 1].heads.1;
        }
        Edit::RecordValue => records[record].value = bent(&records[record].value, dice),
        Edit::RecordDrop => drop(records.remove(record)),
        Edit::RecordSwap => {
            let (one, other) = (records[record].value.clone(), records[record + 1].value.clone());
            (records[record].value, records[record + 1].value) = (other, one);
        }
        _ => return String::new(),
    }
    archive.forge(&entries, &records, end).unwrap();
    format!("entry {at}, record {record} ")
}

fn edit_log(wal: &Wal, edit: Edit, dice: &dyn Entropy) -> String {
    let pick = |below: usize| (dice.number() % below as u64) as usize;
    let mut log = log_from(wal, 0).unwrap();
    let first = log[0].index;
    let mut at = pick(log.len() - 1);
    while log[at].payload.is_empty() || log[at].payload == log[at + 1].payload {
        at = pick(log.len() - 1);
    }
    match edit {
        Edit::LogPayload | Edit::Both => log[at].payload = bent(&log[at].payload, dice),
        Edit::LogTerm => {
            let (kind, term) = codec::head_of(log[at].head.clone()).unwrap();
            log[at].head = codec::head(kind, term + 1);
        }
        Edit::LogDrop => drop(log.remove(at)),
        Edit::LogSwap => {
            let (one, other) = (log[at].payload.clone(), log[at + 1].payload.clone());
            (log[at].payload, log[at + 1].payload) = (other, one);
        }
        Edit::LogTruncate => log.truncate(at),
        _ => return String::new(),
    }
    log.iter_mut().zip(first..).for_each(|(entry, index)| entry.index = index);
    let from = first + at as u64;
    wal.truncate_after(group_id(), from.checked_sub(1));
    wal.append(group_id(), log.split_off(at), Box::new(|done| done.unwrap()));
    format!("log entry {from}")
}

/// Edits a copy of the disk; what was edited.
async fn edited(sound: &SimFs, dir: &Path, edit: Edit, dice: &dyn Entropy) -> (SimFs, String) {
    let disk = sound.fork(dice.number());
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    let archive = Archive::open(&fs, &place(dir).join("archive.redb")).unwrap();
    let mut what = edit_archive(&archive, edit, dice);
    drop(archive);
    let (env, _) = env("editor");
    let (wal, _) = Wal::open(fs, &dir.join("wal"), wal_config(), &env).unwrap();
    what += &edit_log(&wal, edit, dice);
    wal.close().await.unwrap();
    (disk, what)
}

#[tokio::test(start_paused = true)]
async fn edits_of_archive_and_log_are_all_found() {
    let edits = edits();
    let (sound, dir) = sound().await;
    let (env, _) = env("auditor");
    let dice = SeededEntropy::new(7);
    let books = open(&sound.fork(0), &dir, &env).unwrap();
    let last = books.replica.position().applied.unwrap().index();
    // Heads that others keep: a few, and the newest.
    let marks = [last / 3, last / 2, last - 10];
    let peers = told(books, &env, &marks, Some(last)).unwrap();
    assert_eq!((peers.heads.len(), peers.records.is_empty()), (4, false), "{peers:?}");
    let again = open(&sound.fork(1), &dir, &env).unwrap();
    assert_eq!(told(again, &env, &marks, Some(last)).unwrap(), peers, "a false alarm");

    let (mut on_opening, mut on_the_walk) = (0, 0);
    for n in 0..edits {
        let edit = KINDS[n % KINDS.len()];
        let (disk, what) = edited(&sound, &dir, edit, &dice).await;
        let Ok(books) = open(&disk, &dir, &env) else {
            on_opening += 1;
            continue;
        };
        let wal = books.wal.clone();
        match told(books, &env, &marks, Some(last)) {
            Err(_) => on_the_walk += 1,
            Ok(told) => assert!(told != peers, "edit {n}, {edit:?} of {what}: not found"),
        }
        wal.close().await.unwrap();
    }
    let beside = edits - on_opening - on_the_walk;
    println!(
        "of {edits}: {on_opening} on opening, {on_the_walk} on the walk, {beside} beside peers"
    );
}
