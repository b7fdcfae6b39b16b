//! `hansa serve`: one node.

use std::path::PathBuf;
use std::time::Duration;

use hansa_node::shutdown;
use hansa_node::tasks::Tasks;
use hansa_node::telemetry::Telemetry;

use super::Exit;
use crate::config::Config;
use crate::node::Node;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's TOML file; `hansa dev` writes examples to <data>/<region>/<node>/node.toml.
    #[arg(long, env = "HANSA_CONFIG")]
    config: PathBuf,
    /// Wait with an empty folder for `hansactl backup restore`, then start with what it brings.
    #[arg(long)]
    restore: bool,
    /// Print the config with every default filled in, and stop.
    #[arg(long)]
    print_config: bool,
}

/// Runs the node until a signal or a failure.
///
/// # Errors
/// A wrong config, a node that does not start, or why it failed.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    let config: Config = hansa_node::config::load(&args.config)?;
    if args.print_config {
        print!("{}", hansa_node::config::print(&config)?);
        return Ok(Exit::Done);
    }
    let telemetry = Telemetry::start(&config.telemetry, &config.name)?;
    let asked = shutdown::on_signals(&Tasks::new(&config.name))?;
    let starting = async {
        match args.restore {
            true => Node::start_restored(config).await,
            false => Node::start(config).await,
        }
    };
    let node = tokio::select! {
        biased;
        node = starting => node?,
        () = asked.cancelled() => return Ok(Exit::Interrupted),
    };
    tracing::info!(node = node.name(), "started");
    tokio::select! {
        biased;
        () = asked.cancelled() => {}
        () = node.drained() => tracing::info!(node = node.name(), "drained"),
        () = node.failed() => {}
    }
    let failure = node.failure();
    node.stop().await;
    telemetry.stop(Duration::from_secs(2)).await;
    match failure {
        None => Ok(Exit::Done),
        Some(failure) => anyhow::bail!("{failure}"),
    }
}
