//! Differences are planted in a region under load, found, planned, approved, repaired and gone.
//!
//! How each class is planted, and what becomes of it; each plan is said again and changes nothing:
//!
//! - *orphan hold stock*, *orphan hold money*, *orphan capture*, *stock drift*: commands into the
//!   books; repaired by a plan.
//! - *provider missing here*, *provider state differs*: calls of the sandbox; repaired by a plan,
//!   at the sandbox.
//! - *copy missing*, *copy stale*: a peer that believes to be ahead; repaired by a plan.
//! - *missing hold*, *amount differs*: commands into the books. No repair: a person cancels.
//! - *provider missing there*, *provider amount differs*: a file with less in it. No repair: a
//!   person asks for it anew.
//! - *copy conflicting*, *copy extra*: copies put at the peer. No repair, and they stay: which
//!   history is true no verb can know.
//! - *unshipped tail*: a region that is lost and comes back, in `region_loss/tail.rs`.
//! - *state differs*: on no league. No command makes one of an order at rest, for a hold is
//!   committed once and gone when it is given back, and money is captured once: it is judged by
//!   facts alone in `hansa-reconcile`. A parked order that disagrees is one too; it is resumed in
//!   `orders`' core alone.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

#[path = "reconcile/away.rs"]
mod away;
#[path = "reconcile/copies.rs"]
mod copies;
#[path = "reconcile/plant.rs"]
mod plant;
#[path = "reconcile/provider.rs"]
mod provider;
#[path = "backup/rig.rs"]
#[allow(dead_code)]
mod rig;

use std::collections::BTreeMap;
use std::process::Output;
use std::time::Duration;

use hansa_api::pb::order::Order;
use plant::Plant;
use rig::{Rig, text};
use serde_json::Value;

async fn reconcile(rig: &Rig, words: &[&str]) -> Output {
    let words: Vec<&str> = ["reconcile"].iter().chain(words).copied().collect();
    rig.ctl(&words).await
}

/// What a run found inside the region, counted by class.
async fn found(rig: &Rig, words: &[&str]) -> (Option<i32>, BTreeMap<String, usize>) {
    counted(rig, &[&["--no-copies"], words].concat()).await
}

/// What a run found, counted by class; the rest of the line says nothing.
async fn counted(rig: &Rig, words: &[&str]) -> (Option<i32>, BTreeMap<String, usize>) {
    let words = [&["-o", "json", "reconcile", "run"], words].concat();
    let output = rig.ctl(&words).await;
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
    let mut classes = BTreeMap::new();
    for difference in report["differences"].as_array().into_iter().flatten() {
        let class = difference["class"].as_str().unwrap().to_owned();
        for side in ["left", "right"] {
            assert!(!difference[side]["says"].as_str().unwrap().is_empty(), "{difference}");
        }
        *classes.entry(class).or_default() += 1;
    }
    if output.status.code() == Some(3) {
        eprintln!("{}", text(&output));
    }
    (output.status.code(), classes)
}

