//! Builds the simulator the one way in which it repeats by seed, and beside it what is counted.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::workspace_root;

const SIM: &str = "hansa-sim";
/// What [`crate::counts`] runs, in the one build that CI makes with optimisation.
pub const COUNTS: &str = "hansa-counts";

/// Under it turmoil seeds what tokio draws: the order in which it wakes, and `select!`.
const FLAGS: &str = "--cfg tokio_unstable";

/// Beside the tests, which are built as it is where `.ci/run` builds them: then only our own crates
/// are built again, for their features. A test that is quick to link makes dependencies have the
/// features that they have for the tests.
const BESIDE_TESTS: &[&str] =
    &["--workspace", "--test", "tidy", "--bin", "hansa-sim", "--bin", "hansa-counts"];
const SIMULATED: &[&str] = &["--features", "hansa-sim/simulated"];
/// openraft's proof of its own state, which other debug builds do without (Cargo.toml).
const PROVEN: &[&str] = &["--config", "profile.dev.package.validit.debug-assertions=true"];
/// Hundreds of seeds want a little speed: of our own crates, as dependencies have it anyway.
const OPT_LEVEL: (&str, &str) = ("CARGO_PROFILE_DEV_OPT_LEVEL", "1");

/// Incremental builds divide a crate otherwise, which shows in what `hansa-counts` counts.
const WHOLE: (&str, &str) = ("CARGO_INCREMENTAL", "0");

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
    /// For some hundred seeds: quickly built, and every dependency checks itself too. With
    /// [`COUNTS`] beside it.
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
    let (built, programs) = match profile {
        Profile::Sim => {
            build.args(BESIDE_TESTS).args(PROVEN).envs([OPT_LEVEL, WHOLE]);
            (target().join("debug"), &[SIM, COUNTS][..])
        }
        Profile::Campaign => {
            build.args(["--profile", "campaign", "--package", "hansa-sim", "--bin", "hansa-sim"]);
            build.arg("--target-dir").arg(folder());
            (folder().join("campaign"), &[SIM][..])
        }
    };
    ensure!(build.status()?.success(), "the simulator does not build");
    std::fs::create_dir_all(folder())?;
    for program in programs {
        std::fs::copy(built.join(program), folder().join(program))?;
    }
    say(&format!("the simulator is built ({:.0} s)", began.elapsed().as_secs_f64()));
    Ok(folder().join(SIM))
}

/// To stderr as it is, which a test does not capture: whoever waits sees what for.
fn say(what: &str) {
    // Nobody to tell is no reason to stop.
    let _unheard = writeln!(std::io::stderr(), "xtask: {what}");
}
