//! Keeps a group's house: archives in the background, checkpoints when due, purges, compares
//! digests.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hansa_types::hash::StateHash;
use hansa_types::id::NodeId;
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::archive::ENTRIES_PER_CHUNK;
use crate::metrics;
use crate::raft::wire;
use crate::running::Running;

const LOOK_EVERY: Duration = Duration::from_millis(250);
const COMPARE_EVERY: Duration = Duration::from_secs(1);
/// A link that does not keep its own bound must not keep a comparison for ever.
const ASK_MAX: Duration = Duration::from_secs(2);
/// Entries that wait before the archive takes them without a checkpoint: whole chunks only.
const ARCHIVE_ENTRIES: u64 = 16 * ENTRIES_PER_CHUNK;
/// Or bytes of them: what is taken out while it is still at hand costs least.
const ARCHIVE_BYTES: usize = 8 << 20;
/// With the log above its size limit, a group checkpoints this often at most.
const PINNED_EVERY: Duration = Duration::from_secs(5);
/// A group that holds less of it is left alone.
const PINNED_BYTES_MIN: u64 = if cfg!(test) { 4 << 10 } else { 1 << 20 };

/// What a comparison answers; never, when none is under way.
async fn finished(comparing: &mut Comparing) -> Vec<NodeId> {
    match comparing {
        Some(comparing) => comparing.await,
        None => std::future::pending().await,
    }
}

/// Runs until the group stops.
pub(crate) struct Keeper {
    pub running: Arc<Running>,
    checkpointed: Mark,
    /// An index that the followers have very likely applied by the next comparison.
    compare_at: Option<u64>,
    /// Voters that have answered this node at least once.
    met: BTreeSet<NodeId>,
}

/// A comparison that is under way; whom it met.
type Comparing = Option<BoxFuture<'static, Vec<NodeId>>>;

/// Where and when the last checkpoint was taken.
struct Mark {
    index: u64,
    bytes: u64,
    at: Instant,
}

impl Keeper {
    pub fn new(running: Arc<Running>) -> Self {
        let index = running.checkpoints.newest().and_then(|newest| newest.index()).unwrap_or(0);
        let checkpointed = Mark { index, bytes: 0, at: Instant::now() };
        Self { running, checkpointed, compare_at: None, met: BTreeSet::new() }
    }

