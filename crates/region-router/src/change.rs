//! Changes of the directory from nodes that do not lead it.

use std::time::Duration;

use hansa_api::pb::directory::ChangeDirectoryRequest;
use hansa_api::pb::directory::registry_service_client::RegistryServiceClient;
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_types::id::NodeId;
use tokio::time::{sleep, timeout_at};

use crate::core::directory::Command;
use crate::core::hunt::{Hunt, Miss};
use crate::forward::Upstreams;

/// One node's share of the time: one that is cut off must not use up all of it.
const TRY_MAX: Duration = Duration::from_secs(2);

/// What the leader refused, so nobody else is asked.
const FINAL: [Reason; 9] = [
    Reason::EpochEnded,
    Reason::OwnershipRefused,
    Reason::NoLawfulRegion,
    Reason::UnknownRegion,
    Reason::MembershipRefused,
    Reason::RequestIdReused,
    Reason::PolicyRefused,
    Reason::PolicyNotNewer,
    Reason::MessageMalformed,
];

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The directory's version with it.
    pub version: u64,
    /// False when it already was so.
    pub changed: bool,
}

/// Has the directory's leader, one of `keepers`, commit a change. Every change bears a repeat, so
/// one whose answer was lost is asked for again.
///
/// # Errors
/// `MEMBERSHIP_REFUSED`, `POLICY_REFUSED` or `POLICY_NOT_NEWER` in the directory's words;
/// `REQUEST_ID_REUSED`; `NOT_LEADER`,
/// `UNAVAILABLE` or `DEADLINE_EXCEEDED` when no leader answered in time.
pub async fn change<U: Upstreams>(
    upstreams: &U,
    keepers: &[NodeId],
    command: &Command,
    due: Deadline,
) -> Result<Changed, Failure> {
    let bytes = command.encode().map_err(|_| Failure::of(Reason::Internal))?;
    at_leader(keepers, due, |node, due| ask(upstreams, node, bytes.clone(), due)).await
}

/// Asks one keeper after another until the one that leads has answered.
///
/// # Errors
/// What the leader refused; `NOT_LEADER`, `UNAVAILABLE` or `DEADLINE_EXCEEDED` when none answered.
pub(crate) async fn at_leader<T, F>(
    keepers: &[NodeId],
    due: Deadline,
    ask: impl Fn(NodeId, Deadline) -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let nobody = || Failure::new(Reason::Unavailable, "no node is known to keep the directory");
    let mut hunt = Hunt::start(keepers, None).ok_or_else(nobody)?;
    loop {
        let failure = match ask(hunt.node(), due.min(Deadline::after(TRY_MAX))).await {
            Ok(answer) => return Ok(answer),
            Err(failure) if FINAL.contains(&failure.reason()) => return Err(failure),
            Err(failure) => failure,
        };
        let miss = match failure.reason() {
            Reason::NotLeader => Miss::NotLeader(failure.leader()),
            _ => Miss::Unreachable,
        };
        let left = due.remaining().unwrap_or_default();
        match hunt.missed(miss).filter(|pause| *pause < left) {
            Some(pause) => sleep(pause).await,
            None => return Err(failure),
        }
    }
}

async fn ask<U: Upstreams>(
    upstreams: &U,
    node: NodeId,
    command: bytes::Bytes,
    due: Deadline,
) -> Result<Changed, Failure> {
    let mut client = RegistryServiceClient::new(upstreams.node(node));
    let request = outgoing(ChangeDirectoryRequest { command }, due)?;
    let answer = timeout_at(due.0, client.change_directory(request)).await;
    let answer = answer.map_err(|_| Failure::of(Reason::DeadlineExceeded))?;
    let answer = answer.map_err(|status| Failure::from(&status))?.into_inner();
    if answer.refusal.is_empty() {
        return Ok(Changed { version: answer.version, changed: answer.changed });
    }
    // A keeper of an older release names no reason: it knows of none but this one.
    let reason = answer.refusal_reason.parse().unwrap_or(Reason::MembershipRefused);
    Err(Failure::new(reason, answer.refusal))
}
