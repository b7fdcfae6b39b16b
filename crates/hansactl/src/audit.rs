//! `hansactl audit …`

mod compare;
mod verify;

use std::process::ExitCode;

use clap::Subcommand;

use crate::connect::Session;
use crate::error::Problem;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Walks the audit chains of a region's groups from genesis, on each of their nodes, and
    /// compares them with one another and with the anchors that the other regions keep.
    ///
    /// Exits 0 when all is verified, 1 when something differs, 3 when nothing does but a part could
    /// not be read.
    Verify {
        /// Only this group, such as orders-0.
        #[arg(long)]
        group: Option<String>,
        /// Only this node's copy, by its name or number.
        #[arg(long)]
        node: Option<String>,
    },
}

pub async fn run(session: &Session, verb: Verb) -> Result<ExitCode, Problem> {
    match verb {
        Verb::Verify { group, node } => verify::run(session, group, node).await,
    }
}
