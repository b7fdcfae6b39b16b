//! The command line. Exit codes are part of it: scripts and CI read nothing else.

pub mod demo;
pub mod dev;
pub mod replay;
pub mod serve;
pub mod verify_backup;
pub mod verify_residency;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// What a process ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    /// It could not be done, or a node failed.
    Failed = 1,
    // 2 is clap's: the command line is wrong.
    /// Replayed, but malformed lines were skipped; or what was to be looked at was not whole.
    NotRead = 3,
    /// Replayed, but the league answered otherwise than the file predicts.
    Surprised = 4,
    /// An invariant is violated, or could not be checked.
    Violated = 5,
    /// Interrupted: run it again, the request ids are the same.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

const AFTER: &str = "\
Exit codes:
  0    done
  1    failed; the reason is on stderr
  2    the command line is wrong
  3    replayed, but malformed lines were skipped (each is named); a file could not be read
  4    replayed, but the league answered otherwise than the file predicts
  5    an invariant is violated or could not be checked
  130  interrupted

Examples:
  hansa demo                               a league, real orders, a table, the invariants
  hansa dev                                a league that stays up
  hansa replay data/online-retail-sample.csv
  hansa serve --config node.toml";

#[derive(Debug, Parser)]
#[command(name = "hansa", version, about = "A league of regions that takes orders")]
#[command(after_help = AFTER, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs one node, with the roles that its config gives it.
    Serve(serve::Args),
    /// Keeps a whole league up in this process: 4 regions of 3 nodes each.
    Dev(dev::Args),
    /// Starts a league, replays real orders, prints a table and checks the invariants.
    Demo(demo::Args),
    /// Drives real orders into any running league.
    Replay(replay::Args),
    /// Checks a backup offline: every hash, every chain, and every state through its machine.
    VerifyBackup(verify_backup::Args),
    /// Reads every byte of a data folder or a backup, and names what may not lie there by law.
    VerifyResidency(verify_residency::Args),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

/// The whole program.
pub fn main() -> ExitCode {
    if !hansa_wal::fs::SYNCS {
        eprintln!("{NO_SYNC}");
    }
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a build says that must never ship.
const NO_SYNC: &str = "\
================================================================================
 THIS PROGRAM NEVER SYNCS. It was built with the feature `unsafe-no-sync`, for a
 test that must fail. A power cut loses orders that it has acknowledged.
================================================================================";

/// Has the kernel give this process no huge pages. State grows by small records, and a checkpoint
/// copies a few of its pages while it is written: to find, clear and copy 2 MiB for them costs a
/// node a twelfth of its CPU (docs/performance.md). A kernel that will not is as good as before.
fn small_pages() {
    #[cfg(target_os = "linux")]
    let _as_before = rustix::thread::disable_transparent_huge_pages(true);
}

/// Runs the command; errors go to stderr.
pub async fn run(cli: Cli) -> ExitCode {
    small_pages();
    let done = match cli.command {
        Command::Serve(args) => serve::run(args).await,
        Command::Dev(args) => dev::run(args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Replay(args) => replay::run(args).await,
        Command::VerifyBackup(args) => verify_backup::run(&args),
        Command::VerifyResidency(args) => verify_residency::run(&args),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            Exit::Failed.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
