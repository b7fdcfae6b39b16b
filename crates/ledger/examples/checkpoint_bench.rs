//! What a checkpoint costs a stock group with a million accounts and 100,000 open holds: how long
//! it holds up apply, how many bytes it writes, how soon a restarted node serves, and how fast a
//! new node is given all of it while orders go on.
//!
//! `cargo run --release -p hansa-ledger --example checkpoint_bench -- [ACCOUNTS [HOLDS]]`
//! First the machine alone, on a thread that only applies while another writes; then a group of one
//! node on disk: submits during a checkpoint, and a restart; then a group of three over mTLS and a
//! fourth node that joins.

use std::io::{BufWriter, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hansa_consensus::testing::{Cluster, Settings};
use hansa_consensus::{Machine, Records, Timing};
use hansa_ledger::core::inventory::{
    self, Command, CommandId, Inventory, Receive, Reserve, StockLine,
};
use hansa_ledger::machine::Batch;
use hansa_types::id::{NodeId, OrderId, TransferId};
use hansa_types::region::{RegionNumber, Slot};
use hansa_types::time::LogTime;

const START: u64 = 1_700_000_000_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
const TTL_MS: u32 = 12 * 60 * 60 * 1_000;
const PER_BATCH: u64 = 256;

fn main() {
    let arg = |n: usize, otherwise: u64| -> u64 {
        std::env::args().nth(n).and_then(|it| it.parse().ok()).unwrap_or(otherwise)
    };
    let (accounts, holds) = (arg(1, 1_000_000), arg(2, 100_000));
    alone(accounts, holds);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(in_a_group(accounts, holds));
    runtime.block_on(a_new_node(accounts, holds));
}

fn genesis() -> Inventory {
    Inventory::new(inventory::Settings {
        id_window_ms: DAY_MS,
        hold_ms_max: DAY_MS,
        default_warehouse: "main".to_owned(),
    })
}

fn sku(n: u64) -> String {
    format!("SKU{n:07}")
}

/// Each SKU that is received opens its accounts: what there is, and whom it came from.
fn receipts(accounts: u64, now: u64) -> impl Iterator<Item = Bytes> {
    let skus = accounts / 2;
    (0..skus.div_ceil(PER_BATCH)).map(move |batch| {
        let mut out = Batch::default();
        for n in batch * PER_BATCH..skus.min((batch + 1) * PER_BATCH) {
            let id = TransferId::derive(LogTime(now), &[b"receive", &n.to_le_bytes()]);
            let (id, sku) = (CommandId::Given(id), &sku(n));
            let receive = Receive { id, sku, warehouse: None, quantity: 1_000_000, document: "" };
            out.push(&Command::Receive(receive));
        }
        out.finish().into()
    })
}

fn reserves(from: u64, count: u64, skus: u64, now: u64) -> impl Iterator<Item = Bytes> {
    let region = RegionNumber::try_from(1).expect("a region");
    (0..count.div_ceil(PER_BATCH)).map(move |batch| {
        let mut out = Batch::default();
        for n in batch * PER_BATCH..count.min((batch + 1) * PER_BATCH) {
            let n = from + n;
            let id = TransferId::derive(LogTime(now), &[b"reserve", &n.to_le_bytes()]);
            let order = OrderId::new(LogTime(now), region, Slot::of(b"x"), n);
            // Spread over all pages: a checkpoint's worst case.
            let sku = &sku(n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % skus);
            let lines = vec![StockLine { line: 1, sku, warehouse: None, quantity: 1 }];
            out.push(&Command::Reserve(Reserve { id, order, ttl_ms: TTL_MS, lines }));
        }
        out.finish().into()
    })
}

fn apply(machine: &mut Inventory, command: &[u8], out: &mut Records) {
    Machine::advance(machine, LogTime(START), out);
    let applied = Machine::apply(machine, LogTime(START), command, out);
    assert!(applied.outcomes.iter().all(|outcome| outcome.is_success()));
    out.take();
}

fn alone(accounts: u64, holds: u64) {
    let (mut machine, mut out) = (genesis(), Records::new());
    receipts(accounts, START).for_each(|c| apply(&mut machine, &c, &mut out));
    reserves(0, holds, accounts / 2, START).for_each(|c| apply(&mut machine, &c, &mut out));
    let (held, open) = (machine.books().accounts().count(), machine.books().holds_len());
    println!("machine alone: {held} accounts, {open} open holds");
    let calm = longest(&mut machine, &mut out, holds, 200, |_| false);

    let began = Instant::now();
    let frozen = machine.freeze();
    println!("  freeze                         {:>9.2} ms", ms(began.elapsed()));
    let (done, path) = (Arc::new(AtomicBool::new(false)), tempfile());
    let writer = {
        let (done, path) = (done.clone(), path.clone());
        std::thread::spawn(move || {
            let began = Instant::now();
            let digest = hansa_consensus::Frozen::digest_full(&frozen);
            let summed = began.elapsed();
            let mut file = BufWriter::with_capacity(256 << 10, std::fs::File::create(path)?);
            // As a checkpoint does: with the version of the format in front.
            hansa_consensus::Frozen::write(&frozen, &mut file)?;
            let file = file.into_inner().map_err(|e| e.into_error())?;
            let (bytes, wrote) = (file.metadata()?.len(), began.elapsed() - summed);
            file.sync_data()?;
            let whole = began.elapsed();
            drop(frozen);
            done.store(true, Ordering::Release);
            Ok::<_, std::io::Error>((digest, bytes, summed, wrote, whole, began.elapsed()))
        })
    };
    let busy =
        longest(&mut machine, &mut out, holds * 2, u64::MAX, |_| done.load(Ordering::Acquire));
    let (digest, bytes, summed, wrote, whole, dropped) =
        writer.join().expect("the writer").expect("written");
    println!("  digest computed anew           {:>9.2} ms", ms(summed));
    println!("  encoded and written            {:>9.2} ms", ms(wrote));
    println!("  with its sync                  {:>9.2} ms, {} MiB", ms(whole), bytes >> 20);
    println!("  and its pages let go           {:>9.2} ms", ms(dropped));
    println!("  longest apply of {PER_BATCH} orders    {:>9.2} ms calm", ms(calm.0));
    println!("  longest apply while it writes  {:>9.2} ms, of {} batches", ms(busy.0), busy.1);
    let began = Instant::now();
    let mut file =
        std::io::BufReader::with_capacity(256 << 10, std::fs::File::open(&path).expect("the file"));
    let thawed = <Inventory as Machine>::thaw(&mut file as &mut dyn Read).expect("thaws");
    let read = began.elapsed();
    assert_eq!(thawed.digest_full(), digest);
    println!("  thaw                           {:>9.2} ms", ms(read));
    println!("  and its digest checked         {:>9.2} ms", ms(began.elapsed()));
    std::fs::remove_file(path).expect("removed");
    std::io::stdout().flush().expect("stdout");
}

/// The longest that one batch of orders took to apply, and how many there were.
fn longest(
    machine: &mut Inventory,
    out: &mut Records,
    from: u64,
    batches: u64,
    enough: impl Fn(u64) -> bool,
) -> (Duration, u64) {
    let (mut longest, mut n) = (Duration::ZERO, 0);
    let skus = machine.books().accounts().count() as u64 / 4;
    while n < batches && !enough(n) {
        let command = reserves(from + n * PER_BATCH, PER_BATCH, skus, START).next();
        let Some(command) = command else { break };
        let began = Instant::now();
        apply(machine, &command, out);
        longest = longest.max(began.elapsed());
        n += 1;
    }
    (longest, n)
}

fn tempfile() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("hansa-checkpoint-bench-{}", std::process::id()))
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

