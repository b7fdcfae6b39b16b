//! The simulator as CI runs it. Its build takes minutes the first time: `target/simulated`.

use std::process::Command;

/// Seeds of every run of the tests; CI runs no others, so a seed that fails there fails here.
const SEEDS: u64 = 60;
/// Seeds that are run three times, in different orders, for their digests.
const AGAIN: u64 = 20;

fn sim(args: &[&str]) -> (bool, String) {
    let built = xtask::sim::build().expect("the simulator builds");
    let output = Command::new(built).args(args).output().expect("the simulator runs");
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    (output.status.success(), format!("{out}\n{err}"))
}

#[ignore = "issue 3 is open: this commit was not simulated yet"]
#[test]
fn nothing_acknowledged_is_lost_in_any_of_the_seeds() {
    let (passed, said) = sim(&["--seeds", &SEEDS.to_string()]);
    println!("{said}");
    assert!(passed, "cargo xtask sim --seeds {SEEDS}");
}

#[ignore = "issue 3 is open: this commit was not simulated yet"]
#[test]
fn a_seed_is_the_same_run_whatever_ran_before() {
    let (_, said) = sim(&["--seeds", &AGAIN.to_string(), "--twice"]);
    assert!(said.contains(" 0 not repeatable"), "{said}");
}
