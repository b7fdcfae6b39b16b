//! What came of a replay, counted per region.

use std::collections::BTreeMap;
use std::time::Duration;

use hansa_types::region::RegionName;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::core::action::Left;
use super::core::row::Malformed;
use super::core::synthetic::Shares;

/// The longest latency that is told apart: 5 minutes, in microseconds.
const LATENCY_US_MAX: u64 = 300_000_000;

/// One region's figures.
#[derive(Debug, Default)]
pub struct Tally {
    pub skus_loaded: u64,
    pub skus_short: u64,
    pub placed: u64,
    pub confirmed: u64,
    pub shipped: u64,
    pub cancelled: u64,
    /// Orders REJECTED by the league, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Calls that the league refused, by reason; nothing changed.
    pub refused: BTreeMap<String, u64>,
    /// Answers that were known from an earlier run.
    pub replayed: u64,
    /// Return rows that found their purchase, and those that found none.
    pub returned_rows: u64,
    pub unmatched_rows: u64,
    pub adjusted: u64,
    /// Minor units captured and given back, by ISO 4217 code.
    pub revenue_minor: BTreeMap<String, i128>,
    pub refunded_minor: BTreeMap<String, i128>,
    latency_us: Option<Histogram<u64>>,
}

impl Tally {
    /// Notes how long a PlaceOrder took, retries included: what the buyer waited.
    pub fn waited(&mut self, latency: Duration) {
        let fresh = || Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).ok();
        if let Some(histogram) = self.latency_us.as_mut() {
            histogram.saturating_record(micros(latency));
        } else if let Some(mut histogram) = fresh() {
            histogram.saturating_record(micros(latency));
            self.latency_us = Some(histogram);
        }
    }

    /// The latency that this share of the orders did not exceed; `None` without orders.
    #[must_use]
    pub fn latency(&self, quantile: f64) -> Option<Duration> {
        let histogram = self.latency_us.as_ref()?;
        Some(Duration::from_micros(histogram.value_at_quantile(quantile)))
    }

    #[must_use]
    pub fn rejected_total(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// Adds another region's figures: the total line.
    pub fn add(&mut self, other: &Self) {
        self.skus_loaded += other.skus_loaded;
        self.skus_short += other.skus_short;
        self.placed += other.placed;
        self.confirmed += other.confirmed;
        self.shipped += other.shipped;
        self.cancelled += other.cancelled;
        self.replayed += other.replayed;
        self.returned_rows += other.returned_rows;
        self.unmatched_rows += other.unmatched_rows;
        self.adjusted += other.adjusted;
        add_counts(&mut self.rejected, &other.rejected);
        add_counts(&mut self.refused, &other.refused);
        add_counts(&mut self.revenue_minor, &other.revenue_minor);
        add_counts(&mut self.refunded_minor, &other.refunded_minor);
        if let Some(histogram) = &other.latency_us {
            match &mut self.latency_us {
                // Both have the same bounds, so nothing can be lost.
                Some(own) => own.add(histogram).unwrap_or_default(),
                own @ None => *own = Some(histogram.clone()),
            }
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn add_counts<N: Copy + std::ops::AddAssign + Default>(
    into: &mut BTreeMap<String, N>,
    from: &BTreeMap<String, N>,
) {
    for (key, count) in from {
        *into.entry(key.clone()).or_default() += *count;
    }
}

/// A step whose outcome is not the planned one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Surprise {
    pub invoice: String,
    pub expected: String,
    pub found: String,
}

/// The whole replay.
#[derive(Debug)]
pub struct Report {
    pub regions: BTreeMap<RegionName, Tally>,
    pub malformed: Vec<Malformed>,
    pub left: Vec<Left>,
    pub surprises: Vec<Surprise>,
    pub rehomed_invoices: u64,
    pub shares: Shares,
    /// Time of the orders, without the stock load.
    pub elapsed: Duration,
}

impl Report {
    #[must_use]
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        for tally in self.regions.values() {
            total.add(tally);
        }
        total
    }

    /// Orders placed in a second of the run.
    #[must_use]
    pub fn orders_per_second(&self, tally: &Tally) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { tally.placed as f64 / seconds } else { 0.0 }
    }
}
