//! ListReplicaDifferences.

use hansa_api::pb::admin as pb;
use hansa_api::pb::node::ListNodeReplicaDifferencesRequest;
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_region_router::core::directory::Snapshot;
use hansa_region_router::forward::Upstreams;

use super::{LISTED_MAX, Own, ask};

pub async fn run<U: Upstreams>(
    own: &Own<U>,
    directory: &Snapshot,
    peer: &str,
    due: Deadline,
) -> pb::ListReplicaDifferencesResponse {
    let told = ask(&own.upstreams, directory, due, |mut node| async move {
        let message = ListNodeReplicaDifferencesRequest { peer: peer.to_owned(), max: LISTED_MAX };
        node.list_node_replica_differences(outgoing(message, due)?).await
    });
    let told = told.await;
    let silent_nodes = told.silent;
    let mut answer = pb::ListReplicaDifferencesResponse { silent_nodes, ..Default::default() };
    for (_, mut of) in told.answers {
        answer.truncated |= of.truncated;
        answer.differences.append(&mut of.differences);
        answer.not_compared.append(&mut of.not_compared);
    }
    answer.differences.sort_by(|a, b| (&a.order, &a.peer).cmp(&(&b.order, &b.peer)));
    answer
}
