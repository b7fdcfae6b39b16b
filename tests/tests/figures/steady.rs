//! An hour of steady load: what the disk, the memory and the cores are asked for, minute by minute.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hansa_tests::figures::{publish, write};
use hansa_tests::load::Tally;
use hansa_tests::processes::{HOME, Processes, Shape as House};
use hansa_tests::scale;
use hansa_tests::steady::{Customers, Seen};
use hansa_tests::usage::{self, Disk};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};

const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// Small, so that in an hour every part of the log is written, purged and given back many times.
const SEGMENT_MIB: u32 = 8;
const LOG_MIB: u32 = 64;
const SPARES: u32 = 1;
const CHECKPOINT_ENTRIES: u64 = 10_000;
/// Of a group's checkpoints: two that are kept and one that is being written (docs/disk.md).
const CHECKPOINTS_MAX: usize = 3;
/// Below this share of the run nodes still fill their caches: growth is told of the rest.
const WARM: f64 = 0.25;

/// One node at one moment.
struct Sample {
    at: Duration,
    disk: Disk,
    memory: u64,
    busy: Duration,
}

type Samples = BTreeMap<String, Vec<Sample>>;

/// What docs/disk.md allows, where what lives is less than half of the log.
fn log_bytes_max() -> u64 {
    u64::from(LOG_MIB + (SPARES + 2) * SEGMENT_MIB) << 20
}

