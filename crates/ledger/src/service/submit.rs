//! Submit: batches of commands on one long-lived stream, each batch one submit to its group.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use hansa_api::pb::ledger as pb;
use hansa_api::pb::ledger::RefusedReason;
use hansa_api::pb::ledger::submit_response::Result as Answer;
use hansa_api::status::Reason;
use hansa_consensus::SubmitError;
use hansa_types::id::GroupKind;
use hansa_types::limits::{CALL_DEADLINE_MS_MAX, ENTRY_COMMANDS_MAX};
use tokio::time::Instant;
use tonic::{Status, Streaming};

use super::groups::Found;
use super::{Shell, wire};
use crate::machine::Outcomes;
use crate::metrics;

/// For a batch that names no time.
const TIMEOUT_MS: u64 = 5_000;

/// Answers a stream of batches as they complete.
///
/// Batches reach their groups in the order of the stream, and coalesce there with those of other
/// callers. With `in_flight` batches unanswered the next one is not read, so a fast caller is held
/// back by flow control. Ends with the caller's half of the stream.
pub fn run(
    shell: Arc<Shell>,
    batches: Streaming<pb::SubmitRequest>,
) -> impl Stream<Item = Result<pb::SubmitResponse, Status>> + Send {
    let in_flight = shell.in_flight;
    batches
        // A broken stream ends: what is under way is unknown to the caller either way.
        .take_while(|batch| futures::future::ready(batch.is_ok()))
        .filter_map(|batch| futures::future::ready(batch.ok()))
        .map(move |batch| answer(Arc::clone(&shell), batch))
        .buffer_unordered(in_flight)
}

async fn answer(shell: Arc<Shell>, batch: pb::SubmitRequest) -> Result<pb::SubmitResponse, Status> {
    let result = match submit(&shell, &batch).await {
        Ok(applied) => {
            metrics::applied(&applied.outcomes);
            let pairs = applied.outcomes.iter().zip(&batch.commands);
            Answer::Outcomes(pb::Outcomes {
                outcomes: pairs.map(|(outcome, command)| wire::outcome(outcome, command)).collect(),
                log_time_ms: applied.at.ms(),
            })
        }
        Err(refused) => {
            metrics::refused(refused.reason().as_str_name());
            Answer::Refused(refused)
        }
    };
    Ok(pb::SubmitResponse { seq: batch.seq, result: Some(result) })
}

async fn submit(shell: &Shell, batch: &pb::SubmitRequest) -> Result<Outcomes, pb::Refused> {
    let timeout_ms = match u64::from(batch.timeout_ms) {
        0 => TIMEOUT_MS,
        asked => asked.min(CALL_DEADLINE_MS_MAX),
    };
    let deadline = Instant::now() + Duration::from_millis(timeout_ms);
    if batch.commands.len() > ENTRY_COMMANDS_MAX {
        return Err(refused(RefusedReason::TooLarge));
    }
    let encode =
        |kind| wire::encode(&batch.commands, kind).map_err(|_| refused(RefusedReason::Malformed));
    let submitted = match shell.group(batch.group) {
        Ok(Found::Inventory(group)) => group.submit(encode(GroupKind::Inventory)?, deadline).await,
        Ok(Found::Payments(group, _)) => group.submit(encode(GroupKind::Payments)?, deadline).await,
        Err(failure) if failure.reason() == Reason::GroupStopped => {
            return Err(refused(RefusedReason::Stopped));
        }
        // A lane asks again, also for one that has not started yet.
        Err(_) => return Err(refused(RefusedReason::UnknownGroup)),
    };
    submitted.map_err(|error| match error {
        SubmitError::NotLeader { leader } => pb::Refused {
            leader_node: leader.map_or(0, |node| node.0),
            ..refused(RefusedReason::NotLeader)
        },
        // Both: nothing applied, come back later.
        SubmitError::Overloaded { retry_after } | SubmitError::DiskFull { retry_after } => {
            pb::Refused {
                retry_after_ms: u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX),
                ..refused(RefusedReason::Overloaded)
            }
        }
        SubmitError::Unknown => refused(RefusedReason::Unknown),
        SubmitError::TooLarge => refused(RefusedReason::TooLarge),
        SubmitError::Stopped => refused(RefusedReason::Stopped),
    })
}

fn refused(reason: RefusedReason) -> pb::Refused {
    pb::Refused { reason: reason.into(), leader_node: 0, retry_after_ms: 0 }
}
