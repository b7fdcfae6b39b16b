//! `hansa` as the release after this one would be: its orders apply a second version of behaviour.
//!
//! The upgrade test of `tests/` runs it. It never ships.

use std::process::ExitCode;

fn main() -> ExitCode {
    hansa::cli::main()
}
