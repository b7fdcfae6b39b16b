//! Whether this node may lead: not with a wall clock that a quorum says is wrong, nor for ever
//! without being heard.
//!
//! Handing over is not enough: the same node would win again and again. While its clock is wrong it
//! stands for no election.
//!
//! # Source
//! domain.md §1.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hansa_types::id::NodeId;
use tokio::time::{MissedTickBehavior, interval};

use crate::metrics;
use crate::raft::wire;
use crate::running::Running;

const LOOK_EVERY: Duration = Duration::from_secs(2);
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// A wall clock that differs by more from a quorum's does not lead.
const WALL_SKEW_MAX: Duration = Duration::from_secs(10);

/// Compares this node's wall clock with the other voters' until the group stops.
pub(crate) async fn run(running: Arc<Running>) {
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut fit, mut stranded) = (true, false);
    loop {
        tokio::select! {
            biased;
            () = running.stop.cancelled() => return,
            _ = look.tick() => {}
        }
        let was = fit;
        let seen = tokio::select! {
            biased;
            () = running.stop.cancelled() => return,
            seen = peers_clocks(&running) => seen,
        };
        let clocks: Vec<u64> = seen.clocks.iter().map(|(_, wall)| *wall).collect();
        fit = is_fit(seen.ours, &clocks, seen.voters, was);
        let before = std::mem::replace(&mut stranded, is_stranded(&running, &seen));
        if stranded && before {
            leave(&running, &seen).await;
        }
        if was != fit {
            say(&running, fit);
            running.raft.runtime_config().elect(fit && !running.draining.load(Ordering::Relaxed));
        }
        if !fit && running.leadership.borrow().mine {
            running.hand_over().await;
        }
    }
}

fn say(running: &Running, fit: bool) {
    let group = running.id;
    metrics::clock_is_wrong(group, !fit);
    if fit {
        tracing::info!(%group, "our wall clock agrees with a quorum's again: we may lead");
    } else {
        tracing::error!(%group, "our wall clock differs from a quorum's: we do not lead");
    }
}

/// Whether a quorum answers this leader's questions, but not its heartbeats in time.
///
/// Its followers hear them and elect nobody else; it hears nobody and may write nothing.
fn is_stranded(running: &Running, seen: &Seen) -> bool {
    let unheard = running.unheard_for() > 2 * running.timing.election_max();
    unheard && seen.clocks.len() + 1 > seen.voters / 2
}

/// Has another node elected: it begins with an entry, whose answers count however late they come.
async fn leave(running: &Running, seen: &Seen) {
    let Some((to, _)) = seen.clocks.first() else { return };
    tracing::warn!(group = %running.id, %to, "no heartbeat is answered in time: another may lead");
    running.transfer_leadership(*to).await;
}

/// What the voters say of their clocks.
struct Seen {
    /// Our wall clock, and those of the other voters that answered, in milliseconds.
    ours: u64,
    clocks: Vec<(NodeId, u64)>,
    voters: usize,
}

async fn peers_clocks(running: &Running) -> Seen {
    let voters: BTreeSet<NodeId> = running.status().voters.into_iter().collect();
    let others = voters.iter().filter(|voter| **voter != running.node);
    let asked = others.map(|voter| async move {
        let hello = wire::Digest::default();
        let answer = running.ask_digest(*voter, hello, ANSWER_MAX).await.ok()?;
        wire::digest_answer_of(answer).ok().map(|answer| (*voter, answer.wall_ms))
    });
    let clocks = futures::future::join_all(asked).await;
    let ours = running.env.clock.wall().ms();
    Seen { ours, clocks: clocks.into_iter().flatten().collect(), voters: voters.len() }
}

/// Whether a node with the clock `ours` may lead. Too few answers change nothing.
fn is_fit(ours: u64, others: &[u64], voters: usize, was: bool) -> bool {
    let near = |wall: &&u64| Duration::from_millis(wall.abs_diff(ours)) <= WALL_SKEW_MAX;
    let agree = others.iter().filter(near).count() + 1;
    let differ = others.len() + 1 - agree;
    let quorum = voters / 2 + 1;
    if differ >= quorum {
        false
    } else if agree >= quorum {
        true
    } else {
        was
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_decides_whose_clock_is_wrong() {
        let (now, off) = (1_000_000, 1_000_000 + 11_000);
        for was in [true, false] {
            assert!(is_fit(now, &[now, off], 3, was), "one of three differs: it is the odd one");
            assert!(!is_fit(now, &[off, off], 3, was));
            assert!(is_fit(now, &[now + 9_000, now], 3, was));
            assert!(is_fit(now, &[], 1, was));
            assert_eq!(is_fit(now, &[off], 3, was), was, "one against one");
            assert_eq!(is_fit(now, &[], 3, was), was, "nobody answered");
        }
    }
}
