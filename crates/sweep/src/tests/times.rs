//! What was lawful when it came: when it goes.

use std::sync::Arc;

use hansa_api::classes::DataClass;
use hansa_api::pb::replication::OrderView;
use hansa_orders::core::command::Command;
use hansa_orders::core::effect::Reference;
use hansa_orders::core::subjects::{KeyEntry, KeyOf, KeyStep, RegionKey, SubjectId, Wrapped};
use hansa_orders::core::takeover::{self, Adopted, Candidate, Facts, Standing};
use hansa_orders::vault::{KeyInfo, KeyLife};
use hansa_region_router::core::policy::Policy;
use hansa_types::time::LogTime;
use prost::Message as _;

use super::rig::{self, DE, POLICY, law, order, view};
use crate::fact::{Fact, Whose, only};
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

const NOW_MS: u64 = 1_000;

fn found(stays: Stays, terms: u64, keys: &[KeyInfo]) -> Vec<Found> {
    let mut findings = tightened();
    findings.now_ms = NOW_MS;
    findings.vault(keys.to_vec());
    shown(findings, stays, terms)
}

fn shown(mut findings: Findings, stays: Stays, terms: u64) -> Vec<Found> {
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
    let left = found(Stays::Kept, 1, &[destroyed, key(2, KeyLife::Active)]);
    assert!(left.iter().all(|found| found.class != DataClass::Personal), "{left:?}");
}

#[test]
fn money_in_plain_goes_once_no_start_would_load_it_and_never_from_the_archive() {
    let financial = |stays| of(&found(stays, 1, &[]), DataClass::Financial).clone();
    assert_eq!(financial(Stays::Behind).verdict, Verdict::Expiring);
    assert_eq!(financial(Stays::Kept).verdict, Verdict::Foreign);
    let in_force = financial(Stays::InForce);
    assert!(in_force.verdict == Verdict::Foreign && in_force.goes.contains("purged"));
}

#[test]
fn a_backup_goes_by_the_date_in_its_manifest_and_is_foreign_after_it() {
    let backup = |until| found(Stays::Backup(until), 1, &[]);
    for found in backup(NOW_MS) {
        assert_eq!((found.verdict, found.goes_ms), (Verdict::Expiring, NOW_MS), "{found:?}");
    }
    for found in backup(NOW_MS - 1) {
        assert!(found.verdict == Verdict::Foreign && found.goes.contains("prune"), "{found:?}");
    }
    let never = found(Stays::Backup(NOW_MS), 2, &[]);
    assert!(never.iter().all(|found| found.verdict == Verdict::Foreign), "a leak has no date");
}

/// A key that a purged copy needed, which the archive has for ever; and what is known of it.
fn taken(living: &[KeyInfo], by: RegionKey) -> Vec<Found> {
    taken_at(Stays::Kept, living, by)
}

fn taken_at(stays: Stays, living: &[KeyInfo], by: RegionKey) -> Vec<Found> {
    let mut findings = tightened();
    findings.vault(living.to_vec());
    let place = Place { file: "archive.redb".into(), stays };
    let subject = SubjectId { home: rig::number(1), hash: 7 };
    let of = KeyOf { subject, generation: 1 };
    let wrapped = Wrapped { by, ..rig::wrapped() };
    let take = Command::Keys(KeyStep::Take(vec![KeyEntry { of, wrapped }]));
    let at = || "there".to_owned();
    let mut hearing = Hearing { findings: &mut findings, place: &place, at: &at };
    orders::command(&take.encode(), &mut hearing).unwrap();
    findings.settle();
    findings.found()
}

#[test]
fn a_key_whose_customer_nothing_names_any_more_goes_with_its_region_key() {
    let (old, new) = (RegionKey::new(1, 1), key(2, KeyLife::Active));
    let active = taken(&[key(1, KeyLife::Active)], old);
    assert_eq!(active[0].verdict, Verdict::Foreign, "{active:?}");
    assert!(active[0].goes.contains("rotate"), "{active:?}");
    let retired = key(1, KeyLife::Retired { at_ms: 5, destroy_after_ms: 77 });
    let retired = taken(&[retired, new], old);
    assert_eq!((retired[0].verdict, retired[0].goes_ms), (Verdict::Expiring, 77));
    let destroyed = key(1, KeyLife::Destroyed { at_ms: 78 });
    assert_eq!(taken(&[destroyed, new], old), [], "nobody opens it any more");
    assert_eq!(taken(&[key(3, KeyLife::Active)], old), [], "older than all that the vault lists");
}

