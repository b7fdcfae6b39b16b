//! The room on this node's disk, and what follows when it runs out.
//!
//! A reserve is kept back by accounting: what is free plus what the log has allocated already. When
//! a node's room falls below it, the node says so in each answer to its leaders' appends, and a
//! leader without a quorum that has room takes no new commands. Votes, ticks, reads, checkpoints
//! and purges go on, from the reserve; so does what others of the group still commit. A node that
//! truly runs out ends when its log can write no further, and nothing is torn.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hansa_node::env::Env;
use hansa_types::id::NodeId;
use hansa_wal::Wal;
use hansa_wal::fs::Fs;
use openraft::async_runtime::watch::WatchReceiver as _;
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::inbound::Inbound;
use crate::metrics;
use crate::running::Running;

/// Between two looks at the disk: what is written meanwhile must fit the reserve by far.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Segments that the reserve holds: hours of votes and ticks.
const RESERVE_SEGMENTS: u64 = 3;
/// When a command that was refused may be tried again: room does not come back at once.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(2);
/// A leader that lacks room itself tries to hand over this often.
const HAND_OVER_EVERY: Duration = Duration::from_secs(10);

/// A node's disk, as its leaders hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Disk {
    /// What can still be written, with what the log has allocated already.
    pub room_bytes: u64,
    /// What of it is kept for votes, ticks, checkpoints and purges.
    pub reserve_bytes: u64,
    /// Only the reserve is left.
    pub short: bool,
}

/// The room of one node.
pub(crate) struct Room {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    wal: Wal,
    segment_bytes: u64,
    /// What is kept back beside the largest checkpoint's room.
    reserve_bytes: u64,
    short: AtomicBool,
    /// What was free at the last look, allocated segments included; and the reserve then.
    seen: [AtomicU64; 2],
}

impl Room {
    pub fn new(fs: Arc<dyn Fs>, dir: PathBuf, wal: Wal, config: &hansa_wal::Config) -> Self {
        let segment_bytes = u64::from(config.segment_bytes);
        let reserve_bytes = RESERVE_SEGMENTS * segment_bytes;
        let (short, seen) = (AtomicBool::new(false), Default::default());
        Self { fs, dir, wal, segment_bytes, reserve_bytes, short, seen }
    }

    /// Measures; `largest` is the size of the node's largest checkpoint, which must fit once more
    /// beside the two that are kept, and once more while it is encoded a little larger.
    fn look(&self, largest: u64) {
        // A disk that cannot say is not taken for a full one.
        let Ok(space) = self.fs.space(&self.dir) else { return };
        let room = space.free.saturating_add(self.wal.stats().ready_bytes);
        let reserve = self.reserve_bytes + 2 * largest;
        // Some way back, so that a disk at the edge does not flap.
        let enough = reserve + (reserve / 4).max(self.segment_bytes);
        let was = self.short.load(Ordering::Relaxed);
        let short = if was { room < enough } else { room < reserve };
        self.seen[0].store(room, Ordering::Relaxed);
        self.seen[1].store(reserve, Ordering::Relaxed);
        self.short.store(short, Ordering::Relaxed);
        metrics::disk(room, reserve, short);
        if short && !was {
            tracing::error!(room, reserve, "the disk runs full: only the reserve is left");
        } else if was && !short {
            tracing::info!(room, reserve, "the disk has room again");
        }
    }

    /// Whether only the reserve is left.
    pub fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// What the last look found.
    pub fn disk(&self) -> Disk {
        let [room_bytes, reserve_bytes] = [0, 1].map(|n| self.seen[n].load(Ordering::Relaxed));
        Disk { room_bytes, reserve_bytes, short: self.is_short() }
    }

    /// Lets background work write `bytes`, unless the log might then lack its next segment.
    ///
    /// # Errors
    /// `StorageFull`: try again later.
    pub fn admit(&self, bytes: u64) -> io::Result<()> {
        let Ok(space) = self.fs.space(&self.dir) else { return Ok(()) };
        if space.free >= bytes.saturating_add(self.segment_bytes) {
            return Ok(());
        }
        Err(io::ErrorKind::StorageFull.into())
    }
}

