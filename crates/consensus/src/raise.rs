//! As leader: raises the group's version of behaviour once every member can apply it.
//!
//! Members are asked now, learners too: what was heard earlier may have been another binary. One
//! that is added later is asked before it is added; one that is put back to an old binary stops the
//! group by name when it meets the entry.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use hansa_types::id::NodeId;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use crate::batch::Batch;
use crate::raft::{LogId, committed_leader, wire};
use crate::running::Running;
use crate::version::Versions;

/// How long a member may take to say what its binary applies.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Why a group's version was not raised here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RaiseError {
    #[error("this node does not lead the group")]
    NotLeader { leader: Option<NodeId> },
    /// These members do not apply it; `None` for one that did not answer.
    #[error("not every member applies version {to}: {}", unable_text(.unable))]
    Unsupported { to: u32, unable: Vec<(NodeId, Option<Versions>)> },
    #[error("the group's members are changing")]
    Busy,
    /// It may still happen.
    #[error("no answer in time: the version may still be raised")]
    Unknown,
    #[error("the group has stopped")]
    Stopped,
}

fn unable_text(unable: &[(NodeId, Option<Versions>)]) -> String {
    let one = |(node, versions): &(NodeId, Option<Versions>)| match versions {
        Some(versions) => format!("node {node} applies {versions}"),
        None => format!("node {node} did not answer"),
    };
    unable.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl Running {
    /// Raises the group's version to `to`, one version an entry; the version then, which is `to` or
    /// more. Leader only.
    pub async fn raise_version(&self, to: u32, due: Instant) -> Result<u32, RaiseError> {
        loop {
            let leadership = *self.leadership.borrow();
            if self.stopped().is_some() {
                return Err(RaiseError::Stopped);
            }
            if !leadership.mine {
                return Err(RaiseError::NotLeader { leader: leadership.leader });
            }
            let now = self.replica.position().version;
            if now >= to {
                return Ok(now);
            }
            let (members, based_on) = self.members();
            self.check_supported(members, to).await?;
            if self.members().1 != based_on {
                return Err(RaiseError::Busy);
            }
            self.propose_version(leadership.term, now + 1, due).await?;
        }
    }

    /// Every member, and the entry that says so.
    fn members(&self) -> (BTreeSet<NodeId>, Option<LogId>) {
        let server = self.raft.server_metrics().borrow_watched().clone();
        let membership = &server.membership_config;
        let nodes = membership.membership().nodes().map(|(node, ())| NodeId(*node)).collect();
        (nodes, *membership.log_id())
    }

    async fn check_supported(&self, members: BTreeSet<NodeId>, to: u32) -> Result<(), RaiseError> {
        let asked = members.into_iter().map(|node| async move { (node, self.applies(node).await) });
        let answers = join_all(asked).await;
        let able = |versions: &Option<Versions>| versions.is_some_and(|has| has.contains(to));
        let unable: Vec<_> = answers.into_iter().filter(|(_, versions)| !able(versions)).collect();
        match unable.is_empty() {
            true => Ok(()),
            false => Err(RaiseError::Unsupported { to, unable }),
        }
    }

    /// The versions that a node's binary applies, as it says now.
    async fn applies(&self, node: NodeId) -> Option<Versions> {
        if node == self.node {
            return Some(self.replica.versions());
        }
        let hello = wire::Digest::default();
        let answer = self.ask_digest(node, hello, ANSWER_MAX).await.ok()?;
        wire::digest_answer_of(answer).ok().map(|answer| answer.versions)
    }

    /// Whether a node may be added: why not, if its binary would stop over this group.
    pub async fn may_add(&self, node: NodeId) -> Result<(), String> {
        let needs = self.replica.position().version;
        match self.applies(node).await {
            // One that does not answer yet stops by itself when it meets what it cannot apply.
            None => Ok(()),
            Some(has) if has.contains(needs) => Ok(()),
            Some(has) => Err(format!(
                "node {node}'s binary applies {has}, the group is at version {needs}: upgrade it"
            )),
        }
    }

    /// Commits the entry, in the term in which the members were asked.
    async fn propose_version(&self, term: u64, to: u32, due: Instant) -> Result<(), RaiseError> {
        let (responder, rx) = ProgressResponder::complete_only();
        // The group's time stands still over it: its stamp is that of the entry before.
        let raise = Batch::raise(self.replica.position().time, to);
        let write = self.raft.write(raise).with_leader(committed_leader(term));
        write.responder(responder).await.map_err(|_| RaiseError::Stopped)?;
        match timeout_at(due, rx).await {
            Ok(Ok(Ok(_))) => Ok(()),
            Ok(Ok(Err(ClientWriteError::ForwardToLeader(to)))) => {
                Err(RaiseError::NotLeader { leader: to.leader_id.map(NodeId) })
            }
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => Err(RaiseError::Unknown),
        }
    }
}
