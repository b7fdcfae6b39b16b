//! `hansa` with every sync compiled out: a power cut loses what was acknowledged.
//!
//! The power-loss test of `tests/` runs it and must fail. It never ships.

use std::process::ExitCode;

fn main() -> ExitCode {
    hansa::cli::main()
}
