//! Reads from the ledger: the group's leader is found by asking.

use std::future::Future;
use std::time::Duration;

use hansa_api::pb::ledger as wire;
use hansa_api::pb::ledger::ledger_command_service_client::LedgerCommandServiceClient;
use hansa_api::pb::ledger::submit_response::Result as Answered;
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_node::peers::PeerService;
use hansa_types::id::{GroupId, NodeId};
use hansa_types::limits::PEER_MESSAGE_BYTES_MAX;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::Shell;

/// Nodes tried for one answer: each member, and leaders that some of them named.
const TRIES: usize = 5;
/// An election's worth.
const RETRY_AFTER: Duration = Duration::from_millis(500);

pub type Client = LedgerCommandServiceClient<PeerService>;

/// One batch of one command on a stream of its own: for what is rare.
///
/// # Errors
/// `NOT_LEADER` with who leads, or that the group did not answer.
pub async fn once(
    mut client: Client,
    request: Request<wire::SubmitRequest>,
) -> Result<Response<wire::Outcome>, Status> {
    let (metadata, extensions, batch) = request.into_parts();
    let batches = tokio_stream::once(batch);
    let request = Request::from_parts(metadata, extensions, batches);
    let mut answers = client.submit(request).await?.into_inner();
    let answer = answers.message().await?.and_then(|answer| answer.result);
    match answer {
        Some(Answered::Outcomes(mut told)) if told.outcomes.len() == 1 => {
            Ok(Response::new(told.outcomes.remove(0)))
        }
        Some(Answered::Refused(refused)) => {
            let leader = (refused.leader_node > 0).then_some(NodeId(refused.leader_node));
            match refused.reason() {
                wire::RefusedReason::NotLeader => Err(Failure::not_leader(leader).into()),
                _ => Err(Reason::Unavailable.into()),
            }
        }
        _ => Err(Reason::Unavailable.into()),
    }
}

/// Asks the leader of a ledger group.
///
/// # Errors
/// The last refusal, when no member answered.
pub async fn ask<Q, A, F>(
    shell: &Shell,
    group: GroupId,
    question: Q,
    due: Instant,
    call: impl Fn(Client, Request<Q>) -> F,
) -> Result<A, Failure>
where
    Q: Clone,
    F: Future<Output = Result<Response<A>, Status>>,
{
    let mut nodes: Vec<NodeId> = shell.map.members(group);
    let mut last = Failure::of(Reason::Unavailable);
    for _ in 0..TRIES {
        let Some(node) = nodes.pop() else { break };
        let client =
            Client::new(shell.peers.to(node)).max_decoding_message_size(PEER_MESSAGE_BYTES_MAX);
        match call(client, outgoing(question.clone(), Deadline(due))?).await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) => {
                last = Failure::from(&status);
                nodes.extend(last.leader());
            }
        }
    }
    // Of the ledger's group: a gateway that heard this would look for another leader of ours.
    match last.reason() {
        Reason::NotLeader | Reason::GroupStopped => {
            Err(Failure::of(Reason::Unavailable).retry_after(RETRY_AFTER))
        }
        _ => Err(last),
    }
}
