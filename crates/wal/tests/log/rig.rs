//! A log on a simulated disk, inside a runtime with paused time that a crash drops whole.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hansa_node::env::Env;
use hansa_node::env::test::{RecordedExit, seeded};
use hansa_types::id::{GroupId, GroupKind};
use hansa_types::time::WallTime;
use hansa_wal::fs::SimFs;
use hansa_wal::{Config, Done, Entry, OpenError, Recovery, Wal};
use tokio::sync::oneshot;

/// A world for one life of a process.
pub struct World {
    pub env: Env,
    pub exit: Arc<RecordedExit>,
}

/// Runs one life of a process; dropping its runtime drops its loops, as a kill does.
pub fn life<T>(seed: u64, run: impl AsyncFnOnce(World) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("runtime");
    runtime.block_on(async {
        let (env, exit) = seeded("test", seed, WallTime(1_700_000_000_000));
        run(World { env, exit }).await
    })
}

pub fn dir() -> PathBuf {
    PathBuf::from("/data/log")
}

/// Everything small, so that segments end and the collector works within a test.
pub fn small() -> Config {
    Config {
        segment_bytes: 16 << 10,
        spares: 1,
        batch_bytes: 3 << 10,
        queue_bytes_max: 8 << 10,
        cache_bytes: 2 << 10,
        disk_bytes_max: 96 << 10,
        idle_mark: Duration::from_millis(500),
    }
}

pub fn open(fs: &SimFs, world: &World) -> Result<(Wal, Recovery), OpenError> {
    open_with(fs, world, small())
}

pub fn open_with(fs: &SimFs, world: &World, config: Config) -> Result<(Wal, Recovery), OpenError> {
    Wal::open(Arc::new(fs.clone()), &dir(), config, &world.env)
}

pub fn group(n: u16) -> GroupId {
    GroupId::new(GroupKind::Orders, n)
}

/// An entry whose bytes follow from its place, so that a mix-up shows.
pub fn entry(group: GroupId, index: u64, round: u64, len: usize) -> Entry {
    let head = format!("{group}/{index}/{round}");
    let mut payload = vec![(index ^ round) as u8; len];
    payload.iter_mut().enumerate().for_each(|(n, byte)| *byte = byte.wrapping_add(n as u8));
    Entry { index, head: Bytes::from(head), payload: Bytes::from(payload) }
}

pub fn entries(group: GroupId, range: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    range.map(|index| entry(group, index, 0, 100)).collect()
}

/// A callback and what it will be told.
pub fn done() -> (Done, oneshot::Receiver<io::Result<()>>) {
    let (tell, told) = oneshot::channel();
    // The receiver may be gone: not every test waits for the answer.
    (Box::new(move |result| drop(tell.send(result))), told)
}

pub async fn append(wal: &Wal, group: GroupId, entries: Vec<Entry>) -> io::Result<()> {
    let (done, told) = done();
    wal.append(group, entries, done);
    answer(told).await
}

pub async fn vote(wal: &Wal, group: GroupId, vote: &str) -> io::Result<()> {
    let (done, told) = done();
    wal.save_vote(group, Bytes::from(vote.to_owned()), done);
    answer(told).await
}

/// The answer, which must come within a minute of simulated time.
pub async fn answer(told: oneshot::Receiver<io::Result<()>>) -> io::Result<()> {
    within(told).await.expect("a callback is called, never dropped")
}

pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("within a minute")
}

pub async fn idle(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

pub fn all(wal: &Wal, group: GroupId) -> Vec<Entry> {
    let Some((first, last)) = wal.span(group) else { return Vec::new() };
    let mut out = Vec::new();
    let mut from = first;
    while from <= last {
        let some = wal.read(group, from, last + 1, 700).expect("readable");
        assert!(!some.is_empty(), "at least one");
        from += some.len() as u64;
        out.extend(some);
    }
    out
}

/// Segment files, oldest first.
pub fn segments(fs: &SimFs) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|e| e == "seg");
    fs.files().into_iter().filter(is_segment).collect()
}

pub fn name(path: &Path) -> String {
    path.file_name().expect("a file").to_string_lossy().into_owned()
}
