//! A customer is forgotten: through leaders that fall, late requests, rotations and backups.

use std::time::Duration;

use hansa_api::pb::admin as keys;
use hansa_api::pb::admin::key_service_server::KeyService as _;
use hansa_api::pb::customer as wire;
use hansa_api::pb::customer::customer_service_server::CustomerService as _;
use hansa_api::pb::order as orders;
use hansa_api::pb::order::order_service_server::OrderService as _;
use hansa_api::principal::Role;
use hansa_api::status::{Failure, Reason};
use hansa_consensus::testing::{eventually, soon};
use hansa_consensus::{Frozen as _, Machine as _};
use hansa_types::region::Slot;
use hansa_wal::fs::{Fs as _, RealFs};
use tokio::time::{Instant, sleep};
use tonic::Request;

use super::rig::{Node, Rig, call, call_as, order};
use crate::core::subjects::KeyState;
use crate::machine::OrdersMachine;
use crate::vault::{KeyLife, VaultError};

/// Again while nobody leads, as clients do.
macro_rules! ask {
    ($rig:expr, $verb:ident, $message:expr) => {{
        let end = soon();
        loop {
            let asked: Request<_> = call($message.clone());
            let answer = $rig.leader().await.service.$verb(asked).await;
            match answer.map_err(|status| Failure::from(&status)) {
                Err(failure)
                    if matches!(failure.reason(), Reason::NotLeader | Reason::Unavailable)
                        && Instant::now() < end =>
                {
                    sleep(Duration::from_millis(5)).await;
                }
                other => break other.map(|response| response.into_inner()),
            }
        }
    }};
}

/// An order of `customer` that is over at once: nothing to ship, nothing to pay.
fn gift(customer: &str, request_id: &str) -> orders::PlaceOrderRequest {
    let mut request = order(request_id);
    request.customer_id = customer.into();
    request.lines.remove(0);
    request
}

fn erase(customer: &str, request_id: &str) -> wire::EraseCustomerRequest {
    wire::EraseCustomerRequest {
        residence_country: "GB".into(),
        customer_id: customer.into(),
        request_id: request_id.into(),
        ..Default::default()
    }
}

fn get(order: &orders::Order) -> orders::GetOrderRequest {
    orders::GetOrderRequest { order: order.name.clone(), ..Default::default() }
}

async fn placed(rig: &Rig, request: &orders::PlaceOrderRequest) -> orders::Order {
    rig.place(request).await.unwrap().order.unwrap()
}

