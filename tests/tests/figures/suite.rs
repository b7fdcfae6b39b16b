//! What clients see of the house over all faults that it promises to bear, with regions far apart.

use std::time::Duration;

use hansa_api::pb::admin::GroupKind;
use hansa_tests::figures::publish;
use hansa_tests::load::{Figures, Load, Record, Shape, Tally};
use hansa_tests::network::{self, Network};
use hansa_tests::processes::{HOME, Processes, Shape as House};
use hansa_tests::{scale, slow};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::BACK_WITHIN;

/// Each way: 80 ms there and back.
const ONE_WAY: Duration = Duration::from_millis(40);
/// Between two faults, and how long one lasts.
const CALM: Duration = Duration::from_secs(8);
const FAULT: Duration = Duration::from_secs(6);
/// Between two calls of a customer: what is measured is the house under faults, not two cores that
/// nine nodes and their customers share, at their limit.
const PAUSE: Duration = Duration::from_millis(250);
/// Orders that took longer are told attempt by attempt, so many of them.
const SLOW: Duration = Duration::from_secs(2);
const SLOWEST: usize = 12;
const REGIONS: [(&str, u8, &str); 3] =
    [("eu-west", 1, "DE"), ("us-east", 2, "US"), ("ap-south", 3, "IN")];

/// Says when what was broken, on the clock of the calls.
struct Storm<'a> {
    league: &'a mut Processes,
    network: &'a Network,
    record: Record,
    done: Vec<String>,
}

impl Storm<'_> {
    /// Every fault hits one node of the home region, or its links: a majority is left.
    async fn rage(mut self) -> Vec<String> {
        let kinds = [GroupKind::Orders, GroupKind::Inventory, GroupKind::Payments];
        for cycle in 0..scale::cycles(3, 12) {
            let kind = kinds[cycle % kinds.len()];
            let leader = self.begin("killed", kind).await;
            self.league.kill(&leader);
            tokio::time::sleep(FAULT).await;
            self.league.run(&leader);
            self.league.ready().await;
            self.over().await;

            let leader = self.begin("paused", kind).await;
            self.league.pause(&leader);
            tokio::time::sleep(FAULT).await;
            self.league.resume(&leader);
            self.over().await;

            let leader = self.begin("cut off from all nodes", kind).await;
            self.network.isolate(&leader);
            tokio::time::sleep(FAULT).await;
            self.network.heal();
            self.over().await;

            let leader = self.begin("does not hear its followers", kind).await;
            let others = self.league.names_in(HOME).into_iter().filter(|name| *name != leader);
            others.for_each(|other| self.network.cut_one_way(&other, &leader));
            tokio::time::sleep(FAULT).await;
            self.network.heal();
            self.over().await;

            self.note("rolling restart");
            for name in self.league.names_in(HOME) {
                self.league.stop(&name).await;
                self.league.run(&name);
                self.league.ready().await;
            }
            self.over().await;
        }
        self.done
    }

    /// The leader of a group of this kind, to which something happens now.
    async fn begin(&mut self, what: &str, kind: GroupKind) -> String {
        let leader = self.league.leader(HOME, kind).await;
        self.note(&format!("{leader}, leader of {}: {what}", kind.as_str_name()));
        leader
    }

    async fn over(&mut self) {
        self.note("over");
        tokio::time::sleep(CALM).await;
    }

    fn note(&mut self, what: &str) {
        self.done.push(format!("{:.2} s {what}", slow::seconds(self.record.now())));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: a figure"]
async fn availability_over_the_suite_with_80_ms_between_regions() {
    if let Some(why) = network::missing() {
        return scale::skipped("availability over the suite", &why);
    }
    let mut house = House::league("figure-suite");
    let places: Vec<(String, u8)> = (house.configs.iter())
        .map(|config| {
            let of = REGIONS.iter().find(|(name, ..)| *name == config.region.as_str());
            (config.name.clone(), of.expect("a region").1)
        })
        .collect();
    let network = Network::lay(places.iter().map(|(name, region)| (name.as_str(), *region)));
    house = house.addresses(|node| network.address(node));
    house.netns = network.namespaces();
    let _delay = match network.delay(ONE_WAY) {
        Ok(delay) => delay,
        Err(why) => return scale::skipped("availability over the suite", &why),
    };
    let mut league = house.start().await;
    // Most customers enter at home, some by another region: a trip of 80 ms more.
    let (at_home, by_another, all) = (Tally::default(), Tally::default(), Tally::default());
    let record = Record::default();
    let loads = customers(&league, &record, &at_home, &by_another).await;
    let began = Instant::now();
    let (clock, done) = (record.clone(), Vec::new());
    let storm = Storm { league: &mut league, network: &network, record: clock, done };
    let done = storm.rage().await;
    let seconds = began.elapsed().as_secs_f64();
    for load in loads {
        drop(load.stop().await);
    }
    for part in [&at_home, &by_another] {
        all.merge(part);
    }
    let seen = all.of("PlaceOrder");
    println!("PlaceOrder: {seen}");
    let figures = json!({
        "faults": done,
        "seconds": seconds,
        "orders_per_second": seen.calls as f64 / seconds,
        "place_order": json(&seen),
        "place_order_by_the_home_region": json(&at_home.of("PlaceOrder")),
        "place_order_by_another_region": json(&by_another.of("PlaceOrder")),
        "slowest": slow::orders(&record.history(), SLOW, SLOWEST),
    });
    publish("availability_over_the_suite", figures);
}

/// Five at home in each region; of those abroad, one more enters by the region that is broken.
async fn customers(
    league: &Processes,
    record: &Record,
    at_home: &Tally,
    by_another: &Tally,
) -> Vec<Load> {
    let mut loads = Vec::new();
    for (region, number, country) in REGIONS {
        let abroad = (region != HOME).then_some((HOME, 1, by_another));
        for (door, workers, tally) in [(region, 5, at_home)].into_iter().chain(abroad) {
            let doors = vec![door];
            let seed = u64::from(number) * 10 + workers as u64;
            let shape =
                Shape { workers, pause: PAUSE, country, region, doors, seed, ..Shape::default() };
            let load = Load::start_with(league, shape, record.clone(), tally.clone()).await;
            load.progress(5, BACK_WITHIN).await;
            loads.push(load);
        }
    }
    loads
}

fn json(seen: &Figures) -> Value {
    let ms = |took: Duration| took.as_millis() as u64;
    json!({
        "calls": seen.calls,
        "failed": seen.failed,
        "availability": seen.availability,
        "p50_ms": ms(seen.p50),
        "p95_ms": ms(seen.p95),
        "p99_ms": ms(seen.p99),
        "max_ms": ms(seen.max),
    })
}
