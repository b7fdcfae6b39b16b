//! A watch that goes on at another owner than it began at.

use futures::StreamExt as _;
use hansa_api::pb::order::watch_order_response::Item;

use super::*;

/// What a watch with this cursor says first.
async fn first(node: &Node, name: &str, cursor: &str) -> Result<wire::WatchOrderResponse, Failure> {
    let watch = wire::WatchOrderRequest { order: name.into(), cursor: cursor.into() };
    let stream = node.service.watch_order(call(watch)).await;
    let mut stream = stream.map_err(|status| Failure::from(&status))?.into_inner();
    let item = stream.next().await.expect("it does not end without a word");
    item.map_err(|status| Failure::from(&status))
}

/// The cursor after this version, as its owner tells it.
async fn cursor(node: &Node, name: &str, version: u64) -> String {
    let watch = wire::WatchOrderRequest { order: name.into(), ..Default::default() };
    let mut stream = node.service.watch_order(call(watch)).await.unwrap().into_inner();
    loop {
        let item = stream.next().await.unwrap().unwrap();
        let Some(Item::Event(event)) = item.item else { panic!("{item:?}") };
        if event.sequence == version {
            return item.cursor;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watched_what_was_lost_is_shown_the_order_anew() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    let name = pair.home.place(&order("r-1")).await.unwrap().order.unwrap().name;
    pair.home.at_rest().await;
    shipped(&pair, 1).await;
    let told = shown(pair.here(), &name).await.version;
    let kept = cursor(pair.here(), &name, told).await;
    pair.abroad.owned_by(2, 2, Kind::Failover);
    eventually("settled", || pair.abroad.phase() == Some(Phase::Owned)).await;
    // Cut off, it ships: whoever watches there hears of it, and nobody else.
    let parcel = stock::RecordShipmentRequest {
        order: name.clone(),
        request_id: "s-1".into(),
        ..Default::default()
    };
    pair.here().service.record_shipment(call(parcel)).await.unwrap();
    pair.home.at_rest().await;
    let alone = shown(pair.here(), &name).await;
    assert!(alone.version > told && alone.state() == wire::OrderState::Completed);
    let lost = cursor(pair.here(), &name, alone.version).await;

    // One that went no further than what is shipped misses nothing.
    let next = first(pair.away(), &name, &kept).await.unwrap();
    let Some(Item::Event(event)) = next.item else { panic!("{next:?}") };
    assert_eq!(event.sequence, told + 1);
    // The other is not told that its last event is one of the survivor's.
    allocated(&pair.abroad).await;
    let anew = first(pair.away(), &name, &lost).await.unwrap();
    let Some(Item::Compacted(snapshot)) = &anew.item else { panic!("{anew:?}") };
    let order = snapshot.order.as_ref().unwrap();
    assert_eq!((order.state(), order.lines[0].shipped_quantity), (wire::OrderState::Confirmed, 0));
    let refund = pay::RefundPaymentRequest {
        order: name.clone(),
        request_id: "b-1".into(),
        amount: gbp(150),
        ..Default::default()
    };
    pair.away().service.refund_payment(dated(refund)).await.unwrap();
    let next = first(pair.away(), &name, &anew.cursor).await.unwrap();
    let Some(Item::Event(event)) = next.item else { panic!("{next:?}") };
    assert_eq!(event.sequence, snapshot.sequence + 1);
}
