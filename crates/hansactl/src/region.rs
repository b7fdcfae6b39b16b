//! `hansactl region …`

mod explain;
mod list;

use clap::Subcommand;

use crate::connect::Session;
use crate::error::Problem;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Lists the regions of the league.
    List,
    /// Explains where a call would go, and why, without sending it.
    Explain(explain::Args),
}

pub async fn run(session: &Session, verb: Verb) -> Result<(), Problem> {
    match verb {
        Verb::List => list::run(session).await,
        Verb::Explain(args) => explain::run(session, args).await,
    }
}