async fn in_a_group(accounts: u64, holds: u64) {
    let timing = Timing { checkpoint_entries: u64::MAX, ..Timing::quick() };
    let settings = Settings { nodes: 1, timing, ..Settings::default() };
    let mut cluster = Cluster::with(settings, genesis).await;
    let node = cluster.leader().await;
    let now = fill(&cluster, accounts, holds).await;
    println!("a group of one node, the same state, on disk:");
    let calm = waits(&cluster, (holds, 200), accounts, now, None).await;
    let began = Instant::now();
    let group = cluster.group(node).clone();
    let done = Arc::new(AtomicBool::new(false));
    let said = done.clone();
    let written = async move {
        group.checkpoint().await;
        said.store(true, Ordering::Release);
        began.elapsed()
    };
    let during = waits(&cluster, (holds * 2, 0), accounts, now, Some(done));
    let (took, busy) = tokio::join!(written, during);
    println!("  checkpoint, archive included   {:>9.2} ms", ms(took));
    println!("  longest submit calm            {:>9.2} ms", ms(longest_of(&calm)));
    let (longest, n) = (ms(longest_of(&busy)), busy.len());
    println!("  longest submit while it writes {longest:>9.2} ms, of {n}");
    let before = cluster.group(node).status();
    cluster.kill(node).await;
    let began = Instant::now();
    cluster.boot(node).await;
    let booted = began.elapsed();
    let leader = cluster.leader().await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let read = cluster.group(leader).read(deadline, |m| m.books().holds_len()).await;
    let served = began.elapsed();
    let after = cluster.group(leader).status();
    let tail = before.applied - after.checkpoint.unwrap_or(0);
    println!("  restart: groups started        {:>9.2} ms", ms(booted));
    println!("  restart: first read served     {:>9.2} ms, {tail} entries replayed", ms(served));
    assert!(read.is_ok_and(|open| open > 0) && after.applied >= before.applied);
}

