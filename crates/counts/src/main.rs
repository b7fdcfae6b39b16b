//! `hansa-counts`: runs one hot path a given number of times, for a counter of instructions.
//!
//! `cargo xtask counts` runs it under valgrind. Inputs are fixed and nothing is drawn: no clock, no
//! chance, no order of a hash map. What is made ready beforehand is the same for any number of
//! times, and nothing is given back afterwards, so that of two runs the difference is the path's.

mod ledger;
mod orders;
mod wire;

use std::hint::black_box;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use hansa_types::time::LogTime;

/// When the world of every case begins.
const START: u64 = 1_700_000_000_000;
/// How long ids and keys are remembered: longer than any case.
const WINDOW_MS: u64 = 24 * 60 * 60 * 1_000;

/// The path, called with the number of the time.
type Path = Box<dyn FnMut(usize) -> Result<()>>;

/// One path that is counted.
struct Case {
    name: &'static str,
    /// What one time is.
    what: &'static str,
    /// It is run so often, and twice as often.
    times: usize,
    /// Makes ready what so many times take.
    ready: fn(usize) -> Result<Path>,
}

const CASES: &[Case] = &[
    Case {
        name: "kernel.apply",
        what: "1,000 transfers: moves, holds and what posts them",
        times: 4,
        ready: ledger::transfers,
    },
    Case {
        name: "inventory.reserve+commit",
        what: "an entry with both, 2 lines",
        times: 200,
        ready: ledger::stock,
    },
    Case {
        name: "payments.authorize+capture",
        what: "an entry with both",
        times: 200,
        ready: ledger::money,
    },
    Case {
        name: "order.saga",
        what: "an order of 2 lines, from its Accept to CONFIRMED",
        times: 100,
        ready: orders::saga,
    },
    Case {
        name: "order.digest",
        what: "the digest of a group's state",
        times: 200,
        ready: orders::digest,
    },
    Case {
        name: "place_order.encode",
        what: "a request of 2 lines",
        times: 500,
        ready: wire::encode,
    },
    Case {
        name: "place_order.decode",
        what: "the same, with all checks",
        times: 500,
        ready: wire::decode,
    },
    Case {
        name: "route",
        what: "the same: its routing fields, and where it goes",
        times: 500,
        ready: wire::route,
    },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match &args[..] {
        [] => list(),
        [name, times] => run(name, times),
        _ => Err(anyhow::anyhow!(
            "usage: hansa-counts   (lists the cases)\n       hansa-counts CASE TIMES"
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why:#}");
            ExitCode::FAILURE
        }
    }
}

fn list() -> Result<()> {
    for Case { name, what, times, .. } in CASES {
        println!("{name}\t{times}\t{what}");
    }
    Ok(())
}

fn run(name: &str, times: &str) -> Result<()> {
    let case = CASES.iter().find(|case| case.name == name).context("no such case")?;
    let times: usize = times.parse().context("a number of times")?;
    let most = 2 * case.times;
    ensure!(times <= most, "at most {most} times");
    let mut path = (case.ready)(most)?;
    for n in 0..times {
        black_box(&mut path)(n).with_context(|| format!("{name}, time {n}"))?;
    }
    // What to give back grows with the times.
    std::mem::forget(path);
    Ok(())
}

/// Ten milliseconds later each time, as entries come.
fn at(n: usize) -> LogTime {
    LogTime(START + 10 * n as u64)
}

/// A cheap pseudo-random sequence: the same in every run.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}
