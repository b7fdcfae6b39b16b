//! `hansactl payment …`

mod get;
mod refund;
mod show;

use clap::Subcommand;

use crate::connect::Session;
use crate::error::Problem;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Shows an order's payment.
    Get(get::Args),
    /// Gives back part of what was captured.
    Refund(refund::Args),
}

pub async fn run(session: &Session, verb: Verb) -> Result<(), Problem> {
    match verb {
        Verb::Get(args) => get::run(session, args).await,
        Verb::Refund(args) => refund::run(session, args).await,
    }
}
