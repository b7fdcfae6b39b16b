//! The mistakes of `hansa_types::seeded` do what they are meant to. One thread: it is where they
//! are planted.

use std::time::Duration;

use hansa_api::pb::order as wire;
use hansa_api::pb::order::order_service_server::OrderService as _;
use hansa_api::principal::Role;
use hansa_consensus::testing::eventually;
use hansa_types::seeded::{Bug, plant};

use super::rig::{Rig, call_as, order};
use crate::replicate::{Lags, Law, Sender};

/// Units of A left after an order of two was cancelled, its leader lost in the middle.
async fn left_after_a_cancel(bug: Option<Bug>) -> i64 {
    let mut rig = Rig::start(1).await;
    let name = rig.place(&order("r-1")).await.unwrap().order.unwrap().name;
    rig.books.0.lock().overload = u32::MAX;
    let request_id = "c-1".to_owned();
    let cancel = wire::CancelOrderRequest { order: name, request_id, ..Default::default() };
    let cancel = call_as(cancel, &Role::ALL, Duration::from_secs(2));
    let asked = rig.leader().await.service.cancel_order(cancel).await.unwrap().into_inner();
    assert_ne!(asked.order.unwrap().state, i32::from(wire::OrderState::Cancelled));
    let id = rig.cluster.ids()[0];
    rig.kill(id).await;
    let _bug = bug.map(plant);
    rig.books.0.lock().overload = 0;
    rig.cluster.boot(id).await;
    rig.boot(id).await;
    let shell = rig.leader().await.orders.shell();
    eventually("the order is closed", || {
        shell.groups[&0].group.peek(|m| m.state.orders.iter().all(|(_, order)| order.closed()))
    })
    .await;
    rig.books.0.lock().stock["A"]
}

#[tokio::test]
async fn hold_leaked_between_steps_forgets_what_an_earlier_leader_began_to_give_back() {
    assert_eq!(left_after_a_cancel(None).await, 1_000_000);
    assert_eq!(left_after_a_cancel(Some(Bug::HoldLeakedBetweenSteps)).await, 1_000_000 - 2);
}

#[tokio::test]
async fn reordered_outbox_ships_a_later_event_first() {
    let rig = Rig::start(1).await;
    for n in 0..3 {
        rig.place(&order(&format!("r-{n}"))).await.unwrap();
    }
    rig.at_rest().await;
    let shell = rig.leader().await.orders.shell();
    let hosted = shell.groups[&0].clone();
    let peer: hansa_types::region::RegionName = "us-east".parse().unwrap();
    let lags = Lags::default();
    let law = Law::of(&shell.map.now().unwrap(), &peer);
    let sender = Sender::new(shell, hosted, peer, lags);
    let first = || sender.built(0, &law, 10).unwrap().0.envelopes[0].sequence;
    let honest = first();
    let _bug = plant(Bug::ReorderedOutbox);
    assert!(first() > honest);
}
