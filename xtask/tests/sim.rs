//! The simulator as CI runs it. Its build takes minutes the first time.

use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use xtask::sim::Profile;

/// Seeds of every run of the tests; CI runs no others, so a seed that fails there fails here.
const SEEDS: u64 = 300;
/// Seeds that are run three times, in different orders, for their digests.
const AGAIN: u64 = 12;
/// One after the other: each uses all cores by itself.
static TURN: Mutex<()> = Mutex::new(());

/// Runs it; what it says as it goes is seen as it goes.
fn sim(args: &[&str]) -> (bool, String) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let built = xtask::sim::build(Profile::Sim).expect("the simulator builds");
    let mut command = Command::new(built);
    command.args(args).current_dir(xtask::workspace_root()).stderr(Stdio::inherit());
    let output = command.output().expect("the simulator runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{said}");
    (output.status.success(), said)
}

#[test]
fn nothing_acknowledged_is_lost_in_any_of_the_seeds() {
    let (passed, _) = sim(&["--seeds", &SEEDS.to_string()]);
    assert!(passed, "cargo xtask sim --seeds {SEEDS}");
}

#[test]
fn a_seed_is_the_same_run_whatever_ran_before() {
    let (_, said) = sim(&["--seeds", &AGAIN.to_string(), "--twice"]);
    assert!(said.contains(" 0 not repeatable"), "{said}");
}

#[test]
fn each_mistake_made_on_purpose_fails_its_seed_which_passes_without_it() {
    let (proven, said) = sim(&["--prove", xtask::report::BUGS]);
    assert!(proven, "{said}");
}

#[test]
fn the_page_says_what_the_results_say() {
    let root = xtask::workspace_root();
    let page = std::fs::read_to_string(root.join(xtask::report::PAGE)).expect("readable");
    assert!(xtask::report::page(&root).expect("a page") == page, "run `cargo xtask sim-report`");
}
