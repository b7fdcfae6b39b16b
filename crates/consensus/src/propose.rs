//! The proposer of one group: gathers commands into entries, stamps them, hands outcomes back.
//!
//! While entries are on their way, the next one gathers: batches grow with load and there is no
//! linger timer. The number of entries in flight bounds how early an entry leaves.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use hansa_node::env::Clock;
use hansa_types::id::NodeId;
use hansa_types::time::LogTime;
use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResult;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::batch::Batch;
use crate::clock::LeaderClock;
use crate::machine::Machine;
use crate::metrics;
use crate::outcome::{Leadership, SubmitError};
use crate::queue::{Door, Item, Queue, Reply};
use crate::raft::{Raft, Types};
use crate::replica::Cell;
use crate::running::Running;

/// How long after a refused tick the next one is tried.
const TICK_RETRY: Duration = Duration::from_millis(50);
/// A waiter looks again at least this often: the slewed clock may run slower than the timer.
const TICK_WAIT_MAX: Duration = Duration::from_secs(1);
/// An idle leader stamps an empty entry this often, while a timer waits and otherwise: the next
/// leader begins at the last stamp, so a change of leader sets no timer back by more.
const STAMP_EVERY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// A quorum that has not answered for this many heartbeats is asked by an empty entry.
///
/// openraft counts an answer to a heartbeat only within one heartbeat's time. On a machine or a
/// network that is slower, the followers hear their leader and elect no other, while it hears
/// nobody and may not write: for ever. The answer to an entry counts however late it comes.
const ASK_AFTER_BEATS: u32 = 3;

/// What the proposer works with.
pub(crate) struct Proposer<M: Machine> {
    pub cell: Arc<Cell<M>>,
    pub queue: Arc<Queue<M::Outcome>>,
    pub raft: Raft,
    pub running: Arc<Running>,
    pub clock: Arc<dyn Clock>,
    pub leadership: watch::Receiver<Leadership>,
    pub entries_in_flight_max: usize,
    pub stop: CancellationToken,
    pub metrics: metrics::Group,
}

/// One term of leading.
struct Office {
    term: u64,
    clock: LeaderClock,
    tick_not_before: Instant,
    stamped: Instant,
    /// The log says what the group begins with: commands may follow.
    begun: bool,
}

/// An entry on its way, and who waits for it.
struct Flight<O> {
    items: Vec<Item<O>>,
    commands: usize,
    since: Instant,
    result: Option<ClientWriteResult<Types>>,
}

type Flights<O> = FuturesUnordered<BoxFuture<'static, Flight<O>>>;

