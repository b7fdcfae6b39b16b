//! A region that lives, is cut off from all others and still has its customers: how far its peers
//! are behind, who takes it over meanwhile, and what becomes of what it did alone.

#[path = "alone/rig.rs"]
mod rig;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hansa::config::Config;
use hansa_api::pb::order::{OrderState, PaymentState, ReadMode};
use hansa_api::status::Reason;
use hansa_tests::figures::Times;
use hansa_tests::{figures, suite};
use rig::{CUT, HEIR, Lag, OTHERS, Rig, eventually, number};
use serde_json::json;
use tokio::time::Instant;

const BETWEEN: Duration = Duration::from_millis(50);
/// Orders that a peer lacks when it comes back, and those that are placed beside.
const BACKLOG: usize = 400;
const LIVE: usize = 6;

/// What somebody heard who asked the region that is cut off again and again.
#[derive(Debug, Default)]
struct Heard {
    confirmed: Vec<String>,
    /// Without an order that is confirmed: what became of these, nobody told.
    others: Vec<String>,
}

/// Asks one after the other until it is over.
async fn asking(rig: &Rig, over: &AtomicBool) -> Heard {
    let mut heard = Heard::default();
    while !over.load(Ordering::Relaxed) {
        match rig.asked_now(CUT).await {
            Ok(order) if order.state() == OrderState::Confirmed => heard.confirmed.push(order.name),
            other => heard.others.push(format!("{other:?}")),
        }
        tokio::time::sleep(BETWEEN).await;
    }
    heard
}

