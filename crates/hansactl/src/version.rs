//! `hansactl version …`

mod list;
mod raise;

use clap::Subcommand;

use crate::connect::Session;
use crate::error::Problem;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Lists which release each node runs, what it applies, and at which version each group is.
    List,
    /// Raises groups to a version that every node applies. The way back ends here: after it, an
    /// older release refuses to serve these groups.
    Raise(raise::Args),
}

pub async fn run(session: &Session, verb: Verb) -> Result<(), Problem> {
    match verb {
        Verb::List => list::run(session).await,
        Verb::Raise(args) => raise::run(session, args).await,
    }
}
