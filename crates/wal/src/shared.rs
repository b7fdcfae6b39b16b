//! What the handle and the two loops share: one lock, and who wakes whom.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use hansa_node::env::Env;
use hansa_types::id::GroupId;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::config::Config;
use crate::fs::{File, Fs, Lock};
use crate::index::{Index, Key, Slot};
use crate::record::{self, HEADER, Kind};
use crate::recover::Found;
use crate::segment::DATA_START;
use crate::wal::{Done, Stats};

/// Bytes of a segment that records never take: the batch's own header, and behind it always room
/// for one more header and the seal.
pub const FRAME_BYTES: usize = 3 * HEADER;

/// One thing to write, and what follows from it.
#[derive(Default)]
pub struct Task {
    /// `None`: nothing to write, only an answer to give in its turn.
    pub kind: Option<Kind>,
    pub group: Option<GroupId>,
    pub index: u64,
    pub head: Bytes,
    pub body: Bytes,
    /// What moves in the index once the record is durable, and from which slot.
    pub moves: Option<(Key, Slot)>,
    /// Answered in place of success.
    pub refused: Option<io::Error>,
    pub done: Option<Done>,
}

impl Task {
    pub fn barrier(refused: Option<io::Error>, done: Done) -> Self {
        Self { refused, done: Some(done), ..Self::default() }
    }

    pub fn keep(kind: Kind, group: GroupId, index: u64, value: Bytes, moves: (Key, Slot)) -> Self {
        let (kind, group) = (Some(kind), Some(group));
        Self { kind, group, index, body: value, moves: Some(moves), ..Self::default() }
    }

    /// Bytes in the log.
    pub fn record_bytes(&self) -> usize {
        if self.kind.is_some() { record::size(self.head.len(), self.body.len()) } else { 0 }
    }
}

/// How far the log's life has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Phase {
    Open,
    /// Writing what is queued, then ending.
    Closing,
    Closed,
    /// Nothing will be written any more.
    Failed(String),
}

/// A segment that holds records, or will next.
#[derive(Clone)]
pub struct Segment {
    pub file: Arc<dyn File>,
    pub bytes: u32,
}

/// Everything under the lock.
pub struct Core {
    pub index: Index,
    pub queue: VecDeque<Task>,
    pub queue_bytes: usize,
    pub queue_bytes_hard: usize,
    pub segments: BTreeMap<u32, Segment>,
    pub phase: Phase,
    /// Somebody waits for the queue: write now.
    pub urgent: bool,
    /// The log loop will look at the queue in time without being woken.
    pub timed: bool,
    pub counts: Stats,
    /// Bytes left in the segment that is written.
    pub active_left: u64,
    /// A segment is to end, full or not, behind so many of the tasks that are queued: of what was
    /// dead by then nothing is written after it.
    pub roll: Option<usize>,
    /// What lives below this segment is copied forward, so that all below it can go.
    pub emptied: u32,
    batch_bytes: usize,
    ticket: u64,
}

/// Segments made ready, and files to remove.
#[derive(Default)]
pub struct Prep {
    pub ready: VecDeque<(u32, Segment)>,
    /// Numbers of segments to remove, in this order.
    pub doomed: VecDeque<u32>,
    /// The last attempt's failure.
    pub error: Option<io::Error>,
    pub stop: bool,
    pub stopped: bool,
}

pub struct Shared {
    pub fs: Arc<dyn Fs>,
    pub dir: PathBuf,
    pub config: Config,
    pub env: Env,
    /// The log's id, part of every checksum.
    pub log: u64,
    pub core: Mutex<Core>,
    pub prep: Mutex<Prep>,
    /// Wakes the log loop.
    pub work: Notify,
    /// Wakes the prealloc loop.
    pub chore: Notify,
    /// Wakes the log loop when a segment is ready, or could not be made.
    pub ready: Notify,
    /// Wakes who waits for room in the queue.
    room: Notify,
    /// Wakes who waits for the end of a loop.
    ended: Notify,
    /// Wakes who waits for segments to be gone.
    removed: Notify,
    lock: Mutex<Option<Lock>>,
}

impl Core {
    /// Takes `n` tickets, the first of which is answered.
    pub fn tickets(&mut self, n: usize) -> u64 {
        let first = self.ticket + 1;
        self.ticket += n as u64;
        first
    }

    pub fn enqueue(&mut self, task: Task) {
        self.queue_bytes += task.record_bytes();
        self.urgent |= task.done.is_some() || self.queue_bytes >= self.batch_bytes;
        self.queue.push_back(task);
    }

    /// Whether the log takes anything more.
    fn check_open(&self) -> io::Result<()> {
        match &self.phase {
            Phase::Open => Ok(()),
            Phase::Closing | Phase::Closed => Err(io::Error::other("the log is closed")),
            Phase::Failed(why) => Err(io::Error::other(format!("the log failed: {why}"))),
        }
    }
}

