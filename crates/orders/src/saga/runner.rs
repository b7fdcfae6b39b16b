//! The loop: pull, do, report. One per orders group, awake only while its node leads.

mod step;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use hansa_consensus::SubmitError;
use hansa_types::id::{GroupId, GroupKind};
use hansa_types::region::RegionNumber;
use hansa_types::seeded::{self, Bug};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::lane::{Answers, Driver, Item, Lane, Tag};
use super::provide::{Desk, NotNow, Place, Question};
use crate::core::command::{Command, Outcome};
use crate::core::effect::{Booking, Call, Report, StepResult, StockVerb, Todo};
use crate::machine::OrdersMachine;
use crate::metrics;
use crate::provider::{Answer, Fault};
use crate::shell::{Hosted, Shell};
use step::{Next, Step};

/// Reports in one command, and commands under way: two entries of a group may be (`Timing`), and
/// one waits for the next. What is said meanwhile travels together.
const REPORTS_MAX: usize = 2_048;
/// The same where what is said is booked in the same entry: readers wait for that long.
const REPORTS_NEAR_MAX: usize = 256;
const SUBMITS_MAX: usize = 3;
/// Steps pulled at once: apply waits while we look.
const PULL_MAX: usize = 1_024;
const SUBMIT_DEADLINE: Duration = Duration::from_secs(10);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// A step that its breaker holds back so long is in doubt for all that its order can know.
const HELD_BACK_MAX: Duration = Duration::from_secs(5);

type Called = (u64, u64, Result<Answer, Fault>);
type Submitted = (u64, Vec<Report>, Result<Outcome, SubmitError>);
type Pending<T> = FuturesUnordered<Pin<Box<dyn Future<Output = T> + Send>>>;

pub struct Runner {
    shell: Arc<Shell>,
    hosted: Arc<Hosted>,
    desk: Arc<Desk>,
    lanes: BTreeMap<GroupId, Arc<Lane>>,
    answers: Arc<Answers>,
    /// Counts terms in office; an answer of an earlier one is ignored.
    term: u64,
    leads: bool,
    /// Reports in one command.
    reports_max: usize,
    /// The last step pulled.
    cursor: u64,
    /// Births of which steps are held back, as of the last pull.
    held_back: Vec<RegionNumber>,
    steps: BTreeMap<u64, Step>,
    /// Steps that wait for a place at the provider.
    queue: VecDeque<u64>,
    later: BinaryHeap<Reverse<(Instant, u64)>>,
    reports: Vec<Report>,
    /// Until when no step begins.
    paused: Option<Instant>,
    calls: Pending<Called>,
    submits: Pending<Submitted>,
}

impl Runner {
    pub fn new(shell: Arc<Shell>, hosted: Arc<Hosted>, desk: Arc<Desk>) -> Self {
        Self {
            shell,
            hosted,
            desk,
            lanes: BTreeMap::new(),
            answers: Arc::default(),
            term: 0,
            leads: false,
            reports_max: REPORTS_MAX,
            cursor: 0,
            held_back: Vec::new(),
            steps: BTreeMap::new(),
            queue: VecDeque::new(),
            later: BinaryHeap::new(),
            reports: Vec::new(),
            paused: None,
            calls: FuturesUnordered::new(),
            submits: FuturesUnordered::new(),
        }
    }

