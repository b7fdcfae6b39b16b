//! The log loop: take what waits, one write, one sync, then the answers in order.
//!
//! No linger timer: while one batch syncs, the next one gathers.

mod batch;
mod collect;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hansa_types::seeded::{self, Bug};
use tokio::time::Instant;

use self::batch::Batch;
use crate::fs::Op;
use crate::metrics;
use crate::record::Seed;
use crate::recover::Position;
use crate::segment;
use crate::shared::{Phase, Segment, Shared, Task};

/// The only writer of the log.
pub struct LogLoop {
    shared: Arc<Shared>,
    position: Position,
    active: Segment,
    seed: Seed,
    /// The disk does not yet say that the last batch was synced.
    unmarked: bool,
    /// When what rides along is written even if nothing else is.
    due: Option<Instant>,
    /// Moves of the collector that are queued: it plans no further ones meanwhile.
    moving: usize,
    buffer: Vec<u8>,
}

/// What the loop does next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Write,
    End,
}

/// Fails the log when its loop is dropped in the middle, so that nobody waits for it.
struct Alive<'a>(&'a Shared);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        answer_all(self.0.end(Phase::Failed("the log loop is gone".to_owned())), "loop is gone");
    }
}

impl LogLoop {
    pub fn new(shared: Arc<Shared>, position: Position) -> Self {
        let active = shared.core.lock().segments.get(&position.segment).cloned();
        let Some(active) = active else { panic!("no segment {}", position.segment) };
        let seed = Seed::new(shared.log, position.segment);
        shared.core.lock().active_left = u64::from(active.bytes - position.offset);
        let buffer = Vec::with_capacity(64 << 10);
        // A log just opened says so on disk: the last batch that was read has been synced since.
        let unmarked = position.seq > 0;
        Self { shared, position, active, seed, unmarked, due: None, moving: 0, buffer }
    }

    pub async fn run(mut self) {
        let shared = self.shared.clone();
        let alive = Alive(&shared);
        while self.wait().await == Turn::Write {
            if self.turn().await.is_err() {
                std::mem::forget(alive);
                return;
            }
        }
        std::mem::forget(alive);
        shared.end(Phase::Closed);
    }

    /// Waits until something is to be written.
    async fn wait(&mut self) -> Turn {
        let shared = self.shared.clone();
        loop {
            let work = shared.work.notified();
            let due = {
                let mut core = shared.core.lock();
                let waiting = !core.queue.is_empty() || self.unmarked;
                if core.urgent {
                    return Turn::Write;
                }
                if core.phase != Phase::Open {
                    return if waiting { Turn::Write } else { Turn::End };
                }
                // A roll that waits for room looks for it again.
                core.timed = waiting || core.roll.is_some();
                core.timed
            };
            if !due {
                self.due = None;
                work.await;
                continue;
            }
            let due = *self.due.get_or_insert_with(|| Instant::now() + shared.config.idle_mark);
            if tokio::time::timeout_at(due, work).await.is_err() {
                return Turn::Write;
            }
        }
    }

    /// Writes and syncs one batch, then answers.
    async fn turn(&mut self) -> Result<(), Ended> {
        self.due = None;
        let mut batch = self.take();
        match self.write(&mut batch).await {
            Ok(()) => {}
            Err(why) => return Err(self.fail(&why, batch.tasks)),
        }
        if !batch.is_answers_only() {
            self.settle(&mut batch);
        }
        batch.answer();
        if let Err(why) = self.collect() {
            return Err(self.fail(&why, Vec::new()));
        }
        Ok(())
    }

    async fn write(&mut self, batch: &mut Batch) -> Result<(), String> {
        if batch.full || batch.rolls && self.may_roll() {
            batch.next = self.shared.prep.lock().ready.pop_front();
            // Who only rolls can wait for the next batch.
            if batch.full && batch.next.is_none() && batch.tasks.is_empty() {
                batch.next =
                    Some(self.next_segment().await.map_err(|e| format!("no segment: {e}"))?);
            }
        }
        if batch.is_answers_only() {
            return Ok(());
        }
        self.encode(batch);
        let fs = &self.shared.fs;
        let name = segment::name(self.position.segment);
        let failed = |op: &'static str| {
            let at = self.position.offset;
            move |e: io::Error| format!("{op} {name} at {at}: {e}")
        };
        pause(fs.latency(Op::Write)).await;
        let offset = u64::from(self.position.offset);
        self.active.file.write_at(&self.buffer, offset).map_err(failed.clone()("write"))?;
        if seeded::on(Bug::AckBeforeSync) {
            return Ok(());
        }
        pause(fs.latency(Op::Sync)).await;
        let began = self.shared.env.clock.monotonic();
        self.active.file.sync_data().map_err(failed("sync"))?;
        metrics::synced(self.shared.env.clock.monotonic().saturating_sub(began), self.buffer.len());
        Ok(())
    }

    /// Whether another segment follows the one that a roll takes. The rest of this one goes with
    /// it, and a full disk has no other for what must be written.
    fn may_roll(&self) -> bool {
        if self.shared.prep.lock().ready.len() > 1 {
            return true;
        }
        // A disk that cannot say is not taken for a full one.
        let space = self.shared.fs.space(&self.shared.dir);
        space.map_or(true, |space| space.free >= u64::from(self.shared.config.segment_bytes))
    }

    /// Stops the log for good: nothing is retried, nobody gets an `Ok` any more.
    fn fail(&mut self, why: &str, flight: Vec<Task>) -> Ended {
        let left = self.shared.end(Phase::Failed(why.to_owned()));
        self.shared.env.exit.exit(&format!("log: {why}"));
        answer_all(flight.into_iter().chain(left), why);
        Ended
    }
}

/// The log has failed, and everybody knows.
struct Ended;

fn answer_all(tasks: impl IntoIterator<Item = Task>, why: &str) {
    for done in tasks.into_iter().filter_map(|task| task.done) {
        done(Err(io::Error::other(format!("the log failed: {why}"))));
    }
}

async fn pause(latency: Duration) {
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
}
