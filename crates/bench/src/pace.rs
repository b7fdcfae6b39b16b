//! When each call of an open loop is due. Pure: times are since the load began.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;

use crate::dice::draw;

/// The shipped sample of real orders.
pub const SAMPLE: &[u8] = include_bytes!("../../../data/online-retail-sample.csv");

/// A stretch of even arrivals. Steps that follow one another under one name are one phase.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub phase: &'static str,
    pub lasts: Duration,
    /// Calls per second.
    pub rate: f64,
}

/// Arrivals from beginning to end.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// Seed of the gaps where calls come as those of strangers do: a Poisson process. Even without.
    pub random: Option<u64>,
}

impl Plan {
    pub fn of(steps: Vec<Step>) -> Self {
        Self { steps, random: None }
    }

    pub fn steady(rate: f64, lasts: Duration) -> Self {
        Self::of(vec![Step { phase: "steady", lasts, rate }])
    }

    pub fn random(rate: f64, lasts: Duration, seed: u64) -> Self {
        Self { random: Some(seed), ..Self::of(vec![Step { phase: "random", lasts, rate }]) }
    }

    /// A third of the time at the rate, a third at ten times it, a third at the rate.
    pub fn step(rate: f64, lasts: Duration) -> Self {
        let lasts = lasts / 3;
        let step = |phase, rate| Step { phase, lasts, rate };
        Self::of(vec![step("before", rate), step("10x", 10.0 * rate), step("after", rate)])
    }

    /// The busiest stretch of these minutes, a minute in a second, at a mean of `rate`.
    pub fn minutes(counts: &[u32], rate: f64, lasts: Duration) -> Self {
        let wanted = (lasts.as_secs_f64().ceil() as usize).clamp(1, counts.len().max(1));
        let busiest = counts.windows(wanted).max_by_key(|run| run.iter().sum::<u32>());
        let run = busiest.unwrap_or_default();
        let mean = f64::from(run.iter().sum::<u32>()) / run.len().max(1) as f64;
        let second = |count: &u32| Step {
            phase: "minutes",
            lasts: lasts / wanted as u32,
            rate: f64::from(*count) / mean.max(f64::MIN_POSITIVE) * rate,
        };
        Self::of(run.iter().map(second).collect())
    }

    /// The same after a time at its first rate.
    #[must_use]
    pub fn after(&self, lasts: Duration) -> Self {
        let rate = self.steps.first().map_or(0.0, |step| step.rate);
        let first = Step { phase: "warm-up", lasts, rate };
        let steps = std::iter::once(first).chain(self.steps.iter().cloned()).collect();
        Self { steps, random: self.random }
    }

