//! Differences of every class are found exactly; where there are none, none is. Copies alone are
//! not compared here: `hansactl/tests/million.rs` has a whole run.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

#[path = "planted/league.rs"]
mod league;

use std::collections::BTreeSet;

use hansa_api::pb::admin as pb;
use hansa_reconcile::drift::{self, Moved};
use hansa_reconcile::judge::{Judge, Judged};
use hansa_reconcile::merge::{self, Along, Coverage, Facts, Spool};
use hansa_reconcile::statement::{self, Mapping};
use hansa_types::id::{GroupId, GroupKind};
use league::{GROUPS, Key, REGION, Region, key};

fn facts(region: &Region, kind: GroupKind) -> Facts {
    let group = GroupId::new(kind, 0).number();
    let mut spool = Spool::begin(pb::FactsHead { group, index: 7, ..Default::default() }).unwrap();
    let records = region.tell(kind, &[], |page| spool.page(&page).unwrap());
    spool.end(pb::FactsEnd { records, skus: region.skus(kind) }).unwrap()
}

/// What is found of orders, stock, money and the provider.
fn found(region: &Region, coverage: Coverage) -> BTreeSet<Key> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("statement.csv");
    region.write_statement(&file);
    let read = statement::read(&file, &Mapping::sandbox(), |_| {}).unwrap();
    let mut along = Along::new(read.charges, coverage).unwrap();
    let mut facts = GROUPS.map(|kind| facts(region, kind));
    let heads: Vec<pb::FactsHead> = facts.iter().map(|of| of.head.clone()).collect();
    let judge = Judge { heads: &heads, region: REGION, number: Some(1) };
    let mut moved = Moved::default();
    moved.add(&facts[0].skus);
    let books = vec![(facts[1].head.clone(), facts[1].skus.clone())];
    let mut all = drift::compare(&moved, &books);
    merge::walk(&mut facts, Some(&mut along), |id, case| match judge.judge(id, &case) {
        Judged::Agrees => {}
        Judged::Moving => panic!("{id:?} moves"),
        Judged::Differs(differences) => all.extend(differences),
    })
    .unwrap();
    let found: BTreeSet<Key> = all.iter().map(key).collect();
    assert_eq!(found.len(), all.len(), "nothing is said twice");
    found
}

const ALL: Coverage = Coverage { from_ms: 0, until_ms: u64::MAX, settle_ms: 60_000 };

#[test]
fn every_class_is_found_where_it_was_planted_and_nothing_else() {
    for (orders, planted) in [(1_000, 0), (1_000, 100), (2_503, 500)] {
        let region = Region { orders, planted };
        let mut expected = region.expected();
        assert_eq!(expected.len() as u64, planted);
        expected.retain(|(class, ..)| !class.contains("_COPY_"));
        assert_eq!(found(&region, ALL), expected, "{orders} orders, {planted} planted");
    }
}

#[test]
fn a_statement_is_not_held_against_what_it_does_not_cover() {
    let region = Region { orders: 1_000, planted: 100 };
    let nothing = Coverage { from_ms: 0, until_ms: 0, settle_ms: 0 };
    let provider = |of: BTreeSet<Key>| -> BTreeSet<Key> {
        of.into_iter().filter(|(class, ..)| class.contains("_PROVIDER_")).collect()
    };
    // A key that nobody here knows is a difference whatever the statement covers.
    let mut expected = provider(region.expected());
    expected.retain(|(class, ..)| class.ends_with("_MISSING_HERE"));
    assert!(expected.len() > 5);
    assert_eq!(provider(found(&region, nothing)), expected);
}
