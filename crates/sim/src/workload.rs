//! Clients under whose eyes things break: what they do, and what they were told, is the history.

mod caller;
mod operator;
mod order;
mod probe;
mod record;
pub(crate) mod watcher;
mod worker;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::client::{Expect, League as Door, Options, Policy, Reach, Timing};
use hansa_checker::watch::Stream;
use hansa_node::env::test::SeededEntropy;
use hansa_types::identity::SpiffeId;

pub use self::caller::Caller;
use self::operator::Operator;
pub use self::record::Record;
use self::watcher::Watcher;
use self::worker::Worker;
use crate::closing;
use crate::director::Stage;
use crate::net::SimReach;
use crate::plan::{Change, Errand, Plan};
use crate::trace;
use crate::world::{League, Region, TRUST_DOMAIN};

/// The host that all clients live on.
pub const HOST: &str = "clients";
/// Orders that clients know of and pass on to each other.
const KNOWN_MAX: usize = 128;
/// How soon after the heal orders must be confirmed again.
const PROGRESS_MAX: Duration = Duration::from_secs(30);
/// Orders begun after the heal that must be confirmed, in each region.
const PROGRESS: usize = 3;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the clients and the simulator tell each other.
#[derive(Default)]
pub struct Board {
    pub stage: Cell<Stage>,
    pub record: Record,
    pub wrong: RefCell<Vec<String>>,
    pub finals: RefCell<Option<hansa_checker::FinalState>>,
    /// Nodes that refuse their damaged disks, and those among them that the operator has given a
    /// new place.
    pub damaged: RefCell<Vec<String>>,
    pub reseeded: RefCell<Vec<String>>,
    /// When groups of orders got new leaders, in nanoseconds of true time.
    pub elections: RefCell<Vec<u64>>,
    /// From the heal to the first order confirmed, in the slowest region.
    pub recovered: Cell<Duration>,
    /// The same of clients that had not waited for anything before.
    pub served: Cell<Duration>,
    /// Changes of members that the first region's operator is to make.
    pub changes: RefCell<VecDeque<Change>>,
    /// What operators are to do besides, with their regions.
    pub errands: RefCell<Vec<(usize, Errand)>>,
    /// The first region's spare is to join.
    pub spare_wanted: Cell<bool>,
    pub streams: RefCell<Vec<Stream>>,
}

/// Orders that any client of a region may read, ship or cancel.
#[derive(Clone, Default)]
struct Known(Rc<RefCell<VecDeque<String>>>);

impl Known {
    fn add(&self, order: &str) {
        let mut known = self.0.borrow_mut();
        known.push_back(order.to_owned());
        if known.len() > KNOWN_MAX {
            known.pop_front();
        }
    }

    fn newest(&self) -> Option<String> {
        self.0.borrow().back().cloned()
    }

    fn at(&self, number: u64) -> Option<String> {
        let known = self.0.borrow();
        let count = known.len() as u64;
        (count > 0).then(|| known[(number % count) as usize].clone())
    }
}

/// The clients' whole life: through the storm, until progress is seen, and the last reads.
pub async fn run(plan: Rc<Plan>, league: Arc<League>, board: Rc<Board>) -> turmoil::Result {
    while board.stage.get() == Stage::Boot {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let regions = (0..league.regions.len()).map(|n| region(&plan, &league, n, &board));
    futures::future::join_all(regions).await;
    trace::note(format_args!("clients have stopped"));
    let finals = closing::read(&plan, &league, &board).await;
    *board.finals.borrow_mut() = Some(finals);
    Ok(())
}

async fn region(plan: &Plan, league: &League, number: usize, board: &Rc<Board>) {
    let stop = Rc::new(Cell::new(false));
    let known = Known::default();
    let mut workers = Vec::new();
    for worker in 0..plan.shape.workers {
        // Some enter by another region's gateways, which forward.
        let entry = match worker % 4 {
            3 => (number + 1) % league.regions.len(),
            _ => number,
        };
        let id = (number * 10 + worker) as u32;
        let caller = Caller::new(plan, &league.regions[entry], id, board).await;
        workers.push(Worker::new(plan, &league.regions[number], caller, known.clone(), &stop));
    }
    if let Some(first) = workers.first_mut() {
        first.fill().await;
    }
    let work = futures::future::join_all(workers.into_iter().map(Worker::run));
    let watch = async {
        progress(&league.regions[number], board).await;
        stop.set(true);
    };
    let here = &league.regions[number];
    let operator = Operator::new(plan, here, number, board).await;
    let watcher = Watcher::new(plan, here, number, board).await;
    let watched = watcher.run(known, &stop);
    let probed = probe::run(plan, here, number, board);
    futures::future::join5(work, watch, operator.run(&stop), watched, probed).await;
}

/// Waits until enough orders that were begun after the heal are confirmed.
async fn progress(region: &Region, board: &Board) {
    while board.stage.get() != Stage::Calm {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let (healed, mut first) = (board.record.now(), None);
    loop {
        let confirmed = board.record.confirmed_since(healed, region.name.as_str());
        let waited = Duration::from_nanos(board.record.now() - healed);
        if confirmed > 0 && first.is_none() {
            first = Some(waited);
            board.recovered.set(board.recovered.get().max(waited));
        }
        if confirmed >= PROGRESS {
            return;
        }
        if waited > PROGRESS_MAX {
            let what = format!("{}: {confirmed} orders {waited:?} after the heal", region.name);
            board.wrong.borrow_mut().push(format!("no progress in {what}"));
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A client of one name at a region's gateways, by the published policy.
pub(crate) async fn door(plan: &Plan, region: &Region, name: &str, number: u32) -> Door {
    let mut doors = region.doors.clone();
    doors.rotate_left(number as usize % region.doors.len());
    door_at(plan, doors, name, number, Policy::default()).await
}

async fn door_at(plan: &Plan, doors: Vec<String>, name: &str, number: u32, policy: Policy) -> Door {
    let seed = plan.seed ^ (u64::from(number) << 32) ^ name.len() as u64;
    let entropy = Arc::new(SeededEntropy::new(seed));
    let timing = Timing {
        connect: Duration::from_secs(1),
        keepalive: Duration::from_secs(2),
        keepalive_timeout: Duration::from_secs(1),
    };
    let options = Options { timing, policy, ..Options::default() };
    loop {
        // The name is one of the shipped policy's: it makes an id.
        if let Ok(id) = SpiffeId::client(TRUST_DOMAIN, name) {
            let reach: Arc<dyn Reach> = Arc::new(SimReach::new(id, entropy.clone()));
            let connected =
                Door::connect_over(reach, doors.clone(), Expect::AnyNode, options).await;
            if let Ok(door) = connected {
                return door;
            }
        }
        let wait = (entropy.as_ref() as &dyn hansa_node::env::Entropy).number() % 100;
        tokio::time::sleep(Duration::from_millis(50 + wait)).await;
    }
}
