//! Partitions of every shape between real processes. Needs root, `ip` and `nft`.

use std::time::Duration;

use hansa_api::pb::admin::GroupKind;
use hansa_tests::load::{Load, Shape};
use hansa_tests::network::{self, Network};
use hansa_tests::processes::{HOME, Processes, Shape as House};
use hansa_tests::{after, scale};

const BACK_WITHIN: Duration = Duration::from_secs(120);
const NODES: [&str; 3] = ["eu-west-1", "eu-west-2", "eu-west-3"];

/// A region of three nodes in three namespaces, under load.
struct Rig {
    // In the order in which they go: processes before their network.
    load: Load,
    league: Processes,
    network: Network,
}

async fn rig(name: &str) -> Option<Rig> {
    if let Some(why) = network::missing() {
        scale::skipped(name, &why);
        return None;
    }
    let network = Network::lay(NODES.map(|node| (node, 1)));
    let mut house = House::region(name).addresses(|node| network.address(node));
    house.netns = network.namespaces();
    let league = house.start().await;
    let load = Load::start(&league, Shape::default()).await;
    load.progress(10, BACK_WITHIN).await;
    Some(Rig { load, league, network })
}

impl Rig {
    async fn finish(self) {
        self.network.heal();
        self.load.progress(20, BACK_WITHIN).await;
        let run = self.load.stop().await;
        println!("PlaceOrder: {}", run.tally.of("PlaceOrder"));
        after::check(&self.league, &run).await;
    }
}

/// The majority goes on without its leader; what the old one answers is in the history.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_in_the_minority_neither_confirms_nor_reads_stale() {
    let Some(rig) = rig("minority-leader").await else { return };
    for cycle in 0..scale::cycles(2, 30) {
        let kind = if cycle % 2 == 0 { GroupKind::Orders } else { GroupKind::Inventory };
        let leader = rig.league.leader(HOME, kind).await;
        rig.network.isolate(&leader);
        let back = rig.load.progress(10, BACK_WITHIN).await;
        tokio::time::sleep(scale::seconds(2, 10)).await;
        rig.network.heal();
        let healed = rig.load.progress(10, BACK_WITHIN).await;
        println!("{leader} cut off: orders again after {back:?}, after healing {healed:?}");
    }
    rig.finish().await;
}

/// Whoever only hears or only speaks must not keep the others from a leader.
#[tokio::test(flavor = "multi_thread")]
async fn a_one_way_cut_and_a_flapping_one_stop_no_region() {
    let Some(rig) = rig("one-way").await else { return };
    let names = rig.league.names();
    for cycle in 0..scale::cycles(2, 20) {
        let leader = rig.league.leader(HOME, GroupKind::Orders).await;
        let others: Vec<_> = names.iter().filter(|name| **name != leader).collect();
        match cycle % 2 {
            // The leader is not heard by anybody, and hears all.
            0 => others.iter().for_each(|other| rig.network.cut_one_way(&leader, other)),
            // It is heard, and hears nobody.
            _ => others.iter().for_each(|other| rig.network.cut_one_way(other, &leader)),
        }
        let back = rig.load.progress(10, BACK_WITHIN).await;
        println!("{leader} cut one way: orders again after {back:?}");
        rig.network.heal();
        rig.load.progress(10, BACK_WITHIN).await;
    }
    for flap in 0..scale::cycles(6, 60) {
        rig.network.isolate(&names[flap % names.len()]);
        tokio::time::sleep(Duration::from_millis(400)).await;
        rig.network.heal();
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    rig.finish().await;
}

/// Nobody has a majority; when the network is mended nothing waits for a timer of minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_region_cut_into_single_nodes_is_back_soon_after_it_heals() {
    let Some(rig) = rig("all-cut").await else { return };
    NODES.iter().for_each(|node| rig.network.isolate(node));
    tokio::time::sleep(scale::seconds(5, 40)).await;
    rig.network.heal();
    let back = rig.load.progress(1, BACK_WITHIN).await;
    println!("all cut off from each other: orders again {back:?} after healing");
    rig.finish().await;
}
