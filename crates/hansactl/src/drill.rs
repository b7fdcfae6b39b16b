//! `hansactl drill …`: what is only true if it was tried.

mod lose_region;
mod probe;

use std::process::ExitCode;

use clap::Subcommand;

use crate::connect::Session;
use crate::error::Problem;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Stops a region under load, has another one take over, and says what it cost.
    LoseRegion(lose_region::Args),
}

pub async fn run(session: &Session, verb: Verb) -> Result<ExitCode, Problem> {
    match verb {
        Verb::LoseRegion(args) => lose_region::run(session, args).await,
    }
}
