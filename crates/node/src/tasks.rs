//! Named tasks that carry what happens when they fail. The only place that spawns.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod place;
#[cfg(test)]
mod tests;

use self::place::{Abort, Place};

/// What a task's failure (an `Err` or a panic) means for the node. For restarts see
/// [`Tasks::keep`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// The node cannot do its work without this task: stop everything, keep the reason.
    StopNode,
    /// The failure concerns this task only: log it.
    Log,
}

/// How long to wait before a failed task starts again: doubled each time, back to `first` once a
/// run outlived `max`.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    pub first: Duration,
    pub max: Duration,
}

/// How a task ended: nothing to say, or a failure to show.
pub trait Ended {
    fn failure(self) -> Option<String>;
}

impl Ended for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: Display> Ended for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

/// A node's tasks: spawned by name, stopped by one token, drained within a bound.
#[derive(Clone)]
pub struct Tasks {
    inner: Arc<Inner>,
}

/// Runs what HTTP/2 connections start, where the node's tasks run and until its runtime ends.
///
/// Unnamed and untracked: such work ends with its connection, and those are tasks with names.
#[derive(Clone)]
pub struct Executor(Place);

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, work: F) {
        self.0.spawn(async move { drop(work.await) });
    }
}

struct Inner {
    node: String,
    place: Place,
    stop: CancellationToken,
    tracker: TaskTracker,
    running: Mutex<Running>,
    failure: Mutex<Option<String>>,
}

#[derive(Default)]
struct Running {
    next: u64,
    by_number: BTreeMap<u64, (Cow<'static, str>, Option<Abort>)>,
}

impl Tasks {
    /// Tasks of the node called `node`, on the runtime this is called in.
    pub fn new(node: &str) -> Self {
        Self::at(node, Place::runtime())
    }

    /// Tasks of the node called `node` on the `LocalSet` this is called in, for simulation.
    ///
    /// They are dropped in the order in which they started, whatever ran in the process before;
    /// those of a runtime are not.
    pub fn local(node: &str) -> Self {
        Self::at(node, Place::local())
    }

    fn at(node: &str, place: Place) -> Self {
        Self {
            inner: Arc::new(Inner {
                node: node.to_owned(),
                place,
                stop: CancellationToken::new(),
                tracker: TaskTracker::new(),
                running: Mutex::default(),
                failure: Mutex::default(),
            }),
        }
    }

    /// Cancelled when the node is to stop: long-lived tasks select on it and end.
    pub fn stop_token(&self) -> CancellationToken {
        self.inner.stop.clone()
    }

    /// What HTTP/2 connections run their work on.
    pub fn executor(&self) -> Executor {
        Executor(self.inner.place.clone())
    }

    /// The first failure that stopped the node, if one did.
    pub fn failure(&self) -> Option<String> {
        self.inner.failure.lock().clone()
    }

    /// Runs `work` under `name`; a failure is dealt with as `on_error` says.
    ///
    /// Works from any thread, also outside a runtime. After the stop, tasks still start: a drain
    /// may need them, and its bound ends them.
    pub fn spawn<F>(&self, name: impl Into<Cow<'static, str>>, on_error: OnError, work: F)
    where
        F: Future<Output: Ended> + Send + 'static,
    {
        let name = name.into();
        let tasks = self.clone();
        let label = name.clone();
        self.track(name, async move {
            if let Some(failure) = outcome(work).await {
                tasks.failed(&label, on_error, failure);
            }
        });
    }

    /// Keeps a task running: each failure starts a new one from `make` after a growing wait.
    ///
    /// Ends when a run ends without failure or the node stops.
    pub fn keep<F>(
        &self,
        name: impl Into<Cow<'static, str>>,
        backoff: Backoff,
        mut make: impl FnMut() -> F + Send + 'static,
    ) where
        F: Future<Output: Ended> + Send + 'static,
    {
        let name = name.into();
        let tasks = self.clone();
        let label = name.clone();
        self.track(name, async move {
            let mut wait = backoff.first;
            loop {
                let started = tokio::time::Instant::now();
                let Some(failure) = outcome(make()).await else { return };
                tasks.failed(&label, OnError::Log, failure);
                if started.elapsed() > backoff.max {
                    wait = backoff.first;
                }
                tokio::select! {
                    biased;
                    () = tasks.inner.stop.cancelled() => return,
                    () = tokio::time::sleep(wait) => wait = (wait * 2).min(backoff.max),
                }
            }
        });
    }

    /// Runs `work` until it ends or the process does: for what must outlive the drain, like
    /// signals.
    pub fn spawn_untracked(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.inner.place.spawn(work);
    }

    /// Stops: cancels the token, waits at most `bound`, then aborts what is left and names it.
    pub async fn drain(&self, bound: Duration) -> Vec<String> {
        self.inner.stop.cancel();
        self.inner.tracker.close();
        if tokio::time::timeout(bound, self.inner.tracker.wait()).await.is_ok() {
            return Vec::new();
        }
        let left: Vec<_> = self.inner.running.lock().by_number.values().cloned().collect();
        for abort in left.iter().filter_map(|(_, abort)| abort.as_ref()) {
            abort.abort();
        }
        left.into_iter().map(|(name, _)| name.into_owned()).collect()
    }

    /// Names of the tasks that run now.
    pub fn running(&self) -> Vec<String> {
        let running = self.inner.running.lock();
        running.by_number.values().map(|(name, _)| name.clone().into_owned()).collect()
    }

    fn track(&self, name: Cow<'static, str>, work: impl Future<Output = ()> + Send + 'static) {
        let number = {
            let mut running = self.inner.running.lock();
            running.next += 1;
            let number = running.next;
            running.by_number.insert(number, (name, None));
            number
        };
        // Dropped when the task ends, is aborted, or its runtime goes: the register never lies.
        let registered = Registered { inner: self.inner.clone(), number };
        let work = self.inner.tracker.track_future(async move {
            let _registered = registered;
            work.await;
        });
        let abort = self.inner.place.spawn(work);
        if let Some(entry) = self.inner.running.lock().by_number.get_mut(&number) {
            entry.1 = Some(abort);
        }
    }

    fn failed(&self, task: &str, on_error: OnError, failure: String) {
        let node = &self.inner.node;
        match on_error {
            OnError::Log => tracing::warn!(%node, task, failure, "task failed"),
            OnError::StopNode => {
                tracing::error!(%node, task, failure, "task failed, node stops");
                self.inner.failure.lock().get_or_insert(format!("{task}: {failure}"));
                self.inner.stop.cancel();
            }
        }
    }
}

struct Registered {
    inner: Arc<Inner>,
    number: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.inner.running.lock().by_number.remove(&self.number);
    }
}

/// Runs `work`; a panic is a failure like any other.
async fn outcome<F: Future<Output: Ended>>(work: F) -> Option<String> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(ended) => ended.failure(),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Some(format!("panicked: {}", text.unwrap_or_else(|| "no message".to_owned())))
        }
    }
}
