//! Who belongs to a group: changed one step at a time, led to what is wanted by whoever leads.
//!
//! openraft changes voters by joint consensus; each change here names the membership that it was
//! decided on, so that of two changers one is refused and none is overwritten. Every wait is
//! bounded: a change without an answer in time may still happen, and the next look shows it.

mod plan;
mod task;

pub(crate) use self::task::run;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hansa_types::id::{GroupId, NodeId};
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::raft::Precondition;
use openraft::{ChangeMembers, Instant as _, ServerState};
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use self::plan::{Have, Health};
use crate::raft::LogId;
use crate::running::Running;

/// Whom a group is to have as members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub voters: BTreeSet<NodeId>,
    /// Receive everything and do not vote. A voter-to-be need not be here.
    pub learners: BTreeSet<NodeId>,
    /// Who leaves does so before those that take the places are there. Never without a living
    /// majority of the voters that remain: such a change could neither be committed nor taken back.
    pub forced: bool,
}

/// A group's members as one node sees them. What only a leader knows is empty elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    pub leads: bool,
    pub term: u64,
    pub voters: Vec<NodeId>,
    pub learners: Vec<NodeId>,
    /// Between two sets of voters.
    pub joint: bool,
    pub progress: Vec<Progress>,
    /// What the leader does next or waits for; empty when the members are as wanted.
    pub next: String,
}

/// How far a member is, as its leader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub node: NodeId,
    pub alive: bool,
    pub lag_entries: u64,
}

/// Why a change of members was not made here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChangeError {
    #[error("this node does not lead the group")]
    NotLeader { leader: Option<NodeId> },
    /// Look again: the members changed, or are just changing.
    #[error("another change is under way: {0}")]
    Busy(String),
    /// It may still happen.
    #[error("no answer in time: the change may still be made")]
    Unknown,
    #[error("the group has stopped")]
    Stopped,
}

type Change = ChangeMembers<u64, ()>;

impl Running {
    /// Adds a node that receives everything and does not vote.
    pub async fn add_learner(&self, node: NodeId, due: Instant) -> Result<(), ChangeError> {
        self.change(Change::AddNodes(BTreeMap::from([(node.0, ())])), true, due).await
    }

    /// Makes a learner a voter.
    pub async fn promote(&self, node: NodeId, due: Instant) -> Result<(), ChangeError> {
        self.change(Change::AddVoterIds(BTreeSet::from([node.0])), true, due).await
    }

    /// Removes a voter or a learner.
    pub async fn remove(&self, node: NodeId, due: Instant) -> Result<(), ChangeError> {
        let gone = BTreeSet::from([node.0]);
        let voter = self.have().0.voters.contains(&node);
        let change = if voter { Change::RemoveVoters(gone) } else { Change::RemoveNodes(gone) };
        self.change(change, false, due).await
    }

    /// Those that leave stay as learners: what they accepted while they led ends there.
    async fn set_voters(&self, to: &BTreeSet<NodeId>, due: Instant) -> Result<(), ChangeError> {
        let voters = to.iter().map(|node| node.0).collect();
        self.change(Change::ReplaceAllVoters(voters), true, due).await
    }

    /// Leaves a joint membership for its newer side.
    async fn finish(&self, due: Instant) -> Result<(), ChangeError> {
        self.change(Change::AddVoterIds(BTreeSet::new()), true, due).await
    }

    /// Makes one change of the members that this node sees now, and of no others. `keep`: voters
    /// that leave stay as learners.
    async fn change(&self, change: Change, keep: bool, due: Instant) -> Result<(), ChangeError> {
        let (_, seen) = self.have();
        let based_on = Precondition::LastMembershipLogId { last_membership_log_id: seen };
        let changed = self.raft.change_membership_if(change, keep, [based_on]);
        match timeout_at(due, changed).await {
            Err(_) => Err(ChangeError::Unknown),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::Fatal(_))) => Err(ChangeError::Stopped),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => {
                Err(ChangeError::NotLeader { leader: to.leader_id.map(NodeId) })
            }
            Ok(Err(RaftError::APIError(error))) => Err(ChangeError::Busy(error.to_string())),
        }
    }

    /// The members as this node has them, and the entry that says so.
    fn have(&self) -> (Have, Option<LogId>) {
        let server = self.raft.server_metrics().borrow_watched().clone();
        let (newest, committed) = (&server.membership_config, &server.committed_membership_config);
        let sets = newest.membership().get_joint_config();
        let voters = sets.last().map(|set| set.iter().copied().map(NodeId).collect());
        let have = Have {
            me: self.node,
            voters: voters.unwrap_or_default(),
            learners: newest.membership().learner_ids().map(NodeId).collect(),
            joint: sets.len() > 1,
            committed: newest.log_id() == committed.log_id(),
        };
        (have, *newest.log_id())
    }

    /// How the other members do; nothing unless this node leads.
    pub(crate) fn health(&self) -> BTreeMap<NodeId, Health> {
        let data = self.raft.data_metrics().borrow_watched().clone();
        let last = data.last_log.map_or(0, |id| id.index() + 1);
        let within = self.alive_within();
        let heard = data.heartbeat.unwrap_or_default();
        let matched = data.replication.unwrap_or_default();
        let of = |(node, matched): (&u64, &Option<LogId>)| {
            let heard = heard.get(node).copied().flatten();
            let alive = heard.is_some_and(|at| at.elapsed() < within);
            let lag = last.saturating_sub(matched.map_or(0, |id| id.index() + 1));
            (NodeId(*node), Health { alive, lag: Some(lag) })
        };
        matched.iter().map(of).collect()
    }

    /// A member that was silent for longer counts as dead.
    fn alive_within(&self) -> Duration {
        self.timing.election_max() + 2 * self.timing.heartbeat()
    }

    /// The group's members, and how the change of them goes.
    pub fn membership(&self) -> (GroupId, Membership) {
        let server = self.raft.server_metrics().borrow_watched().clone();
        let (have, _) = self.have();
        let leads = server.state == ServerState::Leader && self.stopped().is_none();
        let health = if leads { self.health() } else { BTreeMap::new() };
        let others = health.into_iter().filter(|(node, _)| *node != self.node);
        let progress = others.map(|(node, Health { alive, lag })| Progress {
            node,
            alive,
            lag_entries: lag.unwrap_or(0),
        });
        let membership = Membership {
            leads,
            term: server.vote.leader_id.term,
            voters: have.voters.into_iter().collect(),
            learners: have.learners.into_iter().collect(),
            joint: have.joint || !have.committed,
            progress: progress.collect(),
            next: if leads { self.members_next.lock().clone() } else { String::new() },
        };
        (self.id, membership)
    }
}
