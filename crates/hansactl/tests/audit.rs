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
