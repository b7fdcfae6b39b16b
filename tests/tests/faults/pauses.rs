//! SIGSTOP: a node that stands still and wakes up in a changed world.

use std::time::Duration;

use hansa_api::client::Policy;
use hansa_api::pb::admin::GroupKind;
use hansa_tests::dice::Dice;
use hansa_tests::load::{Caller, Load, Shape, stock_key};
use hansa_tests::processes::{HOME, Processes};
use hansa_tests::{scale, suite};

use crate::{BACK_WITHIN, finish};

/// The reads are sent while the old leader sleeps, so they are the first thing that it finds when
/// it wakes, believing that it leads. They are part of the history: a stale one fails the check.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_wakes_up_serves_no_stale_read() {
    let mut league = Processes::start_region("pause").await;
    let load = Load::start(&league, Shape::default()).await;
    let (mut dice, _) = Dice::of_this_run();
    let mut served_early = 0;
    for cycle in 0..scale::cycles(2, 30) {
        load.progress(10, BACK_WITHIN).await;
        let kind = if cycle % 2 == 0 { GroupKind::Inventory } else { GroupKind::Orders };
        let leader = league.leader(HOME, kind).await;
        let number = league.names().iter().position(|name| *name == leader).expect("a node");
        let patient = Shape {
            timeout: Duration::from_secs(90),
            policy: Policy { attempts_max: 1, ..Policy::default() },
            ..Shape::default()
        };
        let early = readers(&league, number, &patient, &load).await;
        league.pause(&leader);
        let reading = futures::future::join_all(early.iter().enumerate().map(|(sku, reader)| {
            let key = stock_key(HOME, sku);
            async move { reader.read_stock(key).await }
        }));
        let asleep = scale::seconds(4, if cycle == 0 { 60 } else { 1 + dice.below(60) });
        let meanwhile = async {
            // Others must have taken over, or there is nothing to be stale about.
            let back = load.progress(10, BACK_WITHIN).await;
            tokio::time::sleep(asleep.saturating_sub(back)).await;
            league.resume(&leader);
            back
        };
        let (answers, back) = tokio::join!(reading, meanwhile);
        let served = answers.iter().filter(|answer| answer.is_ok()).count();
        suite::checked("early reads that were served", served);
        suite::checked("early reads that were refused", answers.len() - served);
        println!("{leader} paused {asleep:?}: orders again after {back:?}, {served} early reads");
        served_early += served;
    }
    if served_early == 0 {
        let why = "no early read reached a leader that woke: nothing was shown";
        assert!(!scale::full(), "{why}");
        scale::aside(why);
    }
    finish(&league, load).await;
}

/// Clients of one gateway that do not give it up.
async fn readers(league: &Processes, number: usize, shape: &Shape, load: &Load) -> Vec<Caller> {
    let mut readers = Vec::new();
    for _ in 0..4 {
        readers.push(Caller::patient(league, number, shape, &load.record, &load.tally).await);
    }
    readers
}
