//! Real orders in four regions while the links between them are cut, one region is handed over and
//! back, and then lost, taken over and brought home: in the end all copies equal their homes,
//! nothing is missing and nothing happened twice. Needs root, `ip` and `nft`.

#[path = "converge/account.rs"]
mod account;
#[path = "converge/story.rs"]
mod story;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use hansa::replay::core::synthetic::Shares;
use hansa::replay::core::{mapping, row};
use hansa::replay::doors::Doors;
use hansa::replay::drive::Options;
use hansa::replay::memory::Memory;
use hansa::replay::report::Report;
use hansa::replay::run;
use hansa_tests::copies::{Copies, converge};
use hansa_tests::customers::{self, Customers};
use hansa_tests::network::{self, Network};
use hansa_tests::processes::{Processes, Shape};
use hansa_tests::{figures, request, scale};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::story::{LOST, Loss, Pause, SURVIVOR, Story};

const REGIONS: [(&str, u8); 4] =
    [("eu-west", 1), ("us-east", 2), ("ap-south", 3), ("eu-central", 4)];
const WITHIN: Duration = Duration::from_secs(120);
/// Between two steps of the replay.
const TURN: Duration = Duration::from_millis(500);
/// Orders that are confirmed before anything happens: the shelves are full then.
const BEGUN: usize = 5;
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
    // What each provider says that it did, beside what it remembers.
    shape = shape.with(|config| {
        let provider = &mut config.orders.provider;
        provider.settlement = Some(provider.journal.with_extension("csv"));
    });
    Some((shape.start().await, network))
}

/// What the provider says that it did for both regions of the jurisdiction.
fn statement(league: &Processes) -> PathBuf {
    let provider = &league.config(&league.names_in(LOST)[0]).orders.provider;
    provider.settlement.clone().expect("as it was set")
}

/// The sample, or its beginning.
fn orders() -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let sample = folder.join("../data/online-retail-sample.csv");
    let text = std::fs::read_to_string(sample).expect("the sample");
    let rows = if scale::full() { usize::MAX } else { ROWS };
    text.lines().take(rows).flat_map(|line| [line, "\n"]).collect::<String>().into_bytes()
}

/// No shelf is cut short: which of two regions' stock an order was served from is not in the plan.
fn shares() -> Shares {
    Shares { scarce: 0, ..Shares::default() }
}

async fn replay(doors: &Doors, file: &[u8], memory: &Memory, turns: Option<&Turns>) -> Report {
    let (shares, memory) = (shares(), Some(memory.clone()));
    let (seed, run, turns) = (shares.seed, String::new(), turns.map(|turns| turns.turns.clone()));
    let options = Options { concurrency: 8, run, seed, quiet: true, memory, turns };
    run::run(file, doors, &shares, &options).await.expect("it can be driven")
}

/// Lets orders come in evenly, on a quick machine as on a slow one; a half waits until a region is
/// lost, and none once all is over.
struct Turns {
    turns: Arc<Semaphore>,
    lost: AtomicBool,
    before: usize,
}

impl Turns {
    fn of(file: &[u8]) -> Self {
        let (rows, _) = row::read(file).expect("the sample");
        let before = mapping::map(&rows, &shares()).actions.len() / 2;
        Self { turns: Arc::new(Semaphore::new(0)), lost: AtomicBool::new(false), before }
    }

    async fn go_on(&self) {
        let mut given = 0;
        loop {
            if given < self.before || self.lost.load(Ordering::Relaxed) {
                self.turns.add_permits(1);
                given += 1;
            }
            tokio::time::sleep(TURN).await;
        }
    }
}

/// What the survivor needs on its shelves: all that the file asks for anywhere.
async fn stock(league: &Processes, file: &[u8]) {
    let (rows, _) = row::read(file).expect("the sample");
    let actions = mapping::map(&rows, &shares()).actions;
    let mut wanted: BTreeMap<String, i64> = BTreeMap::new();
    for action in &actions {
        for (sku, units) in action.takes() {
            *wanted.entry(sku.to_owned()).or_default() += i64::try_from(units).expect("units");
        }
    }
    wanted.retain(|_, units| *units > 0);
    let mut bread = vec![(LOST, customers::SKU.to_owned(), 1_000_000)];
    bread.push((SURVIVOR, customers::SKU.to_owned(), 1_000_000));
    let wanted = wanted.into_iter().map(|(sku, units)| (SURVIVOR, sku, units));
    let loads = wanted.chain(bread).map(|(region, sku, units)| async move {
        let home = region.parse().expect("a region name");
        let mut door = league.doors.pick(&home, 0, 0).expect("a gateway");
        let load = request::receive(region, &sku, units);
        door.warehouse.inventory.receive_stock(load).await.expect("stock");
    });
    futures::stream::iter(loads).buffer_unordered(8).collect::<Vec<()>>().await;
}

