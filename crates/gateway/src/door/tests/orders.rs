//! Streams of orders.

use std::time::Duration;

use bytes::Buf as _;
use futures::StreamExt as _;
use hansa_api::pb::order::order_answer::Result as Said;
use hansa_api::pb::order::{OrderAnswer, OrderToPlace, PlaceOrdersRequest, PlaceOrdersResponse};
use hansa_node::listen::Leaving;
use http_body_util::StreamBody;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;

const ORDERS: &str = "hansa.order.v1.OrderService/PlaceOrders";

fn asked(tag: u64, country: &str) -> OrderToPlace {
    let order = PlaceOrderRequest::decode(&place(country)[5..]).unwrap();
    OrderToPlace { tag, order: Some(order), ..Default::default() }
}

fn orders(orders: Vec<OrderToPlace>) -> Bytes {
    frame(&PlaceOrdersRequest { orders })
}

/// All answers of a stream, by tag, and how it ended.
async fn told(answer: Response<Body>) -> (Vec<OrderAnswer>, Option<Failure>) {
    if let Some(failure) = failure(&answer) {
        return (Vec::new(), Some(failure));
    }
    let body = answer.into_body().collect().await.unwrap();
    let ended = body.trailers().and_then(Failure::from_headers);
    let (mut bytes, mut answers) = (body.to_bytes(), Vec::new());
    while bytes.len() >= 5 {
        let len = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
        let message = bytes.slice(5..5 + len);
        answers.extend(PlaceOrdersResponse::decode(message).unwrap().answers);
        bytes.advance(5 + len);
    }
    answers.sort_by_key(|answer| answer.tag);
    (answers, ended)
}

fn reasons(answers: &[OrderAnswer]) -> Vec<(u64, Option<Reason>)> {
    let reason = |answer: &OrderAnswer| match answer.result.as_ref().expect("one of both") {
        Said::Placed(_) => None,
        Said::Refused(refused) => {
            let status = hansa_api::status::status(refused.encode_to_vec().into());
            Some(Failure::from(status).reason())
        }
    };
    answers.iter().map(|answer| (answer.tag, reason(answer))).collect()
}

/// Upstreams that answer with an order.
fn serving() -> Fake {
    let fake = Fake::default();
    let answer = frame(&hansa_api::pb::order::PlaceOrderResponse::default());
    ["node 1", "gateway us-east", "gateway ap-south"]
        .into_iter()
        .fold(fake, |fake, who| fake.with(who, Does::Says(answer.clone())))
}

/// A request's body, as it is said.
fn said() -> (mpsc::Sender<Result<Bytes, Status>>, Body) {
    let (say, said) = mpsc::channel(4);
    let said =
        futures::stream::unfold(said, |mut said| async move { Some((said.recv().await?, said)) });
    let frame = |sent: Result<Bytes, Status>| sent.map(http_body::Frame::data);
    (say, Body::new(StreamBody::new(said.map(frame))))
}

#[tokio::test]
async fn each_order_goes_its_own_way_and_a_bad_one_ends_nothing() {
    let fake = serving();
    let batch = vec![asked(7, "DE"), asked(8, "UK"), asked(9, "US"), asked(10, ""), asked(7, "JP")];
    let body = [orders(batch), orders(vec![OrderToPlace { tag: 11, ..Default::default() }])];
    let request = call(SHOP, ORDERS, &[("x-own", "not passed on")], body.concat().into());
    let (answers, ended) = told(ask(gateway(&fake).public(), request).await).await;
    assert_eq!(ended, None);
    assert_eq!(
        reasons(&answers),
        [
            (7, None),
            (7, None),
            (8, Some(Reason::CountryUnknown)),
            (9, None),
            (10, Some(Reason::FieldEmpty)),
            (11, Some(Reason::RequestIdMissing)),
        ]
    );
    let mut went: Vec<_> = fake.seen.lock().unwrap().iter().map(|seen| seen.who.clone()).collect();
    went.retain(|who| who != "node 1");
    went.sort_unstable();
    assert_eq!(went, ["gateway ap-south", "gateway us-east"]);
    let seen = fake.seen.lock().unwrap().clone();
    for passed in seen.iter().filter(|seen| seen.path == format!("/{PLACE}")) {
        assert_eq!(passed.headers["hansa-principal"], SHOP);
        assert_eq!(passed.headers["hansa-entry"], "eu-west");
        assert!(passed.headers.contains_key("grpc-timeout"));
    }
}

#[tokio::test]
async fn what_home_refuses_is_told_as_home_says_it() {
    let fake = Fake::default().with("gateway us-east", Does::Fails(Reason::Overloaded));
    let body = orders(vec![asked(1, "US")]);
    let (answers, ended) =
        told(ask(gateway(&fake).public(), call(SHOP, ORDERS, &[], body)).await).await;
    assert_eq!((reasons(&answers), ended), (vec![(1, Some(Reason::Overloaded))], None));
    let Some(Said::Refused(refused)) = &answers[0].result else { panic!("{answers:?}") };
    let unary = Status::from(Reason::Overloaded);
    assert_eq!(refused.encode_to_vec(), unary.details());
}

