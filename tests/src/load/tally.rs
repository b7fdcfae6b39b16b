//! How a load fared: what its users saw, retries of the policy included.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hansa_api::status::Failure;
use hdrhistogram::Histogram;

use crate::suite;

/// Calls of one method, as whoever made them saw them.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<BTreeMap<&'static str, Seen>>>);

#[derive(Clone, Debug)]
struct Seen {
    answered: u64,
    /// By reason; only failures that are the house's, not the request's.
    failed: BTreeMap<String, u64>,
    /// Of answered calls, in µs.
    took: Histogram<u64>,
}

impl Default for Seen {
    fn default() -> Self {
        let took = Histogram::new(3).expect("three digits");
        Self { answered: 0, failed: BTreeMap::new(), took }
    }
}

/// What the calls of one method came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    pub calls: u64,
    pub failed: BTreeMap<String, u64>,
    /// Share of calls that were answered.
    pub availability: f64,
    pub p50: Duration,
    pub p95: Duration,
    pub p99: Duration,
    pub max: Duration,
}

impl Tally {
    /// A call is over. A refusal that is the request's own fault is an answer.
    pub fn add(&self, method: &'static str, failure: Option<&Failure>, took: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = all.entry(method).or_default();
        let reason = failure.map(|failure| failure.reason().as_str());
        let failed = reason.filter(|reason| !hansa_checker::seen::sure(reason));
        suite::call(failed.is_some());
        match failed {
            Some(reason) => *seen.failed.entry(reason.to_owned()).or_default() += 1,
            None => {
                seen.answered += 1;
                let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                seen.took.record(took).expect("the histogram grows");
            }
        }
    }

    /// Adds another's calls to these.
    pub fn merge(&self, other: &Tally) {
        let others = other.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (method, from) in others {
            let seen = all.entry(method).or_default();
            seen.answered += from.answered;
            seen.took.add(&from.took).expect("the histogram grows");
            for (reason, count) in from.failed {
                *seen.failed.entry(reason).or_default() += count;
            }
        }
    }

    #[must_use]
    pub fn methods(&self) -> Vec<&'static str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    #[must_use]
    pub fn of(&self, method: &str) -> Figures {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = all.get(method).cloned().unwrap_or_default();
        let calls = seen.answered + seen.failed.values().sum::<u64>();
        let at = |quantile| Duration::from_micros(seen.took.value_at_quantile(quantile));
        Figures {
            calls,
            availability: seen.answered as f64 / calls.max(1) as f64,
            failed: seen.failed,
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            max: at(1.0),
        }
    }

    /// Calls of any method that a client with the published policy saw fail, by method and reason.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let mut all = Vec::new();
        for method in self.methods() {
            for (reason, count) in self.of(method).failed {
                all.push(format!("{method}: {count} × {reason}"));
            }
        }
        all
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { calls, failed, availability, p50, p95, p99, max } = self;
        let ms = |took: &Duration| took.as_secs_f64() * 1e3;
        write!(f, "{calls} calls, {:.3} % answered, ", availability * 100.0)?;
        write!(
            f,
            "p50 {:.1} p95 {:.1} p99 {:.1} max {:.0} ms",
            ms(p50),
            ms(p95),
            ms(p99),
            ms(max)
        )?;
        if !failed.is_empty() {
            write!(f, ", failed: {failed:?}")?;
        }
        Ok(())
    }
}
