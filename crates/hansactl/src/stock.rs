//! `hansactl stock …`

mod adjust;
mod get;
mod list;
mod receive;
mod ship;
mod show;

use clap::Subcommand;

use crate::connect::Session;
use crate::error::Problem;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Books goods from a supplier into a region's stock.
    Receive(receive::Args),
    /// Shows the stock of a SKU, one row a warehouse.
    Get(get::Args),
    /// Lists a region's stock.
    List(list::Args),
    /// Corrects stock by a signed quantity, with a reason.
    Adjust(adjust::Args),
    /// Books an order's committed stock as shipped.
    Ship(ship::Args),
}

pub async fn run(session: &Session, verb: Verb) -> Result<(), Problem> {
    match verb {
        Verb::Receive(args) => receive::run(session, args).await,
        Verb::Get(args) => get::run(session, args).await,
        Verb::List(args) => list::run(session, args).await,
        Verb::Adjust(args) => adjust::run(session, args).await,
        Verb::Ship(args) => ship::run(session, args).await,
    }
}
