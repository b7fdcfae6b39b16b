//! How long a comparison takes, and what it needs: `figures [ORDERS] [PLANTED]`.

// A figure that cannot be taken is none.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)]

#[path = "../tests/planted/league.rs"]
mod league;

use std::time::Instant;

/// Peak memory of this process, in KiB, where the kernel says it.
fn peak_kib() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.map_or("unknown".to_owned(), |line| line[6..].trim().to_owned())
}

fn main() {
    let mut words = std::env::args().skip(1);
    let mut number = |otherwise: u64| words.next().map_or(otherwise, |word| word.parse().unwrap());
    let (orders, planted) = (number(1_000_000), number(500));
    let folder = tempfile::tempdir().unwrap();
    let statement = folder.path().join("statement.csv");
    let began = Instant::now();
    let league = league::build(orders, planted, &statement);
    let (built, bytes, expected) = (began.elapsed(), league.bytes, league.expected.clone());
    let size = std::fs::metadata(&statement).unwrap().len();
    let began = Instant::now();
    let found = league.found();
    println!(
        "{orders} orders: facts {bytes} B and statement {size} B put aside and sorted in \
         {built:?}; compared in {:?}; peak memory {}",
        began.elapsed(),
        peak_kib()
    );
    assert_eq!(found, expected, "exactly what was planted");
    println!("{} differences, each found exactly: {found:?}", found.values().sum::<u64>());
}
