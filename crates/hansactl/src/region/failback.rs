use std::process::ExitCode;
use std::time::Duration;

use tokio::time::Instant;

use super::plan::Why;
use super::switchover::{Plan, hand_over};
use crate::args::span;
use crate::connect::Session;
use crate::error::Problem;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The region must be back, must have heard that it does not own, and must have settled what it \
accepted and its new owner never saw (`region tail`). Then it is a switchover home.

Example:
  hansactl region failback eu-west --reason 'Dublin is dry' --ticket INC-12")]
pub struct Args {
    /// The region that is back, such as eu-west.
    #[arg(value_name = "REGION")]
    birth: String,
    #[command(flatten)]
    why: Why,
    /// Orders that it cannot open, for a data key is missing, are not waited for and not adopted.
    #[arg(long)]
    leave_unopened: bool,
    /// How long to wait for all of it.
    #[arg(long, default_value = "10m", value_parser = span)]
    wait: Duration,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Problem> {
    let plan = Plan {
        to: args.birth.clone(),
        birth: args.birth,
        kind: "failback",
        why: args.why,
        // Home is lawful for whoever was born there.
        accept_refused_laws: false,
        accept_unopened: args.leave_unopened,
        until: Instant::now() + args.wait,
    };
    hand_over(session, plan).await
}
