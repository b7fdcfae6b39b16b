//! Instructions of hot paths, compared with what is kept. Its build is the simulator's.

use xtask::counts::{Verdict, check};

#[test]
fn hot_paths_take_the_instructions_that_are_kept() {
    assert_ne!(check().expect("counted"), Verdict::Differs, "cargo xtask counts");
}
