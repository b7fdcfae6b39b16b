//! Orders over a `PlaceOrders` stream: what becomes of each is what a call would have come to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use hansa_api::client::{Placing, Services, ToPlace};
use hansa_api::pb::order::order_answer::Result as Said;
use hansa_api::pb::order::{
    OrderState, OrderToPlace, PlaceOrderRequest, PlaceOrderResponse, PlaceOrdersRequest,
};
use hansa_api::status::{Failure, Reason, key};
use hansa_node::tasks::{OnError, Tasks};
use hansa_tests::local::PATIENCE;
use hansa_tests::{local, request};
use tonic::Status;

use super::refusals::spoiled;

const SKU: &str = "STREAM-1";

/// A stream to a gateway, for as long as the test runs.
fn stream(services: &Services) -> Placing {
    let (placing, run) = Placing::new(services.orders.clone());
    Tasks::new("stream").spawn("placing", OnError::Log, run);
    placing
}

fn wish(customer: &str, sku: &str) -> PlaceOrderRequest {
    request::order(customer, vec![request::line(sku, 1)])
}

async fn once(stream: &Placing, order: &PlaceOrderRequest) -> Result<PlaceOrderResponse, Status> {
    let (order, timeout) = (order.clone(), PATIENCE);
    stream.place(ToPlace { order, timeout, first_sent_ms: 0 }).await
}

