//! `hansactl invariants …`

pub mod check;

use std::process::ExitCode;

use clap::Subcommand;

use crate::connect::Session;
use crate::error::Problem;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Checks what must always hold, now, over a region's groups.
    ///
    /// Exits 1 when something is violated, 3 when nothing is but a part could not be checked.
    Check,
}

pub async fn run(session: &Session, verb: Verb) -> Result<ExitCode, Problem> {
    match verb {
        Verb::Check => check::run(session).await,
    }
}
