//! The audit of a region whose history nobody touched, and of one whose history somebody did.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

// Half of what it can do is for backups.
#[allow(dead_code)]
#[path = "backup/rig.rs"]
mod rig;

use std::time::Duration;

use rig::{HOME, Rig, eventually, text};

const VICTIM: &str = "eu-west-2";

/// What `audit verify -o json` counted.
fn count(report: &serde_json::Value, key: &str) -> u64 {
    match &report[key] {
        serde_json::Value::String(number) => number.parse().unwrap(),
        number => number.as_u64().unwrap_or(0),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_audit_passes_what_nobody_touched_and_finds_what_somebody_did() {
    let small = |config: &mut hansa::config::Config| config.log.checkpoint_entries = 100;
    let mut rig = Rig::start_with("audit", small).await;
    let placed = rig.load(Duration::from_secs(4)).await;
    rig.replicated(&placed[placed.len() - 1..]).await;
    eventually("an audit that meets anchors", || async {
        let told = rig.ctl(&["audit", "verify", "--group", "orders-0"]).await;
        assert_ne!(told.status.code(), Some(1), "a false alarm: {}", text(&told));
        told.status.success() && !text(&told).contains(" 0 anchors met")
    })
    .await;
    let told = rig.ctl(&["-o", "json", "audit", "verify"]).await;
    assert!(told.status.success(), "{}", text(&told));
    let report: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    for key in ["entriesWalked", "headsEqual", "anchorsMet"] {
        assert!(count(&report, key) > 0, "{key}: {report}");
    }
    assert_eq!((count(&report, "differences"), count(&report, "notRead")), (0, 0), "{report}");

    // A node is edited while it is down: checksums and all, it starts and serves.
    let archive = "groups/orders-0/archive.redb";
    let forge =
        |dir: &std::path::Path| hansa_consensus::testing::forger::edit_entry(&dir.join(archive));
    let entry = rig.without(VICTIM, forge).await;
    eventually("the audit to name it", || async {
        let told = rig.ctl(&["audit", "verify", "--group", "orders-0"]).await;
        let named = format!("entry {entry}: ");
        let said = text(&told);
        let line = said.lines().find(|line| line.contains(VICTIM)).unwrap_or_default();
        told.status.code() == Some(1) && line.contains("differs") && line.contains(&named)
    })
    .await;
    let others = rig.ctl(&["audit", "verify", "--node", "eu-west-3"]).await;
    assert!(others.status.success(), "{}", text(&others));
    let unknown = rig.ctl(&["audit", "verify", "--group", "orders-99"]).await;
    assert_eq!(unknown.status.code(), Some(2), "{}", text(&unknown));
    assert_eq!(HOME, "eu-west");
    rig.stop().await;
}

/// Every replica tells the same sound history, so nothing at home can show that it is not the one
/// that happened; the heads that another region keeps do.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_history_that_all_replicas_rewrote_is_found_by_the_heads_that_peers_keep() {
    let mut rig = Rig::start("rewritten").await;
    rig.load(Duration::from_secs(2)).await;
    eventually("heads are kept abroad", || async {
        let told = rig.ctl(&["audit", "verify", "--group", "orders-0"]).await;
        assert_ne!(told.status.code(), Some(1), "a false alarm: {}", text(&told));
        told.status.success() && !text(&told).contains(" 0 anchors met")
    })
    .await;
    rig.rewrite_home().await;
    eventually("the audit to find it", || async {
        // The new history must pass the entries of which heads are kept.
        rig.load(Duration::from_secs(1)).await;
        let told = rig.ctl(&["-o", "json", "audit", "verify", "--group", "orders-0"]).await;
        let report: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap_or_default();
        let findings = report["findings"].as_array().cloned().unwrap_or_default();
        let with = |key: &str, part: &str| {
            let of =
                findings.iter().filter(|of| of[key].as_str().is_some_and(|t| t.contains(part)));
            of.cloned().collect::<Vec<_>>()
        };
        let replicas = with("nodeName", HOME);
        let sound = |of: &serde_json::Value| of["verdict"] == "CHAIN_VERDICT_VERIFIED";
        let found = with("detail", "is not the history of which us-east keeps entry");
        let alone = replicas.len() == 3 && replicas.iter().all(sound);
        told.status.code() == Some(1) && alone && !found.is_empty()
    })
    .await;
    rig.stop().await;
}
