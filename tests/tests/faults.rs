//! Processes that are killed, stopped and restarted under load. Needs no root.

use std::time::Duration;

use hansa_api::pb::admin::GroupKind;
use hansa_tests::load::{Load, Shape};
use hansa_tests::processes::{HOME, Processes};
use hansa_tests::{after, scale};

/// Longest that a region may take to confirm orders again: the machine may be busy.
const BACK_WITHIN: Duration = Duration::from_secs(60);

const KINDS: [GroupKind; 4] =
    [GroupKind::Orders, GroupKind::Inventory, GroupKind::Payments, GroupKind::Directory];

#[tokio::test(flavor = "multi_thread")]
async fn killed_leaders_lose_nothing_that_was_acknowledged() {
    let mut league = Processes::start_region("kill-leaders").await;
    let load = Load::start(&league, Shape::default()).await;
    for cycle in 0..scale::cycles(3, 60) {
        load.progress(10, BACK_WITHIN).await;
        let leader = league.leader(HOME, KINDS[cycle % KINDS.len()]).await;
        league.kill(&leader);
        let back = load.progress(10, BACK_WITHIN).await;
        println!("{leader} killed: orders again after {back:?}");
        league.run(&leader);
        league.ready().await;
    }
    let run = load.stop().await;
    println!("PlaceOrder: {}", run.tally.of("PlaceOrder"));
    after::check(&league, &run).await;
}
