//! What can come of a submit or a read, and what a group says about itself.

use std::time::Duration;

use hansa_types::hash::StateHash;
use hansa_types::id::{GroupId, NodeId};
use hansa_types::time::LogTime;
use thiserror::Error;

use crate::version::Versions;

/// Why a command has no outcome here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SubmitError {
    /// Certainly not applied. `leader` is the best known one.
    #[error("this node does not lead the group")]
    NotLeader { leader: Option<NodeId> },
    /// Certainly not applied: the group's queue is full.
    #[error("the group has more work than it can queue")]
    Overloaded { retry_after: Duration },
    /// Certainly not applied: a quorum's disks have only their reserve left.
    #[error("the disks of the group run full")]
    DiskFull { retry_after: Duration },
    /// May or may not be applied, now or later: ask again with the same id.
    #[error("the deadline passed or the leader changed; the command may still be applied")]
    Unknown,
    /// Certainly not applied: no entry can hold it.
    #[error("the commands do not fit one entry")]
    TooLarge,
    /// Certainly not applied: the group stops or has stopped.
    #[error("the group has stopped")]
    Stopped,
}

/// Why a read was not served.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    #[error("this node does not lead the group")]
    NotLeader { leader: Option<NodeId> },
    #[error("the deadline passed before the read was served")]
    Deadline,
    #[error("more reads wait than the group can queue")]
    Overloaded { retry_after: Duration },
    #[error("the group has stopped")]
    Stopped,
}

/// Who leads a group, as this node believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leadership {
    pub term: u64,
    pub leader: Option<NodeId>,
    /// This node leads, has applied its first entry in this term, and takes commands.
    pub mine: bool,
}

impl Leadership {
    /// The office that this node holds, if it does: one term is one office.
    pub fn office(&self) -> Option<u64> {
        self.mine.then_some(self.term)
    }
}

/// What a replica is in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Leader,
    Candidate,
    Follower,
    Learner,
    Stopped,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Candidate => "candidate",
            Self::Follower => "follower",
            Self::Learner => "learner",
            Self::Stopped => "stopped",
        }
    }
}

/// One replica's state, for operators and for comparison with its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStatus {
    pub group: GroupId,
    pub node: NodeId,
    pub role: Role,
    pub term: u64,
    pub leader: Option<NodeId>,
    pub voters: Vec<NodeId>,
    pub learners: Vec<NodeId>,
    /// Index of the last entry in this replica's log.
    pub last_index: u64,
    /// Index of the last entry applied; `state_hash`, `chain_head` and `log_time` are as of it.
    pub applied: u64,
    pub state_hash: StateHash,
    pub chain_head: [u8; 32],
    pub log_time: LogTime,
    /// By which version of behaviour the group applies, 0 when the replica did not start.
    pub version: u32,
    /// What this node's binary can apply.
    pub versions: Versions,
    /// Index of the newest checkpoint.
    pub checkpoint: Option<u64>,
    /// Index up to which the log is purged.
    pub purged: Option<u64>,
    /// Why the replica does not serve, when it does not: damage, divergence, a stop.
    pub stopped: Option<String>,
}
