//! Transfers through the ledger's kernel, replicated and durable, by size of batch.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hansa_types::time::LogTime;
use serde_json::json;

use super::Outcome;
use crate::bench::Bench;
use crate::cli;
use crate::group::{Served, What, outcome};
use crate::load::{Drive, Work};
use crate::machines::moves;
use crate::record::{Done, Refusal};
use crate::report;
use crate::wire::Stream;

/// What TigerBeetle was seen to do on such a machine, per second: replicas, batch, rate. Its binary
/// is not at hand: ../shared/bench/README.md.
const TIGERBEETLE: [(u64, u64, f64); 6] = [
    (1, 8_189, 490_000.0),
    (3, 8_189, 230_000.0),
    (1, 64, 52_000.0),
    (3, 64, 30_000.0),
    (1, 1, 2_000.0),
    (3, 1, 1_150.0),
];

struct Transfers {
    stream: Arc<Stream>,
    batch: u64,
    seed: u64,
}

impl Work for Transfers {
    async fn one(&self, number: u64) -> Done {
        let command = moves(now(), self.seed, number * self.batch, self.batch);
        let answer = self.stream.ask(number, &command).await?;
        match outcome(&answer) {
            Some(made) if made == self.batch => Ok(made),
            Some(_) => Err(Refusal::named("NOT_ALL_MADE")),
            None => Err(Refusal::named("NOT_COMMITTED")),
        }
    }
}

pub fn now() -> LogTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    LogTime(since.as_millis() as u64)
}

/// # Errors
/// A group that does not start.
pub async fn run(bench: &Bench, args: &cli::Transfers) -> anyhow::Result<Outcome> {
    let lasts = (args.times.warms_up(), args.times.lasts());
    let (mut runs, mut cells) = (Vec::new(), Vec::new());
    for &replicas in &args.replicas {
        for &batch in &args.batch {
            let batch = batch.max(1);
            // A group of its own: what one cell leaves behind is no burden to the next.
            let group = Served::start(bench, What::Books, replicas).await?;
            let streams = group.door.streams(&bench.tasks, args.times.connections).await?;
            let seed = bench.common.seed;
            let transfers = |stream| Arc::new(Transfers { stream, batch, seed });
            let transfers: Vec<_> = streams.into_iter().map(transfers).collect();
            let clients = args.clients.unwrap_or(if batch >= 1_000 { 4 } else { 64 });
            let name = format!("{replicas} x {batch}, {clients} in flight");
            let drive = Drive::Closed { clients };
            let what = (name.as_str(), "transfers");
            let run = bench.measure(what, &transfers, &drive, lasts, &group.watched).await;
            cells.push((replicas, batch, run.phases[0].rate));
            runs.push(run);
            drop(transfers);
            group.stop().await?;
        }
    }
    let beside = |&(replicas, batch, rate): &(u64, u64, f64)| {
        let seen = TIGERBEETLE.iter().find(|(r, b, _)| (*r, *b) == (replicas, batch))?;
        Some((replicas, batch, rate, seen.2, rate / seen.2))
    };
    let beside: Vec<_> = cells.iter().filter_map(beside).collect();
    let header = ["replicas x batch", "transfers/s", "TigerBeetle, seen elsewhere", "ratio"];
    let rows = beside.iter().map(|(replicas, batch, rate, seen, ratio)| {
        let cell = format!("{replicas} x {batch}");
        vec![cell, report::round(*rate), report::round(*seen), format!("{ratio:.2}")]
    });
    let notes = vec![report::table(&header, rows)];
    let rows = beside.iter().map(|(replicas, batch, rate, seen, ratio)| {
        json!({ "replicas": replicas, "batch": batch, "rate": rate, "seen": seen, "ratio": ratio })
    });
    let more = json!({ "beside_tigerbeetle": rows.collect::<Vec<_>>() });
    Ok(Outcome { runs, notes, more })
}
