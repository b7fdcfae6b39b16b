//! A request that was granted is answered as then, whoever owns its order by now, and however
//! often that has changed.

use std::time::Duration;

use futures::StreamExt;
use hansa_api::pb::inventory as stock;
use hansa_api::pb::inventory::inventory_service_server::InventoryService;
use hansa_api::pb::order as wire;
use hansa_api::pb::order::order_service_server::OrderService;
use hansa_api::status::{Failure, Reason};
use hansa_consensus::testing::eventually;
use hansa_region_router::core::directory::Kind;
use tokio::time::Instant;

use super::super::rig::{Node, Rig, call, order};
use super::super::views::{Pair, policy};
use super::{allocated, number, reconnect, shipped};
use crate::core::takeover::Phase;

fn node(rig: &Rig) -> &Node {
    rig.nodes.values().next().unwrap()
}

/// From one region to the other, as an operator plans it.
pub(in crate::tests) async fn hand_over(from: &Rig, to: &Rig, epoch: u64) {
    moved(from, to, epoch).await;
    allocated(to).await;
}

/// The same, whatever becomes of the orders.
pub(super) async fn moved(from: &Rig, to: &Rig, epoch: u64) {
    from.draining(to.here, epoch - 1);
    eventually("drained", || matches!(from.phase(), Some(Phase::Drained { .. }))).await;
    let group = |rig: &Rig| node(rig).orders.shell().groups[&0].clone();
    eventually("all of it is there", || {
        let seq = group(from).group.peek(|m| m.state.meta.seq);
        let region = number(from.here);
        group(to).group.peek(|m| {
            let mut cursors = m.state.remote.cursors.iter();
            cursors.any(|(of, at)| of.region == region && at.applied >= seq)
        })
    })
    .await;
    let kind = if epoch.is_multiple_of(2) { Kind::Switchover } else { Kind::Failback };
    to.owned_by(to.here, epoch, kind);
    from.owned_by(to.here, epoch, kind);
    eventually("settled", || to.phase() == Some(Phase::Owned)).await;
}

/// Somebody's, or a guest's.
fn placed(n: usize) -> wire::PlaceOrderRequest {
    let mut place = order(&format!("r-{n}"));
    match n % 3 {
        0 => place.customer_id = String::new(),
        1 => place.customer_id = "c-1".into(),
        _ => place.customer_id = format!("c-{n}"),
    }
    place.client_reference = format!("INV-{n}");
    place
}

pub(super) fn parcel(n: usize, order: &str) -> stock::RecordShipmentRequest {
    stock::RecordShipmentRequest {
        order: order.into(),
        request_id: format!("s-{n}"),
        ..Default::default()
    }
}

async fn ship(rig: &Rig, n: usize, order: &str) -> Result<bool, Failure> {
    let shipped = node(rig).service.record_shipment(call(parcel(n, order))).await;
    shipped.map(|answer| answer.into_inner().replayed).map_err(|status| Failure::from(&status))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_is_answered_as_then_however_often_its_births_have_moved() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    reconnect(&pair).await;
    let mut known: Vec<String> = Vec::new();
    for epoch in 1..=5 {
        let (own, other) = match epoch % 2 {
            1 => (&pair.home, &pair.abroad),
            _ => (&pair.abroad, &pair.home),
        };
        for (n, name) in known.iter().enumerate() {
            let again = own.place(&placed(n)).await;
            let again = again.unwrap_or_else(|why| panic!("order {n} in epoch {epoch}: {why}"));
            assert_eq!((again.replayed, &again.order.unwrap().name), (true, name));
            let again = ship(own, n, name).await;
            let again = again.unwrap_or_else(|why| panic!("parcel {n} in epoch {epoch}: {why}"));
            assert_eq!(again, n % 2 == 0 || n + 6 < known.len(), "parcel {n} in epoch {epoch}");
        }
        for n in known.len()..known.len() + 6 {
            let name = own.place(&placed(n)).await.unwrap().order.unwrap().name;
            if n % 2 == 0 {
                assert!(!ship(own, n, &name).await.unwrap());
            }
            known.push(name);
        }
        if epoch == 1 {
            shipped(&pair, known.len()).await;
        }
        if epoch < 5 {
            hand_over(own, other, epoch + 1).await;
        }
    }
    pair.home.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_an_order_that_goes_on_elsewhere_is_sent_there() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    let (here, group) = (pair.here(), pair.here().orders.shell().groups[&0].clone());
    // It is taken, and no step of it begins.
    group.hold.begin(Instant::now() + Duration::from_secs(60));
    let name = || {
        let names = group.group.peek(|m| m.state.orders.iter().map(|(id, _)| *id).next());
        names.map(|id| here.orders.shell().map.name_of(id))
    };
    let waits = here.service.place_order(call(order("r-1")));
    let moves = async {
        eventually("it is taken", || name().is_some()).await;
        let watch = wire::WatchOrderRequest { order: name().unwrap(), ..Default::default() };
        let mut watched = here.service.watch_order(call(watch)).await.unwrap().into_inner();
        assert!(watched.next().await.unwrap().is_ok());
        pair.home.owned_by(2, 2, Kind::Failover);
        loop {
            match watched.next().await.expect("it does not end without a word") {
                Ok(_) => {}
                Err(status) => break Failure::from(&status),
            }
        }
    };
    let (waited, watched) = tokio::join!(waits, moves);
    assert_eq!(Failure::from(&waited.unwrap_err()).reason(), Reason::HomeMoving);
    assert_eq!(watched.reason(), Reason::HomeMoving);
}
