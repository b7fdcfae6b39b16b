//! How long a run of the fault suites is, and what it says when it cannot run.

use std::io::Write as _;
use std::time::Duration;

/// `HANSA_FAULTS`: unset for CI's short cycles, `full` for the counts that are published.
#[must_use]
pub fn full() -> bool {
    std::env::var("HANSA_FAULTS").is_ok_and(|scale| scale == "full")
}

/// Cycles of a fault: a handful in CI, many in a full run.
#[must_use]
pub fn cycles(ci: usize, all: usize) -> usize {
    given("HANSA_CYCLES").unwrap_or(if full() { all } else { ci })
}

/// A number from the environment.
#[must_use]
pub fn given<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// A time that is short in CI.
#[must_use]
pub fn seconds(ci: u64, all: u64) -> Duration {
    Duration::from_secs(if full() { all } else { ci })
}

/// Says that a test did not run, and why. A skipped test is not a passed one.
pub fn skipped(test: &str, why: &str) {
    aside(&format!("SKIPPED: {test}: {why}"));
}

/// To stderr as it is, which a test that passes does not capture.
pub fn aside(what: &str) {
    // Nobody to tell is no reason to fail.
    let _unheard = writeln!(std::io::stderr(), "{what}");
}