impl<M: Machine> Proposer<M> {
    /// Runs until told to stop or openraft has stopped.
    pub async fn run(mut self) {
        let (mut office, mut rest) = self.office(None);
        let mut flights: Flights<M::Outcome> = FuturesUnordered::new();
        loop {
            let may_propose = office.is_some() && flights.len() < self.entries_in_flight_max;
            let tick = office.as_ref().filter(|_| flights.is_empty());
            let tick = tick.map(|office| self.tick_at(office));
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(flight) = flights.next(), if !flights.is_empty() => self.landed(flight),
                changed = self.leadership.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    (office, rest) = self.office(office.take().or(rest.take()));
                }
                () = self.queue.arrived.notified(), if may_propose => {}
                () = sleep_until(tick), if tick.is_some() => {
                    if let Some(office) = office.as_mut() {
                        self.tick(office, &mut flights).await;
                    }
                }
            }
            if let Some(office) = office.as_mut() {
                self.propose_waiting(office, &mut flights).await;
            }
        }
        self.queue.set_door(Door::Stopped);
    }

    /// Takes or leaves office as leadership says. One term is one office: its clock goes on, ahead
    /// of what was applied so far, also when a quorum was out of reach in between.
    ///
    /// The first is the office held now, the second one that rests.
    fn office(&mut self, held: Option<Office>) -> (Option<Office>, Option<Office>) {
        let Leadership { term, leader, mine } = *self.leadership.borrow_and_update();
        if !mine {
            self.queue.set_door(Door::NotLeader(leader));
            return (None, held);
        }
        self.queue.set_door(Door::Open);
        if let Some(held) = held.filter(|held| held.term == term) {
            return (Some(held), None);
        }
        let (monotonic, wall) = (self.clock.monotonic(), self.clock.wall());
        let clock = LeaderClock::take_office(self.cell.time(), monotonic, wall);
        let now = Instant::now();
        let begun = self.cell.begun();
        (Some(Office { term, clock, tick_not_before: now, stamped: now, begun }), None)
    }

    /// Whether commands may be proposed. Asked again once what the group begins with has landed.
    fn begun(&self, office: &mut Office) -> bool {
        office.begun = office.begun || self.cell.begun();
        office.begun
    }

    async fn propose_waiting(&self, office: &mut Office, flights: &mut Flights<M::Outcome>) {
        if !self.begun(office) {
            return;
        }
        while flights.len() < self.entries_in_flight_max {
            let items = self.queue.take_entry(!flights.is_empty());
            if items.is_empty() {
                return;
            }
            self.propose(office, items, flights).await;
        }
    }

    /// Sends one entry on its way, stamped with the group's time.
    async fn propose(
        &self,
        office: &mut Office,
        items: Vec<Item<M::Outcome>>,
        flights: &mut Flights<M::Outcome>,
    ) {
        let at = self.now(office);
        let commands = items.iter().flat_map(|item| item.commands.as_slice());
        let batch = Batch::encode(at, commands);
        self.send(office, batch, items, flights).await;
    }

    /// Sends a batch on its way; `items` wait for what its commands come to.
    async fn send(
        &self,
        office: &mut Office,
        batch: Batch,
        items: Vec<Item<M::Outcome>>,
        flights: &mut Flights<M::Outcome>,
    ) {
        office.stamped = Instant::now();
        let count = batch.len();
        self.metrics.proposed(count, batch.bytes().len());
        let (responder, rx) = ProgressResponder::complete_only();
        // Only in the term that stamped it: another term has another clock.
        let leader = crate::raft::committed_leader(office.term);
        let sent = self.raft.write(batch).with_leader(leader).responder(responder).await;
        let since = Instant::now();
        let patience = self.running.timing.election_max();
        let cut_off = cut_off(self.leadership.clone(), office.term, patience);
        flights.push(Box::pin(async move {
            // A core that has stopped took nothing, but then neither does it answer: unknown.
            let answer = async { if sent.is_ok() { rx.await.ok() } else { None } };
            let result = tokio::select! {
                biased;
                answer = answer => answer,
                () = cut_off => None,
            };
            Flight { items, commands: count, since, result }
        }));
    }

    fn now(&self, office: &mut Office) -> LogTime {
        office.clock.read(self.clock.monotonic(), self.clock.wall())
    }

    /// When the next tick is to be looked at.
    fn tick_at(&self, office: &Office) -> Instant {
        let left = self.ask_after().saturating_sub(self.running.unheard_for());
        let ask = (Instant::now() + left).max(office.tick_not_before);
        ask.min(self.timer_at(office))
    }

    /// When a timer of the machine may be due, or the log is to hear of the time.
    fn timer_at(&self, office: &Office) -> Instant {
        if !office.begun {
            return office.tick_not_before;
        }
        let Some(due) = self.cell.next_due() else { return office.stamped + STAMP_EVERY.1 };
        let now = office.clock.clone().read(self.clock.monotonic(), self.clock.wall());
        // Milliseconds are rounded up, so that the tick does not come just too early and spin.
        let wait = due.since(now).saturating_add(Duration::from_millis(1));
        let at = Instant::now() + wait.min(TICK_WAIT_MAX);
        at.max(office.tick_not_before)
    }

    fn ask_after(&self) -> Duration {
        ASK_AFTER_BEATS * self.running.timing.heartbeat()
    }

    /// Proposes what the group begins with, if it has not begun; else an empty entry if a timer of
    /// the machine is due, the log has not heard of the time for long, or heartbeats go unanswered.
    async fn tick(&self, office: &mut Office, flights: &mut Flights<M::Outcome>) {
        let now = self.now(office);
        if let Some(beginning) = self.cell.beginning() {
            office.tick_not_before = Instant::now() + TICK_RETRY;
            return self.send(office, Batch::begin(now, &beginning), Vec::new(), flights).await;
        }
        let due = self.cell.next_due();
        let stamp_after = if due.is_some() { STAMP_EVERY.0 } else { STAMP_EVERY.1 };
        let unheard = self.running.unheard_for() >= self.ask_after();
        let pause = if unheard { self.running.timing.heartbeat() } else { TICK_RETRY };
        let late = office.stamped.elapsed() >= stamp_after;
        if due.is_some_and(|due| due <= now) || late || unheard {
            office.tick_not_before = Instant::now() + pause;
            self.propose(office, Vec::new(), flights).await;
        }
    }

    /// Hands the outcomes of an entry to those who wait, or tells them why there are none.
    fn landed(&self, flight: Flight<M::Outcome>) {
        let Flight { items, commands, since, result } = flight;
        let refusal = match result {
            Some(Ok(written)) => {
                let took = since.elapsed();
                self.metrics.committed(commands, took);
                self.queue.note_rate(commands, took);
                if commands == 0 {
                    return;
                }
                match written.data.take::<Vec<M::Outcome>>() {
                    Some(outcomes) => return hand_out(items, outcomes),
                    None => SubmitError::Unknown,
                }
            }
            // openraft refuses so before it appends: nothing was written.
            Some(Err(ClientWriteError::ForwardToLeader(forward))) => {
                SubmitError::NotLeader { leader: forward.leader_id.map(NodeId) }
            }
            Some(Err(_)) | None => SubmitError::Unknown,
        };
        for item in items {
            item.reply.refuse(refusal.clone());
        }
    }
}

/// Deals the outcomes of an entry out to its items, in order.
fn hand_out<O>(items: Vec<Item<O>>, outcomes: Vec<O>) {
    let asked: usize = items.iter().map(|item| item.commands.as_slice().len()).sum();
    assert_eq!(asked, outcomes.len(), "apply answers each command of an entry once");
    let mut outcomes = outcomes.into_iter();
    for item in items {
        let count = item.commands.as_slice().len();
        // A caller that no longer waits has its answer: unknown.
        match item.reply {
            Reply::One(tx) => {
                if let Some(outcome) = outcomes.next() {
                    let _ = tx.send(Ok(outcome));
                }
            }
            Reply::Many(tx) => {
                let _ = tx.send(Ok(outcomes.by_ref().take(count).collect()));
            }
        }
    }
}

/// Returns once the leader of `term` has heard no quorum, and so not led, for `patience`.
///
/// It hears nothing of its own successor either, so what is on its way has no outcome here before
/// the cut is over: who waits is to ask another node, with the same request id.
async fn cut_off(mut leadership: watch::Receiver<Leadership>, term: u64, patience: Duration) {
    let alone = |now: &Leadership| now.term == term && now.leader.is_none() && !now.mine;
    loop {
        if leadership.wait_for(alone).await.is_err() {
            return std::future::pending().await;
        }
        let back = leadership.wait_for(|now| !alone(now));
        if tokio::time::timeout(patience, back).await.is_err() {
            return;
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
