//! `hansactl residency …`

mod check;
mod explain;
mod load;
mod show;
mod verify;

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use hansa_api::pb::hansa::options::v1::DataClass;

use crate::connect::Session;
use crate::error::Problem;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Shows the loaded policy, rule by rule, and which nodes go by it.
    Show(show::Args),
    /// Says where a class of data of a country's residents may lie, and why.
    Explain(explain::Args),
    /// Validates a policy file and shows what it would change; changes nothing. Exits 0 when it
    /// would be taken, 1 when it would be refused.
    Check(check::Args),
    /// Loads a newer policy file; running nodes follow at once.
    Load(load::Args),
    /// Has every node read every byte that it keeps, and shows what may not lie there by law.
    Verify(verify::Args),
}

pub async fn run(session: &Session, verb: Verb) -> Result<ExitCode, Problem> {
    match verb {
        Verb::Show(args) => show::run(session, args).await?,
        Verb::Explain(args) => explain::run(session, args).await?,
        Verb::Check(args) => return check::run(session, args).await,
        Verb::Load(args) => return load::run(session, args).await,
        Verb::Verify(args) => return verify::run(session, args).await,
    }
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> Result<String, Problem> {
    std::fs::read_to_string(file).map_err(|error| {
        let what = format!("cannot read {}: {error}", file.display());
        Problem::usage(what, "deploy/policy has the shipped policy and worked examples")
    })
}

/// `DATA_CLASS_PERSONAL` as `PERSONAL`.
fn class(number: i32) -> String {
    let class = DataClass::try_from(number).unwrap_or_default();
    crate::values::short(class.as_str_name(), "DATA_CLASS_")
}

fn list(names: &[String]) -> String {
    crate::values::dash(&names.join(" "))
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}
