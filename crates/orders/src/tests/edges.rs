//! Where a node ends: what it says when it stops, and of what it does not host.

use futures::StreamExt;
use hansa_api::pb::inventory as stock;
use hansa_api::pb::inventory::inventory_service_server::InventoryService as _;
use hansa_api::pb::order as wire;
use hansa_api::pb::order::order_service_server::OrderService as _;
use hansa_api::pb::order::watch_order_response::Item;
use hansa_api::status::{Failure, Reason};
use hansa_types::id::{GroupId, GroupKind};

use super::rig::{Rig, call, order};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_ends_at_a_drain_with_the_cursor_to_go_on_from() {
    let rig = Rig::start(1).await;
    let name = rig.place(&order("r-1")).await.unwrap().order.unwrap().name;
    let node = rig.leader().await;
    let watch =
        |cursor: &str| wire::WatchOrderRequest { order: name.clone(), cursor: cursor.into() };
    let mut events = node.service.watch_order(call(watch(""))).await.unwrap().into_inner();
    let last = loop {
        let response = events.next().await.unwrap().unwrap();
        let Some(Item::Event(event)) = response.item else { panic!() };
        if event.kind() == wire::OrderEventKind::Confirmed {
            break response.cursor;
        }
    };
    node.orders.close_watches();
    let ended = Failure::from(&events.next().await.unwrap().unwrap_err());
    assert_eq!(ended.reason(), Reason::Unavailable);
    assert_eq!(ended.metadata("cursor"), Some(last.as_str()));
    assert!(ended.wait().is_some() && events.next().await.is_none());
    // Neither does a new one begin here; other calls still do.
    let refused = node.service.watch_order(call(watch(&last))).await.err().unwrap();
    assert_eq!(Failure::from(&refused).reason(), Reason::Unavailable);
    let get = wire::GetOrderRequest { order: name, ..Default::default() };
    node.service.get_order(call(get)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_regions_listing_is_refused_where_a_group_is_not_hosted() {
    let mut rig = Rig::start_unbooted(1).await;
    rig.elsewhere = vec![GroupId::new(GroupKind::Orders, 1)];
    let id = rig.cluster.ids()[0];
    rig.boot(id).await;
    let node = rig.leader().await;
    let everybody = wire::ListOrdersRequest::default();
    let refused = node.service.list_orders(call(everybody)).await.err().unwrap();
    let refused = Failure::from(&refused);
    assert_eq!(refused.reason(), Reason::Unavailable);
    assert!(refused.metadata("absent_groups").is_some(), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_caller_says_of_a_shipment_is_kept_with_its_event() {
    let rig = Rig::start(1).await;
    let name = rig.place(&order("r-1")).await.unwrap().order.unwrap().name;
    let node = rig.leader().await;
    let ship = stock::RecordShipmentRequest {
        order: name.clone(),
        request_id: "s-1".into(),
        warehouse: "main".into(),
        carrier: "Royal Mail".into(),
        tracking_code: "RM 123".into(),
        ..Default::default()
    };
    node.service.record_shipment(call(ship)).await.unwrap();
    let back = wire::ReturnItemsRequest {
        order: name.clone(),
        request_id: "b-1".into(),
        lines: vec![wire::ReturnLine { line: 1, quantity: 1 }],
        reason: "too small".into(),
    };
    let shown = node.service.return_items(call(back)).await.unwrap().into_inner().order.unwrap();
    assert_eq!(shown.lines[0].warehouse, "main");
    let id = name.rsplit('/').next().unwrap().parse().unwrap();
    let hosted = node.orders.shell().home_of(id).unwrap().clone();
    let told = hosted.look(id, |order, _| {
        let notes = order.history.iter().flat_map(|change| order.notes_at(change.version));
        notes.map(|n| (n.tracking_code.clone(), n.carrier.clone(), n.reason.clone())).collect()
    });
    let told: Vec<_> = told.unwrap();
    let shipped = ("RM 123".to_owned(), "Royal Mail".to_owned(), String::new());
    let returned = (String::new(), String::new(), "too small".to_owned());
    // Goods and money come back by an event each, or by one.
    assert_eq!(told, [shipped, returned.clone(), returned]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_batch_goes_out_again_on_the_stream_that_refused_it() {
    let rig = Rig::start(1).await;
    rig.place(&order("r-0")).await.unwrap();
    let streams = rig.books.0.lock().streams;
    rig.books.0.lock().overload = 5;
    for n in 1..=5 {
        let placed = rig.place(&order(&format!("r-{n}"))).await.unwrap().order.unwrap();
        assert_eq!(placed.state(), wire::OrderState::Confirmed);
    }
    {
        let books = rig.books.0.lock();
        assert_eq!((books.overload, books.streams), (0, streams));
    }
    rig.at_rest().await;
}
