//! The loop that reads archives for whoever waits for an answer.
//!
//! One per host, beside the [writer](crate::writer): no reader waits for a checkpoint that is being
//! written. A thread in production, a task in simulation, as that. It ends when its host is gone,
//! or has stopped its groups; who waits then is told so.

use std::time::Duration;

use hansa_node::env::Env;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::outcome::ReadError;

/// Reads that may wait for the loop.
const WAITING_MAX: usize = 256;
const RETRY_AFTER: Duration = Duration::from_millis(100);

type Job = Box<dyn FnOnce() + Send>;

/// Hands reads to the loop.
#[derive(Clone)]
pub(crate) struct Reader {
    tx: mpsc::Sender<Job>,
    stop: CancellationToken,
}

impl Reader {
    pub fn start(env: &Env) -> Self {
        let (tx, mut rx) = mpsc::channel::<Job>(WAITING_MAX);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let work = async move {
            let work = async {
                while let Some(job) = rx.recv().await {
                    job();
                }
            };
            stopped.run_until_cancelled(work).await;
        };
        env.loops.start("archive-reader".to_owned(), Box::pin(work));
        Self { tx, stop }
    }

    /// Ends the loop: the groups have stopped.
    pub fn close(&self) {
        self.stop.cancel();
    }

    /// Runs `read` on the loop and answers what it returned; what nobody waits for is not run.
    ///
    /// # Errors
    /// Too many wait, the deadline passed, or the loop has ended.
    pub async fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        let (tx, rx) = oneshot::channel();
        let job: Job = Box::new(move || {
            if !tx.is_closed() {
                drop(tx.send(read()));
            }
        });
        match self.tx.try_send(job) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                return Err(ReadError::Overloaded { retry_after: RETRY_AFTER });
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(ReadError::Stopped),
        }
        match timeout_at(deadline, rx).await {
            Ok(Ok(read)) => Ok(read),
            Ok(Err(_)) => Err(ReadError::Stopped),
            Err(_) => Err(ReadError::Deadline),
        }
    }
}

#[cfg(test)]
mod tests;
