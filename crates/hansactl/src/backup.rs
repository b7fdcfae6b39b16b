//! `hansactl backup …`

mod create;
mod differences;
mod download;
mod epoch;
mod restore;
mod settle;
mod shelf;
mod status;
mod upload;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use crate::connect::Session;
use crate::error::Problem;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Copies a region into a folder while it works.
    ///
    /// Each group is copied at one index from a follower; together they are a consistent cut: new
    /// steps of sagas wait some tens of milliseconds, nothing else does. A broken stream goes on
    /// where it ended. The region's vault key is not in the backup: keep it apart.
    Create {
        /// A folder that is not there yet, or is empty.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// How long it may be kept: what a law takes back later stays in it until it is deleted,
        /// and `residency verify` says until when.
        #[arg(long, default_value = "30d", value_parser = crate::args::span)]
        keep: Duration,
    },
    /// Lists the backups in a folder, and when each is to be deleted.
    List {
        /// A folder with backups in it; one backup's own folder does too.
        #[arg(value_name = "DIR")]
        shelf: PathBuf,
    },
    /// Deletes the backups in a folder whose time is over.
    Prune {
        #[arg(value_name = "DIR")]
        shelf: PathBuf,
        /// Only names them.
        #[arg(long)]
        dry_run: bool,
    },
    /// Checks a backup offline: every hash, every frame, and the audit chain from genesis.
    ///
    /// `hansa verify-backup` also reads every state through its machine; a restore always does.
    Verify {
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Puts a backup into new, empty nodes that were started with `hansa serve --restore`.
    Restore(Restore),
    /// How far a restored region is: phase, open steps, payments that the books do not know.
    Status,
    /// Decides on payments that the provider knows and a restored region's books do not.
    Settle {
        decision: Decision,
        /// Only this payment's key; every open one without.
        #[arg(long)]
        key: Option<String>,
    },
    /// Orders of a restored region whose copies in this region say otherwise.
    Differences {
        /// Whose orders; every other region's without.
        #[arg(long, value_name = "REGION")]
        origin: Option<String>,
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        max: u32,
    },
}

#[derive(Debug, Args)]
pub struct Restore {
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Internal addresses of all the new nodes of the region, each `host:port`.
    #[arg(long = "node", value_name = "HOST:PORT", required = true)]
    pub nodes: Vec<String>,
    /// The region's new epoch; one more than the newest that the other regions know, when not
    /// given, and then each of them must answer.
    #[arg(long)]
    pub epoch: Option<u64>,
    /// How far clients' clocks may differ: an unknown request that was first sent later than this
    /// after the restore is new, all others are answered REQUEST_IN_DOUBT for a day.
    #[arg(long, default_value = "30s", value_parser = crate::args::span)]
    pub skew: Duration,
    /// What becomes of payments that the provider knows and the books do not. With `ask` the region
    /// takes no orders until `backup settle` has decided.
    #[arg(long, default_value = "ask")]
    pub unknown_payments: Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Unknown {
    Ask,
    /// Give the money back.
    Cancel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Decision {
    /// Give the money back.
    Cancel,
    /// An operator settles it by hand.
    Keep,
}

/// What needs no league.
pub fn offline(verb: &Verb) -> Option<Result<ExitCode, Problem>> {
    match verb {
        Verb::Verify { folder } => Some(verify::run(folder)),
        Verb::List { shelf } => Some(shelf::list(shelf)),
        Verb::Prune { shelf, dry_run } => Some(shelf::prune(shelf, *dry_run)),
        _ => None,
    }
}

pub async fn run(session: &Session, verb: Verb) -> Result<ExitCode, Problem> {
    match verb {
        Verb::Create { folder, keep } => create::run(session, &folder, keep).await?,
        Verb::Verify { folder } => return verify::run(&folder),
        Verb::List { shelf } => return shelf::list(&shelf),
        Verb::Prune { shelf, dry_run } => return shelf::prune(&shelf, dry_run),
        Verb::Restore(restore) => restore::run(session, &restore).await?,
        Verb::Status => return status::run(session).await,
        Verb::Settle { decision, key } => settle::run(session, decision, key).await?,
        Verb::Differences { origin, max } => {
            return differences::run(session, origin, max).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A bar on stderr; hidden where stderr is no terminal. `total`: bytes, if they are known.
fn bar(total: Option<u64>) -> ProgressBar {
    let bar = match total {
        Some(total) => ProgressBar::new(total),
        None => ProgressBar::new_spinner(),
    };
    let template = match total {
        Some(_) => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        None => "{spinner} {msg} {bytes} {bytes_per_sec} {elapsed}",
    };
    // A template that does not parse leaves the default.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Bytes and time as people read them.
fn rate(bytes: u64, took: Duration) -> String {
    let mib = bytes as f64 / (1 << 20) as f64;
    let seconds = took.as_secs_f64().max(0.001);
    format!("{mib:.1} MiB in {seconds:.1} s, {:.1} MiB/s", mib / seconds)
}

/// What the disk says about a file.
fn disk(path: &std::path::Path, error: std::io::Error) -> Problem {
    Problem::failed(format!("{}: {error}", path.display()), "check the folder and its disk")
}
