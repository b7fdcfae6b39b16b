//! Builds the simulator the one way in which it repeats by seed.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::workspace_root;

/// Under it turmoil seeds what tokio draws: the order in which it wakes, and `select!`.
const FLAGS: &str = "--cfg tokio_unstable";

/// Beside the tests, which are built as it is where `.ci/run` builds them: then only our own crates
/// are built again, for their features. A test that is quick to link makes dependencies have the
/// features that they have for the tests.
const BESIDE_TESTS: &[&str] = &["--workspace", "--test", "tidy", "--bin", "hansa-sim"];
const SIMULATED: &[&str] = &["--features", "hansa-sim/simulated"];
/// openraft's proof of its own state, which other debug builds do without (Cargo.toml).
const PROVEN: &[&str] = &["--config", "profile.dev.package.validit.debug-assertions=true"];
/// Hundreds of seeds want a little speed: of our own crates, as dependencies have it anyway.
const OPT_LEVEL: (&str, &str) = ("CARGO_PROFILE_DEV_OPT_LEVEL", "1");

/// Where the simulator lies: what other builds leave in its place in `target/debug` refuses to run.
#[must_use]
pub fn folder() -> PathBuf {
    target().join("simulated")
}

fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| workspace_root().join("target"))
}

/// How much the build may take for the sake of the runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Profile {
    /// For some hundred seeds: quickly built, and every dependency checks itself too.
    Sim,
    /// For thousands.
    Campaign,
}

/// Builds it; its path.
///
/// # Errors
/// A build that fails.
pub fn build(profile: Profile) -> Result<PathBuf> {
    let began = Instant::now();
    say("building the simulator: minutes when cold");
    let mut build = crate::cargo();
    build.args(["build", "--quiet"]).args(SIMULATED);
    // Flags of whoever called us would win over ours.
    build.env("RUSTFLAGS", FLAGS).env_remove("CARGO_ENCODED_RUSTFLAGS");
    build.env_remove("CARGO_BUILD_RUSTFLAGS").current_dir(workspace_root()).stdin(Stdio::null());
    let built = match profile {
        Profile::Sim => {
            build.args(BESIDE_TESTS).args(PROVEN).env(OPT_LEVEL.0, OPT_LEVEL.1);
            target().join("debug")
        }
        Profile::Campaign => {
            build.args(["--profile", "campaign", "--package", "hansa-sim", "--bin", "hansa-sim"]);
            build.arg("--target-dir").arg(folder());
            folder().join("campaign")
        }
    };
    ensure!(build.status()?.success(), "the simulator does not build");
    let kept = folder().join("hansa-sim");
    std::fs::create_dir_all(folder())?;
    std::fs::copy(built.join("hansa-sim"), &kept)?;
    say(&format!("the simulator is built ({:.0} s)", began.elapsed().as_secs_f64()));
    Ok(kept)
}

/// To stderr as it is, which a test does not capture: whoever waits sees what for.
fn say(what: &str) {
    // Nobody to tell is no reason to stop.
    let _unheard = writeln!(std::io::stderr(), "xtask: {what}");
}
