//! How long until somebody is served: an order every few ms, each by itself, without retries.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hansa::replay::doors::Door;
use hansa_api::pb::order::OrderState;
use tokio::time::Instant;

use crate::processes::{HOME, Processes};
use crate::{load, request};

/// With the calls' time it bounds how many are on their way: a probe must not be what keeps a house
/// down.
const EVERY: Duration = Duration::from_millis(50);
const CALL_TIMEOUT: Duration = Duration::from_secs(4);

/// The time from now until an order that is placed from now on is confirmed, by any gateway.
///
/// # Panics
/// When none is within `bound`.
pub async fn served(league: &Processes, bound: Duration) -> Duration {
    let began = Instant::now();
    let home = HOME.parse().expect("a region name");
    let mut asked = FuturesUnordered::new();
    let mut tick = tokio::time::interval(EVERY);
    for attempt in 0.. {
        let door = league.doors.pick(&home, 0, attempt).expect("a gateway");
        asked.push(confirmed(door));
        loop {
            tokio::select! {
                biased;
                Some(done) = asked.next() => if done { return began.elapsed() },
                _ = tick.tick() => break,
            }
        }
        assert!(began.elapsed() < bound, "no order is confirmed in {bound:?}");
    }
    unreachable!("attempts do not run out")
}

async fn confirmed(mut door: Door) -> bool {
    let line = request::line(&load::stock_key(HOME, 0).sku, 1);
    let mut order = tonic::Request::new(request::order("C-probe", vec![line]));
    order.set_timeout(CALL_TIMEOUT);
    let answer = door.storefront.orders.place_order(order).await;
    let order = answer.ok().and_then(|answer| answer.into_inner().order);
    order.is_some_and(|order| order.state() == OrderState::Confirmed)
}
