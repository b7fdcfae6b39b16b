//! `hansactl region …`

mod explain;
mod failback;
pub mod failover;
mod isolation;
mod list;
mod not_adopted;
pub mod plan;
mod status;
mod switchover;
pub mod tail;
mod watch;

use std::process::ExitCode;

use clap::Subcommand;

use crate::connect::Session;
use crate::error::Problem;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Lists the regions of the league.
    List,
    /// Explains where a call would go, and why, without sending it.
    Explain(explain::Args),
    /// Shows who owns what, in which epoch, and how a hand-over or a take-over goes.
    Status,
    /// Hands what was born in a region over to another one; nothing is lost.
    Switchover(switchover::Args),
    /// Has another region take over what a lost one owned.
    Failover(failover::Args),
    /// Hands what was born in a region back to it, once its unshipped tail is settled.
    Failback(failback::Args),
    /// Says what a region does while it is cut off: serve, or stop without a lease.
    Isolation(isolation::Args),
    /// Lists what a region accepted and its new owner never saw, and decides on it.
    Tail(tail::Args),
    /// Lists orders that a new owner could not go on with, and why.
    NotAdopted(not_adopted::Args),
}

pub async fn run(session: &Session, verb: Verb) -> Result<ExitCode, Problem> {
    match verb {
        Verb::List => list::run(session).await?,
        Verb::Explain(args) => explain::run(session, args).await?,
        Verb::Status => return status::run(session).await,
        Verb::Switchover(args) => return switchover::run(session, args).await,
        Verb::Failover(args) => return failover::run(session, args).await,
        Verb::Failback(args) => return failback::run(session, args).await,
        Verb::Isolation(args) => isolation::run(session, args).await?,
        Verb::Tail(args) => return tail::run(session, args).await,
        Verb::NotAdopted(args) => return not_adopted::run(session, args).await,
    }
    Ok(ExitCode::SUCCESS)
}
