//! `hansactl reconcile …`: what orders, stock, money and the provider say of the same things.

pub mod apply;
pub mod approve;
mod copies;
mod file;
pub mod kind;
mod patience;
pub mod plan;
pub mod planned;
pub mod progress;
mod read;
mod report;
mod run;
pub mod scan;
pub mod show;
mod statement;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use self::kind::Kind;
use crate::connect::Session;
use crate::error::Problem;

const EXITS: &str = "\
Exit codes:
  0  clean: every side was read, and they agree
  1  something differs
  2  the command line is wrong
  3  a region, a group or the statement could not be read, or did not stand still: not clean
  4  a repair was refused or failed; what was done is listed";

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Compares, and changes nothing.
    ///
    /// Every group of the region is frozen at one index and read; what differs is looked at again
    /// until the order has stood still between two looks, so traffic makes no false differences.
    #[command(after_help = EXITS)]
    Run(Look),
    /// Compares, and writes a plan with a compensating entry for each difference that has a safe
    /// one. The others are listed for a person.
    #[command(after_help = EXITS)]
    Plan {
        #[command(flatten)]
        look: Look,
        /// Why; it stays in the audit chain.
        #[arg(long)]
        reason: String,
        /// The plan's file; must not be there yet.
        #[arg(long = "out", value_name = "FILE")]
        file: PathBuf,
    },
    /// Shows a plan, and is the second person's word on it; never the planner's own.
    #[command(after_help = EXITS)]
    Approve {
        #[arg(value_name = "PLAN")]
        file: PathBuf,
        /// Under which the repair is known elsewhere.
        #[arg(long)]
        ticket: String,
        /// Yes, without being asked.
        #[arg(long)]
        yes: bool,
    },
    /// Carries out an approved plan. A repeat goes on where a broken call ended; an entry whose
    /// grounds have changed is passed over and named.
    #[command(after_help = EXITS)]
    Apply {
        #[arg(value_name = "PLAN")]
        file: PathBuf,
        /// A plan with more repairs than this is refused as a whole.
        #[arg(long, default_value_t = 100)]
        max_repairs: u32,
    },
    /// Compares again, and says whether anything of the plan, or anything at all, still differs.
    #[command(after_help = EXITS)]
    Verify {
        #[arg(value_name = "PLAN")]
        file: PathBuf,
        #[command(flatten)]
        look: Look,
    },
    /// Plans, approvals and repairs, as the groups' audit chains have them.
    Report {
        /// Only this plan; all without.
        #[arg(value_name = "PLAN")]
        file: Option<PathBuf>,
    },
}

#[derive(Clone, Debug, Args)]
pub struct Look {
    /// The provider's statement (CSV). Without one the provider is not compared.
    #[arg(long, value_name = "FILE")]
    pub statement: Option<PathBuf>,
    /// How the statement's columns and words become ours (TOML); not needed for the sandbox's.
    #[arg(long, value_name = "FILE", requires = "statement")]
    pub mapping: Option<PathBuf>,
    /// The statement is complete from here on (RFC 3339); its first line when not given.
    #[arg(long, value_name = "TIME", requires = "statement")]
    pub statement_from: Option<prost_types::Timestamp>,
    /// The statement is complete up to here (RFC 3339); its last line when not given.
    #[arg(long, value_name = "TIME", requires = "statement")]
    pub statement_until: Option<prost_types::Timestamp>,
    /// How long what is under way may take to stand still, and how late a statement may be.
    #[arg(long, default_value = "60s", value_parser = crate::args::span)]
    pub settle: Duration,
    /// How long reading every group once may take; what takes longer could not be read (exit 3).
    #[arg(long, default_value = "15m", value_parser = crate::args::span)]
    pub read_max: Duration,
    /// Leaves the copies in other regions out.
    #[arg(long)]
    pub no_copies: bool,
}

pub async fn run(session: &Session, verb: Verb) -> Result<ExitCode, Problem> {
    match verb {
        Verb::Run(look) => run::run(session, &look).await,
        Verb::Plan { look, reason, file } => plan::run(session, &look, reason, &file).await,
        Verb::Approve { file, ticket, yes } => {
            approve::run(session, (&file, Kind::Repairs), ticket, yes).await
        }
        Verb::Apply { file, max_repairs } => {
            apply::run(session, (&file, Kind::Repairs), max_repairs).await
        }
        Verb::Verify { file, look } => verify::run(session, &file, &look).await,
        Verb::Report { file } => report::run(session, file.as_deref()).await,
    }
}

fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
