//! A region under load is copied, lost, and put into new nodes, with another region looking on.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

#[path = "backup/rig.rs"]
mod rig;
#[path = "backup/vault.rs"]
mod vault;

use std::collections::BTreeSet;
use std::time::Duration;

use hansa_api::pb::admin::{CopyDifferenceKind, ListDifferencesRequest, ListEpochsRequest};
use hansa_api::pb::node::{
    BeginRestoreRequest, CheckRestoreRequest, CommitRestoreRequest, PutChunkRequest,
};
use hansa_api::pb::order::OrderState;
use hansa_api::status::{Failure, Reason};

use rig::{HOME, PEER, Rig, eventually, flip_a_byte, settled, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_region_comes_back_from_a_backup_that_was_made_under_load() {
    let mut rig = Rig::start("round-trip").await;
    let before = rig.load(Duration::from_secs(2)).await;
    assert!(before.len() > 10, "{} orders before the backup", before.len());
    vault::planted(&rig).await;
    let (during, made) =
        tokio::join!(rig.load(Duration::from_secs(4)), rig.ctl(&["backup", "create", "copy"]));
    assert!(made.status.success(), "{}", text(&made));
    eprintln!("create: {}", text(&made));
    // Acknowledged after the backup, and so lost with the region.
    let lost = rig.load(Duration::from_secs(2)).await;
    assert!(lost.len() > 5 && during.len() > 10);
    rig.replicated(&lost).await;

    let good = rig.ctl(&["backup", "verify", "copy"]).await;
    assert!(good.status.success(), "{}", text(&good));
    eprintln!("verify: {}", text(&good));
    vault::is_not_in(&rig, "copy");
    for verb in ["list", "prune"] {
        let named = rig.ctl(&["backup", verb, "."]).await;
        assert!(named.status.success(), "{}", text(&named));
        let listed = text(&named).contains("./copy") && text(&named).contains(HOME);
        assert_eq!(listed, verb == "list", "nothing is over: {}", text(&named));
    }
    rig.copy_folder("copy", "damaged");
    for seed in 0..12 {
        let place = flip_a_byte(&rig.data.join("damaged"), seed);
        let bad = rig.ctl(&["backup", "verify", "damaged"]).await;
        assert_eq!(bad.status.code(), Some(1), "{place}: {}", text(&bad));
        flip_a_byte(&rig.data.join("damaged"), seed);
    }
    let place = flip_a_byte(&rig.data.join("damaged"), 99);

    // The region is gone; its provider and its vault's key are not.
    rig.stop_home().await;
    let reached = applied_at_peer(&rig, 1).await.expect("the peer follows");
    let refused = rig.start_restored_in_old_folders().await;
    assert!(refused.contains("empty folder"), "{refused}");
    let restored = rig.start_restored();
    let nodes = rig.new_nodes();
    let restore = |folder: &'static str| {
        let mut words = vec!["backup", "restore", folder, "--skew", "1s"];
        nodes.iter().for_each(|node| words.extend(["--node", node]));
        words
    };
    a_node_takes_nothing_but_what_the_manifest_names(&rig).await;
    let bad = rig.ctl(&restore("damaged")).await;
    assert_eq!(bad.status.code(), Some(4), "{place}: {}", text(&bad));
    let back = rig.ctl(&restore("copy")).await;
    assert!(back.status.success(), "{}", text(&back));
    eprintln!("restore: {}", text(&back));
    rig.take(restored).await;

    payments_that_nobody_knows_are_settled_first(&rig).await;
    for order in before.iter() {
        assert_eq!(rig.replay(order).await, Ok((order.name.clone(), true)), "a known id");
        let found = rig.get(&order.name).await;
        assert_eq!((found.version >= order.version, found.epoch), (true, 2), "{}", order.name);
    }
    rig.all_decided(&before).await;
    let mut doubts = 0;
    for order in &lost {
        match rig.replay(order).await {
            Err(Reason::RequestInDoubt) => doubts += 1,
            other => panic!("{}: {other:?}", order.name),
        }
    }
    assert_eq!(doubts, lost.len());
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let new = rig.place_new().await.expect("a new order");
    assert_eq!(new.state(), OrderState::Confirmed);
    rig.invariants_hold().await;
    eventually("the peer goes on", || async { applied_at_peer(&rig, 2).await.is_some() }).await;
    let old = applied_at_peer(&rig, 1).await;
    assert!(old >= Some(reached), "{reached} before, {old:?} now");
    what_the_peer_knows(&rig, &lost).await;
    rig.stop().await;
}

/// How far the peer has come in an epoch of the region: cursors never run backwards.
async fn applied_at_peer(rig: &Rig, epoch: u64) -> Option<u64> {
    let backups = rig.as_client("operator", PEER).await.backups;
    let ask = || {
        let (mut backups, asked) = (backups.clone(), ListEpochsRequest { region: PEER.to_owned() });
        async move { backups.list_epochs(asked).await }
    };
    let told = settled(ask).await.expect("epochs").origins;
    let of = told.iter().filter(|o| o.region == HOME && o.epoch == epoch);
    of.map(|o| o.applied_sequence).max()
}

