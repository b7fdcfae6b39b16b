//! What became of the calls: by phase, and by second.

use std::collections::BTreeMap;
use std::time::Duration;

use hansa_api::status::Failure;
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::time::Instant;
use tonic::Status;

/// A call that did not do what it was for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: String,
    /// When it said to come back (`RetryInfo`).
    pub retry_after: Option<Duration>,
}

impl Refusal {
    pub fn named(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry_after: None }
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let failure = Failure::from(status);
        Self { reason: failure.reason().to_string(), retry_after: failure.wait() }
    }
}

/// Whatever was done in one call: one, but for batches.
pub type Done = Result<u64, Refusal>;

/// All calls of a run. Latency belongs to when a call was due, throughput to when it was done.
pub struct Record {
    began: Instant,
    lasts: Duration,
    phases: Vec<Phase>,
    seconds: Vec<Second>,
}

struct Phase {
    name: &'static str,
    until: Duration,
    /// Calls that were due in it.
    due: u64,
    done: u64,
    took: Histogram<u64>,
    refused: BTreeMap<String, u64>,
    invited: u64,
}

struct Second {
    due: u64,
    done: u64,
    refused: u64,
    took: Histogram<u64>,
}

/// Above any call's deadline, and any wait before it.
const MICROS_MAX: u64 = 600_000_000;

/// Microseconds, in so many digits.
fn histogram(digits: u8) -> Histogram<u64> {
    match Histogram::new_with_max(MICROS_MAX, digits) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("up to five digits: {error}"),
    }
}

