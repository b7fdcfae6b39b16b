//! What was not adopted, and what the new owner never saw.

use hansa_api::pb::admin as pb;
use hansa_api::pb::node as inner;
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_region_router::core::directory::Snapshot;
use hansa_region_router::forward::Upstreams;

use super::{Own, ask, held, listed, unheard};

pub(super) async fn not_adopted<U: Upstreams>(
    own: &Own<U>,
    now: &Snapshot,
    request: &pb::ListNotAdoptedRequest,
    due: Deadline,
) -> pb::ListNotAdoptedResponse {
    let (birth, max) = (&request.birth_region, listed(request.max));
    let told = ask(own, now, due, |mut node| {
        let birth = birth.clone();
        async move {
            let request = inner::ListNodeNotAdoptedRequest { birth, max };
            node.list_node_not_adopted(outgoing(request, due)?).await
        }
    })
    .await;
    let mut answer = pb::ListNotAdoptedResponse { silent_nodes: told.silent, ..Default::default() };
    for (_, of) in told.answers {
        answer.orders.extend(of.orders);
        answer.truncated |= of.truncated;
    }
    answer.truncated |= answer.orders.len() > max as usize;
    answer.orders.truncate(max as usize);
    answer
}

pub(super) async fn tail<U: Upstreams>(
    own: &Own<U>,
    now: &Snapshot,
    request: &pb::ListTailRequest,
    due: Deadline,
) -> pb::ListTailResponse {
    let (birth, max) = (&request.birth_region, listed(request.max));
    let told = ask(own, now, due, |mut node| {
        let birth = birth.clone();
        async move {
            node.list_node_tail(outgoing(inner::ListNodeTailRequest { birth, max }, due)?).await
        }
    })
    .await;
    let mut answer = pb::ListTailResponse { silent_nodes: told.silent, ..Default::default() };
    // Of a group without a leader there is nothing in the list.
    answer.silent_nodes.extend(unheard(now, &held(own, now, due).await));
    for (_, of) in told.answers {
        answer.orders.extend(of.orders);
        answer.truncated |= of.truncated;
        answer.groups_not_final.extend(of.not_final);
    }
    // What is to be decided on first, of every node.
    let decided = |of: &inner::TailOrder| {
        let outcome = of.decision.as_ref().map(|decision| decision.outcome.as_str());
        matches!(outcome, Some("OPEN" | "DONE"))
    };
    answer.orders.sort_by_key(decided);
    answer.truncated |= answer.orders.len() > max as usize;
    answer.orders.truncate(max as usize);
    answer
}
