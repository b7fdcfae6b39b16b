//! A record of an owner is on its way: a gateway has heard of it, and the group that it sends calls
//! to has not, or has not adopted what waits. No order is said to be unknown meanwhile.

use super::*;
use crate::core::command::{Command, Outcome};
use crate::core::keys::Scope;
use crate::core::takeover::{Step, TakeOver};
use crate::shell::keys::fingerprint;

/// What each call about one order is refused with.
async fn refusals(node: &Node, name: &str) -> Vec<(&'static str, Reason)> {
    let (order, request_id) = (name.to_owned(), "v-1".to_owned());
    let get = wire::GetOrderRequest { order: order.clone(), ..Default::default() };
    let paid = pay::GetPaymentRequest { order: order.clone() };
    let watch = wire::WatchOrderRequest { order: order.clone(), ..Default::default() };
    let cancel = wire::CancelOrderRequest {
        order: order.clone(),
        request_id: request_id.clone(),
        ..Default::default()
    };
    let refund = pay::RefundPaymentRequest {
        order: order.clone(),
        request_id,
        amount: gbp(100),
        ..Default::default()
    };
    let service = &node.service;
    let refused = [
        ("GetOrder", service.get_order(call(get)).await.err()),
        ("GetPayment", service.get_payment(call(paid)).await.err()),
        ("WatchOrder", service.watch_order(call(watch)).await.err()),
        ("CancelOrder", service.cancel_order(call(cancel)).await.err()),
        ("RecordShipment", service.record_shipment(call(again::parcel(1, name))).await.err()),
        ("RefundPayment", service.refund_payment(call(refund)).await.err()),
    ];
    let reason = |status: Option<tonic::Status>| Failure::from(&status.unwrap()).reason();
    refused.into_iter().map(|(what, status)| (what, reason(status))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_is_about_to_be_taken_over_is_not_said_to_be_unknown() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    let name = pair.home.place(&order("r-1")).await.unwrap().order.unwrap().name;
    shipped(&pair, 1).await;
    let away = pair.away();
    for (what, reason) in refusals(away, &name).await {
        assert_eq!(reason, Reason::HomeMoving, "{what} before the group has heard of it");
    }

    // The directory of this node says nothing of it, so nothing is adopted.
    let shell = away.orders.shell();
    let hosted = &shell.groups[&0];
    let id = name.parse::<OrderName>().unwrap().id;
    let take = TakeOver {
        birth: number(1),
        epoch: 2,
        from: number(1),
        record: 7,
        record_ms: shell.env.clock.wall().ms(),
        skew_ms: 1_000,
        complete: true,
        unheard: false,
        heard: Vec::new(),
    };
    let take = Command::Takeover(Step::TakeOver(Box::new(take)));
    assert_eq!(hosted.submit(&take, soon()).await.unwrap(), Outcome::Noted);
    let print = fingerprint(&shell, hosted, (id, Scope(1)), soon(), ("RefundPayment", b"")).await;
    assert_eq!(print.unwrap_err().reason(), Reason::HomeMoving, "it came since it was looked at");
    let read = hosted.read(id, soon(), |order, _| order.version).await;
    assert_eq!(read.unwrap_err().reason(), Reason::HomeMoving);

    pair.abroad.owned_by(2, 2, Kind::Switchover);
    eventually("settled", || pair.abroad.phase() == Some(Phase::Owned)).await;
    assert_eq!(shown(away, &name).await.epoch, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_went_elsewhere_since_it_was_looked_at_is_not_shown_as_it_was() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    reconnect(&pair).await;
    let name = pair.home.place(&order("r-1")).await.unwrap().order.unwrap().name;
    shipped(&pair, 1).await;
    again::hand_over(&pair.home, &pair.abroad, 2).await;
    eventually("it follows", || matches!(pair.home.phase(), Some(Phase::Elsewhere { .. }))).await;
    let shell = pair.here().orders.shell();
    let (hosted, id) = (&shell.groups[&0], name.parse::<OrderName>().unwrap().id);
    let read = hosted.read(id, soon(), |order, _| order.version).await;
    assert_eq!(read.unwrap_err().reason(), Reason::HomeMoving);
    assert!(hosted.read_left(id, soon(), |order, _| order.version).await.is_ok(), "it is left");
}