impl Shared {
    pub fn new(
        fs: Arc<dyn Fs>,
        dir: &Path,
        config: Config,
        env: &Env,
        found: Found,
        lock: Lock,
    ) -> Self {
        let core = Core {
            index: found.index,
            queue: VecDeque::new(),
            queue_bytes: 0,
            queue_bytes_hard: config.queue_bytes_max.saturating_mul(4),
            segments: found.segments,
            phase: Phase::Open,
            urgent: false,
            timed: false,
            counts: Stats::default(),
            active_left: 0,
            roll: None,
            emptied: 0,
            batch_bytes: config.batch_bytes,
            ticket: 0,
        };
        Self {
            fs,
            dir: dir.to_owned(),
            env: env.clone(),
            log: found.log,
            core: Mutex::new(core),
            prep: Mutex::new(Prep { doomed: found.leftover.into(), ..Prep::default() }),
            work: Notify::new(),
            chore: Notify::new(),
            ready: Notify::new(),
            room: Notify::new(),
            ended: Notify::new(),
            removed: Notify::new(),
            lock: Mutex::new(Some(lock)),
            config,
        }
    }

    /// Bytes of the largest record that fits a segment.
    pub fn record_bytes_max(&self) -> usize {
        (self.config.segment_bytes - DATA_START) as usize - FRAME_BYTES
    }

    /// The lock, for who wants to enqueue; an error when the log has ended.
    pub fn enter(&self) -> io::Result<MutexGuard<'_, Core>> {
        let core = self.core.lock();
        core.check_open()?;
        Ok(core)
    }

    /// Enqueues `task` and wakes the log loop if need be.
    pub fn push(&self, mut core: MutexGuard<'_, Core>, task: Task) {
        core.enqueue(task);
        self.wake(core);
    }

    /// Lets the log loop know of what was enqueued.
    pub fn wake(&self, core: MutexGuard<'_, Core>) {
        let wake = core.urgent || (!core.timed && !core.queue.is_empty());
        drop(core);
        if wake {
            self.work.notify_one();
        }
    }

    /// Segments below `floor` may go: the record that says so is durable.
    pub fn doom(&self, core: &mut Core, floor: u32) {
        let kept = core.segments.split_off(&floor);
        let dead = std::mem::replace(&mut core.segments, kept);
        self.prep.lock().doomed.extend(dead.into_keys());
        self.chore.notify_one();
    }

    pub async fn admit(&self) {
        loop {
            let room = self.room.notified();
            {
                let core = self.core.lock();
                if core.queue_bytes < self.config.queue_bytes_max || core.phase != Phase::Open {
                    return;
                }
            }
            room.await;
        }
    }

    pub fn made_room(&self) {
        self.room.notify_waiters();
    }

    /// Waits until nothing is left of the segments before the one that the last roll began.
    pub async fn rolled(&self) -> io::Result<()> {
        loop {
            let removed = self.removed.notified();
            {
                let core = self.core.lock();
                let upto = core.emptied;
                let doomed = self.prep.lock().doomed.iter().any(|number| *number < upto);
                let left = doomed || core.segments.range(..upto).next().is_some();
                if !left && core.roll.is_none() {
                    return Ok(());
                }
                core.check_open()?;
            }
            removed.await;
        }
    }

    pub fn removed(&self) {
        self.removed.notify_waiters();
    }

    pub fn begin_close(&self) {
        let mut core = self.core.lock();
        if core.phase == Phase::Open {
            core.phase = Phase::Closing;
        }
        drop(core);
        self.work.notify_one();
    }

    /// Ends the log's life in `phase`, and that of the prealloc loop; answers what was queued.
    pub fn end(&self, phase: Phase) -> VecDeque<Task> {
        let mut core = self.core.lock();
        core.phase = phase;
        core.queue_bytes = 0;
        let left = std::mem::take(&mut core.queue);
        drop(core);
        self.prep.lock().stop = true;
        self.chore.notify_one();
        self.made_room();
        self.ended.notify_waiters();
        self.removed();
        left
    }

    /// The prealloc loop's last word: nobody touches the folder after it.
    pub fn prepare_ended(&self) {
        self.prep.lock().stopped = true;
        drop(self.lock.lock().take());
        self.ended.notify_waiters();
    }

    pub async fn closed(&self) -> io::Result<()> {
        loop {
            let ended = self.ended.notified();
            let phase = self.core.lock().phase.clone();
            let stopped = self.prep.lock().stopped;
            match phase {
                Phase::Failed(why) => return Err(io::Error::other(why)),
                Phase::Closed if stopped => return Ok(()),
                _ => {}
            }
            ended.await;
        }
    }

    pub fn stats(&self) -> Stats {
        let core = self.core.lock();
        let used: u64 = core.segments.values().map(|segment| u64::from(segment.bytes)).sum();
        let prep = self.prep.lock();
        let aside = (prep.ready.len() + prep.doomed.len()) as u64;
        let ready = prep.ready.len() as u64 * u64::from(self.config.segment_bytes);
        Stats {
            segments: core.segments.len(),
            disk_bytes: used + aside * u64::from(self.config.segment_bytes),
            live_bytes: core.index.live().bytes(),
            ready_bytes: core.active_left + ready,
            indexed: core.index.entries(),
            queue_bytes: core.queue_bytes,
            cache_bytes: core.index.cache_bytes(),
            spare_error: prep.error.as_ref().map(ToString::to_string),
            ..core.counts.clone()
        }
    }
}