/// Pairs of regions, each once.
fn pairs() -> Vec<(&'static str, &'static str)> {
    let pairs = (0..4).flat_map(|a| (0..a).map(move |b| (REGIONS[a].0, REGIONS[b].0)));
    pairs.collect()
}

/// Breaks a pair of regions, in this round's way, for a while.
async fn fault(league: &mut Processes, network: &Network, round: usize, worst: &mut Worst) {
    let pairs = pairs();
    let (one, other) = pairs[round % pairs.len()];
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

/// Cuts for ever, but never between the two regions that hand over to each other.
async fn weather(network: &Network) {
    let apart = |(one, other): &(&str, &str)| [*one, *other] != [SURVIVOR, LOST];
    for (round, (one, other)) in pairs().into_iter().filter(apart).cycle().enumerate() {
        match round % 3 {
            0 => network.cut_regions(one, other),
            1 => network.cut_regions_one_way(one, other),
            _ => flap(network, one, other).await,
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        network.heal();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// What somebody does while it is bad weather.
async fn outside<T>(network: &Network, what: impl Future<Output = T>) -> T {
    let done = tokio::select! {
        biased;
        done = what => done,
        () = weather(network) => unreachable!("it goes on for ever"),
    };
    network.heal();
    done
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
    whose: String,
}

impl Worst {
    fn note(&mut self, copies: &Copies) {
        let (events, age, whose) = copies.lag();
        self.events = self.events.max(events);
        if age > self.age {
            (self.age, self.whose) = (age, whose);
        }
    }
}

/// How long the region that is to be lost goes on by itself: what it does then is its tail.
fn alone() -> Duration {
    scale::given("HANSA_ALONE_MS").map_or(scale::seconds(0, 1), Duration::from_millis)
}

/// Until orders come in.
async fn begun(memory: &Memory) {
    let began = Instant::now();
    while memory.orders().len() < BEGUN {
        assert!(began.elapsed() < WITHIN, "no order is confirmed within {WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Everything that an operator sees while orders come in; faults go on until they are all placed.
async fn drama(
    league: &mut Processes,
    network: &Network,
    (customers, memory): (&Customers, &Memory),
    (turns, over): (&Turns, &AtomicBool),
    worst: &mut Worst,
) -> ([Pause; 2], Loss) {
    begun(memory).await;
    for round in 0..scale::cycles(2, 6) {
        fault(league, network, round, worst).await;
    }
    let mut story = Story { league, customers, memory };
    let planned = outside(network, story.planned()).await;
    assert!(!over.load(Ordering::Relaxed), "the replay is over before the region is lost");
    let killed = story.kill(network, alone()).await;
    turns.lost.store(true, Ordering::Relaxed);
    let mut loss = Box::pin(outside(network, story.take_over(killed))).await;
    tokio::time::sleep(scale::seconds(2, 30)).await;
    Box::pin(outside(network, story.come_back(&mut loss, killed))).await;
    outside(network, story.go_home(&mut loss)).await;
    let mut round = scale::cycles(2, 6);
    while scale::full() && !over.load(Ordering::Relaxed) {
        fault(league, network, round, worst).await;
        round += 1;
    }
    (planned, loss)
}

fn report(loss: &Loss, planned: &[Pause; 2]) -> Value {
    let ms = |time: Duration| time.as_millis() as u64;
    json!({
        "switchover": planned[0].json(),
        "switchover_back": planned[1].json(),
        "rpo_events_heard_of": loss.events,
        "rpo_orders": loss.orders.len(),
        "orders_known_at_the_kill": loss.known,
        "tail": loss.tail.len(),
        "tail_that_no_client_heard_of": loss.unheard.len(),
        "owned_after_ms": ms(loss.owned),
        "rto_ms": ms(loss.served),
        "away_ms": ms(loss.away),
        "failback": loss.home.json(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn regions_converge_after_cuts_and_a_loss_and_nothing_is_missing_or_happens_twice() {
    let Some((mut league, network)) = league("converge").await else { return };
    let (file, memory) = (orders(), Memory::default());
    stock(&league, &file).await;
    let customers = Customers::start(&league, 2, SURVIVOR).await;
    let (mut worst, over, turns) = (Worst::default(), AtomicBool::new(false), Turns::of(&file));
    let (began, doors) = (Instant::now(), league.doors.clone());
    let clients = async {
        let first = replay(&doors, &file, &memory, Some(&turns)).await;
        over.store(true, Ordering::Relaxed);
        (first, began.elapsed())
    };
    let seen = (&customers, &memory);
    let operator = async {
        let seen = Box::pin(drama(&mut league, &network, seen, (&turns, &over), &mut worst)).await;
        turns.turns.close();
        seen
    };
    let ((first, took), (planned, loss)) = tokio::select! {
        biased;
        both = async { tokio::join!(clients, operator) } => both,
        () = turns.go_on() => unreachable!("it goes on for ever"),
    };
    let names = memory.orders();
    let mut surprises = first.surprises.clone();
    // What the region alone knew of is not there until it is back: its client was told so.
    surprises.retain(|of| names.get(&of.invoice).is_none_or(|o| !loss.orders.contains(&o.name)));
    let whose = |of: &str| names.get(of).map(|order| order.name.clone());
    let named: Vec<_> = surprises.iter().map(|of| (of, whose(&of.invoice))).collect();
    assert!(named.is_empty(), "{named:#?}, lost {:#?}", loss.orders);
    mend(&mut league, &network).await;
    let tries = customers.tries();
    let asked = customers.stop().await;
    let equal = converge(&league, WITHIN).await;
    if !loss.tail.is_empty() {
        // Clients go on with what was adopted.
        let again = replay(&doors, &file, &memory, None).await;
        assert!(again.surprises.is_empty(), "{:#?}", again.surprises);
        converge(&league, WITHIN).await;
    }
    let before = Copies::look(&league).await.last();
    let again = replay(&doors, &file, &memory, None).await;
    assert!(again.surprises.is_empty(), "{:#?}", again.surprises);
    converge(&league, WITHIN).await;
    assert_eq!(Copies::look(&league).await.last(), before, "a second replay had an effect");
    let settled = hansa::invariants::settle(&doors, WITHIN).await;
    assert!(settled.all_held(), "{}", settled.lines().join("\n"));

    let there = account::orders(&league).await;
    let mut known: BTreeMap<String, String> =
        memory.orders().into_iter().map(|(invoice, order)| (invoice, order.name)).collect();
    let bought = asked.iter().filter_map(|asked| asked.outcome.clone().ok());
    known.extend(bought.map(|name| (format!("by a customer: {name}"), name)));
    account::each_once(&there, &known, &loss.unheard);
    let unanswered = asked.iter().filter(|asked| asked.outcome.is_err()).count();
    let others = account::others(&there, &known, &loss.unheard, unanswered);
    let captured = account::provider(&statement(&league));
    let mut failed: BTreeMap<String, usize> = BTreeMap::new();
    for asked in asked.iter().filter(|asked| asked.outcome.is_err()) {
        *failed.entry(asked.said.clone()).or_default() += 1;
    }
    figures::publish(
        "converge",
        json!({
            "placed": first.total().placed,
            "replay_s": took.as_secs(),
            "worst_lag_events": worst.events,
            "worst_lag_ms": worst.age.as_millis() as u64,
            "worst_lag_whose": worst.whose,
            "loss": report(&loss, &planned),
            "orders_acknowledged": known.len(),
            "orders_there": there.len(),
            "orders_that_nobody_was_told_of": others,
            "charges_captured_once": captured,
            "requests_in_doubt": memory.doubts(),
            "customers": { "requests": asked.len(), "failed": failed, "tries_at_most": tries },
            "equal_after_ms": equal.as_millis() as u64,
            "invariants": settled.checked(),
        }),
    );
}
