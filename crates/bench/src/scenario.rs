//! What is measured, one scenario a file.

mod calibrate;
mod compare;
mod orders;
mod orders_stream;
mod raft;
mod reserve;
mod scale;
mod spike;
mod transfers;

use hansa_node::shutdown;
use serde_json::Value;

use crate::bench::{Bench, Run};
use crate::cli::{Cli, Scenario};
use crate::group;
use crate::report;

/// What a scenario came to.
#[derive(Debug, Default)]
pub struct Outcome {
    pub runs: Vec<Run>,
    /// What the figures do not say by themselves, for people.
    pub notes: Vec<String>,
    /// The same for programs.
    pub more: Value,
}

/// Runs the scenario and shows what came of it.
///
/// # Errors
/// What could not be started; refusals are figures, not errors.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let bench = Bench::new(cli.common)?;
    if let Scenario::Group(args) = &cli.scenario {
        return group::serve(&bench, args).await;
    }
    // What is started here must not outlive an interruption: dropped, it goes.
    let asked = shutdown::on_signals(&bench.tasks)?;
    let (name, outcome) = tokio::select! {
        biased;
        () = asked.cancelled() => anyhow::bail!("interrupted"),
        measured = measure(&bench, &cli.scenario) => measured?,
    };
    report::show(&bench.common, name, &outcome)
}

async fn measure(bench: &Bench, scenario: &Scenario) -> anyhow::Result<(&'static str, Outcome)> {
    Ok(match scenario {
        Scenario::Orders(args) => ("orders", orders::run(bench, args, args.skus).await?),
        Scenario::OrdersStream(args) => ("orders-stream", orders_stream::run(bench, args).await?),
        Scenario::FlashSale(args) => ("flash-sale", orders::run(bench, args, 1).await?),
        Scenario::Spike(args) => ("spike", spike::run(bench, args).await?),
        Scenario::Scale(args) => ("scale", scale::run(bench, args).await?),
        Scenario::Raft(args) => ("raft", raft::run(bench, args).await?),
        Scenario::Reserve(args) => ("reserve", reserve::run(bench, args).await?),
        Scenario::Transfers(args) => ("transfers", transfers::run(bench, args).await?),
        Scenario::Calibrate(times) => ("calibrate", calibrate::run(bench, times).await?),
        Scenario::Compare(args) => ("compare", compare::run(bench, args).await?),
        Scenario::Group(_) | Scenario::Serve(_) => anyhow::bail!("a server is no scenario"),
    })
}