fn sample(league: &mut Processes, began: Instant, into: &mut Samples) {
    for name in league.names() {
        let (memory, busy) = usage::process(league.pid(&name));
        let disk = Disk::of(&league.config(&name).data_dir);
        let at = began.elapsed();
        assert!(disk.wal <= log_bytes_max(), "{name} at {at:?}: {disk:?}");
        for (group, files) in &disk.checkpoint_files {
            assert!(*files <= CHECKPOINTS_MAX, "{name} at {at:?}: {files} of {group}");
        }
        into.entry(name).or_default().push(Sample { at, disk, memory, busy });
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "an hour: a figure"]
async fn an_hour_of_steady_load() {
    let length = Duration::from_secs(60 * scale::given("HANSA_MINUTES").unwrap_or(60));
    let per_second = scale::given("HANSA_RATE").unwrap_or(40);
    let house = House::region("figure-steady").with(|config| {
        config.log.segment_mib = SEGMENT_MIB;
        config.log.disk_mib = LOG_MIB;
        config.log.checkpoint_entries = CHECKPOINT_ENTRIES;
    });
    let mut league = house.start().await;
    let customers = Customers::arrive(&league).await;
    let (mut samples, all) = (Samples::new(), Tally::default());
    let (began, over) = (Instant::now(), AtomicBool::new(false));
    sample(&mut league, began, &mut samples);
    let shop = async {
        customers.shop(per_second, began + length).await;
        over.store(true, Ordering::Relaxed);
    };
    let watch = watch(&mut league, &customers, began, &over, &mut samples, &all);
    let ((), minutes) = tokio::join!(shop, watch);
    let seen = customers.take();
    all.merge(&seen.tally);
    assert_eq!(all.failures(), Vec::<String>::new(), "calls failed without a fault");
    let end = end(&mut league).await;
    let figures = json!({
        "orders_per_second": per_second,
        "settings": {
            "segment_mib": SEGMENT_MIB,
            "log_mib": LOG_MIB,
            "log_mib_max": log_bytes_max() >> 20,
            "checkpoint_entries": CHECKPOINT_ENTRIES,
        },
        "orders": seen.placed,
        "left_out": seen.left_out,
        "ended": seen.ended,
        "calls": methods(&all),
        "growth": growth(&samples, seen.placed, length),
        "end": end,
        "minutes": minutes,
    });
    publish("steady_hour", figures);
}

/// Looks at every node every ten seconds until the load is over; what each minute came to.
async fn watch(
    league: &mut Processes,
    customers: &Customers,
    began: Instant,
    over: &AtomicBool,
    samples: &mut Samples,
    all: &Tally,
) -> Vec<Value> {
    let mut minutes = Vec::new();
    let mut look = tokio::time::interval(SAMPLE_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    look.tick().await;
    while !over.load(Ordering::Relaxed) {
        look.tick().await;
        sample(league, began, samples);
        if began.elapsed().as_secs() / 60 > minutes.len() as u64 {
            let seen = customers.take();
            all.merge(&seen.tally);
            minutes.push(minute(minutes.len() + 1, &seen, samples));
            println!("{}", minutes[minutes.len() - 1]);
            // What is there already, should this end early.
            write("steady_hour_so_far", &json!({ "minutes": minutes }));
        }
    }
    minutes
}

/// The last minute in one line.
fn minute(number: usize, seen: &Seen, samples: &Samples) -> Value {
    let placed = seen.tally.of("PlaceOrder");
    let ms = |took: Duration| took.as_millis() as u64;
    let node = |(name, samples): (&String, &Vec<Sample>)| (name.clone(), told(samples));
    json!({
        "minute": number,
        "orders": seen.placed,
        "left_out": seen.left_out,
        "p50_ms": ms(placed.p50),
        "p99_ms": ms(placed.p99),
        "max_ms": ms(placed.max),
        "nodes": samples.iter().map(node).collect::<serde_json::Map<_, _>>(),
    })
}

/// A node now, and the most that its disk held since the last minute.
fn told(samples: &[Sample]) -> Value {
    let (last, before) = (&samples[samples.len() - 1], &samples[samples.len().saturating_sub(7)]);
    let lately = &samples[samples.len().saturating_sub(6)..];
    let most = |of: fn(&Disk) -> u64| lately.iter().map(|s| of(&s.disk)).max().unwrap_or(0) >> 20;
    let passed = (last.at - before.at).as_secs_f64().max(1.0);
    json!({
        "wal_mib_max": most(|disk| disk.wal),
        "checkpoints_mib_max": most(|disk| disk.checkpoints),
        "views_mib": last.disk.views >> 20,
        "archive_mib": last.disk.archive >> 20,
        "memory_mib": last.memory >> 20,
        "cores": ((last.busy - before.busy).as_secs_f64() / passed * 100.0).round() / 100.0,
    })
}

/// What a node's parts gained per order once it was warm.
fn growth(samples: &Samples, orders: u64, length: Duration) -> Value {
    let node = |(name, samples): (&String, &Vec<Sample>)| {
        let last = &samples[samples.len() - 1];
        let warm = samples.iter().find(|sample| sample.at >= length.mul_f64(WARM)).unwrap_or(last);
        let share = (last.at - warm.at).as_secs_f64() / length.as_secs_f64();
        let per_order = |of: &dyn Fn(&Sample) -> u64| {
            let grown = of(last) as f64 - of(warm) as f64;
            (grown / (orders as f64 * share).max(1.0)).round()
        };
        let most = |of: fn(&Disk) -> u64| samples.iter().map(|s| of(&s.disk)).max().unwrap_or(0);
        let files = samples.iter().flat_map(|s| s.disk.checkpoint_files.values());
        let told = json!({
            "wal_mib_max": most(|disk| disk.wal) >> 20,
            "checkpoint_files_max": files.max(),
            "archive_bytes_per_order": per_order(&|sample| sample.disk.archive),
            "views_bytes_per_order": per_order(&|sample| sample.disk.views),
            "checkpoint_bytes_per_order": per_order(&|sample| sample.disk.checkpoints),
            "memory_bytes_per_order": per_order(&|sample| sample.memory),
            "cores": last.busy.as_secs_f64() / last.at.as_secs_f64(),
        });
        (name.clone(), told)
    };
    samples.iter().map(node).collect::<serde_json::Map<_, _>>().into()
}

fn methods(all: &Tally) -> Value {
    let told = |method: &'static str| (method.to_owned(), json!(all.of(method).to_string()));
    all.methods().into_iter().map(told).collect::<serde_json::Map<_, _>>().into()
}

/// The house holds, and a node that was killed is back in a time that does not follow its history.
async fn end(league: &mut Processes) -> Value {
    let settled = hansa::invariants::settle(&league.doors, crate::BACK_WITHIN).await;
    assert!(settled.all_held(), "{}", settled.lines().join("\n"));
    let name = &league.names_in(HOME)[0];
    league.kill(name);
    let began = Instant::now();
    league.run(name);
    league.ready().await;
    let back = began.elapsed();
    json!({ "invariants": settled.checked(), "restart_until_ready_ms": back.as_millis() as u64 })
}