    /// The phases in order, each with its end.
    pub fn phases(&self) -> Vec<(&'static str, Duration)> {
        let mut phases: Vec<(&'static str, Duration)> = Vec::new();
        let mut end = Duration::ZERO;
        for step in &self.steps {
            end += step.lasts;
            match phases.last_mut() {
                Some((name, until)) if *name == step.phase => *until = end,
                _ => phases.push((step.phase, end)),
            }
        }
        phases
    }

    /// When each call is due, in order.
    pub fn arrivals(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        let mut steps = self.steps.clone().into_iter();
        let (mut step, mut begin, mut at) = (steps.next(), 0.0, 0.0);
        let (seed, mut number) = (self.random, 0);
        std::iter::from_fn(move || {
            loop {
                let Step { lasts, rate, .. } = step.as_ref()?;
                let (gap, lasts) = (1.0 / rate, lasts.as_secs_f64());
                number += 1;
                let length = seed.map_or(1.0, |seed| exponential(seed, number));
                // Half a gap of slack: rounding makes no call more or less.
                if at - begin < lasts - gap / 2.0 && gap.is_finite() {
                    let due = Duration::from_secs_f64(at);
                    at += gap * length;
                    return Some(due);
                }
                begin += lasts;
                at = begin;
                step = steps.next();
            }
        })
    }
}

/// Draw `number` of the gaps between strangers, whose mean is 1.
fn exponential(seed: u64, number: u64) -> f64 {
    // 53 bits are what a float holds; never 0.
    let unit = ((draw(seed, number) >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    -unit.ln()
}

/// Invoices by the minute, nights left out: from the first to the last of each day.
///
/// # Errors
/// A file that is no online-retail CSV.
pub fn minutes(file: &[u8]) -> anyhow::Result<Vec<u32>> {
    let mut rows = csv::Reader::from_reader(file);
    let headers = rows.byte_headers()?;
    let place = |name: &str| headers.iter().position(|header| header == name.as_bytes());
    let (invoice, date) = (place("InvoiceNo"), place("InvoiceDate"));
    let (invoice, date) = invoice.zip(date).context("no columns InvoiceNo and InvoiceDate")?;
    // By day, then by minute of the day.
    let mut days: BTreeMap<String, BTreeMap<u32, u32>> = BTreeMap::new();
    let mut last = Vec::new();
    for row in rows.byte_records() {
        let row = row?;
        // Rows of an invoice follow one another.
        if row.get(invoice).unwrap_or_default() == last {
            continue;
        }
        last = row.get(invoice).unwrap_or_default().to_vec();
        let when = String::from_utf8_lossy(row.get(date).unwrap_or_default()).into_owned();
        let minute = when.split_once(' ').and_then(|(day, time)| {
            let (hours, minutes) = time.split_once(':')?;
            Some((day.to_owned(), hours.parse::<u32>().ok()? * 60 + minutes.parse::<u32>().ok()?))
        });
        let (day, minute) = minute.with_context(|| format!("not a time: {when}"))?;
        *days.entry(day).or_default().entry(minute).or_default() += 1;
    }
    let mut counts = Vec::new();
    for day in days.values() {
        let (Some((from, _)), Some((to, _))) = (day.first_key_value(), day.last_key_value()) else {
            continue;
        };
        counts.extend((*from..=*to).map(|minute| day.get(&minute).copied().unwrap_or(0)));
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn due(plan: &Plan) -> Vec<u128> {
        plan.arrivals().map(|at| at.as_millis()).collect()
    }

    #[test]
    fn steady_arrivals_are_evenly_apart() {
        assert_eq!(due(&Plan::steady(4.0, SECOND)), [0, 250, 500, 750]);
    }

    #[test]
    fn a_step_is_ten_times_as_much_for_a_third() {
        let plan = Plan::step(10.0, 3 * SECOND);
        assert_eq!(plan.arrivals().count(), 10 + 100 + 10);
        let middle = plan.arrivals().filter(|at| (SECOND..2 * SECOND).contains(at)).count();
        assert_eq!(middle, 100);
        let phases = [("before", SECOND), ("10x", 2 * SECOND), ("after", 3 * SECOND)];
        assert_eq!(plan.phases(), phases);
    }

    #[test]
    fn minutes_keep_their_shape_and_the_mean() {
        let plan = Plan::minutes(&[0, 0, 1, 3, 0, 2], 10.0, 4 * SECOND);
        // The busiest four: 1, 3, 0, 2; their mean of 1.5 becomes 10 a second.
        let rates: Vec<f64> = plan.steps.iter().map(|step| step.rate.round()).collect();
        assert_eq!(rates, [7.0, 20.0, 0.0, 13.0]);
        assert_eq!(plan.arrivals().count(), 40);
        assert_eq!(plan.phases(), [("minutes", 4 * SECOND)]);
    }

    #[test]
    fn a_warm_up_goes_before_at_the_first_rate() {
        let plan = Plan::steady(2.0, SECOND).after(2 * SECOND);
        assert_eq!(due(&plan), [0, 500, 1_000, 1_500, 2_000, 2_500]);
        assert_eq!(plan.phases().last(), Some(&("steady", 3 * SECOND)));
    }

    #[test]
    fn strangers_come_at_the_rate_and_unevenly() {
        let plan = Plan::random(1_000.0, 10 * SECOND, 1);
        let due: Vec<_> = plan.arrivals().collect();
        assert!((9_700..10_300).contains(&due.len()), "{}", due.len());
        assert!(due.is_sorted() && due.last() < Some(&(10 * SECOND)));
        let close = due.windows(2).filter(|two| (two[1] - two[0]).as_micros() < 500).count();
        // Of exponential gaps, 39 % are shorter than half the mean.
        let share = close as f64 / due.len() as f64;
        assert!((0.36..0.43).contains(&share), "{share}");
    }

    #[test]
    fn the_sample_has_its_invoices_in_its_minutes() {
        let counts = minutes(SAMPLE).unwrap();
        assert_eq!(counts.iter().sum::<u32>(), 350);
        assert!(minutes(b"a,b\n1,2\n").is_err());
    }
}