/// The wires heal while customers go on; until the region has heard who owns.
async fn contact(rig: &Rig, epoch: u64) -> Heard {
    let over = AtomicBool::new(false);
    let owner = Some((HEIR.to_owned(), epoch));
    let meets = async {
        rig.links.heal();
        eventually("it has heard who owns", async || rig.owner_by(CUT).await == owner).await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(asking(rig, &over), meets).0
}

/// A region says of each peer, in both ways alike, that it lacks at least this many events, the
/// oldest of which is at least this old.
async fn lags(rig: &Rig, from: &str, peers: &[&str], events: f64, at_least: Duration) -> Lag {
    let mut last = None;
    for to in peers {
        eventually(&format!("{from} says that {to} is behind"), async || {
            let metric = rig.lag_metric(from, to).await;
            let Some((status, stream)) = rig.lag_status(from, to).await else { return false };
            let unheard = number(&stream["lastSequence"]) - number(&stream["acknowledgedSequence"]);
            last = Some(status);
            let old = |lag: Lag| lag.seconds >= at_least.as_secs_f64();
            let one = |lag: Lag| lag.events == unheard && unheard >= events && old(lag);
            metric.is_some_and(one) && one(status)
        })
        .await;
    }
    last.expect("some peer")
}

/// None of these is known anywhere but where it was made.
async fn nowhere_else(rig: &Rig, tail: &BTreeSet<String>) {
    for (name, at) in tail.iter().flat_map(|name| OTHERS.map(|at| (name, at))) {
        let copy = rig.read(at, name, ReadMode::LocalCopy).await;
        let unknown = |why: Reason| why == Reason::OrderNotFound;
        assert!(copy.as_ref().is_err_and(|e| unknown(e.reason())), "{name} at {at}: {copy:?}");
    }
    suite::checked("orders that no other region has", tail.len());
}

/// Each confirmed order is in the tail or with the heir, and the tail has no others than were
/// confirmed, but for those of which nobody was told.
async fn each_in_one_place(rig: &Rig, tail: &BTreeSet<String>, alone: &[String], heard: &Heard) {
    let missing: Vec<_> = alone.iter().filter(|name| !tail.contains(*name)).collect();
    assert!(missing.is_empty(), "confirmed alone, and not in the tail: {missing:?}");
    for name in heard.confirmed.iter().filter(|name| !tail.contains(*name)) {
        rig.is_confirmed(HEIR, name, ReadMode::Unspecified).await;
    }
    let told: BTreeSet<&String> = alone.iter().chain(&heard.confirmed).collect();
    let untold: Vec<_> = tail.iter().filter(|name| !told.contains(name)).collect();
    assert!(untold.len() <= heard.others.len(), "{untold:?} of {:?}", heard.others);
    suite::checked("orders confirmed while cut off", told.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_living_region_that_serves_alone_is_taken_over_and_loses_nothing_unseen() {
    let rig = Rig::start("alone-serves").await;
    let before = rig.placed(CUT, "DE", 3).await;
    let quiet = Instant::now();
    for peer in OTHERS {
        rig.level(CUT, peer).await;
    }
    rig.links.cut_off(CUT);
    let mut alone = rig.placed(CUT, "DE", 1).await;
    let first = Instant::now();
    alone.extend(rig.placed(CUT, "DE", 4).await);
    let (abroad, away) = (rig.placed("us-east", "US", 1).await, Instant::now());

    let events = alone.len() as f64;
    let lag = lags(&rig, CUT, &OTHERS, events, first.elapsed()).await;
    assert!(lag.seconds <= quiet.elapsed().as_secs_f64(), "{lag:?} of {:?}", quiet.elapsed());
    // A peer that is away holds nobody else up.
    rig.level("us-east", HEIR).await;
    rig.is_confirmed(HEIR, &abroad[0], ReadMode::LocalCopy).await;
    lags(&rig, "us-east", &[CUT], 1.0, away.elapsed()).await;
    // Its copies elsewhere do not pass for fresh.
    let at_least = first.elapsed();
    let stale = rig.stale(HEIR, CUT).await;
    assert!(stale.is_some_and(|stale| stale >= at_least), "{stale:?} of {at_least:?}");

    let (code, said) = rig.failover(&[]).await;
    assert!(code == Some(4) && said.contains("machines are off"), "{code:?}: {said}");
    let (code, said) = rig.failover(&["--confirm-stopped"]).await;
    assert_eq!(code, Some(0), "{said}");
    let (owner, epoch) = rig.owner_by(HEIR).await.expect("it is known");
    assert_eq!(owner, HEIR);
    // Both serve what was born there, and only one of them knows.
    assert_eq!(rig.owner_by(CUT).await.expect("it lives").0, CUT);
    alone.extend(rig.placed(CUT, "DE", 2).await);
    let served = rig.placed(HEIR, "DE", 2).await;
    for name in &before {
        rig.is_confirmed(HEIR, name, ReadMode::Unspecified).await;
    }
    let lag = lags(&rig, CUT, &OTHERS, alone.len() as f64, first.elapsed()).await;

    let heard = Box::pin(contact(&rig, epoch)).await;
    let tail = rig.tail().await;
    each_in_one_place(&rig, &tail, &alone, &heard).await;
    nowhere_else(&rig, &tail).await;
    // Through its own gateway everybody is served by the heir now.
    let after = rig.placed(CUT, "DE", 1).await;
    rig.is_confirmed(HEIR, &after[0], ReadMode::Unspecified).await;
    assert_eq!(rig.tail().await, tail, "nothing more is done alone");
    let (adopted, undone) = alone.split_at(alone.len() / 2);
    rig.decide(adopted).await;
    nowhere_else(&rig, &tail).await;
    rig.go_home().await;

    for name in [&before, &served, &after, adopted].into_iter().flatten() {
        rig.is_confirmed(CUT, name, ReadMode::Unspecified).await;
        rig.is_confirmed(HEIR, name, ReadMode::LocalCopy).await;
    }
    for name in undone {
        eventually("it is paid back", async || {
            let order = rig.read(CUT, name, ReadMode::Unspecified).await;
            let back = [PaymentState::Refunded, PaymentState::Voided];
            order.is_ok_and(|order| back.contains(&order.payment_state()))
        })
        .await;
    }
    for (from, to) in OTHERS.map(|to| (CUT, to)).into_iter().chain([("us-east", CUT)]) {
        rig.level(from, to).await;
    }
    rig.sound().await;
    let (events, age) = (lag.events, lag.seconds);
    let tail = json!({ "confirmed_before_contact": alone.len(), "orders": tail.len() });
    figures::publish("alone", json!({ "tail": tail, "lag_events": events, "lag_seconds": age }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_living_region_with_leases_stops_alone_and_is_taken_over_without_a_word() {
    let rig = Rig::start("alone-leases").await;
    let (code, said) = rig.ctl(CUT, &["region", "isolation", CUT, "lease", "--lease", "2s"]).await;
    assert_eq!(code, Some(0), "{said}");
    let before = rig.placed(CUT, "DE", 3).await;
    rig.level(CUT, HEIR).await;
    rig.links.cut_off(CUT);
    // What it takes until its lease is over, it takes alone.
    let mut heard = Heard::default();
    eventually("it stops by itself", async || match rig.asked_now(CUT).await {
        Ok(order) if order.state() == OrderState::Confirmed => {
            heard.confirmed.push(order.name);
            false
        }
        Ok(order) => {
            heard.others.push(format!("{order:?}"));
            false
        }
        Err(failure) => {
            heard.others.push(failure.to_string());
            failure.reason() == Reason::LeaseLost
        }
    })
    .await;
    let (code, said) = rig.failover(&[]).await;
    assert!(code == Some(0) && said.contains("waiting"), "{code:?}: {said}");
    let (owner, epoch) = rig.owner_by(HEIR).await.expect("it is known");
    assert_eq!(owner, HEIR);
    // It knows of nothing, and stands still.
    assert_eq!(rig.owner_by(CUT).await.expect("it lives").0, CUT);
    let refused = rig.asked_now(CUT).await;
    assert!(refused.as_ref().is_err_and(|why| why.reason() == Reason::LeaseLost), "{refused:?}");
    let served = rig.placed(HEIR, "DE", 2).await;

    let during = Box::pin(contact(&rig, epoch)).await;
    let tail = rig.tail().await;
    each_in_one_place(&rig, &tail, &[], &heard).await;
    let late: Vec<_> = during.confirmed.iter().filter(|name| tail.contains(*name)).collect();
    assert!(late.is_empty(), "without a lease, and confirmed: {late:?}");
    nowhere_else(&rig, &tail).await;
    rig.decide(
        &heard.confirmed.iter().filter(|of| tail.contains(*of)).cloned().collect::<Vec<_>>(),
    )
    .await;
    rig.go_home().await;
    for name in before.iter().chain(&served).chain(&heard.confirmed) {
        rig.is_confirmed(CUT, name, ReadMode::Unspecified).await;
    }
    rig.sound().await;
}

/// Orders placed one after the other while a peer is behind: each is confirmed, and copied to those
/// who are not; how long each took to be confirmed.
async fn live(rig: &Rig, count: usize) -> Times {
    let mut times = Times::default();
    for _ in 0..count {
        let began = Instant::now();
        let name = rig.placed(CUT, "DE", 1).await.remove(0);
        times.add(began.elapsed());
        for peer in [HEIR, "us-east"] {
            rig.is_confirmed(peer, &name, ReadMode::LocalCopy).await;
        }
    }
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_was_away_catches_up_on_a_thin_wire_and_holds_nobody_up() {
    const LATE: &str = "ap-south";
    // Small messages: a thin wire takes many of them, and is not silent for long.
    let small = |config: &mut Config| config.orders.replicate.batch_max = 4;
    let rig = Rig::start_with("alone-late", small).await;
    rig.placed(CUT, "DE", 1).await;
    rig.level(CUT, LATE).await;
    rig.links.cut_off(LATE);
    let away = live(&rig, LIVE).await;
    let many = (0..8).map(|_| rig.placed(CUT, "DE", BACKLOG / 8));
    let orders = futures::future::join_all(many).await.concat();
    let behind = lags(&rig, CUT, &[LATE], orders.len() as f64, Duration::ZERO).await;

    rig.links.thin(LATE);
    let acknowledged = async || match rig.lag_status(CUT, LATE).await {
        Some((_, stream)) => number(&stream["acknowledgedSequence"]),
        None => 0.0,
    };
    let before = acknowledged().await;
    eventually("it catches up", async || acknowledged().await > before).await;
    // What lives goes on beside, and is everywhere else before the late one has all of it.
    let beside = live(&rig, LIVE).await;
    let left = rig.lag_status(CUT, LATE).await.expect("it is known").0;
    assert!(left.events > 0.0, "it was not late any more: the test says nothing");
    let between = acknowledged().await;
    eventually("it goes on to catch up", async || acknowledged().await > between).await;

    rig.links.heal();
    let began = Instant::now();
    rig.level(CUT, LATE).await;
    for name in [&orders[0], &orders[orders.len() - 1]] {
        rig.is_confirmed(LATE, name, ReadMode::LocalCopy).await;
    }
    let took = began.elapsed().as_secs_f64();
    suite::publish();
    let figures = json!({
        "backlog_events": behind.events,
        "order_while_away": away.json(),
        "order_while_it_catches_up": beside.json(),
        "events_left_when_the_wire_healed": left.events,
        "caught_up_s": took,
    });
    figures::publish("catch-up", figures);
}
