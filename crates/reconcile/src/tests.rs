//! Claims about single cases; whole regions are in `tests/planted.rs`.

use bytes::Bytes;
use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::DifferenceClass as Class;
use hansa_api::pb::admin::repair::Action;

use hansa_types::id::OrderId;
use hansa_types::region::{RegionNumber, Slot};
use hansa_types::time::LogTime;

use crate::judge::{Case, Judge, Judged, Source};
use crate::merge::{Coverage, Spool};
use crate::repairs::{self, Beside};

fn judge(case: &Case) -> Vec<pb::FoundDifference> {
    let judge = Judge { heads: &[], region: "eu-west", number: Some(1) };
    match judge.judge(None, case) {
        Judged::Agrees => Vec::new(),
        Judged::Moving => panic!("moving"),
        Judged::Differs(found) => found,
    }
}

fn classes(case: &Case) -> Vec<Class> {
    judge(case).iter().map(pb::FoundDifference::class).collect()
}

fn order(funds: pb::FundsPhase, phase: pb::OrderPhase) -> pb::OrderFacts {
    pb::OrderFacts {
        idle: true,
        phase: phase.into(),
        funds: funds.into(),
        payment: Bytes::from_static(&[2; 16]),
        currency: "EUR".into(),
        total_minor: 700,
        captured_minor: if funds == pb::FundsPhase::Captured { 700 } else { 0 },
        hash: "1".into(),
        ..Default::default()
    }
}

fn books(held: i64, captured: i64, refunded: i64) -> pb::MoneyFacts {
    let hold = pb::MoneyHold { hold: Bytes::from_static(&[3; 16]), amount_minor: held };
    pb::MoneyFacts {
        payment: Bytes::from_static(&[2; 16]),
        currency: "EUR".into(),
        held_minor: held,
        captured_minor: captured,
        refunded_minor: refunded,
        holds: if held > 0 { vec![hold] } else { Vec::new() },
        ..Default::default()
    }
}

fn case(order: pb::OrderFacts, money: pb::MoneyFacts) -> Case {
    let (order, money) = (Some((Source(0), order)), vec![(Source(1), money)]);
    Case { order, money, ..Case::default() }
}

#[test]
fn money_is_judged_by_what_the_order_says_of_it() {
    use pb::FundsPhase::{Captured, Held, None};
    use pb::OrderPhase::{Confirmed, Undoing, Undone};
    let rows = [
        (Captured, Confirmed, books(0, 700, 0), &[][..]),
        (Captured, Confirmed, books(0, 600, 0), &[Class::AmountDiffers]),
        (Captured, Confirmed, books(0, 700, 300), &[Class::AmountDiffers]),
        (Captured, Confirmed, books(700, 0, 0), &[Class::StateDiffers]),
        (Captured, Confirmed, books(100, 700, 0), &[Class::OrphanHoldMoney]),
        (Held, Undoing, books(700, 0, 0), &[]),
        (Held, Undoing, books(0, 0, 0), &[Class::MissingHold]),
        (Held, Undoing, books(0, 700, 0), &[Class::StateDiffers]),
        (Held, Undoing, books(600, 0, 0), &[Class::AmountDiffers]),
        (None, Undone, books(0, 0, 0), &[]),
        (None, Undone, books(700, 0, 0), &[Class::OrphanHoldMoney]),
        (None, Undone, books(0, 700, 0), &[Class::OrphanCapture]),
        // A repair gave it back: what came and went is nothing.
        (None, Undone, books(0, 700, 700), &[]),
    ];
    for (funds, phase, money, expected) in rows {
        let case = case(order(funds, phase), money.clone());
        assert_eq!(classes(&case), expected, "{funds:?} {phase:?} {money:?}");
    }
}

#[test]
fn what_is_under_way_is_not_judged() {
    let mut moving = order(pb::FundsPhase::Captured, pb::OrderPhase::Confirmed);
    moving.idle = false;
    let judge = Judge { heads: &[], region: "eu-west", number: None };
    assert_eq!(judge.judge(None, &case(moving, books(0, 1, 0))), Judged::Moving);
}

#[test]
fn a_parked_order_tries_again_and_no_other_is_touched_without_a_person() {
    let mut parked = order(pb::FundsPhase::Captured, pb::OrderPhase::Confirmed);
    parked.parked = true;
    let found = judge(&case(parked.clone(), books(0, 600, 0))).remove(0);
    assert_eq!(found.class(), Class::StateDiffers);
    let beside = Beside { order: Some(&parked), ..Beside::default() };
    let (repair, _) = repairs::propose(&found, &beside);
    assert!(matches!(repair.unwrap().action, Some(Action::ResumeOrder(_))));
    for class in [
        Class::MissingHold,
        Class::AmountDiffers,
        Class::StateDiffers,
        Class::ProviderMissingThere,
        Class::ProviderAmountDiffers,
        Class::CopyExtra,
        Class::CopyConflicting,
        Class::Unspecified,
    ] {
        let found = pb::FoundDifference { class: class.into(), ..Default::default() };
        let (repair, why) = repairs::propose(&found, &Beside::default());
        assert!(repair.is_none() && !why.is_empty(), "{class:?}");
    }
}

fn born(ms: u64) -> OrderId {
    OrderId::new(LogTime(ms), RegionNumber::try_from(1).unwrap(), Slot::of(b"x"), ms)
}

#[test]
fn a_payment_at_an_edge_of_the_statement_is_not_covered_and_none_of_its_lines_missing() {
    // The first line is of 100 s, the last one of 900 s; a movement is written up to 60 s late.
    let coverage = Coverage { from_ms: 100_000, until_ms: 900_000, settle_ms: 60_000 };
    let covered = |ms: u64, updated_ms: u64| {
        let facts = pb::OrderFacts { updated_ms, ..Default::default() };
        let order = Some((Source(0), facts));
        coverage.covers(born(ms), &Case { order, ..Case::default() })
    };
    for before in [30_000, 60_000, 99_999, 100_000, 159_999] {
        assert!(!covered(before, 500_000), "born at {before}");
    }
    assert!(covered(160_000, 840_000));
    assert!(!covered(160_000, 840_001) && !covered(890_000, 890_000));
    // Without a beginning everything before the end is.
    let all = Coverage { from_ms: 0, ..coverage };
    assert!(all.covers(born(60_000), &Case::default()));
}

#[test]
fn a_group_that_tells_without_end_is_not_read() {
    let mut spool = Spool::begin(pb::FactsHead::default()).unwrap();
    let order = |n: u64| {
        let order = hansa_api::convert::id::order_to_bytes(born(n));
        pb::StockFacts { order, ..Default::default() }
    };
    let page = |n: u64| pb::FactsPage { stock: (0..n).map(order).collect(), ..Default::default() };
    assert!(spool.page(&page(500)).is_ok());
    assert!(spool.page(&page(1_000_000)).is_err());
}
