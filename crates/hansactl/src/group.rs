//! `hansactl group …`

mod list;
mod transfer_leader;

use clap::Subcommand;

use crate::connect::Session;
use crate::error::Problem;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Lists the Raft groups of a region: leader, term, applied index and state per node.
    List,
    /// Hands a group's leadership to a node, and says when that node leads.
    TransferLeader(transfer_leader::Args),
}

pub async fn run(session: &Session, verb: Verb) -> Result<(), Problem> {
    match verb {
        Verb::List => list::run(session).await,
        Verb::TransferLeader(args) => transfer_leader::run(session, args).await,
    }
}