/// Whether all of one vault's keys but the newest are destroyed.
async fn only_newest(node: &Node) -> bool {
    let keys = node.orders.shell().vault.keys().await.unwrap();
    let (last, older) = keys.split_last().unwrap();
    let gone = |key: &crate::vault::KeyInfo| matches!(key.state, KeyLife::Destroyed { .. });
    last.state == KeyLife::Active && !older.is_empty() && older.iter().all(gone)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_customers_orders_stay_without_him_and_a_fallen_leader_changes_nothing() {
    let mut rig = Rig::start(3).await;
    let (mine, other) = (gift("c-1", "r-1"), gift("c-2", "r-2"));
    let (first, kept) = (placed(&rig, &mine).await, placed(&rig, &other).await);
    let shown = ask!(rig, get_order, get(&first)).unwrap().order.unwrap();
    assert_eq!(shown.customer_id, "c-1");
    assert_eq!(shown.personal.unwrap().name, "Ada Secretname");
    let open = placed(&rig, &order("r-open")).await;
    let refused = ask!(rig, erase_customer, erase("c-1", "e-0")).unwrap_err();
    assert_eq!(refused.reason(), Reason::CustomerHasOpenOrders);
    assert_eq!(refused.metadata("orders"), Some(open.name.as_str()));
    let cancel = orders::CancelOrderRequest {
        order: open.name.clone(),
        request_id: "x-1".into(),
        reason: String::new(),
    };
    ask!(rig, cancel_order, cancel).unwrap();
    rig.at_rest().await;
    let receipt = ask!(rig, erase_customer, erase("c-1", "e-1")).unwrap().receipt.unwrap();
    assert_eq!((receipt.order_count, receipt.lawful_regions.is_empty()), (2, false));
    let leader = rig.leading().await;
    rig.kill(leader).await;
    let again = ask!(rig, erase_customer, erase("c-1", "e-1")).unwrap();
    assert!(again.replayed);
    assert_eq!(again.receipt.unwrap().destroy_time, receipt.destroy_time);
    let shown = ask!(rig, get_order, get(&first)).unwrap().order.unwrap();
    assert_eq!(shown.personal_state(), orders::PersonalState::Erased);
    assert_eq!((shown.customer_id.as_str(), shown.personal), ("", None));
    assert_eq!(shown.total, first.total);
    let kept = ask!(rig, get_order, get(&kept)).unwrap().order.unwrap();
    assert_eq!(kept.customer_id, "c-2");
    // A replay neither orders again nor answers as if nothing had happened.
    assert_eq!(rig.place(&mine).await.unwrap_err().reason(), Reason::CustomerErased);
    let back = placed(&rig, &gift("c-1", "r-3")).await;
    let list = orders::ListOrdersRequest {
        residence_country: "GB".into(),
        customer_id: "c-1".into(),
        ..Default::default()
    };
    let listed = ask!(rig, list_orders, list).unwrap().orders;
    assert_eq!(listed.iter().filter(|order| order.customer_id == "c-1").count(), 1);
    assert_eq!((listed.len(), &listed[0].name), (3, &back.name));
    rig.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_first_orders_of_one_customer_at_once_share_one_key_and_repeats_find_theirs() {
    let rig = Rig::start(1).await;
    let requests: Vec<_> = (0..16).map(|n| gift("c-new", &format!("r-{n}"))).collect();
    let twice = requests.iter().chain(&requests);
    let answers = futures::future::join_all(twice.map(|request| rig.place(request))).await;
    let names: Vec<String> =
        answers.into_iter().map(|answer| answer.unwrap().order.unwrap().name).collect();
    assert_eq!(names[..16], names[16..]);
    let shell = rig.leader().await.orders.shell();
    let subjects =
        shell.groups.values().map(|hosted| hosted.group.peek(|m| m.state.subjects.table.len()));
    assert_eq!(subjects.sum::<usize>(), 1);
    rig.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_from_before_an_erasure_shows_nothing_once_the_region_key_is_destroyed() {
    let rig = Rig::start(3).await;
    let (mine, other) = (gift("c-1", "r-1"), gift("c-2", "r-2"));
    let (first, kept) = (placed(&rig, &mine).await, placed(&rig, &other).await);
    rig.at_rest().await;
    let shell = rig.leader().await.orders.shell();
    let hosted = shell.groups.values().next().unwrap().clone();
    let mut backup = Vec::new();
    hosted.group.peek(|machine| machine.freeze()).write(&mut backup).unwrap();
    ask!(rig, erase_customer, erase("c-1", "e-1")).unwrap();
    // Erased under the key in use: the living move to a new one, the old one is destroyed.
    let end = soon();
    while !only_newest(rig.leader().await).await {
        assert!(Instant::now() < end, "the region key is not destroyed");
        sleep(Duration::from_millis(20)).await;
    }
    let seen = ask!(rig, get_order, get(&kept)).unwrap().order.unwrap();
    assert_eq!(seen.personal.unwrap().name, "Ada Secretname");
    let old = OrdersMachine::thaw(&mut backup.as_slice()).unwrap();
    let id = first.name.parse::<hansa_types::id::OrderName>().unwrap().id;
    let of = old.state.contents.get(&id).unwrap().sealed_with;
    let KeyState::Living(wrapped) = old.state.subjects.key(of) else { panic!("not living") };
    let opened = shell.vault.unwrap(of, &wrapped).await;
    assert!(matches!(opened, Err(VaultError::Destroyed(_))));
    rig.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_is_finished_by_the_next_leader_and_made_once() {
    let mut rig = Rig::start(3).await;
    let mut all = Vec::new();
    for n in 0..20 {
        all.push(placed(&rig, &gift(&format!("c-{n}"), &format!("r-{n}"))).await);
    }
    let listed = ask!(rig, list_keys, keys::ListKeysRequest::default()).unwrap();
    let former = listed.keys.last().unwrap().key.clone();
    let rotate = keys::RotateKeyRequest { former_key: former.clone(), ..Default::default() };
    let made = ask!(rig, rotate_key, rotate).unwrap();
    let leader = rig.leading().await;
    rig.kill(leader).await;
    let again = ask!(rig, rotate_key, rotate).unwrap();
    assert_eq!((again.key.as_ref(), again.replayed), (made.key.as_ref(), true));
    let newest = made.key.unwrap().key;
    let moved = |node: &Node| {
        let shell = node.orders.shell();
        shell.groups.values().all(|hosted| {
            hosted.group.peek(|m| {
                let counts = m.state.subjects.counts();
                counts.len() == 1 && counts[0].0.to_string() == newest && counts[0].1 == 20
            })
        })
    };
    eventually("all living keys are re-wrapped", || rig.nodes.values().all(moved)).await;
    let seen = ask!(rig, get_order, get(&all[7])).unwrap().order.unwrap();
    assert_eq!(seen.customer_id, "c-7");
    assert!(rig.place(&gift("c-7", "r-7")).await.unwrap().replayed);
    rig.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_gives_each_order_with_its_person_and_ends_with_a_summary() {
    let rig = Rig::start(1).await;
    for n in 0..3 {
        placed(&rig, &gift("c-1", &format!("r-{n}"))).await;
    }
    placed(&rig, &gift("c-2", "r-9")).await;
    let asked = wire::ExportCustomerRequest {
        residence_country: "GB".into(),
        customer_id: "c-1".into(),
        ..Default::default()
    };
    let stream = ask!(rig, export_customer, asked).unwrap();
    let items: Vec<_> = futures::StreamExt::collect(stream).await;
    let items: Vec<_> = items.into_iter().map(|item| item.unwrap().item.unwrap()).collect();
    use wire::export_customer_response::Item;
    let (last, orders) = items.split_last().unwrap();
    let Item::Summary(summary) = last else { panic!("no summary") };
    assert_eq!((summary.order_count, summary.erased_count, orders.len()), (3, 0, 3));
    for item in orders {
        let Item::Order(exported) = item else { panic!("no order") };
        let order = exported.order.as_ref().unwrap();
        assert_eq!(order.personal.as_ref().unwrap().name, "Ada Secretname");
        assert_eq!(order.customer_id, "c-1");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_receipt_is_given_before_the_vault_knows_of_the_erasure() {
    let rig = Rig::start(1).await;
    placed(&rig, &gift("c-1", "r-1")).await;
    rig.at_rest().await;
    let vault = rig.leader().await.orders.shell().vault.place();
    // Another node is at the file, and stays there.
    let lock = std::path::Path::new(&vault).with_extension("lock");
    let held = loop {
        match RealFs.lock(&lock) {
            Ok(held) => break held,
            Err(_) => sleep(Duration::from_millis(5)).await,
        }
    };
    let asked = call_as(erase("c-1", "e-1"), &Role::ALL, Duration::from_secs(2));
    let refused = rig.leader().await.service.erase_customer(asked).await.unwrap_err();
    assert_eq!(Failure::from(&refused).reason(), Reason::VaultUnavailable);
    drop(held);
    // The erasure stands, and its repeat gives the receipt.
    let again = ask!(rig, erase_customer, erase("c-1", "e-1")).unwrap();
    assert!(again.replayed && again.receipt.unwrap().key.is_some());
    rig.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_in_any_group_has_the_first_groups_leader_rotate() {
    let rig = Rig::sharded(3).await;
    let shell = rig.leader().await.orders.shell();
    let first = shell.map.first_orders_group().unwrap();
    // Somebody whose group is not the first one.
    let customer = (0..100)
        .map(|n| format!("c-{n}"))
        .find(|customer| shell.map.orders_group(Slot::of(customer.as_bytes())).unwrap() != first);
    let customer = customer.unwrap();
    placed(&rig, &gift(&customer, "r-1")).await;
    placed(&rig, &gift("c-kept", "r-2")).await;
    rig.at_rest().await;
    ask!(rig, erase_customer, erase(&customer, "e-1")).unwrap();
    let end = soon();
    while !only_newest(rig.leader().await).await {
        assert!(Instant::now() < end, "the region key is not destroyed");
        sleep(Duration::from_millis(20)).await;
    }
    rig.at_rest().await;
}
