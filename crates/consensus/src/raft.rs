//! The openraft adapter: the only place in the workspace that names openraft.
//!
//! # Pitfalls and where each is honoured
//! Numbers as in `../shared/research/storage-and-raft.md` §1.2.
//!
//! 1. *Vote and entry order*: both go into the one FIFO of [`hansa_wal::Wal`]: `log_store`.
//! 2. *`append` readable at once, callback in order from the log loop, also on error*:
//!    `Wal::append` answers from its loop in order; `log_store` hands `IOFlushed` over and never
//!    calls it itself.
//! 3. *`save_vote` synced, `save_committed` not, `purge` and `truncate_after` index edits*:
//!    `log_store`.
//! 4. *`truncate_after(None)` deletes all; no holes*: `log_store::truncate_after`.
//! 5. *Committed id saved; a restarted leader is elected anew*: `log_store::save_committed`,
//!    `timing` sets `enable_leader_restore: Some(false)`.
//! 6. *`applied_state` durable only; purge below the last durable checkpoint; atomic install*: a
//!    replica starts from a loaded checkpoint, `checkpoints` purges below the older kept one,
//!    `install` renames before the state changes.
//! 7. *Each responder is answered; membership and applied id change with the state; a fatal error
//!    ends the process*: `state_machine::apply`, `replica`, `watcher`.
//! 8. *Snapshot from an immutable view, off the apply path, encoded on a blocking thread*:
//!    `state_machine::try_create_snapshot_builder`, `checkpoints`.
//! 9. *Defaults are for toy loads*: `timing`. The log reader caps bytes and never answers empty:
//!    `log_store::limited_get_log_entries`.
//! 10. *`Unreachable` for dead peers, target node and group verified, TTLs honoured, pre-vote
//!     implemented*: `network`, `inbound`.
//! 11. *Node ids never reused with an empty log; reversion stays off*: `identity`.
//! 12. *Reads are coalesced ReadIndex rounds, no lease*: `reads`; no answer older than the read
//!     confirms it: `acks`.
//! 13. *A write without an answer is unknown; refusals before the append are not*: `propose`.
//! 14. *Metrics are cloned at once, the guard never crosses an await*: `watcher`.
//! 15. *openraft's storage suite passes; durability is tested by ourselves*: `tests/suite.rs` and
//!     `tests/power.rs` here,
//!     kill and power-cut tests in `hansa-wal` and `tests/`.
//! 16. *No default features*: the workspace manifest.

pub(crate) mod acks;
pub(crate) mod codec;
pub(crate) mod log_store;
pub(crate) mod network;
mod news;
#[cfg(feature = "simulated")]
mod simulated;
pub(crate) mod state_machine;
pub(crate) mod watcher;
pub(crate) mod wire;

use std::any::Any;
use std::fmt;
use std::future::Future;

use hansa_node::env::Entropy;
use openraft::impls::leader_id_std;
use parking_lot::Mutex;

use crate::batch::Batch;

/// The async runtime openraft runs on. One alias, so that a deterministic one can take its place.
#[cfg(not(feature = "simulated"))]
pub(crate) type Rt = openraft::impls::TokioRuntime;
#[cfg(feature = "simulated")]
pub(crate) use simulated::Rt;

/// Runs `start`, in which openraft's tasks begin, with the node's own randomness behind theirs.
#[cfg(not(feature = "simulated"))]
pub(crate) async fn seeded<T>(_: &dyn Entropy, start: impl Future<Output = T>) -> T {
    start.await
}

#[cfg(feature = "simulated")]
pub(crate) async fn seeded<T>(entropy: &dyn Entropy, start: impl Future<Output = T>) -> T {
    Rt::scope(entropy.number(), start).await
}

openraft::declare_raft_types!(
    /// One type config for all groups: what differs between machines stays behind
    /// `replica::Replica`, so openraft is compiled once.
    pub(crate) Types:
        D = Batch,
        R = Reply,
        NodeId = u64,
        Node = (),
        LeaderId = leader_id_std::LeaderId<Self::Term, Self::NodeId>,
        AsyncRuntime = Rt,
);

pub(crate) type LogId = openraft::alias::LogIdOf<Types>;
pub(crate) type Vote = openraft::alias::VoteOf<Types>;
pub(crate) type Entry = openraft::alias::EntryOf<Types>;
pub(crate) type Membership = openraft::Membership<u64, ()>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<Types>;
pub(crate) type Raft = openraft::Raft<Types, state_machine::StateMachine>;

pub(crate) type CommittedLeader = openraft::alias::CommittedLeaderIdOf<Types>;

/// The leader of `term`, once committed: a term has at most one.
pub(crate) fn committed_leader(term: u64) -> CommittedLeader {
    CommittedLeader::from(term)
}

/// The log id of `index` in `term`.
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(committed_leader(term), index)
}

/// The term of a log id.
pub(crate) fn term_of(id: &LogId) -> u64 {
    **id.committed_leader_id()
}

/// What an apply answers through openraft: a machine's outcomes, typed again by who submitted them.
#[derive(Default)]
pub(crate) struct Reply(Mutex<Option<Box<dyn Any + Send>>>);

impl Reply {
    pub fn new<T: Send + 'static>(outcomes: T) -> Self {
        Self(Mutex::new(Some(Box::new(outcomes))))
    }

    pub fn take<T: 'static>(self) -> Option<T> {
        self.0.into_inner()?.downcast().ok().map(|boxed| *boxed)
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}
