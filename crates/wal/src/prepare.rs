//! The prealloc loop: makes the next segment ready aside, and removes the dead ones.
//!
//! Allocation stalled appends for up to 290 ms when it was done on their path.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::fs::{Op, is_full};
use crate::metrics;
use crate::segment;
use crate::shared::{Segment, Shared};

/// How long after a failure it is tried again, unless somebody asks earlier.
const RETRY: Duration = Duration::from_secs(1);

pub struct PrepareLoop {
    shared: Arc<Shared>,
    /// The number of the next segment.
    next: u32,
}

/// Tells the others when the loop ends, however it does.
struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.prepare_ended();
        self.0.ready.notify_one();
    }
}

impl PrepareLoop {
    pub fn new(shared: Arc<Shared>, next: u32) -> Self {
        Self { shared, next }
    }

    pub async fn run(mut self) {
        let shared = self.shared.clone();
        let _alive = Alive(shared.clone());
        loop {
            let chore = shared.chore.notified();
            let again = self.round().await;
            if shared.prep.lock().stop {
                return;
            }
            if again {
                // Over time or by a call: both mean one more round.
                let _ = tokio::time::timeout(RETRY, chore).await;
            } else {
                chore.await;
            }
        }
    }

    /// Does what there is to do; answers whether something is left to try again.
    async fn round(&mut self) -> bool {
        let removed = self.remove_dead();
        if let Err(why) = &removed
            && !self.shared.prep.lock().stop
        {
            tracing::warn!(dir = %self.shared.dir.display(), %why, "old segment not removed");
        }
        loop {
            {
                let prep = self.shared.prep.lock();
                if prep.stop || prep.ready.len() >= self.shared.config.spares {
                    return removed.is_err();
                }
            }
            let latency = self.shared.fs.latency(Op::Sync);
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
            if let Err(why) = self.make_one() {
                self.report(why);
                return true;
            }
        }
    }

    fn make_one(&mut self) -> io::Result<()> {
        let shared = &self.shared;
        let bytes = shared.config.segment_bytes;
        let fs = shared.fs.as_ref();
        let file = segment::prepare(fs, &shared.dir, shared.log, self.next, bytes)?;
        let mut prep = shared.prep.lock();
        prep.ready.push_back((self.next, Segment { file, bytes }));
        prep.error = None;
        drop(prep);
        self.next += 1;
        shared.ready.notify_one();
        // An idle log that is to roll has waited for it.
        let mut core = shared.core.lock();
        core.urgent |= core.roll.is_some();
        shared.wake(core);
        Ok(())
    }

    /// A full disk is waited for, anything else is a broken one.
    fn report(&self, why: io::Error) {
        use io::ErrorKind::NotFound;
        let stop = self.shared.prep.lock().stop;
        // `NotFound`: the folder is gone, as at a test's end; there is nothing to acknowledge in
        // it.
        if !stop && !is_full(&why) && why.kind() != NotFound {
            let dir = self.shared.dir.display();
            self.shared.env.exit.exit(&format!("log: prepare a segment in {dir}: {why}"));
        }
        let mut prep = self.shared.prep.lock();
        if prep.error.is_none() && !prep.stop {
            tracing::warn!(dir = %self.shared.dir.display(), %why, "no spare segment");
        }
        prep.error = Some(why);
        drop(prep);
        metrics::spare_failed();
        self.shared.ready.notify_one();
    }

    /// Removes dead segments, oldest first; their floor record is durable.
    fn remove_dead(&self) -> io::Result<()> {
        let shared = &self.shared;
        let dead: Vec<u32> = shared.prep.lock().doomed.iter().copied().collect();
        if dead.is_empty() {
            return Ok(());
        }
        for number in &dead {
            match shared.fs.remove(&segment::path(&shared.dir, *number)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        if let Err(e) = shared.fs.sync_dir(&shared.dir) {
            if !shared.prep.lock().stop {
                shared.env.exit.exit(&format!("log: sync {}: {e}", shared.dir.display()));
            }
            return Ok(());
        }
        // Only now: who waits for them to be gone is told that they will not come back.
        shared.prep.lock().doomed.drain(..dead.len());
        shared.core.lock().counts.segments_removed += dead.len() as u64;
        shared.removed();
        Ok(())
    }
}
