//! Processes that are killed, stopped and restarted under load. Needs no root.
//!
//! `HANSA_FAULTS=full` makes the cycles many and the pauses long.

mod faults {
    mod damage;
    mod pauses;
    mod restarts;
}

use std::time::Duration;

use hansa_api::pb::admin::GroupKind;
use hansa_tests::load::{Load, Shape};
use hansa_tests::processes::{HOME, Processes};
use hansa_tests::{after, scale};

/// Longest that a region may take to confirm orders again: the machine may be busy.
const BACK_WITHIN: Duration = Duration::from_secs(120);

const KINDS: [GroupKind; 4] =
    [GroupKind::Orders, GroupKind::Inventory, GroupKind::Payments, GroupKind::Directory];

/// Stops the load, lets the house settle, looks at all of it.
async fn finish(league: &Processes, load: Load) {
    let run = load.stop().await;
    println!("PlaceOrder: {}", run.tally.of("PlaceOrder"));
    after::check(league, &run).await;
}

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
    finish(&league, load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_killed_whole_comes_back_with_all_that_was_acknowledged() {
    let mut league = Processes::start_region("kill-all").await;
    let load = Load::start(&league, Shape::default()).await;
    for cycle in 0..scale::cycles(2, 100) {
        load.progress(10, BACK_WITHIN).await;
        let names = league.names();
        league.kill_at_once(&names);
        league.start_all();
        let back = load.progress(10, BACK_WITHIN).await;
        println!("cycle {cycle}: all killed and started: orders again after {back:?}");
        league.ready().await;
    }
    finish(&league, load).await;
}