/// `cargo test -p hansactl --test backup -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "figures: takes minutes"]
async fn figures() {
    let mut rig = Rig::start("figures").await;
    let before = rig.load(Duration::from_secs(40)).await;
    eprintln!("{} orders", before.len());
    let (during, made) =
        tokio::join!(rig.load(Duration::from_secs(5)), rig.ctl(&["backup", "create", "copy"]));
    eprintln!("{} orders meanwhile; create: {}", during.len(), text(&made));
    eprintln!("verify: {}", text(&rig.ctl(&["backup", "verify", "copy"]).await));
    rig.stop_home().await;
    let restored = rig.start_restored();
    let nodes = rig.new_nodes();
    let mut words = vec!["backup", "restore", "copy", "--unknown-payments", "cancel"];
    nodes.iter().for_each(|node| words.extend(["--node", node]));
    let began = std::time::Instant::now();
    eprintln!("restore: {}", text(&rig.ctl(&words).await));
    rig.take(restored).await;
    eventually("the end of the phase", || async {
        rig.ctl(&["backup", "status"]).await.status.success()
    })
    .await;
    eprintln!("serving after {:?}", began.elapsed());
    rig.stop().await;
}

/// Sent by hand, past the tool's own check: the right checksums over the wrong bytes.
async fn a_node_takes_nothing_but_what_the_manifest_names(rig: &Rig) {
    let manifest = std::fs::read(rig.data.join("copy/manifest.json")).unwrap();
    let begin = BeginRestoreRequest {
        manifest: manifest.into(),
        epoch: 2,
        restored_ms: 1,
        ..Default::default()
    };
    let mut stranger = rig.restore_client("storefront").await;
    let refused = stranger.begin_restore(begin.clone()).await.unwrap_err();
    assert_eq!(Failure::from(&refused).reason(), Reason::PermissionDenied);
    let mut node = rig.restore_client("operator").await;
    let stale = BeginRestoreRequest { epoch: 1, ..begin.clone() };
    let refused = node.begin_restore(stale).await.unwrap_err();
    assert!(refused.message().contains("not newer"), "{refused:?}");
    let parts = node.begin_restore(begin).await.unwrap().into_inner().parts;
    for part in parts {
        let mut bytes = std::fs::read(rig.data.join("copy").join(&part.path)).unwrap();
        if part.path == "payments-0/entries" {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
        }
        let mut offset = 0;
        for data in bytes.chunks(1 << 20) {
            let checksum = hansa_backup::part::checksum(offset, data);
            let (path, data) = (part.path.clone(), data.to_vec().into());
            let chunk = PutChunkRequest { path, offset, data, checksum };
            offset = node.put_chunk(chunk.clone()).await.unwrap().into_inner().bytes;
            let again = node.put_chunk(chunk).await.unwrap().into_inner().bytes;
            assert_eq!(again, offset, "a repeat changes nothing");
        }
    }
    let early = node.commit_restore(CommitRestoreRequest {}).await.unwrap_err();
    assert_eq!(Failure::from(&early).reason(), Reason::FailedPrecondition);
    let damage = loop {
        let answer = node.check_restore(CheckRestoreRequest {}).await.unwrap().into_inner();
        if answer.done {
            break answer.damage;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(damage.contains("payments-0/entries: damaged at byte"), "{damage}");
    assert!(node.commit_restore(CommitRestoreRequest {}).await.is_err());
    let left = rig.files_of_first_new_node();
    assert!(left.iter().all(|name| name != "groups" && name != "wal"), "{left:?}");
}

/// Charges of the orders that were lost.
async fn payments_that_nobody_knows_are_settled_first(rig: &Rig) {
    let failed = rig.place_new().await.expect_err("nothing new is taken yet");
    assert_eq!(failed.reason(), Reason::Restoring, "{failed:?}");
    eventually("the provider's list", || async {
        text(&rig.ctl(&["backup", "status"]).await).contains("open pay-")
    })
    .await;
    let decided = rig.ctl(&["backup", "settle", "cancel"]).await;
    assert!(decided.status.success(), "{}", text(&decided));
    eventually("the end of the phase", || async {
        rig.ctl(&["backup", "status"]).await.status.success()
    })
    .await;
    let status = text(&rig.ctl(&["backup", "status"]).await);
    assert!(status.contains("cancelled pay-") && status.contains("in_doubt"), "{status}");
}

/// Every order that only the peer still knows is listed.
async fn what_the_peer_knows(rig: &Rig, lost: &[rig::Placed]) {
    let backups = rig.as_client("operator", PEER).await.backups;
    eventually("the lost orders in the peer's list", || {
        let backups = backups.clone();
        async move {
            let mut asked = ListDifferencesRequest {
                region: PEER.to_owned(),
                origin: HOME.to_owned(),
                // More than one page, however slow the machine is.
                max: lost.len() as u32 / 3,
                ..ListDifferencesRequest::default()
            };
            let (mut only_here, mut pages) = (BTreeSet::new(), 0);
            loop {
                let ask = || {
                    let (mut backups, asked) = (backups.clone(), asked.clone());
                    async move { backups.list_differences(asked).await }
                };
                let page = settled(ask).await.expect("differences");
                let new = page
                    .differences
                    .iter()
                    .filter(|found| found.kind() == CopyDifferenceKind::OnlyHere);
                for found in new {
                    assert!(only_here.insert(found.order.clone()), "{} twice", found.order);
                }
                pages += 1;
                asked.page_token = page.next_page_token;
                if asked.page_token.is_empty() {
                    break;
                }
            }
            pages > 1 && lost.iter().all(|order| only_here.contains(&order.name))
        }
    })
    .await;
}
