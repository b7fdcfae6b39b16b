//! `hansactl group …`

mod list;

use clap::Subcommand;

use crate::connect::Session;
use crate::error::Problem;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Lists the Raft groups of a region: leader, term, applied index and state per node.
    List,
}

pub async fn run(session: &Session, verb: Verb) -> Result<(), Problem> {
    match verb {
        Verb::List => list::run(session).await,
    }
}
