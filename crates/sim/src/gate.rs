//! A process that stands still, as by SIGSTOP: none of its tasks is polled until it goes on, while
//! its machine's clocks run, its timers fall due and its kernel takes what peers send.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// Open while the process runs.
#[derive(Default)]
pub struct Gate(Mutex<State>);

#[derive(Default)]
struct State {
    shut: bool,
    /// Of the process that stands before it.
    waits: Option<Waker>,
}

impl Gate {
    /// Stops the process from its next step on.
    pub fn shut(&self) {
        self.0.lock().shut = true;
    }

    /// Lets it go on, with everything that fell due meanwhile.
    pub fn open(&self) {
        let waits = {
            let mut state = self.0.lock();
            state.shut = false;
            state.waits.take()
        };
        if let Some(waits) = waits {
            waits.wake();
        }
    }

    /// Runs a whole process, all its tasks inside `work`, while the gate is open.
    pub async fn through<T>(&self, work: Pin<&mut impl Future<Output = T>>) -> T {
        let mut work = work;
        std::future::poll_fn(|cx| self.poll(work.as_mut(), cx)).await
    }

    fn poll<T>(&self, work: Pin<&mut impl Future<Output = T>>, cx: &mut Context<'_>) -> Poll<T> {
        {
            let mut state = self.0.lock();
            if state.shut {
                state.waits = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        work.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use futures::FutureExt as _;
    use tokio::task::LocalSet;
    use tokio::time::{Instant, sleep};

    use super::*;

    /// A task of the process counts its sleeps; the gate is shut for a while.
    #[tokio::test(start_paused = true)]
    async fn nothing_of_a_process_runs_while_it_stands_still_and_its_time_has_passed_after() {
        let (gate, set, woke) = (Gate::default(), LocalSet::new(), Cell::new(None));
        let begun = Instant::now();
        let work = set.run_until(async {
            sleep(Duration::from_secs(1)).await;
            woke.set(Some(begun.elapsed()));
        });
        let mut work = std::pin::pin!(work);
        let mut life = std::pin::pin!(gate.through(work.as_mut()));
        assert!(life.as_mut().now_or_never().is_none());
        gate.shut();
        let still = tokio::time::timeout(Duration::from_secs(30), life.as_mut()).await;
        assert!(still.is_err() && woke.get().is_none(), "it ran");
        gate.open();
        life.await;
        assert_eq!(woke.get(), Some(Duration::from_secs(30)), "its timer was due long ago");
    }
}
