//! Clients under whose eyes things break: they place, read, ship, cancel and adjust with the
//! published retry policy, and record each attempt as [`hansa_checker`] wants it.

mod calls;
mod record;
mod tally;
mod worker;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hansa_api::client::{Expect, Files, Identity, League, Options, Policy, Timing};
use hansa_checker::History;
use hansa_checker::seen::StockKey;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use self::calls::Caller;
pub use self::record::Record;
pub use self::tally::{Figures, Tally};
use self::worker::Worker;
use crate::processes::{HOME, Processes};

/// The ledger's name for stock that names no warehouse.
pub const WAREHOUSE: &str = "main";
/// Orders that workers know of and pass on to each other.
const KNOWN_MAX: usize = 256;

/// How hard, and from where.
#[derive(Clone, Debug)]
pub struct Shape {
    pub workers: usize,
    /// Each worker begins a call this long after its last one ended.
    pub pause: Duration,
    /// Where customers live, and the region that they are at home in.
    pub country: &'static str,
    pub region: &'static str,
    /// The regions by whose gateways the workers enter, in turn.
    pub doors: Vec<&'static str>,
    /// The numbers of the SKUs that it orders.
    pub skus: Range<usize>,
    /// Longest that one call may take, its retries included.
    pub timeout: Duration,
    pub policy: Policy,
    pub seed: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            workers: 6,
            pause: Duration::from_millis(20),
            country: "DE",
            region: HOME,
            doors: vec![HOME],
            skus: 0..8,
            timeout: Duration::from_secs(30),
            policy: Policy::default(),
            seed: 1,
        }
    }
}

/// A load that runs until it is stopped.
pub struct Load {
    pub record: Record,
    pub tally: Tally,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

/// What a load did.
pub struct Run {
    pub history: History,
    pub tally: Tally,
}

/// Orders that any worker may read, ship or cancel.
#[derive(Clone, Debug, Default)]
struct Known(Arc<Mutex<VecDeque<String>>>);

impl Known {
    fn add(&self, order: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.push_back(order.to_owned());
        if known.len() > KNOWN_MAX {
            known.pop_front();
        }
    }

    fn at(&self, number: u64) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = known.len() as u64;
        (count > 0).then(|| known[(number % count) as usize].clone())
    }
}

impl Load {
    /// Fills the shelves, then starts the workers.
    pub async fn start(league: &Processes, shape: Shape) -> Self {
        Self::start_with(league, shape, Record::default(), Tally::default()).await
    }

    /// The same, as a continuation of an earlier record: the same stock, the same orders.
    pub async fn start_with(
        league: &Processes,
        shape: Shape,
        record: Record,
        tally: Tally,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let known = Known::default();
        let mut workers = Vec::new();
        for number in 0..shape.workers {
            let door = shape.doors[number % shape.doors.len()];
            let caller = Caller::connect(league, door, number, &shape, &record, &tally).await;
            let mut worker =
                Worker::new(number, caller, shape.clone(), known.clone(), stop.clone());
            if number == 0 {
                worker.fill().await;
            }
            workers.push(worker);
        }
        // A task of a test, not of a node.
        #[allow(clippy::disallowed_methods)]
        let workers = workers.into_iter().map(|worker| tokio::spawn(worker.run())).collect();
        Self { record, tally, stop, workers }
    }

    /// Waits until `count` orders that were begun after now are confirmed; how long the first took.
    pub async fn progress(&self, count: usize, within: Duration) -> Duration {
        let (from, began) = (self.record.now(), Instant::now());
        let mut first = None;
        loop {
            let confirmed = self.record.confirmed_since(from);
            if confirmed > 0 {
                first = first.or(Some(began.elapsed()));
            }
            if let (true, Some(first)) = (confirmed >= count, first) {
                return first;
            }
            let waited = began.elapsed();
            let late = waited >= within;
            assert!(!late, "{confirmed} of {count} orders in {waited:?}:\n{}", self.said(from));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The last of what came of calls since then: what a run that stands still says of itself.
    fn said(&self, from: u64) -> String {
        let history = self.record.history();
        let last = history.ops.iter().rev().take_while(|op| op.invoked >= from).take(40);
        let line = |op: &hansa_checker::Op| {
            let (id, client, method) = (op.id, op.client, op.call.method());
            let took = op.returned.map(|at| (at - op.invoked) / 1_000_000);
            format!(
                "{id} client {client} {method} {took:?} ms: {:.160}",
                format!("{:?}", op.outcome)
            )
        };
        last.map(line).collect::<Vec<_>>().join("\n")
    }

    /// Stops the workers after the call that each is in.
    pub async fn stop(self) -> Run {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await.expect("a worker does not panic");
        }
        Run { history: self.record.history(), tally: self.tally }
    }
}

/// Where a SKU of the load lies.
pub fn stock_key(region: &str, number: usize) -> StockKey {
    let (region, warehouse) = (region.to_owned(), WAREHOUSE.to_owned());
    StockKey { region, sku: format!("SKU-{number}"), warehouse }
}

/// A client of the shipped policy at a region, first at its gateway `number`.
///
/// A gateway that stands still is left soon: docs/reliability.md tells clients so.
pub async fn client(
    league: &Processes,
    name: &str,
    region: &str,
    number: usize,
    policy: Policy,
) -> League {
    let mut endpoints = endpoints(league, region);
    let count = endpoints.len();
    endpoints.rotate_left(number % count);
    let second = Duration::from_secs(1);
    let timing = Timing { keepalive: second, keepalive_timeout: second, ..Timing::default() };
    connect(league, name, region, endpoints, Options { timing, policy, ..Options::default() }).await
}

/// A client of one gateway, which it waits for however long it stands still.
pub async fn client_of_one(
    league: &Processes,
    name: &str,
    region: &str,
    number: usize,
    policy: Policy,
) -> League {
    let endpoints = vec![endpoints(league, region).remove(number)];
    let minutes = Duration::from_secs(600);
    let timing = Timing { keepalive: minutes, keepalive_timeout: minutes, ..Timing::default() };
    connect(league, name, region, endpoints, Options { timing, policy, ..Options::default() }).await
}

fn endpoints(league: &Processes, region: &str) -> Vec<String> {
    let region = region.parse().expect("a region name");
    league.profile.regions[&region].endpoints.clone()
}

async fn connect(
    league: &Processes,
    name: &str,
    region: &str,
    endpoints: Vec<String>,
    options: Options,
) -> League {
    let files = &league.profile.clients[name];
    let (cert, key, ca) = (files.cert.clone(), files.key.clone(), league.profile.ca.clone());
    let identity = Identity::read(&Files { cert, key, ca }).expect("good files");
    let expect = Expect::NodeOf(region.parse().expect("a region name"));
    League::connect(identity, endpoints, expect, options).await.expect("a gateway answers")
}