/// Looks at the disk until the node stops.
pub(crate) async fn run(room: Arc<Room>, inbound: Arc<Inbound>, env: Env) {
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stop = env.tasks.stop_token();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = look.tick() => {}
        }
        let groups = inbound.groups();
        let newest = groups.iter().filter_map(|running| running.checkpoints.newest());
        room.look(newest.map(|newest| newest.bytes).max().unwrap_or(0));
    }
}

/// Which members of one group said that they lack room, as their leader heard.
#[derive(Default)]
pub(crate) struct Reports {
    short: Mutex<BTreeMap<NodeId, bool>>,
}

impl Reports {
    pub fn note(&self, node: NodeId, short: bool) {
        self.short.lock().insert(node, short);
    }

    fn short(&self) -> BTreeSet<NodeId> {
        let short = self.short.lock();
        short.iter().filter(|(_, short)| **short).map(|(node, _)| *node).collect()
    }
}

/// While this node leads the group: closes its door to commands, by `shut`, when too few members
/// have room. Runs until the group stops.
pub(crate) async fn guard(running: Arc<Running>, shut: impl Fn(bool) + Send) {
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut full, mut hand_over_not_before) = (false, Instant::now());
    loop {
        tokio::select! {
            biased;
            () = running.stop.cancelled() => return,
            _ = look.tick() => {}
        }
        let (was, mine) = (full, running.leadership.borrow().mine);
        let short = short_members(&running);
        let heard = heard_members(&running);
        full = mine
            && !short.is_empty()
            && running.voters_of_all_sets().iter().any(|voters| {
                let with_room = |voter: &&NodeId| heard.contains(voter) && !short.contains(voter);
                lacks_room(voters.len(), voters.iter().filter(with_room).count())
            });
        if full != was {
            shut(full);
            say(&running, full, &short);
        }
        if mine && !full && running.room.is_short() && Instant::now() >= hand_over_not_before {
            hand_over_not_before = Instant::now() + HAND_OVER_EVERY;
            let roomy = heard.difference(&short).copied().collect();
            running.hand_over_to(Some(&roomy)).await;
        }
    }
}

fn say(running: &Running, full: bool, short: &BTreeSet<NodeId>) {
    let group = running.id;
    metrics::refuses_for_room(group, full);
    if full {
        tracing::error!(%group, ?short, "commands are refused: too few members have room");
    } else {
        tracing::info!(%group, "commands are taken again");
    }
}

/// Whether a commit would need a member that has no room, or cannot come about at all.
fn lacks_room(voters: usize, with_room: usize) -> bool {
    with_room < voters / 2 + 1
}

fn short_members(running: &Running) -> BTreeSet<NodeId> {
    let mut short = running.reports.short();
    match running.room.is_short() {
        true => short.insert(running.node),
        false => short.remove(&running.node),
    };
    short
}

/// This node and the members that it heard of lately.
fn heard_members(running: &Running) -> BTreeSet<NodeId> {
    let health = running.health();
    let alive = health.into_iter().filter(|(_, health)| health.alive).map(|(node, _)| node);
    alive.chain([running.node]).collect()
}

impl Running {
    /// The voters; two sets while the members change.
    pub fn voters_of_all_sets(&self) -> Vec<BTreeSet<NodeId>> {
        let server = self.raft.server_metrics().borrow_watched().clone();
        let sets = server.membership_config.membership().get_joint_config().clone();
        sets.into_iter().map(|set| set.into_iter().map(NodeId).collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_needs_a_majority_with_room() {
        assert!(!lacks_room(3, 3) && !lacks_room(3, 2));
        assert!(lacks_room(3, 1), "the third would have to live on its reserve");
        assert!(lacks_room(1, 0) && !lacks_room(1, 1));
        assert!(lacks_room(4, 2) && !lacks_room(5, 3));
    }
}
