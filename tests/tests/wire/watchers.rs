//! Many who watch take no place of those who order.

use std::time::Duration;

use hansa_api::client::{Expect, Services, Timing, connect};
use hansa_api::pb::order::WatchOrderRequest;
use hansa_tests::local::{self, Local, PATIENCE};
use hansa_tests::request;
use tonic::Request;

const REGION: &str = "eu-west";
/// Streams of one connection, below what a listener lets it have.
const EACH: usize = 200;
/// Connections to each gateway. Together more streams than one connection between nodes has.
const CONNECTIONS: usize = 2;

/// A client of the gateway at this endpoint.
async fn at(league: &Local, endpoint: &str) -> Services {
    let files = &league.profile.clients["storefront"];
    let identity = league.identity(files.cert.clone(), files.key.clone());
    let expect = Expect::NodeOf(REGION.parse().expect("a region name"));
    let channel = connect(&identity, endpoint, &expect, Timing::default()).await;
    Services::new(channel.expect("the gateway answers"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_takes_no_place_of_who_orders() {
    let league = local::league("wire");
    league.stock(REGION, "WATCHED", 100).await;
    let order = || request::order("W-1", vec![request::line("WATCHED", 1)]);
    let client = league.as_client("storefront", REGION).await.orders;
    let placed = request::placed(&client, &order()).await.order.expect("an order");
    let region = REGION.parse().expect("a region name");
    let mut open = Vec::new();
    for endpoint in &league.profile.regions[&region].endpoints {
        for _ in 0..CONNECTIONS {
            let watcher = at(league, endpoint).await;
            for _ in 0..EACH {
                let order = placed.name.clone();
                let request = WatchOrderRequest { order, ..Default::default() };
                let mut orders = watcher.orders.clone();
                let opened = tokio::time::timeout(PATIENCE, orders.watch_order(request)).await;
                let mut items = opened.expect("in time").expect("a stream").into_inner();
                let first = tokio::time::timeout(PATIENCE, items.message()).await;
                assert!(first.expect("in time").expect("an item").is_some());
                open.push(items);
            }
        }
    }
    for endpoint in &league.profile.regions[&region].endpoints {
        let client = at(league, endpoint).await;
        let mut call = Request::new(order());
        call.set_timeout(Duration::from_secs(10));
        let placed = client.orders.clone().place_order(call).await;
        assert!(placed.is_ok(), "{endpoint}: {placed:?}");
    }
    assert_eq!(open.len(), 3 * CONNECTIONS * EACH);
}
