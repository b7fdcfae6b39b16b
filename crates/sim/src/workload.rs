//! Clients under whose eyes things break: what they do, and what they were told, is the history.

mod births;
mod caller;
mod customers;
mod operator;
mod order;
mod probe;
mod record;
pub(crate) mod watcher;
mod worker;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::client::{Expect, League as Door, Options, Policy, Reach, Timing};
use hansa_checker::loss::Tail;
use hansa_checker::watch::Stream;
use hansa_node::env::test::SeededEntropy;
use hansa_types::identity::SpiffeId;

use self::births::Overseer;
pub use self::caller::Caller;
use self::customers::Desk;
pub use self::customers::Person;
use self::operator::Operator;
pub use self::record::Record;
use self::watcher::Watcher;
use self::worker::{Signs, Worker};
use crate::closing;
use crate::director::Stage;
use crate::net::SimReach;
use crate::plan::{Births, Change, Errand, Plan, Wish};
use crate::trace;
use crate::world::{League, Region, TRUST_DOMAIN};

/// The host that all clients live on.
pub const HOST: &str = "clients";
/// Orders that clients know of and pass on to each other.
const KNOWN_MAX: usize = 128;
/// How soon after the heal orders must be confirmed again.
const PROGRESS_MAX: Duration = Duration::from_secs(30);
/// The same where births change hands: drains, leases and doubts have times of their own.
const PROGRESS_LATE: Duration = Duration::from_secs(75);
/// Orders begun after the heal that must be confirmed, in each region.
const PROGRESS: usize = 3;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The region that may own the first one's births, in a league that has an heir.
pub(crate) const HEIR: usize = 1;

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
    /// What is to be done with the first region's births, in order; and whether all of it is.
    pub births: RefCell<VecDeque<Births>>,
    pub births_settled: Cell<bool>,
    /// What is to be done for customers; what came of it, by customer; and who placed what when.
    pub wishes: RefCell<VecDeque<Wish>>,
    pub people: RefCell<BTreeMap<String, Person>>,
    pub placed: RefCell<BTreeMap<String, (String, u64)>>,
    /// The first region's births were taken over by force: it may come back.
    pub taken_over: Cell<bool>,
    /// What a lost region had and its heir never saw.
    pub tail: RefCell<BTreeMap<String, Tail>>,
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
    let mut known: Vec<Known> = league.regions.iter().map(|_| Known::default()).collect();
    if plan.shape.heir {
        known[HEIR] = known[0].clone();
    }
    let overseer = Overseer::new(&plan, &league, &board).await;
    let regions = known.into_iter().enumerate();
    let regions = regions.map(|(n, known)| region(&plan, &league, n, known, &board));
    let desk = Desk::new(&plan, &league, &board).await;
    futures::future::join3(futures::future::join_all(regions), overseer.run(), desk.run()).await;
    trace::note(format_args!("clients have stopped"));
    let finals = closing::read(&plan, &league, &board).await;
    *board.finals.borrow_mut() = Some(finals);
    Ok(())
}

async fn region(plan: &Plan, league: &League, number: usize, known: Known, board: &Rc<Board>) {
    let signs = Rc::new(Signs::default());
    let is_heir = plan.shape.heir && number == HEIR;
    let mut workers = Vec::new();
    for worker in 0..if is_heir { 1 } else { plan.shape.workers } {
        // Some enter by another region's gateways, which forward.
        let entry = match worker % 4 {
            3 => (number + 1) % league.regions.len(),
            1 if plan.shape.heir && number == 0 => HEIR,
            _ => number,
        };
        let id = (number * 10 + worker) as u32;
        let caller = Caller::new(plan, doors(plan, league, entry, id), id, board).await;
        // An heir's clients are those of the region that it is the heir of.
        let home = &league.regions[if is_heir { 0 } else { number }];
        let here = &league.regions[number];
        workers.push(Worker::new(plan, (home, here), caller, known.clone(), &signs));
    }
    if let Some(first) = workers.first_mut() {
        first.fill(is_heir).await;
    }
    let work = futures::future::join_all(workers.into_iter().map(Worker::run));
    let watch = async {
        progress(plan, &league.regions[number], is_heir, board, &signs).await;
        signs.stop.set(true);
    };
    let here = &league.regions[number];
    let operator = Operator::new(plan, here, number, board).await;
    let watcher = Watcher::new(plan, here, number, board).await;
    let watched = watcher.run(known, &signs.stop);
    let probed = async {
        // When a fresh client is served says something of a recovery only.
        if !plan.shape.heir {
            probe::run(plan, here, number, board).await;
        }
    };
    futures::future::join5(work, watch, operator.run(&signs.stop), watched, probed).await;
}

/// Waits until enough orders that were begun after the heal are confirmed, and births are where
/// they are to stay.
async fn progress(plan: &Plan, region: &Region, is_heir: bool, board: &Board, signs: &Signs) {
    while board.stage.get() != Stage::Calm {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let (healed, mut first) = (board.record.now(), None);
    let most = if plan.shape.heir { PROGRESS_LATE } else { PROGRESS_MAX };
    // Nothing is born in an heir.
    while is_heir && !board.births_settled.get() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    if is_heir {
        return;
    }
    loop {
        let confirmed = board.record.confirmed_since(healed, region.name.as_str());
        let waited = Duration::from_nanos(board.record.now() - healed);
        if confirmed > 0 && first.is_none() {
            first = Some(waited);
            if !plan.shape.heir {
                board.recovered.set(board.recovered.get().max(waited));
            }
        }
        if confirmed >= PROGRESS && board.births_settled.get() {
            return;
        }
        signs.surely.set(confirmed < PROGRESS && waited > most / 2);
        if confirmed < PROGRESS && waited > most {
            let what = format!("{}: {confirmed} orders {waited:?} after the heal", region.name);
            board.wrong.borrow_mut().push(format!("no progress in {what}"));
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A client of one name at a region's gateways, by the published policy.
pub(crate) async fn door(plan: &Plan, region: &Region, name: &str, number: u32) -> Door {
    door_at(plan, rotated(region, number), name, number, Policy::default()).await
}

fn rotated(region: &Region, number: u32) -> Vec<String> {
    let mut doors = region.doors.clone();
    doors.rotate_left(number as usize % region.doors.len());
    doors
}

/// The gateways that a client knows: those of its entry, and of who may take that over.
fn doors(plan: &Plan, league: &League, entry: usize, number: u32) -> Vec<String> {
    let mut doors = rotated(&league.regions[entry], number);
    if plan.shape.heir && entry <= HEIR {
        doors.extend(rotated(&league.regions[HEIR - entry], number));
    }
    doors
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