#[test]
fn nobody_is_told_to_rotate_for_a_key_that_would_be_wrapped_anew() {
    let found = taken_at(Stays::InForce, &[key(1, KeyLife::Active)], RegionKey::new(1, 1));
    assert_eq!(found[0].verdict, Verdict::Foreign);
    assert!(!found[0].goes.contains("hansactl key rotate"), "{found:?}");
    let retired = key(1, KeyLife::Retired { at_ms: 5, destroy_after_ms: 77 });
    let keys = [retired, key(2, KeyLife::Active)];
    let found = taken_at(Stays::InForce, &keys, RegionKey::new(1, 1));
    assert_eq!((found[0].verdict, found[0].goes_ms), (Verdict::Expiring, 77));
}

#[test]
fn a_block_opens_as_long_as_any_key_that_opens_it_does() {
    let retired = key(1, KeyLife::Retired { at_ms: 5, destroy_after_ms: 77 });
    let keys = [retired, key(2, KeyLife::Active)];
    for (wrapped_by, verdict) in [(1, Verdict::Expiring), (2, Verdict::Foreign)] {
        let mut findings = tightened();
        findings.vault(keys.to_vec());
        let subject = SubjectId { home: rig::number(1), hash: 7 };
        findings.wraps(KeyOf { subject, generation: 1 }, RegionKey::new(wrapped_by, 1));
        let found = of(&shown(findings, Stays::Kept, 1), DataClass::Personal).clone();
        assert_eq!(found.verdict, verdict, "re-wrapped before it was given back: {found:?}");
    }
}

#[test]
fn what_the_region_took_over_may_stay_where_it_may_be_stored() {
    // eu-central is out of the failover set, and lies in the jurisdiction still.
    let mut findings = tightened();
    let place = Place { file: "orders".into(), stays: Stays::InForce };
    let money = Fact::new(Whose::Order(order(1, 7)), only(DataClass::Financial), "money");
    let of_a_german = money.of(Some(DE.parse().unwrap()));
    findings.fact(&place, of_a_german.clone(), String::new);
    assert_eq!(findings.found(), [], "its own business");
    findings.fact(&place, of_a_german.shipped(), String::new);
    assert_eq!(findings.found().len(), 1, "a copy is what the failover set allows");
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

#[test]
fn the_key_by_which_a_former_owner_knew_a_customer_is_of_whose_order_was_taken_over() {
    let of = KeyOf { subject: SubjectId { home: rig::number(4), hash: 9 }, generation: 1 };
    let take = Command::Keys(KeyStep::Take(vec![KeyEntry { of, wrapped: rig::wrapped() }]));
    for (commands, clean) in [(vec![take.clone()], false), (vec![take, adopt(of)], true)] {
        let mut findings = Findings::new(law("eu-west", 1));
        findings.vault(vec![key(1, KeyLife::Active)]);
        let place = Place { file: "wal/00000001.seg".into(), stays: Stays::InForce };
        let at = || "there".to_owned();
        for command in commands {
            let mut hearing = Hearing { findings: &mut findings, place: &place, at: &at };
            orders::command(&command.encode(), &mut hearing).unwrap();
        }
        findings.settle();
        assert_eq!(findings.found().is_empty(), clean, "{:?}", findings.found());
    }
}

/// An order comes home, whose customer the former owner knew by `sealed`.
fn adopt(sealed: KeyOf) -> Command {
    let Command::Accept(accept) = rig::own(7, DE) else { panic!("no order") };
    let facts = Facts {
        created: LogTime(1),
        standing: Standing::Open,
        cancel_asked: false,
        cancel_reason: String::new(),
        settled: true,
        in_doubt: false,
        declined: None,
        authorized_minor: 0,
        captured_minor: 0,
        refunded_minor: 0,
        reference: Reference(String::new()),
        refunds: Vec::new(),
        shipments: Vec::new(),
        returns: Vec::new(),
        sealed,
        requests: Vec::new(),
        placed_as: None,
    };
    let contents = accept.contents;
    let (order, looked, version, mint) = (order(1, 7), false, 3, None);
    let adopted = Adopted { order, looked, version, contents, mint, facts };
    let orders = vec![Candidate::Take(Box::new(adopted))];
    Command::Takeover(takeover::Step::Adopt { birth: rig::number(1), epoch: 3, orders })
}