    /// Runs until the node stops.
    pub async fn run(mut self) {
        let stop = self.shell.env.tasks.stop_token();
        let mut applied = self.hosted.group.applied();
        let mut leadership = self.hosted.group.leadership();
        let (answers, hosted) = (self.answers.clone(), self.hosted.clone());
        loop {
            self.office(leadership.borrow_and_update().mine);
            // Before the look, so that what is applied during it wakes us again.
            applied.borrow_and_update();
            let back = hosted.lease.back();
            if self.leads {
                self.pull();
                self.take_answers();
                self.retry_due();
                // Without its lease the region begins nothing and commits nothing.
                if self.hosted.lease.open() {
                    self.ask();
                    self.submit();
                }
            }
            let wake = self.later.peek().map(|Reverse((at, _))| *at);
            let wake = wake.into_iter().chain(self.paused).min();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // What comes once, before what only wakes: under load the latter is always ready.
                Some(submitted) = self.submits.next() => self.submitted(submitted),
                Some(called) = self.calls.next() => {
                    self.called(called);
                    // All that are there: what they say travels together.
                    while let Some(Some(called)) = self.calls.next().now_or_never() {
                        self.called(called);
                    }
                }
                changed = leadership.changed() => if changed.is_err() { return },
                changed = applied.changed(), if self.leads => if changed.is_err() { return },
                () = answers.bell.notified(), if self.leads => {}
                () = hosted.hold.ended.notified(), if self.leads => {}
                () = back, if self.leads => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Takes or leaves office; what was known in another term is forgotten either way.
    fn office(&mut self, mine: bool) {
        if mine == self.leads {
            return;
        }
        self.leads = mine;
        self.term += 1;
        self.cursor = 0;
        self.steps.clear();
        self.queue.clear();
        self.later.clear();
        self.reports.clear();
        self.calls.clear();
        self.submits.clear();
        self.answers.list.lock().clear();
        self.lanes.values().for_each(|lane| lane.clear());
        let near = self.hosted.group.peek(|machine| machine.state.keeps_books);
        self.reports_max = if near { REPORTS_NEAR_MAX } else { REPORTS_MAX };
    }

    fn pull(&mut self) {
        let hosted = self.hosted.clone();
        // Held until all that is pulled has begun: a pause never falls between the two.
        let _pass = match hosted.hold.pass() {
            Ok(pass) => pass,
            Err(until) => {
                self.paused = Some(until);
                return;
            }
        };
        self.paused = None;
        loop {
            let room = self.shell.cfg.saga.in_flight_max.saturating_sub(self.steps.len());
            let room = room.min(PULL_MAX);
            if room == 0 {
                return;
            }
            self.look_again();
            let cursor = self.cursor;
            let look = |machine: &OrdersMachine| {
                (machine.state.due(cursor, room), machine.state.steps_upto())
            };
            let (due, upto) = self.hosted.group.peek(look);
            let full = due.len() == room;
            for call in due {
                // What follows from a backup's steps waits until all of those are answered.
                if call.no > upto {
                    return;
                }
                self.cursor = call.no;
                // Pulled before births were held back.
                if self.steps.contains_key(&call.no) {
                    continue;
                }
                // What an earlier leader left: its way back is taken for gone.
                if seeded::on(Bug::HoldLeakedBetweenSteps) && cursor == 0 && gives_back(&call) {
                    let (order, no, result) = (call.order, call.no, StepResult::Done);
                    self.reports.push(Report { order, no, result });
                    continue;
                }
                self.start(call);
            }
            if !full {
                return;
            }
        }
    }

    /// Steps that were passed over while their births were held back are due again.
    fn look_again(&mut self) {
        let held_back = self.hosted.group.peek(|machine| {
            let births = machine.state.births.iter().filter(|(_, row)| !row.open());
            births.map(|(birth, _)| birth).collect::<Vec<_>>()
        });
        if held_back != self.held_back {
            self.held_back = held_back;
            self.cursor = 0;
        }
    }

    fn start(&mut self, call: Call) {
        let no = call.no;
        let mut step = Step::new(call);
        let next = step.begin();
        self.steps.insert(no, step);
        self.follow(no, next);
    }

    /// Does what a step says comes next.
    fn follow(&mut self, no: u64, next: Next) {
        match next {
            Next::Wait => {}
            Next::Ledger(commands) => {
                for (part, (kind, index, command)) in (0_u16..).zip(commands) {
                    let tag = Tag { term: self.term, no, part };
                    self.lane(GroupId::new(kind, index)).push(Item { tag, command });
                }
            }
            Next::Provider => self.queue.push_back(no),
            Next::Again { report } => {
                let Some(step) = self.steps.get_mut(&no) else { return };
                let report = report.map(|result| Report { order: step.call.order, no, result });
                self.reports.extend(report);
                step.tries += 1;
                let wait = RETRY_FIRST * 2_u32.saturating_pow(step.tries.min(10));
                let jitter = self.shell.env.entropy.jitter(RETRY_FIRST);
                self.later.push(Reverse((Instant::now() + wait.min(RETRY_MAX) + jitter, no)));
            }
            Next::Finish(result) => {
                if let Some(step) = self.steps.remove(&no) {
                    metrics::step(&step.call.todo, step.started.elapsed());
                    self.reports.push(Report { order: step.call.order, no, result });
                }
            }
        }
    }

    /// The lane of a group; its loop starts with the first use.
    fn lane(&mut self, group: GroupId) -> Arc<Lane> {
        if let Some(lane) = self.lanes.get(&group) {
            return lane.clone();
        }
        let lane = Arc::new(Lane { queue: Mutex::new(VecDeque::new()), bell: Notify::new() });
        let driver = Driver {
            group,
            lane: lane.clone(),
            answers: self.answers.clone(),
            cfg: self.shell.cfg.saga,
            env: self.shell.env.clone(),
            peers: self.shell.peers.clone(),
            map: self.shell.map.clone(),
        };
        let name = format!("{}-lane-{group}", self.hosted.group.id());
        let failed = hansa_node::tasks::OnError::StopNode;
        self.shell.env.tasks.spawn(name, failed, driver.run());
        self.lanes.insert(group, lane.clone());
        lane
    }

    fn take_answers(&mut self) {
        let answers = std::mem::take(&mut *self.answers.list.lock());
        for (tag, outcome) in answers {
            if tag.term != self.term {
                continue;
            }
            let Some(step) = self.steps.get_mut(&tag.no) else { continue };
            let next = step.on_ledger(tag.part, &outcome);
            self.follow(tag.no, next);
        }
    }

    /// Steps whose wait is over, unless they were withdrawn meanwhile.
    fn retry_due(&mut self) {
        let now = Instant::now();
        while self.later.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((_, no))) = self.later.pop() else { return };
            let outstanding = self.hosted.group.peek(|machine| machine.state.outstanding(no));
            match outstanding {
                true => self.queue.push_back(no),
                false => drop(self.steps.remove(&no)),
            }
        }
    }

