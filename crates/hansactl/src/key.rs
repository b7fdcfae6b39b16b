//! `hansactl key …`

mod list;
mod rotate;

use clap::Subcommand;

use crate::connect::Session;
use crate::error::Problem;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Lists the vault's region keys, and how many data keys each still wraps.
    List,
    /// Makes a new region key; living data keys are re-wrapped, the former one is destroyed after
    /// its window.
    Rotate,
}

pub async fn run(session: &Session, verb: Verb) -> Result<(), Problem> {
    match verb {
        Verb::List => list::run(session).await,
        Verb::Rotate => rotate::run(session).await,
    }
}
