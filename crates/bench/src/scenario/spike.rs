//! More than it can do for a while: what is admitted stays quick, the rest is refused early.

use std::time::Duration;

use serde_json::json;

use super::Outcome;
use super::orders::Orders;
use crate::bench::{Bench, Run};
use crate::cli;
use crate::load::Drive;
use crate::pace::{Plan, Step};
use crate::record::PerSecond;
use crate::region::Region;

/// The steady share of capacity; ten times that is half as much again as it can do.
const STEADY: f64 = 0.15;
/// How long the steady times before and after last.
const BESIDE: Duration = Duration::from_secs(20);

/// # Errors
/// A region that does not start.
pub async fn run(bench: &Bench, args: &cli::Spike) -> anyhow::Result<Outcome> {
    let (load, skus) = (&args.orders.load, args.orders.skus);
    let region = Region::open(&bench.common, bench.folder()).await?;
    region.stock(skus).await?;
    let connections = load.times.connections;
    let orders = Orders::over(&region, connections, (skus, bench.common.seed)).await?;
    let (warm_up, lasts) = (load.times.warms_up(), load.times.lasts());
    let mut runs = Vec::new();
    if args.capacity.is_none() {
        for &clients in &load.clients {
            let (name, drive) = (format!("capacity, {clients} clients"), Drive::Closed { clients });
            let (what, times) = ((name.as_str(), "orders"), (warm_up, BESIDE));
            runs.push(bench.measure(what, &orders, &drive, times, &region.watched).await);
        }
    }
    let best = |best: f64, run: &Run| best.max(run.phases[0].rate);
    let capacity = args.capacity.unwrap_or_else(|| runs.iter().fold(1.0, best));
    let step = |phase, lasts, rate| Step { phase, lasts, rate };
    let plan = Plan::of(vec![
        step("steady", BESIDE, STEADY * capacity),
        step("spike", lasts, 10.0 * STEADY * capacity),
        step("after", BESIDE, STEADY * capacity),
    ]);
    let (what, drive) = (("spike", "orders"), Drive::Open(plan));
    let run = bench.measure(what, &orders, &drive, (warm_up, lasts), &region.watched).await;
    let [steady, spike, _] = run.phases.as_slice() else { anyhow::bail!("a phase is missing") };
    let refused: u64 = spike.refused.values().sum();
    let (goodput, slower) = (
        spike.rate / capacity,
        spike.latency.p99_ms / steady.latency.p99_ms.max(f64::MIN_POSITIVE),
    );
    let ended = (BESIDE + lasts).as_secs_f64().ceil() as usize;
    let back = back_after(&run.seconds, ended, 2.0 * steady.latency.p99_ms);
    let invited = spike.refused_with_retry_info;
    let note = format!(
        "capacity {capacity:.0}/s; in the spike {:.0} % of it done, p99 {slower:.1} times the \
         steady one, {refused} refused, {invited} of them with RetryInfo; back to normal after {}",
        100.0 * goodput,
        back.map_or("more than was looked at".to_owned(), |seconds| format!("{seconds} s")),
    );
    let more = json!({
        "capacity": capacity,
        "goodput_of_capacity": goodput,
        "p99_of_steady": slower,
        "refused": refused,
        "refused_with_retry_info": invited,
        "back_to_normal_seconds": back,
    });
    runs.push(run);
    drop(orders);
    region.stop().await;
    Ok(Outcome { runs, notes: vec![note], more })
}

/// Seconds from `ended` until the p99 of every later one is below this.
fn back_after(seconds: &[PerSecond], ended: usize, p99_ms: f64) -> Option<usize> {
    let after = seconds.get(ended..)?;
    let normal = |second: &PerSecond| second.p99_ms <= p99_ms && second.refused == 0;
    let last_bad = after.iter().rposition(|second| !normal(second));
    match last_bad {
        None => Some(0),
        Some(bad) if bad + 1 == after.len() => None,
        Some(bad) => Some(bad + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_back_when_no_later_second_is_slow() {
        let second = |p99_ms| PerSecond { due: 1, done: 1, refused: 0, p99_ms };
        let check = |p99s: &[f64], expect| {
            let seconds: Vec<_> = p99s.iter().map(|p99| second(*p99)).collect();
            assert_eq!(back_after(&seconds, 1, 10.0), expect, "{p99s:?}");
        };
        check(&[99.0, 5.0, 5.0], Some(0));
        check(&[99.0, 50.0, 5.0, 50.0, 5.0], Some(3));
        check(&[99.0, 5.0, 50.0], None);
    }
}
