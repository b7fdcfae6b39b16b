//! One batch: what it takes from the queue, its bytes, and what follows once it is durable.

use std::io;

use super::LogLoop;
use crate::index::{Place, Slot};
use crate::metrics;
use crate::record::{self, Kind, New, Seed};
use crate::segment::DATA_START;
use crate::shared::{FRAME_BYTES, Segment, Task};

/// What is written and synced together.
#[derive(Default)]
pub struct Batch {
    pub tasks: Vec<Task>,
    /// Where each task's record goes; nowhere for tasks without one.
    places: Vec<Option<Place>>,
    /// Bytes of the tasks' records.
    bytes: usize,
    /// The next task does not fit this segment any more.
    pub full: bool,
    /// Somebody wants what is dead off the disk: the segment ends here if another is ready.
    pub rolls: bool,
    /// The segment that goes on, when this batch seals the current one.
    pub next: Option<(u32, Segment)>,
    /// A watermark is due, even without records.
    mark: bool,
}

impl Batch {
    /// Whether nothing is to be written.
    pub fn is_answers_only(&self) -> bool {
        self.bytes == 0 && self.next.is_none() && !self.mark
    }

    /// Calls back, in order.
    pub fn answer(self) {
        for task in self.tasks {
            if let Some(done) = task.done {
                done(task.refused.map_or(Ok(()), Err));
            }
        }
    }
}

impl LogLoop {
    /// Takes from the queue what fits the batch and the segment.
    pub(super) fn take(&mut self) -> Batch {
        let left = (self.active.bytes - self.position.offset) as usize;
        let room = left.saturating_sub(FRAME_BYTES);
        let batch_bytes = self.shared.config.batch_bytes;
        let mut batch = Batch { full: left < FRAME_BYTES, ..Batch::default() };
        let mut core = self.shared.core.lock();
        while batch.bytes < batch_bytes
            && let Some(task) = core.queue.front()
        {
            let bytes = task.record_bytes();
            if bytes > 0 && batch.bytes + bytes > room {
                batch.full = true;
                break;
            }
            batch.bytes += bytes;
            batch.tasks.extend(core.queue.pop_front());
        }
        batch.mark = batch.tasks.is_empty() && self.unmarked && !batch.full;
        if let Some(ahead) = &mut core.roll {
            *ahead = ahead.saturating_sub(batch.tasks.len());
        }
        batch.rolls = core.roll == Some(0);
        core.urgent &= !core.queue.is_empty();
        // Nobody need wake us: we look at the queue again when this batch is done.
        core.timed = true;
        batch
    }

    /// Fills the buffer with the batch's records.
    pub(super) fn encode(&mut self, batch: &mut Batch) {
        let mut out = std::mem::take(&mut self.buffer);
        out.clear();
        // Each batch is synced before the next is written, so all before this one is known synced.
        let synced = self.position.seq;
        self.put(&mut out, &Task { kind: Some(Kind::Batch), index: synced, ..Task::default() });
        for task in &batch.tasks {
            let place = self.put(&mut out, task);
            batch.places.push(place);
        }
        if batch.next.is_some() {
            self.put(&mut out, &Task { kind: Some(Kind::Seal), ..Task::default() });
        }
        let end = self.position.offset as usize + out.len();
        assert!(end <= self.active.bytes as usize, "a batch ends behind its segment");
        self.buffer = out;
    }

    /// Appends the task's record, if it has one, under the next sequence.
    fn put(&mut self, out: &mut Vec<u8>, task: &Task) -> Option<Place> {
        let kind = task.kind?;
        self.position.seq += 1;
        let offset = self.position.offset + out.len() as u32;
        let before = out.len();
        let new = New {
            seq: self.position.seq,
            group: task.group,
            kind,
            index: task.index,
            head: &task.head,
            body: &task.body,
        };
        record::encode(out, self.seed, offset, &new);
        let len = (out.len() - before) as u32;
        Some(Place { segment: self.position.segment, offset, len })
    }

    /// The batch is durable: the index learns the places, the position moves on.
    pub(super) fn settle(&mut self, batch: &mut Batch) {
        let shared = self.shared.clone();
        let written = self.buffer.len();
        self.position.offset += written as u32;
        // A seal wants a watermark behind it too: only that makes rot in its batch known as damage.
        self.unmarked = batch.bytes > 0 || batch.next.is_some();
        let mut core = shared.core.lock();
        for (task, place) in batch.tasks.iter().zip(&batch.places) {
            if let (Some((key, was)), Some(place)) = (task.moves, place) {
                core.index.moved(key, was, Slot::at(*place));
            }
            match task.kind {
                Some(Kind::Entry) => core.counts.entries += 1,
                Some(Kind::Copy) => {
                    core.counts.copied += 1;
                    self.moving -= 1;
                }
                Some(Kind::Floor) => {
                    self.moving -= 1;
                    shared.doom(&mut core, task.index as u32);
                }
                _ => {}
            }
        }
        core.counts.batches += 1;
        core.counts.syncs += 1;
        core.counts.bytes += written as u64;
        core.queue_bytes -= batch.bytes;
        core.index.evict(shared.config.cache_bytes);
        if let Some((number, segment)) = batch.next.take() {
            if batch.rolls {
                // One that was asked for meanwhile waits for what was queued meanwhile.
                core.roll = core.roll.filter(|ahead| *ahead > 0);
                core.emptied = number;
            }
            assert!(number == self.position.segment + 1, "segment {number} out of turn");
            core.segments.insert(number, segment.clone());
            self.active = segment;
            self.position.segment = number;
            self.position.offset = DATA_START;
            self.seed = Seed::new(shared.log, number);
            shared.chore.notify_one();
        }
        core.active_left = u64::from(self.active.bytes - self.position.offset);
        metrics::queued(core.queue_bytes);
        drop(core);
        shared.made_room();
        // A huge batch leaves no huge buffer behind.
        self.buffer.shrink_to(2 * shared.config.batch_bytes);
    }

    /// Waits for the prealloc loop to make a segment, or for its failure if it cannot.
    pub(super) async fn next_segment(&self) -> io::Result<(u32, Segment)> {
        self.shared.prep.lock().error = None;
        self.shared.chore.notify_one();
        loop {
            let ready = self.shared.ready.notified();
            {
                let mut prep = self.shared.prep.lock();
                if let Some(next) = prep.ready.pop_front() {
                    return Ok(next);
                }
                if let Some(error) = prep.error.take() {
                    return Err(error);
                }
                if prep.stopped {
                    return Err(io::Error::other("the prealloc loop is gone"));
                }
            }
            ready.await;
        }
    }
}
