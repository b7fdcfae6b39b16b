//! What could not be read is never clean: one group away, a peer away, the whole region away.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::rig::{PEER, Rig, text};
use crate::{found, reconcile};

/// Exit code, differences and what was not read.
async fn looked(rig: &Rig, words: &[&str]) -> (Option<i32>, usize, String) {
    let words = [&["-o", "json", "reconcile", "run", "--settle", "1s"], words].concat();
    let output = rig.ctl(&words).await;
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
    let found = report["differences"].as_array().map_or(0, Vec::len);
    (output.status.code(), found, report["notRead"].to_string())
}

pub async fn what_cannot_be_read_is_never_clean(mut rig: Rig) {
    assert_eq!(found(&rig, &[]).await, (Some(0), BTreeMap::new()));
    // The peer is away, and a group of which two replicas of three are damaged. Whoever leads the
    // orders now has never compared with the peer.
    rig.stop_region(PEER).await;
    rig.damage_payments().await;
    let (code, differ, why) = looked(&rig, &[]).await;
    assert_eq!((code, differ), (Some(3), 0), "{why}");
    assert!(why.contains("payments-0: "), "{why}");
    assert!(why.contains("copies: orders-0") && why.contains(PEER), "{why}");

    rig.stop_home().await;
    let (code, differ, why) = looked(&rig, &["--no-copies"]).await;
    assert_eq!((code, differ), (Some(3), 0), "{why}");
    let planned = ["plan", "--no-copies", "--reason", "a test", "--out", "away.json"];
    let planned = reconcile(&rig, &planned).await;
    assert_eq!(planned.status.code(), Some(3), "{}", text(&planned));
    let verified = reconcile(&rig, &["verify", "plan.json", "--no-copies"]).await;
    assert_eq!(verified.status.code(), Some(3), "{}", text(&verified));
    rig.stop().await;
}
