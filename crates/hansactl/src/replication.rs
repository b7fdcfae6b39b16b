//! `hansactl replication …`

mod differences;
mod parked;
mod resolve;
mod retry;
mod status;

use std::process::ExitCode;

use clap::Subcommand;

use crate::connect::Session;
use crate::error::{NO_ANSWER, Problem, WRONG};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Shows how far peers are behind this region, and this region behind others.
    Status,
    /// Lists events of other regions that could not be applied here.
    Parked(parked::Args),
    /// Applies an order's parked events again, or asks its home for it.
    Retry(retry::Args),
    /// Decides a conflict: what is here stays, or what came is taken.
    Resolve(resolve::Args),
    /// Lists orders of this region whose copies at a peer are not what they should be.
    Differences(differences::Args),
}

pub async fn run(session: &Session, verb: Verb) -> Result<ExitCode, Problem> {
    match verb {
        Verb::Status => status::run(session).await,
        Verb::Parked(args) => parked::run(session, args).await,
        Verb::Retry(args) => retry::run(session, args).await,
        Verb::Resolve(args) => resolve::run(session, args).await,
        Verb::Differences(args) => differences::run(session, args).await,
    }
}

/// Something is wrong, or not all could be asked: never a pass.
fn code(wrong: bool, unknown: bool) -> ExitCode {
    match (wrong, unknown) {
        (true, _) => ExitCode::from(WRONG),
        (false, true) => ExitCode::from(NO_ANSWER),
        (false, false) => ExitCode::SUCCESS,
    }
}

fn say_silent(nodes: &[String]) {
    if !nodes.is_empty() {
        eprintln!("did not answer: {}", nodes.join(" "));
    }
}
