//! `hansactl node …`

mod drain;
mod list;
mod reseed;
mod retire;

use clap::Subcommand;

use crate::connect::Session;
use crate::error::Problem;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Lists the nodes of a region, retired ones included.
    List,
    /// Hands over every leadership that a node has; then its process stops.
    Drain(drain::Args),
    /// Rebuilds a node that lost or damaged its volume from its peers, under a new id.
    Reseed(reseed::Args),
    /// Retires a node that keeps no group: nothing of it is accepted any more.
    Retire(retire::Args),
}

pub async fn run(session: &Session, verb: Verb) -> Result<(), Problem> {
    match verb {
        Verb::List => list::run(session).await,
        Verb::Drain(args) => drain::run(session, args).await,
        Verb::Reseed(args) => reseed::run(session, args).await,
        Verb::Retire(args) => retire::run(session, args).await,
    }
}
