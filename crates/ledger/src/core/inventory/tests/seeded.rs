//! The mistakes of `hansa_types::seeded` do what they are meant to.

use hansa_types::seeded::{Bug, plant};

use super::*;

#[test]
fn double_release_gives_back_twice() {
    let _bug = plant(Bug::DoubleRelease);
    let mut b = books();
    code(&mut b, &receive(1, "A", 5));
    code(&mut b, &reserve(2, &[line(1, "A", 2)]));
    assert_eq!(code(&mut b, &Command::Release { id: id(3), hold: id(2) }), C::Applied);
    assert_eq!(sellable(&b, "A"), 7);
}

#[test]
fn expire_early_ends_a_hold_before_its_time() {
    let _bug = plant(Bug::ExpireEarly);
    let mut b = books();
    code(&mut b, &receive(1, "A", 5));
    code(&mut b, &reserve(2, &[line(1, "A", 2)]));
    let commit = run(&mut b, START + 1, &Command::Commit { id: id(3), hold: id(2) });
    assert_eq!(commit.code, C::Expired);
}
