//! One region, one node: an order's whole life through the verbs.

use futures::StreamExt;
use hansa_api::pb::inventory as stock;
use hansa_api::pb::inventory::inventory_service_server::InventoryService;
use hansa_api::pb::order as wire;
use hansa_api::pb::order::order_service_server::OrderService;
use hansa_api::pb::order::watch_order_response::Item;
use hansa_api::pb::payment as pay;
use hansa_api::pb::payment::payment_service_server::PaymentService;
use hansa_api::principal::Role;
use hansa_api::status::{Failure, Reason};
use hansa_consensus::testing::soon;
use std::time::Duration;
use tonic::{Response, Status};

use super::rig::{Rig, call, call_as, gbp, line, order};
use crate::crosscheck::Verdict;

fn ok<T>(answer: Result<Response<T>, Status>) -> T {
    answer.unwrap().into_inner()
}

fn reason<T>(answer: Result<Response<T>, Status>) -> Reason {
    match answer {
        Ok(_) => panic!("expected a refusal"),
        Err(status) => Failure::from(&status).reason(),
    }
}

fn state(order: &Option<wire::Order>) -> wire::OrderState {
    order.as_ref().unwrap().state()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_confirmed_shipped_returned_and_refunded() {
    let rig = Rig::start(1).await;
    let placed = rig.place(&order("r-1")).await.unwrap();
    let shown = placed.order.unwrap();
    assert_eq!(shown.state(), wire::OrderState::Confirmed);
    assert_eq!(shown.payment_state(), wire::PaymentState::Captured);
    assert_eq!(shown.fulfillment_state(), wire::FulfillmentState::Allocated);
    assert_eq!(shown.payment.as_ref().unwrap().captured, gbp(700));
    assert!(!placed.replayed && shown.personal.is_none());
    let (node, name) = (rig.leader().await, shown.name.clone());

    let again = rig.place(&order("r-1")).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.order.unwrap().name, name);
    let mut other = order("r-1");
    other.lines[0].quantity = 3;
    assert_eq!(rig.place(&other).await.unwrap_err().reason(), Reason::RequestIdReused);

    let get = wire::GetOrderRequest { order: name.clone(), read: 0 };
    let got = ok(node.service.get_order(call(get.clone())).await).order.unwrap();
    assert_eq!(got.personal.unwrap().name, "Ada Secretname");
    let as_auditor = call_as(get, &[Role::Auditor], Duration::from_secs(5));
    assert_eq!(ok(node.service.get_order(as_auditor).await).order.unwrap().personal, None);

    let ship = stock::RecordShipmentRequest {
        order: name.clone(),
        request_id: "s-1".into(),
        ..Default::default()
    };
    let shipped = ok(node.service.record_shipment(call(ship.clone())).await);
    assert_eq!(shipped.lines.len(), 1);
    assert_eq!((shipped.lines[0].line, shipped.lines[0].quantity), (1, 2));
    assert!(ok(node.service.record_shipment(call(ship)).await).replayed);
    let cancel = wire::CancelOrderRequest {
        order: name.clone(),
        request_id: "x-1".into(),
        reason: "late".into(),
    };
    assert_eq!(reason(node.service.cancel_order(call(cancel)).await), Reason::NotCancellable);

    let back = |request_id: &str, quantity| wire::ReturnItemsRequest {
        order: name.clone(),
        request_id: request_id.into(),
        lines: vec![wire::ReturnLine { line: 1, quantity }],
        reason: "broken".into(),
    };
    let returned = ok(node.service.return_items(call(back("b-1", 1))).await);
    assert_eq!(returned.refund, gbp(300));
    assert_eq!(
        reason(node.service.return_items(call(back("b-2", 2))).await),
        Reason::NotReturnable
    );

    let refund = |request_id: &str, minor| pay::RefundPaymentRequest {
        order: name.clone(),
        request_id: request_id.into(),
        amount: gbp(minor),
        reason: "goodwill".into(),
    };
    let refunded = ok(node.service.refund_payment(call(refund("m-1", 150))).await);
    assert_eq!(refunded.payment.unwrap().refunded, gbp(450));
    let too_much = node.service.refund_payment(call(refund("m-2", 251))).await;
    assert_eq!(reason(too_much), Reason::NotRefundable);
    let payment = pay::GetPaymentRequest { order: name.clone() };
    let payment = ok(node.service.get_payment(call(payment)).await).payment.unwrap();
    assert_eq!(payment.state(), wire::PaymentState::PartiallyRefunded);
    let entries = pay::ListAccountEntriesRequest { order: name, ..Default::default() };
    let entries = ok(node.service.list_account_entries(call(entries)).await).entries;
    assert_eq!(entries[0].amount, gbp(700));

    rig.at_rest().await;
    let books = rig.books.0.lock();
    assert_eq!((books.shipped, books.returned, books.refunded), (2, 1, 450));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_typed_and_give_everything_back() {
    let rig = Rig::start(1).await;
    let with = |id: &str, sku: &str, quantity, token: &str| {
        let mut order = order(id);
        order.lines.push(line(sku, quantity, 10));
        order.payment_token = token.into();
        order
    };
    for (request, want) in [
        (with("r-1", "NOPE", 1, "tok_approve"), wire::RejectReason::UnknownSku),
        (with("r-2", "RARE", 2, "tok_approve"), wire::RejectReason::OutOfStock),
        (with("r-3", "B", 1, "tok_decline"), wire::RejectReason::PaymentDeclined),
        (with("r-4", "B", 1, "tok_capture_refused"), wire::RejectReason::PaymentDeclined),
    ] {
        let placed = rig.place(&request).await.unwrap().order.unwrap();
        assert_eq!(placed.state(), wire::OrderState::Rejected, "{want:?}");
        let rejection = placed.rejection.unwrap();
        assert_eq!(rejection.reason(), want);
        if want == wire::RejectReason::OutOfStock {
            let why = (rejection.line, rejection.sku.as_str(), rejection.available_quantity);
            assert_eq!(why, (3, "RARE", 1));
        }
    }
    rig.at_rest().await;
    let books = rig.books.0.lock();
    assert_eq!(books.stock["A"], 1_000_000);
    assert_eq!(books.captured.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_books_refuse_is_neither_expired_nor_declined() {
    let rig = Rig::start(1).await;
    let expect = [wire::RejectReason::StockRefused, wire::RejectReason::PaymentRefused];
    for (request, want) in ["r-1", "r-2"].into_iter().zip(expect) {
        let stock = want == wire::RejectReason::StockRefused;
        {
            let mut books = rig.books.0.lock();
            (books.refuse_stock, books.refuse_money) = (stock, !stock);
        }
        let placed = rig.place(&order(request)).await.unwrap().order.unwrap();
        assert_eq!(placed.rejection.unwrap().reason(), want);
    }
    rig.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charge_in_doubt_is_resolved_by_the_same_key() {
    let rig = Rig::start(1).await;
    for token in ["tok_timeout_after_charge", "tok_late"] {
        let mut request = order(token);
        request.payment_token = token.into();
        let placed = rig.place(&request).await.unwrap();
        assert_eq!(state(&placed.order), wire::OrderState::Confirmed, "{token}");
    }
    rig.at_rest().await;
    assert_eq!(rig.books.0.lock().captured.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_in_doubt_can_be_cancelled_and_the_late_charge_is_voided() {
    let rig = Rig::start(1).await;
    let node = rig.leader().await;
    let mut request = order("r-1");
    request.payment_token = "tok_unreachable".into();
    let soon = call_as(request, &Role::ALL, Duration::from_secs(2));
    let placed = ok(node.service.place_order(soon).await).order.unwrap();
    assert_eq!(placed.state(), wire::OrderState::Pending);
    let cancel = wire::CancelOrderRequest {
        order: placed.name,
        request_id: "x-1".into(),
        reason: "too slow".into(),
    };
    let cancelled = ok(node.service.cancel_order(call(cancel)).await).order.unwrap();
    assert_eq!(cancelled.state(), wire::OrderState::Cancelled);
    assert_eq!(cancelled.cancel_reason, "too slow");
    rig.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_tells_every_change_once_and_resumes_from_its_cursor() {
    let rig = Rig::start(1).await;
    let name = rig.place(&order("r-1")).await.unwrap().order.unwrap().name;
    let node = rig.leader().await;
    let watch =
        |cursor: &str| wire::WatchOrderRequest { order: name.clone(), cursor: cursor.into() };
    let mut events = ok(node.service.watch_order(call(watch(""))).await);
    let mut cursors = Vec::new();
    let mut kinds = Vec::new();
    while kinds.last() != Some(&wire::OrderEventKind::Confirmed) {
        let item = events.next().await.unwrap().unwrap();
        if let Some(Item::Event(event)) = item.item {
            assert_eq!(event.sequence, kinds.len() as u64 + 1);
            assert_eq!(event.order.as_ref().unwrap().version, event.sequence);
            kinds.push(event.kind());
            cursors.push(item.cursor);
        }
    }
    assert_eq!(kinds[0], wire::OrderEventKind::Accepted);
    let mut resumed = ok(node.service.watch_order(call(watch(&cursors[0]))).await);
    let Some(Item::Event(next)) = resumed.next().await.unwrap().unwrap().item else { panic!() };
    assert_eq!(next.sequence, 2);
    let ship = stock::RecordShipmentRequest {
        order: name.clone(),
        request_id: "s-1".into(),
        ..Default::default()
    };
    ok(node.service.record_shipment(call(ship)).await);
    let Some(Item::Event(asked)) = events.next().await.unwrap().unwrap().item else { panic!() };
    assert_eq!(asked.kind(), wire::OrderEventKind::Requested);
    let Some(Item::Event(shipped)) = events.next().await.unwrap().unwrap().item else { panic!() };
    assert_eq!(shipped.kind(), wire::OrderEventKind::Completed);
    assert_eq!(shipped.order.unwrap().lines[0].shipped_quantity, 2);
    // A cursor from before they named who told it.
    let mut anew = ok(node.service.watch_order(call(watch("s17"))).await);
    let item = anew.next().await.unwrap().unwrap().item;
    assert!(matches!(item, Some(Item::Compacted(_))), "{item:?}");
    for bad in ["s99e1r0", "x", "7"] {
        assert_eq!(reason(node.service.watch_order(call(watch(bad))).await), Reason::CursorInvalid);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_pages_through_a_customers_orders_newest_first() {
    let rig = Rig::start(1).await;
    let mut names = Vec::new();
    for n in 0..5 {
        let mut request = order(&format!("r-{n}"));
        if n == 3 {
            request.payment_token = "tok_decline".into();
        }
        names.push(rig.place(&request).await.unwrap().order.unwrap().name);
    }
    let mut other = order("r-9");
    other.customer_id = "c-2".into();
    rig.place(&other).await.unwrap();
    let node = rig.leader().await;
    let list = |token: &str, state: i32| wire::ListOrdersRequest {
        residence_country: "GB".into(),
        customer_id: "c-1".into(),
        page_size: 2,
        page_token: token.into(),
        state,
        ..Default::default()
    };
    let (mut token, mut seen) = (String::new(), Vec::new());
    loop {
        let page = ok(node.service.list_orders(call(list(&token, 0))).await);
        seen.extend(page.orders.into_iter().map(|order| order.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    names.reverse();
    assert_eq!(seen, names);
    let rejected = wire::OrderState::Rejected.into();
    let only = ok(node.service.list_orders(call(list("", rejected))).await);
    assert_eq!(only.orders.len(), 1);
    let first = ok(node.service.list_orders(call(list("", 0))).await).next_page_token;
    let foreign = node.service.list_orders(call(list(&first, rejected))).await;
    assert_eq!(reason(foreign), Reason::PageTokenInvalid);
    let everybody = wire::ListOrdersRequest { page_size: 100, ..Default::default() };
    let all = ok(node.service.list_orders(call(everybody.clone())).await);
    assert_eq!(all.orders.len(), 6);
    let shop = call_as(everybody, &[Role::Storefront], Duration::from_secs(5));
    assert_eq!(reason(node.service.list_orders(shop).await), Reason::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn books_that_differ_from_the_orders_are_found() {
    let rig = Rig::start(1).await;
    rig.place(&order("r-1")).await.unwrap();
    rig.at_rest().await;
    {
        let mut books = rig.books.0.lock();
        books.captured.values_mut().for_each(|captured| *captured += 1);
        books.holds.values_mut().for_each(|(_, state)| *state = "held");
    }
    let findings = rig.leader().await.orders.cross_check(soon()).await;
    assert_eq!(findings.len(), 2);
    for finding in findings {
        assert!(matches!(finding.verdict, Verdict::Violated(_)), "{finding:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_over_several_shards_is_held_whole_or_not_at_all() {
    let rig = Rig::sharded(3).await;
    let skus: Vec<String> = (0..12).map(|n| format!("S{n}")).collect();
    for sku in &skus {
        rig.books.0.lock().stock.insert(sku.clone(), 10);
    }
    for n in 0..6 {
        let mut request = order(&format!("r-{n}"));
        request.customer_id = format!("c-{n}");
        request.lines = skus.iter().map(|sku| line(sku, 1, 50)).collect();
        if n % 2 == 1 {
            request.lines.push(line("RARE", 2, 50));
        }
        let placed = rig.place(&request).await.unwrap().order.unwrap();
        let want = match n % 2 {
            0 => wire::OrderState::Confirmed,
            _ => wire::OrderState::Rejected,
        };
        assert_eq!(placed.state(), want);
    }
    rig.at_rest().await;
    let shell = rig.leader().await.orders.shell();
    let used = shell.groups.values().filter(|h| h.group.peek(|m| m.state.orders.len()) > 0);
    assert!(used.count() > 1, "customers are spread over groups");
    let everybody = wire::ListOrdersRequest { page_size: 4, ..Default::default() };
    let node = rig.leader().await;
    let first = ok(node.service.list_orders(call(everybody.clone())).await);
    let next = wire::ListOrdersRequest { page_token: first.next_page_token, ..everybody };
    let second = ok(node.service.list_orders(call(next)).await);
    let mut names: Vec<_> = first.orders.iter().chain(&second.orders).map(|o| &o.name).collect();
    names.dedup();
    assert_eq!((names.len(), second.next_page_token.as_str()), (6, ""));
    assert!(skus.iter().all(|sku| rig.books.0.lock().stock[sku] == 7));
}
