//! Commands that change nothing through one group of three: what replication alone costs.

use std::sync::Arc;

use serde_json::json;

use super::Outcome;
use super::calibrate::streams;
use crate::bench::Bench;
use crate::cli;
use crate::group::{Served, What, outcome};
use crate::load::{Drive, Work};
use crate::record::{Done, Refusal};
use crate::wire::Stream;

struct Commands {
    stream: Arc<Stream>,
    bytes: usize,
}

impl Work for Commands {
    async fn one(&self, number: u64) -> Done {
        let answer = self.stream.ask(number, &vec![b'x'; self.bytes]).await?;
        outcome(&answer).ok_or_else(|| Refusal::named("NOT_COMMITTED"))
    }
}

/// # Errors
/// A group that does not start.
pub async fn run(bench: &Bench, args: &cli::Raft) -> anyhow::Result<Outcome> {
    let lasts = (args.times.warms_up(), args.times.lasts());
    let (connections, most) = (args.times.connections, args.clients.iter().copied().max());
    let load = (most.unwrap_or(1), args.bytes);
    let mut runs = vec![streams(bench, connections, load, lasts).await?];
    let group = Served::start(bench, What::Nothing, 3).await?;
    let streams = group.door.streams(&bench.tasks, connections).await?;
    let commands = |stream| Arc::new(Commands { stream, bytes: args.bytes });
    let commands: Vec<_> = streams.into_iter().map(commands).collect();
    for &clients in &args.clients {
        let name = format!("{clients} in flight");
        let drive = Drive::Closed { clients };
        runs.push(
            bench.measure((&name, "commands"), &commands, &drive, lasts, &group.watched).await,
        );
    }
    drop(commands);
    group.stop().await?;
    let ceiling = runs[0].phases[0].rate;
    let best = runs[1..].iter().map(|run| run.phases[0].rate).fold(0.0, f64::max);
    let share = best / ceiling.max(f64::MIN_POSITIVE);
    let note = format!("the best is {:.1} % of the stream's ceiling", 100.0 * share);
    Ok(Outcome { runs, notes: vec![note], more: json!({ "share_of_stream_ceiling": share }) })
}
