//! Differences of every class are found exactly; where there are none, none is.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

#[path = "planted/league.rs"]
mod league;

use std::collections::BTreeMap;

use hansa_api::pb::admin::DifferenceClass as Class;

#[test]
fn every_class_is_found_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for (orders, planted) in [(1_000, 0), (1_000, 100), (2_503, 500)] {
        let league = league::build(orders, planted, &folder.path().join("statement.csv"));
        let expected = league.expected.clone();
        assert!(league.bytes > 100 * orders, "facts of {orders} orders were put aside");
        assert_eq!(expected.values().sum::<u64>(), planted + 2);
        assert_eq!(league.found(), expected, "{orders} orders, {planted} planted");
    }
}

#[test]
fn a_statement_is_not_held_against_what_it_does_not_cover() {
    let folder = tempfile::tempdir().unwrap();
    let league = league::build(1_000, 100, &folder.path().join("statement.csv"));
    let found = league.covering(0, 0).found();
    let provider: BTreeMap<i32, u64> =
        found.into_iter().filter(|(class, _)| (9..=12).contains(class)).collect();
    // A key that nobody here knows is a difference whatever the statement covers.
    assert_eq!(provider, BTreeMap::from([(i32::from(Class::ProviderMissingHere), 10)]));
}
