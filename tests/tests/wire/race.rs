//! Two stock clients race for the last unit: one wins.

use hansa_api::pb::order::{OrderState, RejectReason};
use hansa_tests::{local, request};

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_that_want_the_last_unit_gets_it() {
    let league = local::league("wire");
    league.stock("eu-west", "LAST-ONE", 1).await;

    let racers = (0..8).map(|n| async move {
        // Half of them enter by another region.
        let entry = if n % 2 == 0 { "eu-west" } else { "us-east" };
        let orders = league.as_client("storefront", entry).await.orders;
        let wish = request::order(&format!("racer-{n}"), vec![request::line("LAST-ONE", 1)]);
        request::placed(&orders, &wish).await.order.expect("an order")
    });
    let orders = futures::future::join_all(racers).await;

    let won = orders.iter().filter(|order| order.state() == OrderState::Confirmed).count();
    assert_eq!(won, 1, "{:?}", orders.iter().map(|o| o.state()).collect::<Vec<_>>());
    let lost = orders.iter().filter(|order| order.state() == OrderState::Rejected);
    for order in lost.clone() {
        let why = order.rejection.as_ref().expect("a reason").reason();
        assert_eq!(why, RejectReason::OutOfStock);
    }
    assert_eq!(lost.count(), 7);
    assert_eq!(league.available("eu-west", "LAST-ONE").await, 0);
}
