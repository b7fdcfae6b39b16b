//! One vault per region: a node with a key of its own does not serve.

mod quorum;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::pb::customer as customers;
use hansa_api::pb::customer::customer_service_server::CustomerService as _;
use hansa_api::pb::order as wire;
use hansa_api::pb::order::order_service_server::OrderService as _;
use hansa_api::status::{Failure, Reason};
use hansa_consensus::testing::{eventually, soon};
use hansa_types::id::NodeId;
use hansa_wal::fs::RealFs;

use tokio::time::{Instant, sleep};

use super::fake_vault::FakeVault;
use super::rig::{Rig, call, order};
use crate::config;
use crate::vault::{FileVault, Vault as _};

fn file(rig: &Rig, id: NodeId) -> PathBuf {
    rig.dir.path().join(rig.name()).join(format!("vault-{id}.key"))
}

/// The rig's nodes with a vault file each, and none made yet.
async fn apart() -> Rig {
    let mut rig = Rig::start_unbooted(3).await;
    for id in rig.cluster.ids() {
        let vault = file(&rig, id);
        rig.boot_with(id, vault).await.unwrap();
    }
    rig
}

/// Why a node has ended, if it has.
fn why(rig: &Rig, id: NodeId) -> Option<String> {
    rig.cluster.node(id).exit.whys().first().cloned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_without_the_regions_key_say_what_to_do_and_serve_with_a_copy_of_it() {
    let mut rig = apart().await;
    let ids = rig.cluster.ids();
    let ended = || ids.iter().filter(|id| why(&rig, **id).is_some()).count();
    eventually("two nodes lack the key", || ended() == 2).await;
    let (with, without): (Vec<_>, Vec<_>) =
        ids.iter().copied().partition(|id| why(&rig, *id).is_none());
    for id in &without {
        let why = why(&rig, *id).unwrap();
        let path = file(&rig, *id).display().to_string();
        assert!(why.contains(&path) && why.contains("copy the vault file"), "{why}");
        assert!(!file(&rig, *id).exists(), "a bound group's key is never made again");
    }
    let made = file(&rig, with[0]);
    // Another key is no better than none.
    let env = rig.cluster.node(without[0]).env.clone();
    let other = file(&rig, without[0]);
    let other = FileVault::open(Arc::new(RealFs), &other, &env).unwrap();
    other.make().await.unwrap();
    for (n, id) in without.iter().enumerate() {
        rig.kill(*id).await;
        rig.cluster.boot(*id).await;
        let vault = file(&rig, *id);
        if n == 0 {
            match rig.boot_with(*id, vault.clone()).await {
                Err(error) => assert!(error.to_string().contains("not the key of this region")),
                // Its disk did not know yet what its group had bound.
                Ok(()) => {
                    let told = || why(&rig, *id).is_some_and(|why| why.contains("not the key"));
                    eventually("the other key is found out", told).await;
                }
            }
            rig.kill(*id).await;
            rig.cluster.boot(*id).await;
        }
        fs::copy(&made, &vault).unwrap();
        rig.boot_with(*id, vault).await.unwrap();
    }
    let placed = rig.place(&order("r-1")).await.unwrap().order.unwrap();
    let first = rig.leading().await;
    rig.kill(first).await;
    // A replay and a personal block, both with another leader.
    assert!(rig.place(&order("r-1")).await.unwrap().replayed);
    let get = wire::GetOrderRequest { order: placed.name, ..Default::default() };
    let shown = rig.leader().await.service.get_order(call(get)).await.unwrap().into_inner();
    assert_eq!(shown.order.unwrap().personal.unwrap().name, "Ada Secretname");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_group_of_a_region_is_bound_to_the_one_key() {
    let rig = Rig::sharded(3).await;
    let shell = rig.leader().await.orders.shell();
    let bound: Vec<_> =
        shell.groups.values().map(|hosted| hosted.group.peek(|m| m.state.meta.vault)).collect();
    assert_eq!(bound, vec![shell.vault.id().await.unwrap(); 3]);
    assert!(bound[0].is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_the_vault_that_rotated_apart_does_not_serve_and_says_why() {
    let mut rig = Rig::start_unbooted(3).await;
    let ids = rig.cluster.ids();
    let env = rig.cluster.node(ids[0]).env.clone();
    let open = |id: NodeId| FileVault::open(Arc::new(RealFs), &file(&rig, id), &env).unwrap();
    let made = open(ids[0]);
    made.make().await.unwrap();
    for id in &ids[1..] {
        fs::copy(file(&rig, ids[0]), file(&rig, *id)).unwrap();
    }
    let first = made.keys().await.unwrap()[0].key;
    let others = [open(ids[1]), open(ids[2])];
    for id in &ids {
        let vault = file(&rig, *id);
        rig.boot_with(*id, vault).await.unwrap();
    }
    rig.place(&order("r-1")).await.unwrap();
    // One copy goes on, and its region key is the group's from now on.
    let leader = rig.leading().await;
    let vault = rig.nodes[&leader].orders.shell().vault.clone();
    let used = vault.rotate(first, 1, 1 << 50).await.unwrap().key;
    let uses = |node: &super::rig::Node| {
        node.orders.shell().groups[&0].group.peek(|m| m.state.meta.wraps) == Some(used)
    };
    eventually("the group uses it", || rig.nodes.values().all(uses)).await;
    let ready = |id: &NodeId| rig.nodes[id].orders.ready();
    let says = |id: &NodeId, what: &str| ready(id).is_err_and(|why| why.contains(what));
    let behind: Vec<NodeId> = ids.iter().copied().filter(|id| *id != leader).collect();
    eventually("the copies say that they are old", || {
        behind.iter().all(|id| says(id, "copy the vault file of a node that serves"))
    })
    .await;
    // Another copy makes a key of its own under the same number.
    let apart =
        others.iter().find(|vault| vault.place() == file(&rig, behind[0]).display().to_string());
    let apart = match apart {
        Some(vault) => vault.rotate(first, 1, 1 << 50).await.unwrap().key,
        None => made.rotate(first, 1, 1 << 50).await.unwrap().key,
    };
    assert_eq!(apart.number(), used.number());
    eventually("it says so", || says(&behind[0], "has rotated apart")).await;
    for id in &behind {
        let (from, to) = (file(&rig, leader), file(&rig, *id));
        fs::copy(from, to.with_extension("next")).unwrap();
        fs::rename(to.with_extension("next"), &to).unwrap();
    }
    eventually("all serve again", || ids.iter().all(|id| ready(id).is_ok())).await;
    rig.place(&order("r-2")).await.unwrap();
}

/// Asks until the answer is not that nobody leads.
async fn erase(rig: &Rig, request_id: &str) -> Result<customers::EraseCustomerResponse, Reason> {
    let end = soon();
    loop {
        let request = customers::EraseCustomerRequest {
            residence_country: "GB".into(),
            customer_id: "c-1".into(),
            request_id: request_id.into(),
            ..Default::default()
        };
        let answer = rig.leader().await.service.erase_customer(call(request)).await;
        match answer.map_err(|status| Failure::from(&status).reason()) {
            Err(Reason::NotLeader | Reason::Unavailable) if Instant::now() < end => {
                sleep(Duration::from_millis(20)).await;
            }
            other => return other.map(|response| response.into_inner()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_without_a_shared_disk_waits_for_its_vault_and_loses_no_erasure_to_it() {
    let mut rig = Rig::start_unbooted(3).await;
    let vault = FakeVault::start(rig.dir.path(), rig.ca.clone()).await;
    let kind = || config::Vault::Hashicorp(vault.config());
    vault.state.lock().sealed = true;
    let ids = rig.cluster.ids();
    for id in &ids {
        rig.boot_on(*id, kind()).await.unwrap();
    }
    let waits = |id: &NodeId| rig.nodes[id].orders.ready().is_err_and(|why| why.contains("sealed"));
    eventually("all say what they wait for", || ids.iter().any(waits)).await;
    assert!(vault.state.lock().versions.is_empty());
    vault.state.lock().sealed = false;
    let ready = |id: &NodeId| rig.nodes[id].orders.ready().is_ok();
    eventually("all serve", || ids.iter().all(ready)).await;
    let mut gift = order("r-1");
    gift.customer_id = "c-1".into();
    gift.lines.remove(0);
    rig.place(&gift).await.unwrap();
    vault.state.lock().sealed = true;
    assert_eq!(erase(&rig, "e-0").await.unwrap_err(), Reason::VaultUnavailable);
    // Orders go on: their keys are in memory.
    let mut other = order("r-2");
    other.customer_id = "c-2".into();
    rig.place(&other).await.unwrap();
    // No receipt is given before the vault remembers, and the erasure stands.
    {
        let mut state = vault.state.lock();
        (state.sealed, state.full) = (false, true);
    }
    let end = soon();
    let erased = || {
        let state = |node: &super::rig::Node| {
            let shell = node.orders.shell();
            shell.groups[&0].group.peek(|machine| machine.state.meta.erased_under)
        };
        rig.nodes.values().any(|node| state(node).is_some())
    };
    while !erased() {
        assert_eq!(erase(&rig, "e-1").await.unwrap_err(), Reason::VaultUnavailable);
        assert!(Instant::now() < end, "not erased");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(erase(&rig, "e-1").await.unwrap_err(), Reason::VaultUnavailable);
    vault.state.lock().full = false;
    let end = soon();
    let receipt = loop {
        match erase(&rig, "e-1").await {
            Err(Reason::VaultUnavailable) if Instant::now() < end => {
                sleep(Duration::from_millis(50)).await;
            }
            answer => break answer.unwrap(),
        }
    };
    assert!(receipt.replayed);
    assert_eq!(receipt.receipt.unwrap().order_count, 1);
    let leader = rig.leading().await;
    let kept = rig.nodes[&leader].orders.shell().vault.clone();
    // Its region key gives way, and is in no version any more.
    let gone = |keys: Vec<crate::vault::KeyInfo>| keys.len() > 1;
    let end = soon();
    while !kept.keys().await.is_ok_and(gone) {
        assert!(Instant::now() < end, "no rotation for the erasure");
        sleep(Duration::from_millis(50)).await;
    }
    let one = || vault.state.lock().texts().len() == 1;
    eventually("one version is left", one).await;
    // A node that comes back while it is sealed waits again, and the others serve.
    let leads = rig.leading().await;
    let back = *ids.iter().find(|id| **id != leads).unwrap();
    rig.kill(back).await;
    vault.state.lock().sealed = true;
    rig.cluster.boot(back).await;
    rig.boot_on(back, kind()).await.unwrap();
    eventually("it waits", || rig.nodes[&back].orders.ready().is_err()).await;
    rig.place(&order("r-3")).await.unwrap();
    vault.state.lock().sealed = false;
    eventually("it serves", || rig.nodes[&back].orders.ready().is_ok()).await;
}
