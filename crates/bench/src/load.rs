//! Drives calls: so many at a time, or each when it is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hansa_node::tasks::{OnError, Tasks};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::pace::Plan;
use crate::record::{Done, Record};

/// The longest that a call may take.
pub const CALL_MAX: Duration = Duration::from_secs(10);
/// Calls of an open loop under way on one connection; when there are more, those that are due wait,
/// and their time runs. Far above what a server lets a connection have.
const UNDER_WAY_MAX: usize = 2_048;

/// What is done over and over, over one connection.
pub trait Work: Send + Sync + 'static {
    /// Call `number`: each number comes once. Ends within [`CALL_MAX`].
    fn one(&self, number: u64) -> impl Future<Output = Done> + Send;
}

/// How the calls come.
#[derive(Debug, Clone)]
pub enum Drive {
    /// Each client makes its next call when it has its answer, or when a refusal says to.
    Closed { clients: usize },
    /// Each call comes when it is due.
    Open(Plan),
}

impl Drive {
    /// The phases of the measured time, each with its end.
    pub fn phases(&self, lasts: Duration) -> Vec<(&'static str, Duration)> {
        match self {
            Self::Closed { .. } => vec![("closed", lasts)],
            Self::Open(plan) => plan.phases(),
        }
    }
}

/// A load that runs.
pub struct Running {
    /// The measured time.
    pub began: Instant,
    pub ends: Instant,
    record: Arc<Mutex<Record>>,
    over: mpsc::Receiver<()>,
}

impl Running {
    /// Waits for the last call; each has its bound.
    pub async fn over(mut self) -> Arc<Mutex<Record>> {
        // Nobody sends: it ends when the last worker lets go of its end.
        let _none = self.over.recv().await;
        self.record
    }
}

/// What the workers of a load share.
struct Shared {
    numbers: Arc<AtomicU64>,
    record: Arc<Mutex<Record>>,
    starts: Instant,
    ends: Instant,
    _over: mpsc::Sender<()>,
}

/// Starts a load over these connections; it is measured after `warm_up`.
pub fn start<W: Work>(
    tasks: &Tasks,
    numbers: &Arc<AtomicU64>,
    workers: &[Arc<W>],
    drive: &Drive,
    (warm_up, lasts): (Duration, Duration),
) -> Running {
    let starts = Instant::now();
    let began = starts + warm_up;
    let phases = drive.phases(lasts);
    let ends = began + phases.last().map(|(_, until)| *until).unwrap_or_default();
    let record = Arc::new(Mutex::new(Record::new(began, &phases)));
    let (let_go, over) = mpsc::channel(1);
    for (place, worker) in workers.iter().enumerate() {
        let shared = Shared {
            numbers: numbers.clone(),
            record: record.clone(),
            starts,
            ends,
            _over: let_go.clone(),
        };
        let (worker, all) = (worker.clone(), workers.len());
        match drive {
            Drive::Closed { clients } => {
                // The first connections have one more when they do not divide.
                let clients = (clients + all - 1 - place) / all;
                let work = async move { shared.closed(&*worker, clients).await };
                tasks.spawn("load", OnError::Log, work);
            }
            Drive::Open(plan) => {
                let due = plan.after(warm_up).arrivals().skip(place).step_by(all);
                let work = async move { shared.open(&*worker, due).await };
                tasks.spawn("load", OnError::Log, work);
            }
        }
    }
    Running { began, ends, record, over }
}

impl Shared {
    async fn closed(&self, work: &impl Work, clients: usize) {
        let client = || async {
            while Instant::now() < self.ends {
                if let Some(wait) = self.call(work, Instant::now()).await {
                    sleep_until((Instant::now() + wait).min(self.ends)).await;
                }
            }
        };
        let mut clients: FuturesUnordered<_> = (0..clients).map(|_| client()).collect();
        while clients.next().await.is_some() {}
    }

    async fn open(&self, work: &impl Work, due: impl Iterator<Item = Duration>) {
        let mut due = due.map(|at| self.starts + at).peekable();
        let mut calls = FuturesUnordered::new();
        loop {
            while calls.len() < UNDER_WAY_MAX {
                let Some(at) = due.next_if(|at| *at <= Instant::now()) else { break };
                calls.push(self.call(work, at));
            }
            let next = due.peek().copied().filter(|_| calls.len() < UNDER_WAY_MAX);
            tokio::select! {
                biased;
                Some(_) = calls.next() => {}
                () = sleep_until(next.unwrap_or(self.ends)), if next.is_some() => {}
                else => return,
            }
        }
    }

    /// For how long who was refused is asked to wait.
    async fn call(&self, work: &impl Work, due: Instant) -> Option<Duration> {
        let done = work.one(self.numbers.fetch_add(1, Ordering::Relaxed)).await;
        let wait = done.as_ref().err().and_then(|refusal| refusal.retry_after);
        self.record.lock().add(due, Instant::now(), done);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Answers after so long.
    struct Slow(Duration);

    impl Work for Slow {
        async fn one(&self, _number: u64) -> Done {
            tokio::time::sleep(self.0).await;
            Ok(1)
        }
    }

    async fn measure(drive: Drive, took: Duration) -> crate::record::Figures {
        let (tasks, numbers) = (Tasks::new("bench"), Arc::default());
        let workers = [Arc::new(Slow(took)), Arc::new(Slow(took))];
        let running = start(&tasks, &numbers, &workers, &drive, (SECOND, 10 * SECOND));
        let record = running.over().await;
        let figures = record.lock().figures();
        figures[0].clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_loop_has_as_many_calls_under_way_as_clients() {
        let figures = measure(Drive::Closed { clients: 5 }, SECOND / 10).await;
        // Ten a second each; a tick of the clock may fall on either side of the end.
        assert!((490..=500).contains(&figures.done), "{figures:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_loop_does_not_wait_for_answers() {
        let plan = Plan::steady(100.0, 10 * SECOND);
        let figures = measure(Drive::Open(plan), 3 * SECOND).await;
        assert_eq!(figures.calls, 1_000);
        assert!((2_990.0..3_010.0).contains(&figures.latency.p50_ms), "{figures:?}");
    }
}
