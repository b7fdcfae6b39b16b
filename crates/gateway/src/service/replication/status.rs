//! GetReplicationStatus.

use hansa_api::pb::admin as pb;
use hansa_api::pb::node::GetNodeReplicationRequest;
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_region_router::core::directory::Snapshot;
use hansa_region_router::forward::Upstreams;

use super::{Own, ask, here};

pub async fn run<U: Upstreams>(
    own: &Own<U>,
    directory: &Snapshot,
    due: Deadline,
) -> pb::GetReplicationStatusResponse {
    let told = ask(&own.upstreams, directory, due, |mut node| async move {
        node.get_node_replication(outgoing(GetNodeReplicationRequest {}, due)?).await
    });
    let told = told.await;
    let region = here(directory);
    let mut answer = pb::GetReplicationStatusResponse { region, ..Default::default() };
    for (node, mut of) in told.answers {
        of.outgoing.iter_mut().for_each(|stream| stream.node_name.clone_from(&node.name));
        answer.outgoing.append(&mut of.outgoing);
        answer.incoming.append(&mut of.incoming);
    }
    answer.outgoing.sort_by(|a, b| (a.group, &a.peer).cmp(&(b.group, &b.peer)));
    answer.incoming.sort_by(|a, b| {
        (&a.origin, a.origin_group, a.epoch).cmp(&(&b.origin, b.origin_group, b.epoch))
    });
    answer.silent_nodes = told.silent;
    answer
}
