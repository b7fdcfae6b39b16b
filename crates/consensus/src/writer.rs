//! The loop that does the group's slow disk work: archive, checkpoints, snapshots.
//!
//! It ends when its host is gone, or when that has stopped its groups, after what waits. The stop
//! of the node's tasks does not end it: groups that still apply would take that for a failure.
//!
//! One per host, so that at most one of them competes with the log for the disk. A thread in
//! production, a task in simulation; never the runtime's blocking pool, which a simulation cannot
//! order.

use std::io;

use hansa_node::env::Env;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Work that may wait: at most one item of each kind per group does.
const WAITING_MAX: usize = 1_024;

type Job = Box<dyn FnOnce() + Send>;

/// Hands work to the loop.
#[derive(Clone)]
pub(crate) struct Writer {
    tx: mpsc::Sender<Job>,
    stop: CancellationToken,
}

impl Writer {
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
            tokio::select! {
                biased;
                () = stopped.cancelled() => {}
                () = work => return,
            }
            // Groups have stopped before; after what waits, nothing more comes.
            rx.close();
            while let Some(job) = rx.recv().await {
                job();
            }
        };
        env.loops.start("checkpoint-writer".to_owned(), Box::pin(work));
        Self { tx, stop }
    }

    /// Ends the loop after what waits: the groups have stopped.
    pub fn close(&self) {
        self.stop.cancel();
    }

    /// Runs `job` on the loop and answers what it returned.
    ///
    /// # Errors
    /// The loop has ended: the groups have stopped.
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use hansa_node::env::test::seeded;
    use hansa_types::time::WallTime;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn closed_it_ends_after_what_waits_though_somebody_holds_it() {
        let (env, _) = seeded("a", 1, WallTime(0));
        let writer = Writer::start(&env);
        let done = Arc::new(AtomicU32::new(0));
        for _ in 0..3 {
            let done = done.clone();
            let job: Job = Box::new(move || _ = done.fetch_add(1, Ordering::Relaxed));
            writer.tx.send(job).await.unwrap();
        }
        env.tasks.stop_token().cancel();
        assert!(writer.run(|| ()).await.is_ok(), "groups may still need it");
        writer.close();
        let late = env.tasks.drain(Duration::from_secs(10)).await;
        assert_eq!(late, Vec::<String>::new());
        assert_eq!(done.load(Ordering::Relaxed), 3);
        assert!(writer.run(|| ()).await.is_err());
    }
}
