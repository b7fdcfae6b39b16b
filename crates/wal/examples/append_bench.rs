//! How fast the log is on this machine: entries per second, each batch synced before its answer.
//!
//! `cargo run --release -p hansa-wal --example append_bench -- [FOLDER] [SECONDS]`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hansa_node::env::Env;
use hansa_types::id::{GroupId, GroupKind};
use hansa_wal::fs::RealFs;
use hansa_wal::{Config, Entry, Wal};
use tokio::sync::mpsc;

const PAYLOAD_BYTES: usize = 256;

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().map_or_else(|| PathBuf::from("target/append_bench"), PathBuf::from);
    let seconds = args.next().and_then(|s| s.parse().ok()).unwrap_or(3);
    let span = Duration::from_secs(seconds);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let Ok(runtime) = builder.worker_threads(2).enable_all().build() else {
        return eprintln!("no runtime");
    };
    println!("{:<36}{:>12}{:>10}{:>10}{:>10}", "case", "entries/s", "syncs/s", "p50 us", "p99 us");
    for (name, groups, batch) in [
        ("1 group, batches of 1", 1, 1),
        ("1 group, batches of 64", 1, 64),
        ("1 group, batches of 512", 1, 512),
        ("128 groups, one entry at a time", 128, 1),
        ("16 groups, batches of 8", 16, 8),
    ] {
        let case = dir.join(format!("{groups}-{batch}"));
        let line = runtime.block_on(run(&case, groups, batch, span));
        println!("{name:<36}{line}");
        if let Err(e) = std::fs::remove_dir_all(&case) {
            eprintln!("{}: {e}", case.display());
        }
    }
}

/// Each group appends its next batch when the last one is durable.
async fn run(dir: &Path, groups: u16, batch: u64, span: Duration) -> String {
    let opened = Wal::open(Arc::new(RealFs), dir, Config::default(), &Env::real("bench"));
    let (wal, _) = match opened {
        Ok(opened) => opened,
        Err(e) => return e.to_string(),
    };
    let payload = Bytes::from(noise());
    let (tell, mut told) = mpsc::channel(usize::from(groups));
    let mut next = vec![1; usize::from(groups)];
    let mut sent = vec![Instant::now(); usize::from(groups)];
    let mut took = Vec::new();
    let (start, before) = (Instant::now(), wal.stats());
    for n in 0..groups {
        append(&wal, n, &mut next, batch, &payload, &tell);
    }
    while let Some(n) = told.recv().await {
        took.push(sent[usize::from(n)].elapsed());
        if start.elapsed() > span {
            break;
        }
        sent[usize::from(n)] = Instant::now();
        let last = next[usize::from(n)] - 1;
        // As checkpoints would: most of the log is soon purged.
        if last.is_multiple_of(1 << 16) {
            wal.purge(group(n), last - (1 << 15), Bytes::new());
        }
        append(&wal, n, &mut next, batch, &payload, &tell);
    }
    let (elapsed, stats) = (start.elapsed().as_secs_f64(), wal.stats());
    drop(told);
    if let Err(e) = wal.close().await {
        return e.to_string();
    }
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_micros();
    let entries = (stats.entries - before.entries) as f64 / elapsed;
    let syncs = (stats.syncs - before.syncs) as f64 / elapsed;
    format!("{entries:>12.0}{syncs:>10.0}{:>10}{:>10}", at(50), at(99))
}

fn append(
    wal: &Wal,
    n: u16,
    next: &mut [u64],
    batch: u64,
    payload: &Bytes,
    tell: &mpsc::Sender<u16>,
) {
    let first = next[usize::from(n)];
    next[usize::from(n)] += batch;
    let head = Bytes::from_static(b"term and node id");
    let entry = |index| Entry { index, head: head.clone(), payload: payload.clone() };
    let entries = (first..first + batch).map(entry).collect();
    let tell = tell.clone();
    // One message per group is under way at most, so the channel has room.
    let done = Box::new(move |result: std::io::Result<()>| {
        if result.is_ok() {
            let _ended_when_full = tell.try_send(n);
        }
    });
    wal.append(group(n), entries, done);
}

fn group(n: u16) -> GroupId {
    GroupId::new(GroupKind::Orders, n)
}

/// Bytes that do not compress.
fn noise() -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..PAYLOAD_BYTES).map(next).collect()
}
