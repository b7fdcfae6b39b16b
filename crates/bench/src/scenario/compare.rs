//! This and PostgreSQL by turns in one run: what is quoted are ratios of neighbours, never rates.

use serde::Serialize;
use serde_json::json;

use super::Outcome;
use super::orders::Orders;
use crate::bench::{Bench, Run};
use crate::cli;
use crate::load::Drive;
use crate::pace::Plan;
use crate::postgres::{AtRate, Peak, Postgres};
use crate::region::Region;
use crate::report;

/// Clients that pgbench may use to keep to half its peak: more than it needs.
const HALF_LOAD_CLIENTS: usize = 64;

/// One pair of measurements.
#[derive(Debug, Serialize)]
struct Round {
    ours: f64,
    ours_cpu_us: f64,
    theirs: Peak,
    /// p99 at half of one's own peak.
    ours_half_p99_ms: f64,
    theirs_half: AtRate,
}

impl Round {
    fn times_as_fast(&self) -> f64 {
        self.ours / self.theirs.rate.max(f64::MIN_POSITIVE)
    }

    fn p99_share(&self) -> f64 {
        self.ours_half_p99_ms / self.theirs_half.p99_ms.max(f64::MIN_POSITIVE)
    }

    fn cpu_share(&self) -> f64 {
        let theirs = &self.theirs;
        let theirs = theirs.cpu_us_primary + theirs.cpu_us_replicas + theirs.cpu_us_client;
        self.ours_cpu_us / theirs.max(f64::MIN_POSITIVE)
    }
}

/// The side of ours.
struct Ours<'a> {
    bench: &'a Bench,
    args: &'a cli::Compare,
    region: Region,
    skus: u64,
}

impl Ours<'_> {
    async fn at(&self, name: &str, drive: &Drive) -> anyhow::Result<Run> {
        let times = &self.args.times;
        let seed = self.bench.common.seed;
        let orders = Orders::over(&self.region, times.connections, (self.skus, seed)).await?;
        let lasts = (times.warms_up(), times.lasts());
        let watched = &self.region.watched;
        Ok(self.bench.measure((name, "orders"), &orders, drive, lasts, watched).await)
    }
}

/// # Errors
/// A side that does not start.
pub async fn run(bench: &Bench, args: &cli::Compare) -> anyhow::Result<Outcome> {
    let (skus, what) = if args.flash_sale { (1, "hot") } else { (10_000, "uniform") };
    let seconds = args.times.lasts().as_secs().max(1);
    let postgres = Postgres::init(&args.postgres, &bench.folder().join("postgres")).await?;
    let theirs_clients = best_of(&postgres, what, &args.peer_clients, seconds).await?;
    postgres.stop().await?;
    let region = Region::open(&bench.common, bench.folder()).await?;
    region.stock(skus).await?;
    let mut ours = Ours { bench, args, region, skus };
    let (mut runs, mut best) = (Vec::new(), (64, 0.0));
    for &clients in &args.clients {
        let run = ours.at(&format!("{clients} clients"), &Drive::Closed { clients }).await?;
        if run.phases[0].rate > best.1 {
            best = (clients, run.phases[0].rate);
        }
        runs.push(run);
    }
    let mut rounds = Vec::new();
    for number in 1..=args.rounds {
        // The other side is stopped meanwhile: paused it would still have its memory.
        let drive = Drive::Closed { clients: best.0 };
        let peak = ours.at(&format!("round {number}"), &drive).await?;
        let rate = peak.phases[0].rate;
        let half = Plan::random(rate / 2.0, args.times.lasts(), bench.common.seed);
        let half = ours.at(&format!("round {number}, half load"), &Drive::Open(half)).await?;
        ours.region.halt().await;
        let theirs = postgres.peak(what, theirs_clients, seconds).await?;
        let clients = theirs_clients.max(HALF_LOAD_CLIENTS);
        let theirs_half = postgres.at_rate(what, clients, theirs.rate / 2.0, seconds).await?;
        postgres.stop().await?;
        ours.region.again().await;
        let cpu: f64 = peak.cost.processes.iter().map(|used| used.cpu_seconds).sum();
        rounds.push(Round {
            ours: rate,
            ours_cpu_us: cpu * 1e6 / peak.done().max(1) as f64,
            theirs,
            ours_half_p99_ms: half.phases[0].latency.p99_ms,
            theirs_half,
        });
        runs.extend([peak, half]);
    }
    ours.region.stop().await;
    let notes = vec![table(&rounds), summary(&rounds)];
    let more = json!({
        "clients": best.0,
        "peer_clients": theirs_clients,
        "times_as_fast": Spread::of(rounds.iter().map(Round::times_as_fast)),
        "p99_at_half_load_of_theirs": Spread::of(rounds.iter().map(Round::p99_share)),
        "cpu_of_theirs": Spread::of(rounds.iter().map(Round::cpu_share)),
        "rounds": rounds,
    });
    Ok(Outcome { runs, notes, more })
}

/// The number of clients with which PostgreSQL is fastest.
async fn best_of(
    postgres: &Postgres,
    what: &str,
    clients: &[usize],
    seconds: u64,
) -> anyhow::Result<usize> {
    let mut best = (16, 0.0);
    for &clients in clients {
        let peak = postgres.peak(what, clients, seconds).await?;
        if peak.rate > best.1 {
            best = (clients, peak.rate);
        }
    }
    Ok(best.0)
}

/// The middle of a few, and their ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (sorted.first(), sorted.last()) else {
            return Self::default();
        };
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
            _ => sorted[middle],
        };
        Self { median, least: *least, most: *most }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} ({:.2} to {:.2})", self.median, self.least, self.most)
    }
}

fn table(rounds: &[Round]) -> String {
    let header = [
        "round",
        "ours/s",
        "theirs/s",
        "ratio",
        "half: our p99 ms",
        "their p99",
        "ratio",
        "our CPU us",
        "their CPU us",
    ];
    let rows = rounds.iter().zip(1..).map(|(round, number)| {
        let theirs = &round.theirs;
        vec![
            format!("{number}"),
            report::round(round.ours),
            report::round(theirs.rate),
            format!("{:.2}", round.times_as_fast()),
            format!("{:.1}", round.ours_half_p99_ms),
            format!("{:.1}", round.theirs_half.p99_ms),
            format!("{:.2}", round.p99_share()),
            report::round(round.ours_cpu_us),
            report::round(theirs.cpu_us_primary + theirs.cpu_us_replicas + theirs.cpu_us_client),
        ]
    });
    report::table(&header, rows)
}

fn summary(rounds: &[Round]) -> String {
    let fast = Spread::of(rounds.iter().map(Round::times_as_fast));
    let p99 = Spread::of(rounds.iter().map(Round::p99_share));
    let cpu = Spread::of(rounds.iter().map(Round::cpu_share));
    format!("orders/s {fast} times theirs; p99 at half load {p99} of theirs; CPU {cpu} of theirs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_and_the_ends() {
        let check = |values: &[f64], text: &str| {
            assert_eq!(Spread::of(values.iter().copied()).to_string(), text);
        };
        check(&[3.0, 1.0, 2.0], "2.00 (1.00 to 3.00)");
        check(&[4.0, 1.0], "2.50 (1.00 to 4.00)");
        check(&[], "0.00 (0.00 to 0.00)");
    }
}
