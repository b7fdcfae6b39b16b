//! `hansactl reconcile run`

use std::process::ExitCode;

use super::{Look, scan, show};
use crate::connect::Session;
use crate::error::Problem;

pub async fn run(session: &Session, look: &Look) -> Result<ExitCode, Problem> {
    let session = session.here()?;
    let outcome = scan::run(&session, look).await?;
    if look.statement.is_none() {
        eprintln!("the provider was not compared: no --statement");
    }
    show::outcome(&session, &outcome)
}