#[tokio::test]
async fn an_order_says_when_it_was_first_sent_and_how_long_it_may_take() {
    let fake = serving();
    let timed = OrderToPlace { timeout_ms: 500, first_sent_ms: 9, ..asked(1, "US") };
    let request = call(SHOP, ORDERS, &[], orders(vec![timed]));
    told(ask(gateway(&fake).public(), request).await).await;
    let headers = fake.last().headers;
    assert_eq!(headers["first-sent-ms"], "9");
    let left = headers["grpc-timeout"].to_str().unwrap().trim_end_matches('u');
    assert!((1..=500_000).contains(&left.parse::<u32>().unwrap()), "{left}");
}

#[tokio::test(start_paused = true)]
async fn an_order_that_home_never_answers_runs_into_its_own_time() {
    let fake = serving().with("gateway us-east", Does::Hangs);
    let late = OrderToPlace { timeout_ms: 500, ..asked(1, "US") };
    let request = call(SHOP, ORDERS, &[], orders(vec![late, asked(2, "JP")]));
    let began = tokio::time::Instant::now();
    let (answers, ended) = told(ask(gateway(&fake).public(), request).await).await;
    let expect = vec![(1, Some(Reason::DeadlineExceeded)), (2, None)];
    assert_eq!((reasons(&answers), ended), (expect, None));
    assert_eq!(began.elapsed().as_millis(), 500);
}

#[tokio::test]
async fn each_order_counts_as_a_call() {
    let fake = serving();
    let rate = Rate { per_second: 1, burst: 3 };
    let config = Config { rate, reflection: false, ..Config::default() };
    let batch = (1..=4).map(|tag| asked(tag, "US")).collect();
    let request = call(SHOP, ORDERS, &[], orders(batch));
    let (answers, _) = told(ask(gateway_with(&fake, config).public(), request).await).await;
    let limited = Some(Reason::RateLimited);
    // One went for the stream itself.
    assert_eq!(reasons(&answers), [(1, None), (2, None), (3, limited), (4, limited)]);
}

#[tokio::test(start_paused = true)]
async fn who_reads_no_answers_keeps_no_orders_places() {
    let fake = serving();
    let config = Config { stream_orders_max: 4, reflection: false, ..Config::default() };
    let gateway = gateway_with(&fake, config);
    let four = || call(SHOP, ORDERS, &[], orders((1..=4).map(|tag| asked(tag, "US")).collect()));
    let unread = ask(gateway.public(), four()).await;
    while fake.count() < 4 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (answers, _) = told(ask(gateway.public(), four()).await).await;
    assert_eq!(reasons(&answers), [(1, None), (2, None), (3, None), (4, None)]);
    assert_eq!(told(unread).await.0.len(), 4, "his answers wait for him");
}

#[tokio::test(start_paused = true)]
async fn one_client_does_not_have_the_room_of_all() {
    let fake = serving().with("gateway us-east", Does::Hangs);
    let config = Config { orders_per_client_max: 1, reflection: false, ..Config::default() };
    let slow = |tag| OrderToPlace { timeout_ms: 500, ..asked(tag, "US") };
    let request = call(SHOP, ORDERS, &[], orders((1..=2).map(slow).collect()));
    let (answers, _) = told(ask(gateway_with(&fake, config).public(), request).await).await;
    let (late, full) = (Some(Reason::DeadlineExceeded), Some(Reason::RateLimited));
    assert_eq!(reasons(&answers), [(1, late), (2, full)]);
    let Some(Said::Refused(refused)) = &answers[1].result else { panic!("{answers:?}") };
    let refused = hansa_api::status::status(refused.encode_to_vec().into());
    assert!(Failure::from(refused).wait().is_some(), "as a call's, with a time to come back");
}

#[tokio::test(start_paused = true)]
async fn beyond_the_room_of_all_streams_orders_are_refused() {
    let fake = serving().with("gateway us-east", Does::Hangs);
    let config = Config { stream_orders_max: 1, reflection: false, ..Config::default() };
    let slow = |tag| OrderToPlace { timeout_ms: 500, ..asked(tag, "US") };
    let request = call(SHOP, ORDERS, &[], orders((1..=3).map(slow).collect()));
    let (answers, ended) = told(ask(gateway_with(&fake, config).public(), request).await).await;
    let (late, full) = (Some(Reason::DeadlineExceeded), Some(Reason::Overloaded));
    assert_eq!(reasons(&answers), [(1, late), (2, full), (3, full)]);
    assert!(ended.is_none());
}

