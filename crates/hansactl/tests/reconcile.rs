//! Differences are planted in a region under load, found, planned, approved, repaired and gone.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

#[path = "reconcile/copies.rs"]
mod copies;
#[path = "reconcile/plant.rs"]
mod plant;
#[path = "backup/rig.rs"]
#[allow(dead_code)]
mod rig;

use std::collections::BTreeMap;
use std::process::Output;
use std::time::Duration;

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
    let order = rig.place_new().await.unwrap();
    plant.orphan_stock_hold().await;
    plant.orphan_money_hold().await;
    plant.orphan_capture().await;
    plant.shipped_by_no_order().await;
    plant.uncommitted(&order).await;
    let expected = classes(&[
        ("ORPHAN_HOLD_STOCK", 1),
        ("ORPHAN_HOLD_MONEY", 1),
        ("ORPHAN_CAPTURE", 1),
        ("MISSING_HOLD", 1),
        ("STOCK_DRIFT", 1),
    ]);
    let (_, planted) = tokio::join!(rig.load(Duration::from_secs(2)), found(&rig, &[]));
    assert_eq!(planted, (Some(1), expected));

    the_plan_needs_a_second_person(&rig).await;
    let applied = reconcile(&rig, &["apply", "plan.json"]).await;
    assert_eq!(applied.status.code(), Some(0), "{}", text(&applied));
    assert!(text(&applied).contains("4 of 4 done"), "{}", text(&applied));
    let left = classes(&[("MISSING_HOLD", 1)]);
    assert_eq!(found(&rig, &[]).await, (Some(1), left.clone()));
    let hashes = plant.settled().await;
    let again = reconcile(&rig, &["apply", "plan.json"]).await;
    assert_eq!(again.status.code(), Some(0), "{}", text(&again));
    assert_eq!(plant.settled().await, hashes, "a repeat changes nothing in the books");

    // What had no safe repair is a person's: this one gives the order up.
    let cancelled = rig.ctl(&["order", "cancel", &order.name]).await;
    assert!(cancelled.status.success(), "{}", text(&cancelled));
    rig::eventually("a clean region", || async {
        found(&rig, &["--settle", "2s"]).await == (Some(0), BTreeMap::new())
    })
    .await;
    let verified = reconcile(&rig, &["verify", "plan.json", "--no-copies"]).await;
    assert_eq!(verified.status.code(), Some(0), "{}", text(&verified));
    assert!(text(&verified).contains("5 of 5 of the plan's differences are gone"));
    let told = text(&reconcile(&rig, &["report", "plan.json"]).await);
    for word in ["OPS-7", "a test", "client/approver", "client/operator", "release stock hold"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    the_provider_says_the_same(&rig, &plant).await;
    rig.stop().await;
}

/// The settlement file agrees with the books; with one charge more it does not, cut short it is not
/// read.
async fn the_provider_says_the_same(rig: &Rig, plant: &Plant) {
    let compared = |file: &'static str| async move {
        let until = ["--settle", "20s", "--statement-until", "2100-01-01T00:00:00Z"];
        found(rig, &[&["--statement", file][..], &until].concat()).await
    };
    assert_eq!(compared("settlement.csv").await, (Some(0), BTreeMap::new()));
    let said = std::fs::read_to_string(rig.data.join("settlement.csv")).unwrap();
    let (key, ms) = plant.charge_of_nobody();
    let more = format!("{said}{key},capture,500,EUR,{ms},x-1\n");
    std::fs::write(rig.data.join("more.csv"), &more).unwrap();
    let one = classes(&[("PROVIDER_MISSING_HERE", 1)]);
    assert_eq!(compared("more.csv").await, (Some(1), one));
    std::fs::write(rig.data.join("cut.csv"), &more[..more.len() - 3]).unwrap();
    assert_eq!(compared("cut.csv").await, (Some(3), BTreeMap::new()));
}

async fn the_plan_needs_a_second_person(rig: &Rig) {
    let planned = ["plan", "--no-copies", "--reason", "a test", "--out", "plan.json"];
    let planned = reconcile(rig, &planned).await;
    assert_eq!(planned.status.code(), Some(1), "{}", text(&planned));
    assert!(text(&planned).contains("needs a person: missing hold"), "{}", text(&planned));
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
