//! The loop that does the group's slow disk work: archive, checkpoints, snapshots.
//!
//! One per host, so that at most one of them competes with the log for the disk. A thread in
//! production, a task in simulation; never the runtime's blocking pool, which a simulation cannot
//! order.

use std::io;

use hansa_node::env::Env;
use tokio::sync::{mpsc, oneshot};

/// Work that may wait: at most one item of each kind per group does.
const WAITING_MAX: usize = 1_024;

type Job = Box<dyn FnOnce() + Send>;

/// Hands work to the loop.
#[derive(Clone)]
pub(crate) struct Writer {
    tx: mpsc::Sender<Job>,
}

impl Writer {
    pub fn start(env: &Env) -> Self {
        let (tx, mut rx) = mpsc::channel::<Job>(WAITING_MAX);
        let work = async move {
            while let Some(job) = rx.recv().await {
                job();
            }
        };
        env.loops.start("checkpoint-writer".to_owned(), Box::pin(work));
        Self { tx }
    }

    /// Runs `job` on the loop and answers what it returned.
    ///
    /// # Errors
    /// The loop has ended: the node stops.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (tx, rx) = oneshot::channel();
        let job: Job = Box::new(move || drop(tx.send(job())));
        let gone = || io::Error::other("the checkpoint writer has ended");
        self.tx.send(job).await.map_err(|_| gone())?;
        rx.await.map_err(|_| gone())
    }
}
