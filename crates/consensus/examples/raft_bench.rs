//! Commands per second through one group of three nodes in this process, each with its own log on
//! disk.
//!
//! `cargo run --release -p hansa-consensus --features testing --example raft_bench -- [SECONDS]`
//! 256-byte commands that change nothing, 512 in flight, durable on a majority; in-memory wires,
//! then gRPC over mTLS. The same process runs clients and all three replicas.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hansa_consensus::Timing;
use hansa_consensus::testing::counter::Counters;
use hansa_consensus::testing::{Cluster, Settings, soon};
use tokio::time::Instant;

const IN_FLIGHT: usize = 512;
const COMMAND_BYTES: usize = 256;
const WARM_UP: Duration = Duration::from_secs(1);

struct Run {
    name: &'static str,
    grpc: bool,
    archive_entries: bool,
    entries_in_flight: usize,
}

fn main() {
    let seconds = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(5);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let run = |name, grpc, archive_entries, entries_in_flight| {
        let run = Run { name, grpc, archive_entries, entries_in_flight };
        runtime.block_on(measure(run, Duration::from_secs(seconds)));
    };
    run("memory", false, true, 4);
    run("memory, 1 entry in flight", false, true, 1);
    run("memory, no archive", false, false, 4);
    run("grpc", true, true, 4);
    run("grpc, 2 entries in flight", true, true, 2);
    run("grpc, no archive", true, false, 4);
}

/// The time from submit to outcome of each command, in microseconds, one list per writer.
async fn load(cluster: &Cluster<Counters>, until: Instant, done: &Arc<AtomicU64>) -> Vec<u64> {
    let leader = cluster.leader().await;
    let mut writers = Vec::new();
    for _ in 0..IN_FLIGHT {
        let (group, done) = (cluster.group(leader).clone(), done.clone());
        writers.push(async move {
            let mut command = b"none ".to_vec();
            command.resize(COMMAND_BYTES, b'x');
            let command = Bytes::from(command);
            let mut took = Vec::new();
            while Instant::now() < until {
                let start = Instant::now();
                if group.submit(command.clone(), soon()).await.is_ok() {
                    took.push(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }
            took
        });
    }
    let tasks = &cluster.node(leader).env.tasks;
    let (tx, mut rx) = tokio::sync::mpsc::channel(IN_FLIGHT);
    for writer in writers {
        let tx = tx.clone();
        tasks.spawn("writer", hansa_node::tasks::OnError::Log, async move {
            let _ = tx.send(writer.await).await;
        });
    }
    drop(tx);
    let mut all = Vec::new();
    while let Some(took) = rx.recv().await {
        all.extend(took);
    }
    all
}

async fn measure(run: Run, within: Duration) {
    let timing = Timing { entries_in_flight_max: run.entries_in_flight, ..Timing::default() };
    let wal = hansa_wal::Config::default();
    let (grpc, archive_entries) = (run.grpc, run.archive_entries);
    let settings = Settings { timing, wal, grpc, archive_entries, ..Settings::default() };
    let mut cluster = Cluster::with(settings, Counters::default).await;
    let done = Arc::new(AtomicU64::new(0));
    load(&cluster, Instant::now() + WARM_UP, &done).await;
    let leader = cluster.leader().await;
    let syncs = |cluster: &Cluster<Counters>| cluster.node(leader).host.log_stats().syncs;
    let (entries, synced) = (cluster.group(leader).status().applied, syncs(&cluster));
    done.store(0, Ordering::Relaxed);
    let start = Instant::now();
    let mut took = load(&cluster, start + within, &done).await;
    let seconds = start.elapsed().as_secs_f64();
    let commands = done.load(Ordering::Relaxed) as f64;
    let entries = (cluster.group(leader).status().applied - entries) as f64;
    let synced = (syncs(&cluster) - synced) as f64;
    took.sort_unstable();
    let at = |share: f64| {
        took.get((took.len() as f64 * share) as usize).copied().unwrap_or_default() as f64 / 1_000.0
    };
    println!(
        "{:28} {:8.0} commands/s  {:6.0} entries/s  {:6.0} commands/entry  {:5.0} syncs/s  \
         p50 {:.2} ms  p99 {:.2} ms",
        run.name,
        commands / seconds,
        entries / seconds,
        commands / entries,
        synced / seconds,
        at(0.5),
        at(0.99),
    );
    cluster.kill_all().await;
}
