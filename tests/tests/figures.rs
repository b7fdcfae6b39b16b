//! The figures of docs/reliability.md. Not part of a test run:
//! `cargo test -p hansa-tests --release --test figures -- --ignored --nocapture --test-threads 1`

mod figures {
    mod steady;
    mod suite;
}

use std::time::Duration;

use hansa_api::pb::admin::GroupKind;
use hansa_consensus::Profile;
use hansa_tests::figures::{Times, publish};
use hansa_tests::load::{Load, Shape};
use hansa_tests::network::{self, Network};
use hansa_tests::processes::{HOME, Processes, Shape as House};
use hansa_tests::{probe, scale};
use serde_json::json;

const BACK_WITHIN: Duration = Duration::from_secs(60);
const NODES: [&str; 3] = ["eu-west-1", "eu-west-2", "eu-west-3"];

/// A light load: what is measured is the house's way back, not its queue.
fn light() -> Shape {
    Shape { workers: 4, pause: Duration::from_millis(50), ..Shape::default() }
}

async fn fail_over(name: &str, profile: Profile) -> Times {
    let house = House::region(name).with(|config| config.log.profile = profile);
    let mut league = house.start().await;
    let load = Load::start(&league, light()).await;
    let mut times = Times::default();
    for cycle in 0..scale::cycles(60, 200) {
        load.progress(5, BACK_WITHIN).await;
        // Kills must not come at the same place of every heartbeat.
        tokio::time::sleep(Duration::from_millis(cycle as u64 * 37 % 400)).await;
        let leader = league.leader(HOME, GroupKind::Orders).await;
        league.kill(&leader);
        times.add(probe::served(&league, BACK_WITHIN).await);
        league.run(&leader);
        league.ready().await;
    }
    drop(load.stop().await);
    times
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: a figure"]
async fn leader_fail_over() {
    let standard = fail_over("figure-standard", Profile::Standard).await;
    publish("fail_over_standard", standard.json());
    let noisy = fail_over("figure-noisy", Profile::NoisyDisk).await;
    publish("fail_over_noisy_disk", noisy.json());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: a figure"]
async fn recovery_after_a_partition_of_40_s() {
    if let Some(why) = network::missing() {
        return scale::skipped("recovery after a partition", &why);
    }
    let network = Network::lay(NODES.map(|node| (node, 1)));
    let mut house = House::region("figure-partition").addresses(|node| network.address(node));
    house.netns = network.namespaces();
    let league = house.start().await;
    let load = Load::start(&league, light()).await;
    let mut times = Times::default();
    for _ in 0..scale::cycles(5, 20) {
        load.progress(5, BACK_WITHIN).await;
        NODES.iter().for_each(|node| network.isolate(node));
        tokio::time::sleep(Duration::from_secs(40)).await;
        network.heal();
        times.add(probe::served(&league, BACK_WITHIN).await);
    }
    drop(load.stop().await);
    publish("recovery_after_partition_40_s", times.json());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: a figure"]
async fn restart_until_ready() {
    let mut league = Processes::start_region("figure-restart").await;
    let load = Load::start(&league, Shape::default()).await;
    let mut times = Times::default();
    for cycle in 0..scale::cycles(15, 60) {
        load.progress(20, BACK_WITHIN).await;
        let name = &league.names()[cycle % NODES.len()];
        league.kill(name);
        let began = std::time::Instant::now();
        league.run(name);
        league.ready().await;
        times.add(began.elapsed());
    }
    let orders = load.stop().await.tally.of("PlaceOrder").calls;
    publish("restart_until_ready", json!({ "orders": orders, "times": times.json() }));
}
