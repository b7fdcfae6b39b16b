//! A whole run of the tool, as a process, over a region of many orders: exactly what was planted
//! is found, whichever class, and nothing else.
//!
//! The region is made up and speaks over TLS as nodes do; copies are listed as its comparison with
//! a peer would list them, which `orders`' `tests/million.rs` shows between two regions.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)]

#[path = "../../reconcile/tests/planted/league.rs"]
mod league;
#[path = "million/served.rs"]
mod served;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use league::{CLASSES, Key, Region};
use serde_json::Value;
use served::Served;

/// What the tool said, and what it took.
struct Ran {
    code: Option<i32>,
    report: Value,
    took: Duration,
    peak_kib: u64,
}

/// Peak memory of a process so far.
fn peak_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

async fn run(served: &Served, folder: &Path) -> Ran {
    let began = Instant::now();
    let report = folder.join("report.json");
    let mut tool = tokio::process::Command::new(env!("CARGO_BIN_EXE_hansactl"))
        .current_dir(folder)
        .args(served.flags())
        .args(["--region", league::REGION, "-o", "json", "reconcile", "run"])
        .args(["--statement", "statement.csv", "--settle", "60s"])
        .args(["--statement-from", "2000-01-01T00:00:00Z"])
        .args(["--statement-until", "2100-01-01T00:00:00Z"])
        .stdout(Stdio::from(std::fs::File::create(&report).unwrap()))
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (pid, mut peak) = (tool.id().unwrap(), 0);
    let ended: ExitStatus = loop {
        match tokio::time::timeout(Duration::from_millis(20), tool.wait()).await {
            Ok(ended) => break ended.unwrap(),
            Err(_) => peak = peak_kib(pid).unwrap_or(0).max(peak),
        }
    };
    let report = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    Ran { code: ended.code(), report, took: began.elapsed(), peak_kib: peak }
}

fn found(report: &Value) -> BTreeSet<Key> {
    let listed = report["differences"].as_array().cloned().unwrap_or_default();
    let word = |of: &Value, name: &str| of[name].as_str().unwrap_or_default().to_owned();
    let key = |of: &Value| (word(of, "class"), word(of, "order"), word(of, "subject"));
    let found: BTreeSet<Key> = listed.iter().map(key).collect();
    assert_eq!(found.len(), listed.len(), "nothing is said twice");
    found
}

/// Finds exactly what was planted, and says what that cost.
async fn planted_is_found(region: Region) {
    let folder = tempfile::tempdir().unwrap();
    let statement = folder.path().join("statement.csv");
    region.write_statement(&statement);
    let served = Served::start(region, folder.path()).await;
    let ran = run(&served, folder.path()).await;
    served.stop();
    let (expected, found) = (region.expected(), found(&ran.report));
    assert_eq!(expected.len() as u64, region.planted);
    let classes: BTreeSet<&str> = found.iter().map(|(class, ..)| class.as_str()).collect();
    let figures = &ran.report["figures"];
    println!(
        "{} orders, {} planted of {} classes: found in {:?}; facts {} B, statement {} B of {} \
         keys; peak memory of the tool {} KiB",
        region.orders,
        region.planted,
        classes.len(),
        ran.took,
        figures["bytes"],
        std::fs::metadata(&statement).unwrap().len(),
        figures["statementKeys"],
        ran.peak_kib,
    );
    let (missed, invented) = (expected.difference(&found), found.difference(&expected));
    let (missed, invented): (Vec<_>, Vec<_>) = (missed.collect(), invented.collect());
    assert!(missed.is_empty() && invented.is_empty(), "missed {missed:?}, invented {invented:?}");
    assert!(region.planted < 15 || classes.len() == CLASSES.len(), "{classes:?}");
    let clean = region.planted == 0;
    assert_eq!(ran.code, Some(if clean { 0 } else { 1 }), "{}", ran.report);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_differences_of_every_class_are_found_exactly_among_twenty_thousand_orders() {
    planted_is_found(Region { orders: 20_000, planted: 500 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_found_where_nothing_was_planted() {
    planted_is_found(Region { orders: 5_000, planted: 0 }).await;
}

/// `cargo test -p hansactl --test million -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement of a million orders"]
async fn five_hundred_differences_are_found_exactly_among_a_million_orders() {
    planted_is_found(Region { orders: 1_000_000, planted: 500 }).await;
}
