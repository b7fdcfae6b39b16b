//! What the provider says: charges of nobody are given back, lines that are wrong are asked for.

use std::collections::BTreeMap;

use crate::plant::{self, Plant};
use crate::rig::{Rig, text};
use crate::{classes, found, reconcile};

type Found = (Option<i32>, BTreeMap<String, usize>);

/// A statement of the region's whole life.
const ALL: [&str; 5] = [
    "--no-copies",
    "--statement-from",
    "2000-01-01T00:00:00Z",
    "--statement-until",
    "2100-01-01T00:00:00Z",
];

fn clean() -> Found {
    (Some(0), BTreeMap::new())
}

async fn compared(rig: &Rig, file: &str) -> Found {
    found(rig, &[&["--settle", "20s", "--statement", file][..], &ALL[1..]].concat()).await
}

async fn with(rig: &Rig, verb: &[&str], file: &str) -> (Option<i32>, String) {
    let words = [verb, &["--settle", "20s", "--statement", file], &ALL].concat();
    let output = reconcile(rig, &words).await;
    (output.status.code(), text(&output))
}

fn said(rig: &Rig) -> String {
    std::fs::read_to_string(rig.data.join("settlement.csv")).unwrap()
}

/// Two charges that nobody here stands for, one taken and one held: two people have them cancelled.
pub async fn what_only_the_provider_has_is_given_back(rig: &Rig, plant: &Plant) {
    let file = "settlement.csv";
    assert_eq!(compared(rig, file).await, clean());
    let provider = plant::provider(rig);
    plant.charged_by_nobody(&provider).await;
    plant.held_there_alone(&provider).await;
    let planted = classes(&[("PROVIDER_MISSING_HERE", 1), ("PROVIDER_STATE_DIFFERS", 1)]);
    assert_eq!(compared(rig, file).await, (Some(1), planted));

    let plan = ["plan", "--reason", "a test", "--out", "provider.json"];
    let (code, told) = with(rig, &plan, file).await;
    assert!(code == Some(1) && told.contains("2 repairs, 0 for a person"), "{told}");
    let early = reconcile(rig, &["apply", "provider.json"]).await;
    assert_eq!(early.status.code(), Some(4), "not approved: {}", text(&early));
    let approved = reconcile(rig, &["approve", "provider.json", "--ticket", "OPS-9"]).await;
    assert!(approved.status.success(), "{}", text(&approved));
    let applied = reconcile(rig, &["apply", "provider.json"]).await;
    assert_eq!(applied.status.code(), Some(0), "{}", text(&applied));
    assert!(text(&applied).contains("2 of 2 done"), "{}", text(&applied));

    assert_eq!(compared(rig, file).await, clean());
    let (code, told) = with(rig, &["verify", "provider.json"], file).await;
    assert!(code == Some(0) && told.contains("2 of 2 of the plan's differences"), "{told}");
    // Without the statement nothing of it is proven.
    let blind = reconcile(rig, &["verify", "provider.json", "--no-copies"]).await;
    assert_eq!(blind.status.code(), Some(3), "{}", text(&blind));
    let (statement, books) = (said(rig), plant.settled().await);
    let again = reconcile(rig, &["apply", "provider.json"]).await;
    assert!(text(&again).contains("2 of 2 done"), "{}", text(&again));
    let after = (said(rig), plant.settled().await);
    assert_eq!(after, (statement, books), "a repeat changes nothing, here or there");
}

/// The provider's file lacks a payment and says another amount of a second one: that is for a
/// person, who asks for it anew. A file that was cut short is not read.
pub async fn what_its_statement_lacks_is_asked_for(rig: &Rig) {
    let whole = said(rig);
    let captured: Vec<&str> = whole.lines().filter(|line| line.contains(",capture,300,")).collect();
    let key = |line: &str| line.split(',').next().unwrap().to_owned();
    let (lost, wrong) = (key(captured[0]), captured[captured.len() - 1]);
    assert_ne!(lost, key(wrong));
    let kept = whole.lines().filter(|line| !line.starts_with(&lost));
    let changed = |line: &str| match key(line) == key(wrong) {
        true => line.replace(",capture,300,", ",capture,299,"),
        false => line.to_owned(),
    };
    let less: Vec<String> = kept.map(changed).collect();
    std::fs::write(rig.data.join("less.csv"), less.join("\n") + "\n").unwrap();
    let planted = classes(&[("PROVIDER_MISSING_THERE", 1), ("PROVIDER_AMOUNT_DIFFERS", 1)]);
    assert_eq!(compared(rig, "less.csv").await, (Some(1), planted));
    let plan = ["plan", "--reason", "a test", "--out", "less.json"];
    let (code, told) = with(rig, &plan, "less.csv").await;
    assert!(code == Some(1) && told.contains("0 repairs, 2 for a person"), "{told}");
    let (code, told) = with(rig, &["verify", "less.json"], "less.csv").await;
    assert!(code == Some(1) && told.contains("0 of 2 of the plan's differences"), "{told}");
    let (code, told) = with(rig, &["verify", "less.json"], "settlement.csv").await;
    assert!(code == Some(0) && told.contains("2 of 2 of the plan's differences"), "{told}");

    std::fs::write(rig.data.join("cut.csv"), &whole[..whole.len() - 3]).unwrap();
    assert_eq!(compared(rig, "cut.csv").await, (Some(3), BTreeMap::new()));
}