    /// Makes as many provider calls as there are places.
    fn ask(&mut self) {
        while let Some(no) = self.queue.pop_front() {
            // A step may be withdrawn while it waits for a place: a charge that is sent after its
            // cancel was answered would be found by nobody.
            if !self.hosted.group.peek(|machine| machine.state.outstanding(no)) {
                self.steps.remove(&no);
                continue;
            }
            let Some(step) = self.steps.get_mut(&no) else { continue };
            let place = match self.desk.admit(step.tries == 0) {
                Ok(place) => place,
                // The places are with other groups of this node, whose calls do not wake this loop.
                Err(NotNow::Full) if self.calls.is_empty() => {
                    self.later.push(Reverse((Instant::now() + RETRY_FIRST, no)));
                    return;
                }
                Err(NotNow::Full) => {
                    self.queue.push_front(no);
                    // A call that ends wakes the loop.
                    return;
                }
                Err(NotNow::Wait(wait)) => {
                    let late = step.started.elapsed() > HELD_BACK_MAX;
                    let report = step.doubt(late);
                    let order = step.call.order;
                    self.reports.extend(report.map(|result| Report { order, no, result }));
                    self.later.push(Reverse((Instant::now() + wait, no)));
                    continue;
                }
            };
            let Some(question) = step.question() else { continue };
            self.calls.push(call(place, self.term, no, question));
        }
    }

    fn called(&mut self, (term, no, answer): Called) {
        if term != self.term {
            return;
        }
        if let Some(step) = self.steps.get_mut(&no) {
            let next = step.on_provider(answer);
            self.follow(no, next);
        }
    }

    fn submit(&mut self) {
        while !self.reports.is_empty() && self.submits.len() < SUBMITS_MAX {
            let rest = self.reports.split_off(self.reports.len().min(self.reports_max));
            let reports = std::mem::replace(&mut self.reports, rest);
            metrics::reported(reports.len());
            let (group, term) = (self.hosted.group.clone(), self.term);
            self.submits.push(Box::pin(async move {
                let command = Command::Report(reports.clone()).encode();
                let deadline = Instant::now() + SUBMIT_DEADLINE;
                let result = group.submit(Bytes::from(command), deadline).await;
                // Whatever stood in the way will not be gone at once.
                match &result {
                    Ok(_) => {}
                    Err(
                        SubmitError::Overloaded { retry_after }
                        | SubmitError::DiskFull { retry_after },
                    ) => {
                        tokio::time::sleep(*retry_after).await;
                    }
                    Err(_) => tokio::time::sleep(RETRY_FIRST).await,
                }
                (term, reports, result)
            }));
        }
    }

    /// A report that may not have been applied goes out again: one that was moves nothing twice.
    fn submitted(&mut self, (term, reports, result): Submitted) {
        if term != self.term {
            return;
        }
        match result {
            Ok(_) => {}
            // When this node no longer leads, leadership says so too in a moment.
            Err(error) => {
                tracing::debug!(%error, "reports not committed yet");
                self.reports.extend(reports);
            }
        }
    }
}

/// Whether the step gives stock back.
fn gives_back(call: &Call) -> bool {
    let Todo::Book(Booking::Stock(stock)) = &call.todo else { return false };
    matches!(stock.verb, StockVerb::Release { .. } | StockVerb::Uncommit { .. })
}

fn call(
    place: Place,
    term: u64,
    no: u64,
    question: Question,
) -> Pin<Box<dyn Future<Output = Called> + Send>> {
    Box::pin(async move { (term, no, place.ask(question).await) })
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Ledger commands of one step: kind and index of the group, and the command.
type Commands = Vec<(GroupKind, u16, hansa_api::pb::ledger::Command)>;