#[tokio::test]
async fn a_stream_is_for_whom_the_policy_lets_place_orders() {
    let fake = serving();
    let from = |peer| call(peer, ORDERS, &[], orders(vec![asked(1, "DE")]));
    let public = || gateway(&fake).public();
    for peer in ["spiffe://hansa/client/auditor", "spiffe://hansa/client/king", GATE] {
        assert_eq!(refused(public(), from(peer)).await, Reason::PermissionDenied, "{peer}");
    }
    let forwarded = call(GATE, ORDERS, &passed_on(), orders(vec![asked(1, "DE")]));
    assert_eq!(refused(gateway(&fake).forwarded(), forwarded).await, Reason::ForwardRefused);
    assert_eq!(fake.count(), 0);
}

#[tokio::test]
async fn a_client_has_few_streams_of_orders_open() {
    let fake = serving();
    let config = Config { order_streams_per_client_max: 1, reflection: false, ..Config::default() };
    let gateway = gateway_with(&fake, config);
    let request = || {
        let (say, body) = said();
        (say, call(SHOP, ORDERS, &[], Bytes::new()).map(|_| body))
    };
    let (_says, first) = request();
    let open = ask(gateway.public(), first).await;
    assert_eq!(refused(gateway.public(), request().1).await, Reason::RateLimited);
    drop(open);
    let (says, third) = request();
    says.send(Ok(orders(vec![asked(1, "US")]))).await.unwrap();
    drop(says);
    assert_eq!(reasons(&told(ask(gateway.public(), third).await).await.0), [(1, None)]);
}

#[tokio::test]
async fn each_order_asks_the_policy_of_its_region() {
    let fake = serving();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authz.toml");
    let only_here = crate::AUTHZ.replacen("regions = [\"*\"]", "regions = [\"eu-west\"]", 1);
    std::fs::write(&file, only_here).unwrap();
    let config = Config { authz_file: Some(file), reflection: false, ..Config::default() };
    let request = call(SHOP, ORDERS, &[], orders(vec![asked(1, "US"), asked(2, "DE")]));
    let (answers, _) = told(ask(gateway_with(&fake, config).public(), request).await).await;
    assert_eq!(reasons(&answers), [(1, Some(Reason::PermissionDenied)), (2, None)]);
}

#[tokio::test]
async fn who_may_open_no_stream_any_more_places_nothing_on_an_open_one() {
    let fake = serving();
    let gateway = gateway(&fake);
    let (say, body) = said();
    let request = call(SHOP, ORDERS, &[], Bytes::new()).map(|_| body);
    let answer = ask(gateway.public(), request).await;
    say.send(Ok(orders(vec![asked(1, "US")]))).await.unwrap();
    while fake.count() < 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let without = crate::AUTHZ.replacen(&format!("  \"{ORDERS}\",\n"), "", 1);
    gateway.public().house.authz.store(Arc::new(Authz::parse(&without).unwrap()));
    say.send(Ok(orders(vec![asked(2, "US")]))).await.unwrap();
    drop(say);
    let (answers, _) = told(answer).await;
    assert_eq!(reasons(&answers), [(1, None), (2, Some(Reason::PermissionDenied))]);
}

#[tokio::test]
async fn what_is_no_message_ends_the_stream_by_name() {
    let fake = serving();
    let max = Config::default().message_bytes_max;
    let big = frame(&PlaceOrdersRequest { orders: vec![asked(1, &"x".repeat(max + 999))] });
    for (bad, reason) in [
        (Bytes::from_static(b"\0\0\0\0\x02\x32\x05"), Reason::MessageMalformed),
        (big, Reason::MessageTooLarge),
    ] {
        let body = [orders(vec![asked(1, "US")]), bad].concat();
        let request = call(SHOP, ORDERS, &[], body.into());
        let (answers, ended) = told(ask(gateway(&fake).public(), request).await).await;
        assert_eq!(reasons(&answers), [(1, None)]);
        assert_eq!(ended.map(|failure| failure.reason()), Some(reason));
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_drains_answers_what_is_under_way_and_ends_the_stream() {
    let fake = serving().with("gateway ap-south", Does::Hangs);
    let (say, body) = said();
    let mut request = call(SHOP, ORDERS, &[], Bytes::new()).map(|_| body);
    let leaving = Leaving { now: CancellationToken::new(), within: Duration::from_secs(8) };
    request.extensions_mut().insert(leaving.clone());
    let slow = OrderToPlace { timeout_ms: 1_000, ..asked(1, "JP") };
    say.send(Ok(orders(vec![slow, asked(2, "US")]))).await.unwrap();
    let drain = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        leaving.now.cancel();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let _unread = say.send(Ok(orders(vec![asked(3, "US")]))).await;
    };
    let answer = ask(gateway(&fake).public(), request).await;
    let ((answers, ended), ()) = futures::future::join(told(answer), drain).await;
    assert_eq!(reasons(&answers), [(1, Some(Reason::DeadlineExceeded)), (2, None)]);
    let ended = ended.expect("a stream that says why it ends");
    assert_eq!(ended.reason(), Reason::Unavailable);
    assert!(ended.wait().is_some(), "and when to come again");
}
