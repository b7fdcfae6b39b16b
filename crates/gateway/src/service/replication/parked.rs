//! ListParkedEvents, RetryParkedEvents, ResolveParkedEvents.

use hansa_api::pb::admin as pb;
use hansa_api::pb::node::{
    ListNodeParkedRequest, ResolveNodeParkedRequest, RetryNodeParkedRequest,
};
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_region_router::core::directory::Snapshot;
use hansa_region_router::forward::Upstreams;

use super::{LISTED_MAX, Own, ask};

/// Bytes of an operator's reason: it goes into the log.
const REASON_BYTES_MAX: usize = 512;

pub async fn list<U: Upstreams>(
    own: &Own<U>,
    directory: &Snapshot,
    origin: &str,
    due: Deadline,
) -> pb::ListParkedEventsResponse {
    let told = ask(&own.upstreams, directory, due, |mut node| async move {
        let message = ListNodeParkedRequest { origin: origin.to_owned(), max: LISTED_MAX };
        node.list_node_parked(outgoing(message, due)?).await
    });
    let told = told.await;
    let mut answer =
        pb::ListParkedEventsResponse { silent_nodes: told.silent, ..Default::default() };
    for (_, mut of) in told.answers {
        answer.truncated |= of.truncated;
        answer.events.append(&mut of.events);
    }
    answer.events.sort_by(|a, b| (&a.order, a.sequence).cmp(&(&b.order, b.sequence)));
    answer
}

pub async fn retry<U: Upstreams>(
    own: &Own<U>,
    directory: &Snapshot,
    asked: &pb::RetryParkedEventsRequest,
    due: Deadline,
) -> Result<pb::RetryParkedEventsResponse, Failure> {
    let retry = async |ship_again: bool| {
        let message = RetryNodeParkedRequest { order: asked.order.clone(), ship_again };
        ask(&own.upstreams, directory, due, |mut node| {
            let message = message.clone();
            async move { node.retry_node_parked(outgoing(message, due)?).await }
        })
        .await
    };
    let mut told = retry(false).await;
    // Only where nobody has anything parked is it asked for as it stands.
    if asked.ship_again && !told.answers.iter().any(|(_, of)| of.known) {
        told = retry(true).await;
    }
    let found = told.answers.iter().find(|(_, of)| of.known);
    let (_, of) = found.ok_or_else(|| nobody(&told.silent))?;
    Ok(pb::RetryParkedEventsResponse { applied: of.applied, asked_again: of.asked_again })
}

pub async fn resolve<U: Upstreams>(
    own: &Own<U>,
    directory: &Snapshot,
    asked: &pb::ResolveParkedEventsRequest,
    by: String,
    due: Deadline,
) -> Result<pb::ResolveParkedEventsResponse, Failure> {
    let keep_mine = match asked.keep() {
        pb::Keep::Mine => true,
        pb::Keep::Theirs => false,
        pb::Keep::Unspecified => {
            return Err(Failure::field(Reason::FieldEmpty, "keep", "mine or theirs"));
        }
    };
    if asked.reason.trim().is_empty() {
        return Err(Failure::field(Reason::FieldEmpty, "reason", "say why"));
    }
    if asked.reason.len() > REASON_BYTES_MAX {
        return Err(Failure::field(Reason::FieldInvalid, "reason", "at most 512 bytes"));
    }
    let message = ResolveNodeParkedRequest {
        order: asked.order.clone(),
        keep_mine,
        reason: asked.reason.clone(),
        by,
    };
    let told = ask(&own.upstreams, directory, due, |mut node| {
        let message = message.clone();
        async move { node.resolve_node_parked(outgoing(message, due)?).await }
    });
    let told = told.await;
    let found = told.answers.iter().find(|(_, of)| of.known);
    let (_, of) = found.ok_or_else(|| nobody(&told.silent))?;
    Ok(pb::ResolveParkedEventsResponse { version: of.version })
}

/// Nobody who answered has anything of it parked; who did not answer may.
fn nobody(silent: &[String]) -> Failure {
    match silent.is_empty() {
        true => Failure::new(Reason::NotFound, "no event of this order is parked here"),
        false => {
            let why = format!("did not answer: {}", silent.join(" "));
            Failure::new(Reason::Unavailable, why)
        }
    }
}