/// Asked again as an order that is asked for by a call.
async fn placed(stream: &Placing, order: &PlaceOrderRequest) -> PlaceOrderResponse {
    let place = || async move { once(stream, order).await.map(tonic::Response::new) };
    loop {
        let answer = request::asked(place).await.expect("an answer");
        if answer.order.as_ref().expect("an order").state() != OrderState::Pending {
            return answer;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_order_is_refused_as_by_a_call_and_the_stream_goes_on() {
    let league = local::league("wire");
    league.stock("eu-west", SKU, 9).await;
    // At home and forwarded; the Swiss are served at home only.
    for entry in ["eu-west", "ap-south"] {
        let services = league.as_client("storefront", entry).await;
        let mut calls = services.orders.clone();
        let stream = stream(&services);
        let mut cases = vec![("at home", None, wish("stream-ok", SKU))];
        for (what, expect, spoil) in spoiled() {
            let mut order = wish("stream-bad", SKU);
            spoil(&mut order);
            cases.push((what, Some(expect), order));
        }
        let mut swiss = wish("stream-ch", SKU);
        swiss.residence_country = "CH".to_owned();
        if entry == "ap-south" {
            cases.push(("passed through", Some(Reason::WrongRegion), swiss));
        }
        let asked = cases.iter().map(|(.., order)| once(&stream, order));
        let answers = futures::future::join_all(asked).await;
        for ((what, expect, order), answer) in cases.iter().zip(answers) {
            let Some(expect) = expect else {
                placed(&stream, order).await;
                continue;
            };
            let told = answer.expect_err(what);
            let call = calls.place_order(order.clone()).await.expect_err(what);
            assert_eq!(Failure::from(&told).reason(), *expect, "{what} at {entry}: {told:?}");
            assert_eq!((told.code(), told.message()), (call.code(), call.message()), "{what}");
            assert_eq!(Failure::from(&told), Failure::from(&call), "{what} at {entry}");
            assert!(!format!("{told:?}").contains("4111"), "{what}: echoes the card");
            if *expect == Reason::WrongRegion {
                assert!(Failure::from(&told).metadata(key::ENDPOINT).is_some(), "{told:?}");
            }
        }
        let again = placed(&stream, &cases[0].2).await;
        assert!(again.replayed, "the stream still serves: {again:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_has_one_effect_on_streams_and_calls_alike() {
    let league = local::league("wire");
    league.stock("eu-west", "STREAM-2", 5).await;
    let services = league.as_client("storefront", "us-east").await;
    let stream = stream(&services);
    let order = wish("stream-2", "STREAM-2");
    let first = placed(&stream, &order).await.order.expect("an order");
    assert_eq!(first.state(), OrderState::Confirmed);
    let again = placed(&stream, &order).await;
    assert!(again.replayed);
    let call = request::placed(&services.orders, &order).await;
    assert!(call.replayed);
    assert_eq!(again.order.expect("one").name, first.name);
    assert_eq!(call.order.expect("one").name, first.name);
    let mut other = order;
    other.lines[0].quantity = 2;
    let refused = once(&stream, &other).await.expect_err("another body");
    assert_eq!(Failure::from(refused).reason(), Reason::RequestIdReused);
    assert_eq!(league.available("eu-west", "STREAM-2").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_cut_in_the_middle_loses_and_doubles_nothing() {
    const ORDERS: usize = 40;
    let league = local::league("wire");
    league.stock("eu-west", "STREAM-3", 100).await;
    let customer = |n: usize| format!("stream-3-{n}");
    let wishes: Vec<_> = (0..ORDERS).map(|n| wish(&customer(n), "STREAM-3")).collect();
    let home = league.as_client("storefront", "eu-west").await;
    // What each was called by the first answer that told.
    let mut told = BTreeMap::new();
    for cut_after in [0, 1, 9] {
        let order = |(tag, order): (usize, &PlaceOrderRequest)| OrderToPlace {
            tag: tag as u64,
            order: Some(order.clone()),
            ..Default::default()
        };
        let orders = wishes.iter().enumerate().map(order).collect();
        let asks = futures::stream::iter([PlaceOrdersRequest { orders }]);
        let asks = asks.chain(futures::stream::pending());
        let answers = home.orders.clone().place_orders(asks).await.expect("a stream");
        let (mut answers, mut heard) = (answers.into_inner(), 0);
        while heard < cut_after {
            let message = answers.message().await.expect("a message").expect("more");
            heard += message.answers.len();
            for answer in message.answers {
                let Some(Said::Placed(placed)) = answer.result else { continue };
                let name = placed.order.expect("an order").name;
                let first = told.entry(answer.tag as usize).or_insert_with(|| name.clone());
                assert_eq!(*first, name, "one order, two names");
            }
        }
        // Its orders are somewhere between the client and the log.
        drop(answers);
    }
    let away = league.as_client("storefront", "ap-south").await;
    let again = stream(&away);
    let placed = futures::future::join_all(wishes.iter().map(|wish| placed(&again, wish))).await;
    let names: Vec<_> = placed
        .into_iter()
        .map(|answer| answer.order.expect("an order"))
        .inspect(|order| assert_eq!(order.state(), OrderState::Confirmed, "{order:?}"))
        .map(|order| order.name)
        .collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), ORDERS);
    assert!(!told.is_empty(), "the cut streams told of none");
    for (tag, name) in told {
        assert_eq!(names[tag], name, "what was told is what there is");
    }
    assert_eq!(league.available("eu-west", "STREAM-3").await, 100 - ORDERS as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_places_no_orders_has_no_stream() {
    let league = local::league("wire");
    let mut warehouse = league.as_client("warehouse", "eu-west").await.orders;
    let none = futures::stream::pending::<PlaceOrdersRequest>();
    let opened = tokio::time::timeout(Duration::from_secs(30), warehouse.place_orders(none)).await;
    let refused = opened.expect("refused at once").expect_err("a warehouse places no orders");
    assert_eq!(Failure::from(refused).reason(), Reason::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_no_message_is_refused_alone() {
    let league = local::league("wire");
    league.stock("eu-west", "STREAM-4", 5).await;
    let mut orders = league.as_client("storefront", "eu-west").await.orders;
    let bad = OrderToPlace { tag: 1, ..Default::default() };
    let order = Some(wish("stream-4", "STREAM-4"));
    let good = OrderToPlace { tag: 2, order, ..Default::default() };
    let asks = futures::stream::iter([PlaceOrdersRequest { orders: vec![bad, good] }]);
    let mut answers = orders.place_orders(asks).await.expect("a stream").into_inner();
    let mut told = Vec::new();
    while let Some(message) = answers.message().await.expect("in order") {
        told.extend(message.answers);
    }
    told.sort_by_key(|answer| answer.tag);
    assert!(matches!(told[0].result, Some(Said::Refused(_))), "{told:?}");
    assert!(matches!(told[1].result, Some(Said::Placed(_))), "{told:?}");
    assert_eq!(told.len(), 2, "one answer each, and the stream ends with its sender's half");
}
