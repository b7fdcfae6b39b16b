//! `hansactl order …`

mod cancel;
mod get;
mod list;
mod place;
mod r#return;
mod show;
mod watch;

use std::process::ExitCode;

use clap::Subcommand;

use crate::connect::Session;
use crate::error::Problem;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Places an order and waits for its outcome.
    Place(place::Args),
    /// Shows an order.
    Get(get::Args),
    /// Lists a customer's orders, or a region's.
    List(list::Args),
    /// Follows an order's events.
    Watch(watch::Args),
    /// Cancels what has not shipped.
    Cancel(cancel::Args),
    /// Takes shipped goods back and refunds them.
    Return(r#return::Args),
}

pub async fn run(session: &Session, verb: Verb) -> Result<ExitCode, Problem> {
    match verb {
        Verb::Place(args) => return place::run(session, args).await,
        Verb::Get(args) => get::run(session, args).await?,
        Verb::List(args) => list::run(session, args).await?,
        Verb::Watch(args) => watch::run(session, args).await?,
        Verb::Cancel(args) => cancel::run(session, args).await?,
        Verb::Return(args) => r#return::run(session, args).await?,
    }
    Ok(ExitCode::SUCCESS)
}
