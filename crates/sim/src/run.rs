//! One seed, from its plan to its judgement.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use hansa_checker::{FinalState, History};
use hansa_types::seeded::{self, Bug};

use crate::clock::EPOCH_MS;
use crate::closing;
use crate::coverage::Counts;
use crate::director::{Director, Stage};
use crate::plan::Plan;
use crate::trace::{self, Trace};
use crate::verdict::{self, Judged};
use crate::workload::{self, Board};
use crate::world::League;

/// A league that is not ready by then never will be.
const BOOT_MAX: Duration = Duration::from_secs(40);
/// Storm, progress, settling and a margin.
const WHOLE_MAX: Duration = Duration::from_secs(240);

/// What came of a seed.
#[derive(Debug)]
pub struct Done {
    pub seed: u64,
    pub judged: Judged,
    pub digest: u64,
    pub lines: u64,
    pub counts: Counts,
    pub simulated: Duration,
    pub recovered: Duration,
    /// What of it the servers took.
    pub served: Duration,
    pub tail: Vec<String>,
    /// What clients did.
    pub history: History,
    /// What was read in the end, if it came to that.
    pub finals: Option<FinalState>,
}

/// Runs a seed. One at a time in a process: turmoil's and tokio's counters are the process's.
#[must_use]
pub fn run(plan: Plan, verbose: bool) -> Done {
    align_task_ids();
    trace::begin(verbose);
    let board = Rc::new(Board::default());
    let (seed, bug) = (plan.seed, plan.bug);
    let simulated = Rc::new(RefCell::new(Duration::ZERO));
    let ran = {
        let (board, simulated) = (board.clone(), simulated.clone());
        let work = move || simulate(plan, &board, &simulated);
        std::panic::catch_unwind(AssertUnwindSafe(|| planted(bug, work)))
    };
    let broke = match ran {
        Ok(Ok(())) => Vec::new(),
        Ok(Err(error)) => vec![format!("the simulation broke off: {error}")],
        Err(_) => vec!["the simulation panicked".to_owned()],
    };
    // What came first says more than what followed from it.
    let mut wrong: Vec<String> = board.wrong.take();
    let history = board.record.history();
    let finals = board.finals.borrow_mut().take();
    closing::count(&history, &board.elections.borrow());
    // What clients were told, to the nanosecond, and what was read in the end.
    let streams = board.streams.take();
    trace::digest(format!("{history:?} {finals:?} {streams:?}").as_bytes());
    let Trace { digest, lines, mut counts, panics, tail, .. } = trace::end();
    wrong.extend(panics.into_iter().map(|panic| format!("panic: {panic}")));
    wrong.extend(broke);
    let judged = verdict::of(wrong, &history, &streams, finals.as_ref());
    judged.checks.iter().for_each(|(what, times)| counts.add(what, *times as u64));
    let (simulated, recovered, served) =
        (*simulated.borrow(), board.recovered.get(), board.served.get());
    let tail = tail.into_iter().collect();
    Done {
        seed,
        judged,
        digest,
        lines,
        counts,
        simulated,
        recovered,
        served,
        tail,
        history,
        finals,
    }
}

#[cfg(feature = "simulated")]
fn planted<T>(bug: Option<Bug>, work: impl FnOnce() -> T) -> T {
    let _planted = bug.map(seeded::plant);
    work()
}

#[cfg(not(feature = "simulated"))]
fn planted<T>(bug: Option<Bug>, work: impl FnOnce() -> T) -> T {
    assert!(bug.is_none_or(seeded::on), "built without its mistakes");
    work()
}

type Broke = Box<dyn std::error::Error>;

fn simulate(plan: Plan, board: &Rc<Board>, simulated: &RefCell<Duration>) -> Result<(), Broke> {
    let plan = Rc::new(plan);
    let league = Arc::new(League::build(&plan)?);
    let joint = plan.shape.joint[..league.regions.len()].iter().filter(|joint| **joint);
    trace::count("joint region", joint.count() as u64);
    let mut sim = builder(&plan).build();
    for seat in league.seats() {
        let seat = seat.clone();
        sim.host(seat.name().to_owned(), move || seat.clone().live());
    }
    let clients = workload::run(plan.clone(), league.clone(), board.clone());
    sim.client(workload::HOST, clients);
    distances(&plan, &league, &sim);
    let at = sim.lookup(workload::HOST);
    let mut director = Director::new(&plan, league.clone(), &mut sim, at);
    loop {
        let finished = sim.step();
        *simulated.borrow_mut() = sim.elapsed();
        if finished? {
            break;
        }
        director.turn(&mut sim);
        board.wrong.borrow_mut().append(&mut director.wrong);
        board.damaged.borrow_mut().append(&mut director.damaged);
        board.changes.borrow_mut().extend(director.changes.drain(..));
        board.errands.borrow_mut().append(&mut director.errands);
        board.births.borrow_mut().extend(director.births.drain(..));
        board.wishes.borrow_mut().extend(director.wishes.drain(..));
        if board.taken_over.take() {
            director.taken_over(&sim);
        }
        if board.spare_wanted.take() {
            director.wanted(&sim);
        }
        for name in board.reseeded.take() {
            director.reseeded(&sim, &name);
        }
        board.stage.set(director.stage);
        board.elections.borrow_mut().append(&mut director.elections());
        if director.stage == Stage::Boot && sim.elapsed() > BOOT_MAX {
            let waits = director.waits().unwrap_or_default();
            board.wrong.borrow_mut().push(format!("not ready after {BOOT_MAX:?}: {waits}"));
            break;
        }
    }
    // The nodes' last tasks end inside the simulation, not after it.
    for seat in league.seats() {
        seat.silence();
        seat.disk.kill();
        sim.crash(seat.name().to_owned());
    }
    board.wrong.borrow_mut().append(&mut director.wrong);
    Ok(())
}

fn builder(plan: &Plan) -> turmoil::Builder {
    let mut builder = turmoil::Builder::new();
    builder
        .rng_seed(plan.seed)
        .epoch(UNIX_EPOCH + Duration::from_millis(EPOCH_MS))
        .simulation_duration(WHOLE_MAX)
        .tick_duration(plan.shape.tick)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(plan.shape.latency_max)
        .tcp_capacity(1 << 16);
    builder
}

fn distances(plan: &Plan, league: &League, sim: &turmoil::Sim<'_>) {
    for (n, one) in league.regions.iter().enumerate() {
        for other in &league.regions[n + 1..] {
            for a in &one.seats {
                for b in &other.seats {
                    sim.set_link_latency(a.name(), b.name(), plan.shape.far);
                }
            }
        }
    }
}

/// tokio files a runtime's tasks under `task id % 4` and drops them shard by shard, and task ids
/// are the process's: from a multiple of 64 on, a seed's run is the same alone and after others.
fn align_task_ids() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
    let aligned = |id: String| id.parse::<u64>().is_ok_and(|id| id % 64 == 0);
    while !aligned(runtime.spawn(async {}).id().to_string()) {}
}
