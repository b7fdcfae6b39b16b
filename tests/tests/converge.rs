//! Real orders in four regions while the links between them are cut: in the end all copies equal
//! their homes, and nothing happened twice. Needs root, `ip` and `nft`.

use std::time::Duration;

use hansa::replay::core::synthetic::Shares;
use hansa::replay::doors::Doors;
use hansa::replay::drive::Options;
use hansa::replay::report::Report;
use hansa::replay::run;
use hansa_tests::copies::{Copies, converge};
use hansa_tests::figures;
use hansa_tests::network::{self, Network};
use hansa_tests::processes::{Processes, Shape};
use hansa_tests::scale;
use serde_json::json;
use tokio::time::Instant;

const REGIONS: [(&str, u8); 4] =
    [("eu-west", 1), ("us-east", 2), ("ap-south", 3), ("eu-central", 4)];
const WITHIN: Duration = Duration::from_secs(120);
/// Rows of the sample that CI replays.
const ROWS: usize = 1_500;

fn nodes() -> usize {
    scale::cycles(1, 3)
}

/// Four regions of one node each in CI: what passes between regions does not ask how many.
async fn league(name: &str) -> Option<(Processes, Network)> {
    if let Some(why) = network::missing() {
        scale::skipped(name, &why);
        return None;
    }
    let nodes = REGIONS.iter().flat_map(|(region, number)| {
        (1..=nodes()).map(move |node| (format!("{region}-{node}"), *number))
    });
    let nodes: Vec<(String, u8)> = nodes.collect();
    let network = Network::lay(nodes.iter().map(|(name, number)| (name.as_str(), *number)));
    let mut shape = Shape::of_regions(name, REGIONS.len()).nodes(self::nodes());
    shape = shape.addresses(|node| network.address(node));
    shape.netns = network.namespaces();
    Some((shape.start().await, network))
}

/// The sample, or its beginning.
fn orders() -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let sample = folder.join("../data/online-retail-sample.csv");
    let text = std::fs::read_to_string(sample).expect("the sample");
    let rows = if scale::full() { usize::MAX } else { ROWS };
    text.lines().take(rows).flat_map(|line| [line, "\n"]).collect::<String>().into_bytes()
}

async fn replay(doors: &Doors, file: &[u8]) -> Report {
    let shares = Shares::default();
    let options = Options { concurrency: 8, run: String::new(), seed: shares.seed, quiet: true };
    run::run(file, doors, &shares, &options).await.expect("it can be driven")
}

/// Breaks one pair of regions after the other, in each way, until the replay is over.
async fn faults(league: &mut Processes, network: &Network, worst: &mut Worst) {
    let pairs: Vec<(usize, usize)> = (0..4).flat_map(|a| (0..a).map(move |b| (a, b))).collect();
    for (round, (one, other)) in pairs.iter().cycle().enumerate() {
        let (one, other) = (REGIONS[*one].0, REGIONS[*other].0);
        match round % 4 {
            0 => network.cut_regions(one, other),
            1 => network.cut_regions_one_way(one, other),
            2 => flap(network, one, other).await,
            _ => league.kill_at_once(&league.names_in(one)),
        }
        tokio::time::sleep(scale::seconds(2, 6)).await;
        worst.note(&Copies::look(league).await);
        network.heal();
        if round % 4 == 3 {
            league.names_in(one).iter().for_each(|node| league.run(node));
        }
        tokio::time::sleep(scale::seconds(1, 3)).await;
    }
}

async fn flap(network: &Network, one: &str, other: &str) {
    for _ in 0..4 {
        network.cut_regions(one, other);
        tokio::time::sleep(Duration::from_millis(300)).await;
        network.heal();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// No cut is left and every node runs.
async fn mend(league: &mut Processes, network: &Network) {
    network.heal();
    for node in league.names() {
        if !league.is_running(&node) {
            league.run(&node);
        }
    }
    league.ready().await;
}

/// What would have been lost if the worst moment had been the last one.
#[derive(Debug, Default)]
struct Worst {
    events: u64,
    age: Duration,
}

impl Worst {
    fn note(&mut self, copies: &Copies) {
        let (events, age) = copies.lag();
        self.events = self.events.max(events);
        self.age = self.age.max(age);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn regions_converge_after_cuts_of_every_shape_and_nothing_happens_twice() {
    let Some((mut league, network)) = league("converge").await else { return };
    let file = orders();
    let mut worst = Worst::default();
    let began = Instant::now();
    let doors = league.doors.clone();
    let first = tokio::select! {
        biased;
        first = replay(&doors, &file) => first,
        () = faults(&mut league, &network, &mut worst) => unreachable!("faults go on for ever"),
    };
    let took = began.elapsed();
    assert!(first.surprises.is_empty(), "{:#?}", first.surprises);
    mend(&mut league, &network).await;
    let equal = converge(&league, WITHIN).await;
    let before = Copies::look(&league).await.last();
    let again = replay(&doors, &file).await;
    assert!(again.surprises.is_empty(), "{:#?}", again.surprises);
    converge(&league, WITHIN).await;
    assert_eq!(Copies::look(&league).await.last(), before, "a second replay had an effect");
    let settled = hansa::invariants::settle(&doors, WITHIN).await;
    assert!(settled.all_held(), "{}", settled.lines().join("\n"));
    figures::publish(
        "converge",
        json!({
            "placed": first.total().placed,
            "replay_s": took.as_secs(),
            "worst_lag_events": worst.events,
            "worst_lag_ms": worst.age.as_millis() as u64,
            "equal_after_ms": equal.as_millis() as u64,
            "invariants": settled.checked(),
        }),
    );
}
