//! What was lawful when it came: when it goes.

use std::sync::Arc;

use hansa_api::classes::DataClass;
use hansa_api::pb::replication::OrderView;
use hansa_orders::core::subjects::RegionKey;
use hansa_orders::vault::{KeyInfo, KeyLife};
use hansa_region_router::core::policy::Policy;
use prost::Message as _;

use super::rig::{self, DE, POLICY, law, order, view};
use crate::findings::{Findings, Found, Place, Stays, Verdict};
use crate::law::Law;
use crate::says::{Hearing, orders};

/// The laws of eu-central, which was in the failover set until version 2.
pub fn before_and_after() -> (Law, Law) {
    let text = POLICY
        .replace("version = 1", "version = 2")
        .replace("failover = [\"eu-central\"]", "failover = []");
    let before = law("eu-central", 4);
    let mut after = before.clone();
    after.now = Arc::new(Policy::parse(&text).unwrap());
    after.remember(before.now.clone());
    (before, after)
}

fn tightened() -> Findings {
    Findings::new(before_and_after().1)
}

fn found(stays: Stays, terms: u64, keys: &[KeyInfo]) -> Vec<Found> {
    let mut findings = tightened();
    findings.vault(keys.to_vec());
    let place = Place { file: "somewhere".into(), stays };
    let view = OrderView::decode(view(7, DE, &super::BOTH)).unwrap();
    let at = || "there".to_owned();
    let mut hearing = Hearing { findings: &mut findings, place: &place, at: &at };
    orders::shown(order(1, 7), view, Some(terms), &mut hearing);
    findings.settle();
    findings.found()
}

fn of(found: &[Found], class: DataClass) -> &Found {
    found.iter().find(|found| found.class == class).expect("found")
}

fn key(n: u32, state: KeyLife) -> KeyInfo {
    KeyInfo { key: RegionKey::new(n, 1), made_ms: 1, state }
}

#[test]
fn what_came_under_the_policy_in_force_never_was_lawful() {
    for found in found(Stays::Kept, 2, &[]) {
        assert_eq!((found.verdict, found.goes), (Verdict::Foreign, "was never lawful here"));
    }
}

#[test]
fn a_sealed_block_goes_with_the_region_key_that_opens_it() {
    let active = key(1, KeyLife::Active);
    let personal = |keys: &[KeyInfo]| of(&found(Stays::Kept, 1, keys), DataClass::Personal).clone();
    assert_eq!(personal(&[active]).verdict, Verdict::Foreign, "it opens still, and nobody hurries");
    let retired = key(1, KeyLife::Retired { at_ms: 5, destroy_after_ms: 77 });
    let rotated = personal(&[retired, key(2, KeyLife::Active)]);
    assert_eq!((rotated.verdict, rotated.goes_ms), (Verdict::Expiring, 77));
    let destroyed = key(1, KeyLife::Destroyed { at_ms: 78 });
    assert_eq!(personal(&[destroyed, key(2, KeyLife::Active)]).goes_ms, 78);
}

#[test]
fn money_in_plain_goes_once_no_start_would_load_it_and_never_from_the_archive() {
    let financial = |stays| of(&found(stays, 1, &[]), DataClass::Financial).clone();
    assert_eq!(financial(Stays::Behind).verdict, Verdict::Expiring);
    assert_eq!(financial(Stays::Kept).verdict, Verdict::Foreign);
    let (in_force, backup) = (financial(Stays::InForce), financial(Stays::Backup));
    assert!(in_force.verdict == Verdict::Foreign && in_force.goes.contains("purged"));
    assert!(backup.verdict == Verdict::Foreign && backup.goes.contains("backup"));
}

#[test]
fn the_failover_set_holds_all_and_its_neighbours_nothing_of_a_person() {
    for (here, at, leaks) in [("eu-central", 4, false), ("us-east", 2, true), ("ap-south", 3, true)]
    {
        let mut findings = Findings::new(law(here, at));
        let place = Place { file: "x".into(), stays: Stays::Kept };
        let view = OrderView::decode(rig::view(7, DE, &super::BOTH)).unwrap();
        let at = || String::new();
        let mut hearing = Hearing { findings: &mut findings, place: &place, at: &at };
        orders::shown(order(1, 7), view, Some(1), &mut hearing);
        assert_eq!(!findings.found().is_empty(), leaks, "{here}");
    }
}