impl Record {
    /// From `began` on; each phase with its end since then. What was due before is not recorded,
    /// nor what ends after the last one in its throughput.
    pub fn new(began: Instant, phases: &[(&'static str, Duration)]) -> Self {
        let phase = |&(name, until): &(&'static str, Duration)| Phase {
            name,
            until,
            due: 0,
            done: 0,
            took: histogram(3),
            refused: BTreeMap::new(),
            invited: 0,
        };
        let lasts = phases.last().map(|(_, until)| *until).unwrap_or_default();
        let second = || Second { due: 0, done: 0, refused: 0, took: histogram(2) };
        let seconds = lasts.as_secs_f64().ceil() as usize;
        Self {
            began,
            lasts,
            phases: phases.iter().map(phase).collect(),
            seconds: std::iter::repeat_with(second).take(seconds).collect(),
        }
    }

    pub fn add(&mut self, due: Instant, ended: Instant, done: Done) {
        if let Some(at) = self.within(ended) {
            let units = *done.as_ref().unwrap_or(&0);
            let second = &mut self.seconds[at.as_secs() as usize];
            second.done += units;
            second.refused += u64::from(done.is_err());
            if let Some(phase) = self.phase(at) {
                phase.done += units;
            }
        }
        let Some(at) = self.within(due) else { return };
        let took = u64::try_from((ended - due).as_micros()).unwrap_or(u64::MAX).max(1);
        let second = &mut self.seconds[at.as_secs() as usize];
        second.due += 1;
        if done.is_ok() {
            second.took.saturating_record(took);
        }
        let Some(phase) = self.phase(at) else { return };
        phase.due += 1;
        match done {
            Ok(_) => phase.took.saturating_record(took),
            Err(refusal) => {
                *phase.refused.entry(refusal.reason).or_default() += 1;
                phase.invited += u64::from(refusal.retry_after.is_some());
            }
        }
    }

    fn within(&self, at: Instant) -> Option<Duration> {
        at.checked_duration_since(self.began).filter(|at| *at < self.lasts)
    }

    fn phase(&mut self, at: Duration) -> Option<&mut Phase> {
        self.phases.iter_mut().find(|phase| at < phase.until)
    }

    pub fn figures(&self) -> Vec<Figures> {
        let mut from = Duration::ZERO;
        let figures = self.phases.iter().map(|phase| {
            let seconds = (phase.until - std::mem::replace(&mut from, phase.until)).as_secs_f64();
            Figures {
                phase: phase.name,
                seconds,
                calls: phase.due,
                done: phase.done,
                rate: phase.done as f64 / seconds.max(f64::MIN_POSITIVE),
                latency: Latency::of(&phase.took),
                refused: phase.refused.clone(),
                refused_with_retry_info: phase.invited,
            }
        });
        figures.collect()
    }

    pub fn seconds(&self) -> Vec<PerSecond> {
        let figures = |second: &Second| PerSecond {
            due: second.due,
            done: second.done,
            refused: second.refused,
            p99_ms: ms(second.took.value_at_quantile(0.99)),
        };
        self.seconds.iter().map(figures).collect()
    }
}

fn ms(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

/// Of calls that were done, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Latency {
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl Latency {
    fn of(took: &Histogram<u64>) -> Self {
        let at = |share| ms(took.value_at_quantile(share));
        Self {
            p50_ms: at(0.5),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: ms(took.max()),
        }
    }
}

/// What a phase came to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    pub phase: &'static str,
    pub seconds: f64,
    /// Calls that were due.
    pub calls: u64,
    /// What was done, and per second.
    pub done: u64,
    pub rate: f64,
    #[serde(flatten)]
    pub latency: Latency,
    /// By reason.
    pub refused: BTreeMap<String, u64>,
    pub refused_with_retry_info: u64,
}

/// One second of a run.
#[derive(Debug, Clone, Serialize)]
pub struct PerSecond {
    pub due: u64,
    pub done: u64,
    pub refused: u64,
    /// Of the calls that were due then.
    pub p99_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn latency_is_from_when_a_call_was_due_and_throughput_by_when_it_was_done() {
        let began = Instant::now();
        let mut record = Record::new(began, &[("first", SECOND), ("second", 2 * SECOND)]);
        // Due in the first phase, done in the second.
        record.add(began + ms(900), began + ms(1_100), Ok(1));
        let figures = record.figures();
        assert_eq!([figures[0].calls, figures[1].calls], [1, 0]);
        assert_eq!([figures[0].done, figures[1].done], [0, 1]);
        assert_eq!(figures[0].latency.max_ms.round(), 200.0);
        assert_eq!(figures[1].rate, 1.0);
    }

    #[test]
    fn what_was_due_in_the_warm_up_or_ends_too_late_does_not_count_twice() {
        let began = Instant::now() + SECOND;
        let mut record = Record::new(began, &[("all", SECOND)]);
        record.add(began - ms(100), began - ms(50), Ok(1));
        // Throughput is what leaves the pipe within the time.
        record.add(began - ms(100), began + ms(50), Ok(1));
        record.add(began + ms(900), began + ms(1_500), Ok(1));
        let figures = &record.figures()[0];
        assert_eq!((figures.calls, figures.done), (1, 1));
        assert_eq!(figures.latency.max_ms.round(), 600.0);
    }

    #[test]
    fn refusals_are_told_by_reason_and_have_no_latency() {
        let began = Instant::now();
        let mut record = Record::new(began, &[("all", 2 * SECOND)]);
        let busy = || Refusal { reason: "OVERLOADED".to_owned(), retry_after: Some(ms(100)) };
        record.add(began, began + ms(1), Err(busy()));
        record.add(began, began + ms(1_500), Err(Refusal::named("REJECTED")));
        record.add(began, began + ms(2), Ok(64));
        let figures = &record.figures()[0];
        assert_eq!((figures.calls, figures.done, figures.refused_with_retry_info), (3, 64, 1));
        assert_eq!(figures.refused["OVERLOADED"] + figures.refused["REJECTED"], 2);
        assert_eq!(figures.latency.max_ms.round(), 2.0);
        let seconds = record.seconds();
        assert_eq!((seconds[0].due, seconds[0].done, seconds[0].refused), (3, 64, 1));
        assert_eq!((seconds[1].due, seconds[1].refused), (0, 1));
    }
}
