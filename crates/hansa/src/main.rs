//! `hansa`: serve, dev, demo, replay.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = hansa::cli::Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(hansa::cli::run(cli)),
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}