    pub async fn run(mut self) {
        let running = self.running.clone();
        let mut look = interval(LOOK_EVERY);
        let mut compare = interval(COMPARE_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut comparing: Comparing = None;
        loop {
            tokio::select! {
                biased;
                () = running.stop.cancelled() => return,
                () = running.checkpoint_wanted.notified() => self.checkpoint().await,
                _ = look.tick() => self.look().await,
                _ = compare.tick() => self.compare(&mut comparing),
                met = finished(&mut comparing) => {
                    comparing = None;
                    self.met.extend(met);
                }
            }
        }
    }

    async fn look(&mut self) {
        self.purge().await;
        if self.checkpoint_due() {
            self.checkpoint().await;
        }
        self.archive().await;
        self.running.drop_left_snapshot().await;
    }

    fn checkpoint_due(&self) -> bool {
        let (index, bytes) = self.running.replica.applied_sum();
        let timing = &self.running.timing;
        let entries = index.saturating_sub(self.checkpointed.index);
        let bytes = bytes - self.checkpointed.bytes;
        let age = self.checkpointed.at.elapsed();
        let pinned = age >= PINNED_EVERY && self.holds_the_log();
        entries > 0
            && (entries >= timing.checkpoint_entries
                || bytes >= timing.checkpoint_bytes
                || age >= timing.checkpoint_every
                || pinned)
    }

    /// Whether the log is to shrink, and this group holds no less of it than the others: its
    /// checkpoints, and the purges behind them, free most.
    fn holds_the_log(&self) -> bool {
        let wal = &self.running.wal;
        if !wal.stats().pinned && !self.running.room.is_short() {
            return false;
        }
        let live = wal.live_bytes();
        let all: u64 = live.iter().map(|(_, bytes)| bytes).sum();
        let own = live.iter().find(|(group, _)| *group == self.running.id);
        // A checkpoint that frees next to nothing is not worth its own space.
        own.is_some_and(|(_, own)| *own >= PINNED_BYTES_MIN && own * live.len() as u64 >= all)
    }

    async fn checkpoint(&mut self) {
        let (index, bytes) = self.running.replica.applied_sum();
        self.checkpointed = Mark { index, bytes, at: Instant::now() };
        // One that is being written already covers what this one wanted, or the next look asks
        // again.
        if let Err(error) = self.running.raft.trigger().snapshot().await {
            tracing::debug!(group = %self.running.id, %error, "no checkpoint: the group stops");
        }
    }

    /// Purges the log below the older kept checkpoint.
    async fn purge(&self) {
        let Some(upto) = self.running.checkpoints.purgeable() else { return };
        let purged = self.running.raft.data_metrics().borrow_watched().purged;
        if purged.is_none_or(|purged| purged.index() < upto) {
            let _stopping = self.running.raft.trigger().purge_log(upto).await;
        }
    }

    /// Archives whole chunks when much waits, so that memory stays small between
    /// checkpoints.
    async fn archive(&self) {
        let pending = self.running.replica.pending();
        let (Some((first, last)), bytes) = (pending.span(), pending.bytes()) else { return };
        // The last index of the last whole chunk.
        let Some(upto) = ((last + 1) / ENTRIES_PER_CHUNK * ENTRIES_PER_CHUNK).checked_sub(1) else {
            return;
        };
        let many = bytes >= ARCHIVE_BYTES || upto.saturating_sub(first) + 1 >= ARCHIVE_ENTRIES;
        if upto < first || !many {
            return;
        }
        // On a full disk it stays in memory and in the log, both of them bounded.
        if self.running.room.admit(2 * bytes as u64).is_err() {
            return;
        }
        let checkpoints = self.running.checkpoints.clone();
        match self.running.writer.run(move || checkpoints.archive_upto(upto)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.is_full() => tracing::warn!(%error, "archive waits for room"),
            Ok(Err(error)) => {
                let error = crate::checkpoints::CheckpointError::from(error);
                self.running.trouble.note(error.to_string(), error.is_damage());
                self.running.give_up().await;
            }
            Err(_) => self.running.give_up().await,
        }
    }

    /// Begins a comparison that runs beside everything else: a peer that hangs keeps nothing up.
    fn compare(&mut self, comparing: &mut Comparing) {
        if comparing.is_some() {
            return;
        }
        let running = self.running.clone();
        let at = std::mem::replace(&mut self.compare_at, running.replica.digests().last_index());
        if !running.leadership.borrow().mine {
            let met = self.met.clone();
            *comparing = Some(meet_voters(running, met).boxed());
            return;
        }
        let state = at.and_then(|at| running.replica.digests().at(at).map(|state| (at, state)));
        if let Some((index, state)) = state {
            *comparing = Some(compare(running, index, state).boxed());
        }
    }
}

/// As leader: compares the state's digest with each voter at one index.
async fn compare(running: Arc<Running>, index: u64, state: StateHash) -> Vec<NodeId> {
    let chain = running.replica.position().chain;
    let wall_ms = running.env.clock.wall().ms();
    let ours = wire::Digest { index, state, chain, wall_ms, alone: false };
    let voters = running.status().voters;
    let others: Vec<NodeId> = voters.into_iter().filter(|v| *v != running.node).collect();
    let asked = others.iter().map(|voter| ask(&running, *voter, ours));
    let answers: Vec<_> = futures::future::join_all(asked).await;
    let equal: Vec<_> = answers.iter().map(|answer| answer.and_then(|a| a.equal)).collect();
    let verdict = judge(&equal);
    if equal.contains(&Some(false)) {
        metrics::differs(running.id);
    }
    if verdict == Verdict::WeAreWrong {
        let what = format!("state differs from a majority's at entry {index}");
        running.trouble.note(what, true);
        running.give_up().await;
        return Vec::new();
    }
    for (node, _) in others.iter().zip(&equal).filter(|(_, equal)| **equal == Some(false)) {
        tracing::error!(group = %running.id, %node, index, "replica differs from its leader");
        if verdict == Verdict::WeAreRight {
            ask(&running, *node, wire::Digest { alone: true, ..ours }).await;
        }
    }
    Vec::new()
}

/// Followers say hello to each other too: two that never met would take a third one's place
/// for its own after it lost its volume, and with it what was acknowledged. Answers whom it met.
async fn meet_voters(running: Arc<Running>, met: BTreeSet<NodeId>) -> Vec<NodeId> {
    let voters = running.status().voters;
    let strangers = voters.into_iter().filter(|v| *v != running.node && !met.contains(v));
    let strangers: Vec<NodeId> = strangers.collect();
    let hello = wire::Digest::default();
    let asked = strangers.iter().map(|voter| ask(&running, *voter, hello));
    let answers = futures::future::join_all(asked).await;
    let met = strangers.iter().zip(&answers).filter(|(_, answer)| answer.is_some());
    met.map(|(voter, _)| *voter).collect()
}

async fn ask(running: &Running, to: NodeId, digest: wire::Digest) -> Option<wire::DigestAnswer> {
    let asked = running.ask_digest(to, digest, COMPARE_EVERY);
    let answer = timeout(ASK_MAX, asked).await.ok()?.ok()?;
    wire::digest_answer_of(answer).ok()
}

/// What a leader may make of its peers' comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// A majority of the replicas, this one among them, has one state.
    WeAreRight,
    /// A majority has another state than this one.
    WeAreWrong,
    /// Too few could compare to tell who is wrong.
    Open,
}

/// Judges by the other voters' answers; `None` for one that did not answer or does not remember.
fn judge(others: &[Option<bool>]) -> Verdict {
    let count = |wanted| others.iter().filter(|equal| **equal == Some(wanted)).count();
    let replicas = others.len() + 1;
    let majority = replicas / 2 + 1;
    if count(false) >= majority {
        Verdict::WeAreWrong
    } else if count(true) + 1 >= majority {
        Verdict::WeAreRight
    } else {
        Verdict::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_accuses_nobody_without_a_majority_on_its_side() {
        let (same, other) = (Some(true), Some(false));
        assert_eq!(judge(&[same, other]), Verdict::WeAreRight);
        assert_eq!(judge(&[other, other]), Verdict::WeAreWrong);
        assert_eq!(judge(&[other, None]), Verdict::Open, "one against one");
        assert_eq!(judge(&[other]), Verdict::Open, "of two nobody can tell");
        assert_eq!(judge(&[same, None, other, None]), Verdict::Open);
        assert_eq!(judge(&[same, same, other, other]), Verdict::WeAreRight);
        assert_eq!(judge(&[]), Verdict::WeAreRight);
    }
}
