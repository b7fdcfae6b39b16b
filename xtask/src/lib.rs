//! Checks that keep the house as ARCHITECTURE.md draws it.

pub mod counts;
pub mod report;
pub mod sim;
pub mod suites;
pub mod tidy;

use std::path::PathBuf;
use std::process::Command;

/// The folder that holds the workspace's `Cargo.toml`.
pub fn workspace_root() -> PathBuf {
    let mut here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.pop();
    here
}

/// Cargo, for a program that cargo runs: without what it tells that program of its own package.
/// ring's build script looks at that, and would be run anew, and all that is above it built again.
#[must_use]
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|of| told.starts_with(of)) {
            cargo.env_remove(&name);
        }
    }
    cargo
}