/// Brings a cluster to the state; its time then.
async fn fill(cluster: &Cluster<Inventory>, accounts: u64, holds: u64) -> u64 {
    // An entry without commands: it sets the group's clock going.
    cluster.submit(Batch::default().finish()).await;
    let now = cluster.group(cluster.leader().await).status().log_time.ms();
    for command in receipts(accounts, now).chain(reserves(0, holds, accounts / 2, now)) {
        let applied = cluster.submit(command).await;
        assert!(applied.outcomes.iter().all(|outcome| outcome.is_success()));
    }
    now
}

async fn a_new_node(accounts: u64, holds: u64) {
    let timing = Timing { checkpoint_entries: u64::MAX, ..Timing::quick() };
    let settings = Settings { timing, grpc: true, ..Settings::default() };
    let mut cluster = Cluster::with(settings, genesis).await;
    let now = fill(&cluster, accounts, holds).await;
    // Twice: the log is purged up to the older one, so nobody can be given it.
    for _ in 0..2 {
        for node in cluster.up() {
            cluster.group(node).checkpoint().await;
        }
        cluster.submit(reserves(holds, 1, accounts / 2, now).next().expect("one")).await;
    }
    let folder = cluster.dir(cluster.leader().await);
    let bytes = checkpoint_bytes(&folder);
    println!("a group of three over mTLS, the same state; a fourth node joins:");
    let calm = waits(&cluster, (holds * 2, 500), accounts, now, None).await;
    let (fourth, done) = (NodeId(4), Arc::new(AtomicBool::new(false)));
    let began = Instant::now();
    cluster.join(fourth).await;
    cluster.want(&[1, 2, 3, 4]);
    let members = async {
        cluster.members_are(&[1, 2, 3, 4]).await;
        done.store(true, Ordering::Release);
        began.elapsed()
    };
    let during = waits(&cluster, (holds * 4, 0), accounts, now, Some(done.clone()));
    let (took, busy) = tokio::join!(members, during);
    let rate = bytes as f64 / took.as_secs_f64() / f64::from(1 << 20);
    println!("  until it votes                 {:>9.2} ms, {} MiB", ms(took), bytes >> 20);
    println!(
        "  that is                        {rate:>9.2} MiB/s, its checks and installation included"
    );
    for (what, waits) in [("before", calm), ("meanwhile", busy)] {
        let at = |share: f64| ms(waits[((waits.len() - 1) as f64 * share) as usize]);
        let (p50, p99, n) = (at(0.5), at(0.99), waits.len());
        println!("  16 orders, {what:<9}           {p50:>9.2} ms p50, {p99:.2} ms p99 of {n}");
    }
}

fn longest_of(sorted: &[Duration]) -> Duration {
    sorted.last().copied().unwrap_or_default()
}

fn checkpoint_bytes(folder: &std::path::Path) -> u64 {
    let groups = std::fs::read_dir(folder.join("groups")).expect("groups");
    let files = groups.flatten().flat_map(|group| std::fs::read_dir(group.path()).expect("files"));
    let sizes =
        files.flatten().filter(|file| file.file_name().to_string_lossy().ends_with(".ckpt"));
    sizes.filter_map(|file| file.metadata().ok()).map(|about| about.len()).max().unwrap_or(0)
}

/// How long each of a number of submits took, or of as many as there is time for; sorted.
async fn waits(
    cluster: &Cluster<Inventory>,
    (from, count): (u64, u64),
    accounts: u64,
    now: u64,
    until: Option<Arc<AtomicBool>>,
) -> Vec<Duration> {
    let mut waits = Vec::new();
    loop {
        let n = waits.len() as u64;
        let enough = until.as_ref().map_or(n >= count, |done| done.load(Ordering::Acquire));
        let Some(command) = reserves(from + n * 16, 16, accounts / 2, now).next() else { break };
        if enough {
            break;
        }
        let began = Instant::now();
        cluster.submit(command).await;
        waits.push(began.elapsed());
    }
    waits.sort_unstable();
    waits
}
