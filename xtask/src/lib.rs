//! Checks that keep the house as ARCHITECTURE.md draws it.

pub mod report;
pub mod sim;
pub mod suites;
pub mod tidy;

use std::path::PathBuf;

/// The folder that holds the workspace's `Cargo.toml`.
pub fn workspace_root() -> PathBuf {
    let mut here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.pop();
    here
}
