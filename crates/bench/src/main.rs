//! `hansa-bench`: how fast it is, at what cost, beside what people would use instead.
//! docs/performance.md tells the method.

mod bench;
mod cli;
mod dice;
mod disk;
mod group;
mod load;
mod machines;
mod pace;
mod pipe;
mod postgres;
mod record;
mod region;
mod report;
mod scenario;
mod svg;
mod watch;
mod wire;

use std::process::ExitCode;

use clap::Parser as _;

use self::cli::{Cli, Scenario};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    // What is measured is this program again, started as `hansa` is: built with everything else,
    // and never an older one.
    if let Scenario::Serve(args) = cli.scenario {
        let cli = hansa::cli::Cli { command: hansa::cli::Command::Serve(args) };
        return runtime.block_on(hansa::cli::run(cli));
    }
    match runtime.block_on(scenario::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
