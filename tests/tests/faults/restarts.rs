//! Nodes that are restarted in turn, and nodes that are killed while they start.

use std::time::Duration;

use hansa_tests::dice::Dice;
use hansa_tests::load::{Load, Shape};
use hansa_tests::processes::Processes;
use hansa_tests::scale;

use crate::{BACK_WITHIN, finish};

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_costs_no_request_that_a_client_would_see() {
    let mut league = Processes::start_region("rolling").await;
    let load = Load::start(&league, Shape::default()).await;
    load.progress(10, BACK_WITHIN).await;
    for _ in 0..scale::cycles(1, 10) {
        for name in league.names() {
            league.stop(&name).await;
            load.progress(5, BACK_WITHIN).await;
            league.run(&name);
            league.ready().await;
            load.progress(5, BACK_WITHIN).await;
        }
    }
    let tally = load.tally.clone();
    finish(&league, load).await;
    assert!(tally.failures().is_empty(), "clients saw {:?}", tally.failures());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_while_it_starts_starts_the_next_time() {
    let mut league = Processes::start_region("kill-start").await;
    let load = Load::start(&league, Shape::default()).await;
    let (mut dice, _) = Dice::of_this_run();
    let victim = league.names().remove(2);
    load.progress(10, BACK_WITHIN).await;
    for _ in 0..scale::cycles(6, 100) {
        league.kill(&victim);
        league.run(&victim);
        // From before it has read a byte until after it serves.
        tokio::time::sleep(Duration::from_millis(dice.below(1_500))).await;
    }
    load.progress(10, BACK_WITHIN).await;
    league.ready().await;
    finish(&league, load).await;
}
