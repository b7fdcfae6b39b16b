//! `hansactl`: the operator's tool. A client of the public API, nothing else.

mod args;
mod audit;
mod backup;
mod connect;
mod customer;
mod drill;
mod error;
mod group;
mod invariants;
mod key;
mod member;
mod node;
mod order;
mod output;
mod payment;
mod profile;
mod reconcile;
mod region;
mod replication;
mod residency;
mod show;
mod stock;
mod values;
mod version;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{Cli, Command};
use crate::error::Problem;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Completion { shell } = cli.command {
        clap_complete::generate(shell, &mut Cli::command(), "hansactl", &mut std::io::stdout());
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => Err(Problem::failed(format!("cannot start: {error}"), "try again")),
    };
    match done {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("{}", problem.text());
            problem.exit_code()
        }
    }
}

async fn run(cli: Cli) -> Result<ExitCode, Problem> {
    if let Command::Backup(verb) = &cli.command
        && let Some(done) = backup::offline(verb)
    {
        return done;
    }
    let session = connect::Session::new(&cli.global)?;
    match cli.command {
        Command::Region(verb) => return region::run(&session, verb).await,
        Command::Drill(verb) => return drill::run(&session, verb).await,
        Command::Residency(verb) => return residency::run(&session, verb).await,
        Command::Group(verb) => group::run(&session, verb).await?,
        Command::Member(verb) => member::run(&session, verb).await?,
        Command::Node(verb) => node::run(&session, verb).await?,
        Command::Version(verb) => version::run(&session, verb).await?,
        Command::Order(verb) => return order::run(&session, verb).await,
        Command::Customer(verb) => customer::run(&session, verb).await?,
        Command::Key(verb) => key::run(&session, verb).await?,
        Command::Stock(verb) => stock::run(&session, verb).await?,
        Command::Payment(verb) => payment::run(&session, verb).await?,
        Command::Audit(verb) => return audit::run(&session, verb).await,
        Command::Replication(verb) => return replication::run(&session, verb).await,
        Command::Backup(verb) => return backup::run(&session, verb).await,
        Command::Reconcile(verb) => return reconcile::run(&session, verb).await,
        Command::Invariants(verb) => return invariants::run(&session, verb).await,
        Command::Completion { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}
