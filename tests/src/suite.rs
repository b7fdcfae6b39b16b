//! What a suite has done so far: faults by class, calls as clients saw them, checks by class. One
//! file for each test binary, which `cargo xtask suite-report` makes a table of.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::{figures, scale};

static SEEN: Mutex<Seen> = Mutex::new(Seen::new());

/// Counted by whatever breaks, calls or checks, so that no test can forget it.
struct Seen {
    faults: BTreeMap<&'static str, u64>,
    checks: BTreeMap<&'static str, u64>,
    calls: u64,
    failed: u64,
}

impl Seen {
    const fn new() -> Self {
        Self { faults: BTreeMap::new(), checks: BTreeMap::new(), calls: 0, failed: 0 }
    }

    fn json(&self, suite: &str) -> Value {
        json!({
            "suite": suite,
            "scale": if scale::full() { "full" } else { "ci" },
            "faults": self.faults,
            "calls": self.calls,
            "failed": self.failed,
            "checks": self.checks,
        })
    }
}

fn seen() -> MutexGuard<'static, Seen> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something was broken.
pub fn fault(class: &'static str) {
    *seen().faults.entry(class).or_default() += 1;
}

/// A client's call is over, its retries included.
pub fn call(failed: bool) {
    let mut seen = seen();
    seen.calls += 1;
    seen.failed += u64::from(failed);
}

/// Something was compared with what it must be.
pub fn checked(class: &'static str, count: usize) {
    if count == 0 {
        return;
    }
    *seen().checks.entry(class).or_default() += count as u64;
}

/// Says what was done so far, and writes `figures/suite-<suite>.json`.
pub fn publish() {
    let suite = figures::suite();
    let whole = seen().json(&suite);
    println!("{whole}");
    figures::write(&format!("suite-{suite}"), &whole);
}
