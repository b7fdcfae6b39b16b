//! Builds the simulator the one way in which it repeats by seed.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::workspace_root;

/// Under it turmoil seeds what tokio draws: the order in which it wakes, and `select!`.
const FLAGS: &str = "--cfg tokio_unstable";

/// Where the simulator is built: a folder of its own, as its flags would rebuild everything else.
#[must_use]
pub fn folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| workspace_root().join("target")).join("simulated")
}

/// How much the build may take for the sake of the runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Profile {
    /// For some hundred seeds: quickly built, and every dependency checks itself too.
    Sim,
    /// For thousands.
    Campaign,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Sim => "sim",
            Self::Campaign => "campaign",
        }
    }
}

/// Builds it; its path.
///
/// # Errors
/// A build that fails.
pub fn build(profile: Profile) -> Result<PathBuf> {
    let began = Instant::now();
    say(&format!("building the simulator into {}: minutes when cold", folder().display()));
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--profile", profile.name(), "--package", "hansa-sim"])
        .args(["--features", "simulated", "--bin", "hansa-sim", "--target-dir"])
        .arg(folder())
        .env("RUSTFLAGS", FLAGS)
        // Flags of whoever called us would win over ours.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_RUSTFLAGS")
        .current_dir(workspace_root())
        .stdin(Stdio::null())
        .status()?;
    ensure!(status.success(), "the simulator does not build");
    say(&format!("the simulator is built ({:.0} s)", began.elapsed().as_secs_f64()));
    Ok(folder().join(profile.name()).join("hansa-sim"))
}

/// To stderr as it is, which a test does not capture: whoever waits sees what for.
fn say(what: &str) {
    // Nobody to tell is no reason to stop.
    let _unheard = writeln!(std::io::stderr(), "xtask: {what}");
}
