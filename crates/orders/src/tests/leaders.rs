//! Three nodes: what is acknowledged outlives its leader, and no saga is forgotten.

use std::sync::Arc;

use hansa_api::pb::order as wire;
use hansa_api::pb::order::order_service_server::OrderService as _;
use hansa_consensus::testing::eventually;

use super::rig::{Rig, call, order};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_finish_although_leaders_fall_and_answers_are_lost() {
    let mut rig = Rig::start(3).await;
    let mut names = Vec::new();
    for round in 0..3 {
        rig.books.0.lock().lose = 2;
        let shared = Arc::new(rig);
        let mut calls = tokio::task::JoinSet::new();
        for n in 0..20 {
            let (rig, request) = (shared.clone(), order(&format!("r-{round}-{n}")));
            calls.spawn(async move { rig.place(&request).await.unwrap().order.unwrap() });
        }
        if let Some(first) = calls.join_next().await {
            names.push(first.unwrap().name);
        }
        let rest = async {
            while let Some(next) = calls.join_next().await {
                names.push(next.unwrap().name);
            }
        };
        rest.await;
        rig = Arc::into_inner(shared).unwrap();
        let leader = rig.leader_now();
        if let Some(leader) = leader {
            rig.kill(leader).await;
            rig.cluster.boot(leader).await;
            rig.boot(leader).await;
        }
    }
    rig.leader().await;
    rig.at_rest().await;
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 60);
    for node in rig.nodes.values() {
        let shell = node.orders.shell();
        let group = &shell.groups[&0].group;
        eventually("every order on every node", || {
            group.peek(|m| {
                m.state.orders.len() == 60 && m.state.orders.iter().all(|(_, order)| order.settled)
            })
        })
        .await;
    }
    let books = rig.books.0.lock();
    assert_eq!(books.stock["A"], 1_000_000 - 120);
    assert_eq!(books.captured.len(), 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_all_keeps_orders_keys_and_listings() {
    let mut rig = Rig::start(1).await;
    let name = rig.place(&order("r-1")).await.unwrap().order.unwrap().name;
    let id = rig.cluster.ids()[0];
    rig.kill(id).await;
    rig.cluster.boot(id).await;
    rig.boot(id).await;
    let again = rig.place(&order("r-1")).await.unwrap();
    assert!(again.replayed);
    let shown = again.order.unwrap();
    assert_eq!((&shown.name, shown.state), (&name, wire::OrderState::Confirmed.into()));
    rig.at_rest().await;
    let list = wire::ListOrdersRequest {
        residence_country: "GB".into(),
        customer_id: "c-1".into(),
        ..Default::default()
    };
    let listed = rig.leader().await.service.list_orders(call(list)).await.unwrap().into_inner();
    assert_eq!(listed.orders.iter().map(|order| &order.name).collect::<Vec<_>>(), [&name]);
}
