//! `hansa`: serve, dev, demo, replay.

use std::process::ExitCode;

fn main() -> ExitCode {
    hansa::cli::main()
}