fn classes(expected: &[(&str, usize)]) -> BTreeMap<String, usize> {
    let named = |(class, n): &(&str, usize)| (format!("DIFFERENCE_CLASS_{class}"), *n);
    expected.iter().map(named).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn planted_differences_are_found_repaired_by_two_people_and_gone() {
    let rig = Rig::start_with("reconcile", |config| {
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("reconcile");
        config.orders.provider.settlement = Some(folder.join("settlement.csv"));
    })
    .await;
    rig.load(Duration::from_secs(1)).await;
    // Traffic goes on while it is looked at, and nothing false is found.
    let (_, quiet) = tokio::join!(rig.load(Duration::from_secs(3)), found(&rig, &[]));
    assert_eq!(quiet, (Some(0), BTreeMap::new()));

    let plant = Plant::new(&rig);
    let (order, in_part) = (rig.place_new().await.unwrap(), rig.place_units(2).await.unwrap());
    plant.orphan_stock_hold().await;
    plant.orphan_money_hold().await;
    plant.orphan_capture().await;
    plant.shipped_by_no_order().await;
    plant.uncommitted(&order).await;
    plant.shipped_in_part(&in_part).await;
    let expected = classes(&[
        ("ORPHAN_HOLD_STOCK", 1),
        ("ORPHAN_HOLD_MONEY", 1),
        ("ORPHAN_CAPTURE", 1),
        ("MISSING_HOLD", 1),
        ("AMOUNT_DIFFERS", 1),
        ("STOCK_DRIFT", 1),
    ]);
    let (_, planted) = tokio::join!(rig.load(Duration::from_secs(2)), found(&rig, &[]));
    assert_eq!(planted, (Some(1), expected));

    the_plan_needs_a_second_person(&rig).await;
    let applied = reconcile(&rig, &["apply", "plan.json"]).await;
    assert_eq!(applied.status.code(), Some(0), "{}", text(&applied));
    assert!(text(&applied).contains("4 of 4 done"), "{}", text(&applied));
    let left = classes(&[("MISSING_HOLD", 1), ("AMOUNT_DIFFERS", 1)]);
    assert_eq!(found(&rig, &[]).await, (Some(1), left));
    let hashes = plant.settled().await;
    let again = reconcile(&rig, &["apply", "plan.json"]).await;
    assert_eq!(again.status.code(), Some(0), "{}", text(&again));
    assert_eq!(plant.settled().await, hashes, "a repeat changes nothing in the books");

    the_orders_are_given_up(&rig, [&order, &in_part]).await;
    let verified = reconcile(&rig, &["verify", "plan.json", "--no-copies"]).await;
    assert_eq!(verified.status.code(), Some(0), "{}", text(&verified));
    assert!(text(&verified).contains("6 of 6 of the plan's differences are gone"));
    let told = text(&reconcile(&rig, &["report", "plan.json"]).await);
    for word in ["OPS-7", "a test", "client/approver", "client/operator", "release stock hold"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    provider::what_only_the_provider_has_is_given_back(&rig, &plant).await;
    provider::what_its_statement_lacks_is_asked_for(&rig).await;
    away::what_cannot_be_read_is_never_clean(rig).await;
}

/// What had no safe repair is a person's: this one gives the orders up.
async fn the_orders_are_given_up(rig: &Rig, orders: [&Order; 2]) {
    for order in orders {
        let cancelled = rig.ctl(&["order", "cancel", &order.name]).await;
        assert!(cancelled.status.success(), "{}", text(&cancelled));
    }
    rig::eventually("a clean region", || async {
        found(rig, &["--settle", "2s"]).await == (Some(0), BTreeMap::new())
    })
    .await;
}

async fn the_plan_needs_a_second_person(rig: &Rig) {
    let planned = ["plan", "--no-copies", "--reason", "a test", "--out", "plan.json"];
    let planned = reconcile(rig, &planned).await;
    assert_eq!(planned.status.code(), Some(1), "{}", text(&planned));
    for class in ["missing hold", "amount differs"] {
        assert!(text(&planned).contains(&format!("needs a person: {class}")), "{}", text(&planned));
    }
    let early = reconcile(rig, &["apply", "plan.json"]).await;
    assert_eq!(early.status.code(), Some(4), "not approved: {}", text(&early));
    assert!(text(&early).contains("0 of 4 done"), "{}", text(&early));
    // The planner has the wrong role, and no other way in.
    let own =
        rig.ctl(&["--as", "operator", "reconcile", "approve", "plan.json", "--ticket", "OPS-7"]);
    assert_eq!(own.await.status.code(), Some(6));
    let plan = std::fs::read_to_string(rig.data.join("plan.json")).unwrap();
    std::fs::write(rig.data.join("changed.json"), plan.replace("a test", "another")).unwrap();
    for verb in [&["approve", "changed.json", "--ticket", "OPS-7"][..], &["apply", "changed.json"]]
    {
        assert_eq!(reconcile(rig, verb).await.status.code(), Some(2), "{verb:?}");
    }
    let approved = reconcile(rig, &["approve", "plan.json", "--ticket", "OPS-7"]).await;
    assert!(approved.status.success(), "{}", text(&approved));
    let many = reconcile(rig, &["apply", "plan.json", "--max-repairs", "3"]).await;
    assert_eq!(many.status.code(), Some(4), "{}", text(&many));
}
