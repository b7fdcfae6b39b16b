//! Every node's sweep of its own files, side by side.

use futures::stream::{self, BoxStream, StreamExt as _};
use hansa_api::pb::admin as pb;
use hansa_api::pb::node::SweepNodeRequest;
use hansa_api::pb::node::node_residency_service_client::NodeResidencyServiceClient;
use hansa_api::status::Failure;
use hansa_region_router::core::directory::{Node, Snapshot};
use hansa_region_router::forward::Upstreams;
use hansa_types::limits::PEER_MESSAGE_BYTES_MAX;
use tonic::Status;

use super::nodes;

pub type Steps = BoxStream<'static, Result<pb::VerifyResidencyResponse, Status>>;

/// Asks every node of the region; one that does not answer ends with a failure.
pub fn run<U: Upstreams>(upstreams: &U, directory: &Snapshot) -> Steps
where
    U::Peer: Sync,
{
    let nodes = nodes(directory);
    let names = nodes.iter().map(|node| node.name.clone()).collect();
    let first = pb::VerifyResidencyResponse { nodes: names, ..Default::default() };
    let asked = nodes.into_iter().map(|node| of_node(upstreams, node));
    let told = stream::select_all(asked).map(Ok);
    stream::iter([Ok(first)]).chain(told).boxed()
}

/// What one node says, its last message a report or a failure.
fn of_node<U: Upstreams>(
    upstreams: &U,
    node: Node,
) -> BoxStream<'static, pb::VerifyResidencyResponse>
where
    U::Peer: Sync,
{
    let client = NodeResidencyServiceClient::new(upstreams.node(node.id));
    let mut client = client.max_decoding_message_size(PEER_MESSAGE_BYTES_MAX);
    let name = node.name.clone();
    // As long as the client reads: no deadline of ours.
    let begun = async move { client.sweep_node(SweepNodeRequest {}).await };
    let steps = stream::once(begun).flat_map(|begun| match begun {
        Ok(steps) => steps.into_inner().boxed(),
        Err(status) => stream::iter([Err(status)]).boxed(),
    });
    let told = steps.map(Some).chain(stream::iter([None])).scan(false, move |ended, step| {
        // Once it has ended nothing more is to be said.
        let said = (!*ended).then(|| step_of(&name, step));
        *ended |= said.as_ref().is_some_and(|s| s.report.is_some() || !s.failure.is_empty());
        std::future::ready(Some(said))
    });
    told.filter_map(std::future::ready).boxed()
}

fn step_of(
    node: &str,
    step: Option<Result<hansa_api::pb::node::SweepNodeResponse, Status>>,
) -> pb::VerifyResidencyResponse {
    let node_name = node.to_owned();
    match step {
        Some(Ok(step)) => pb::VerifyResidencyResponse {
            node_name,
            done_bytes: step.done_bytes,
            total_bytes: step.total_bytes,
            report: step.report,
            ..Default::default()
        },
        Some(Err(status)) => {
            let failure = Failure::from(status).to_string();
            pb::VerifyResidencyResponse { node_name, failure, ..Default::default() }
        }
        None => {
            let failure = "it ended without a report".to_owned();
            pb::VerifyResidencyResponse { node_name, failure, ..Default::default() }
        }
    }
}
