//! The invariants of domain.md §7 over this region: what its nodes check, and whether replicas
//! agree.

use std::time::Duration;

use futures::future::join_all;
use hansa_api::pb::admin::{Group, InvariantReport, Verdict};
use hansa_api::pb::node::CheckNodeInvariantsRequest;
use hansa_api::pb::node::node_service_client::NodeServiceClient;
use hansa_api::status::Failure;
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_region_router::core::directory::{Node, Snapshot};
use hansa_region_router::forward::Upstreams;
use hansa_types::id::GroupId;

use super::{list_groups, nodes, within};
use crate::core::replicas;

/// Looks at busy replicas until two are seen at one index.
const LOOKS_MAX: u32 = 5;
const BETWEEN: Duration = Duration::from_millis(100);

/// Asks every node and compares replicas; what could not be checked is reported as unknown.
pub async fn ask<U: Upstreams>(
    upstreams: &U,
    directory: &Snapshot,
    due: Deadline,
) -> Vec<InvariantReport> {
    let nodes = nodes(directory);
    let asked = join_all(nodes.iter().map(|node| check(upstreams, node, due)));
    let (answers, mut reports) = tokio::join!(asked, compared(upstreams, directory, due));
    for (node, answer) in nodes.iter().zip(answers) {
        match answer {
            Ok(told) => reports.extend(told),
            Err(failure) => reports.push(not_asked(node, &failure)),
        }
    }
    reports.sort_by_key(|report| (report.number, report.group));
    reports
}

async fn check<U: Upstreams>(
    upstreams: &U,
    node: &Node,
    due: Deadline,
) -> Result<Vec<InvariantReport>, Failure> {
    let mut client = NodeServiceClient::new(upstreams.node(node.id));
    let request = outgoing(CheckNodeInvariantsRequest {}, due)?;
    Ok(within(due, client.check_node_invariants(request)).await?.reports)
}

async fn compared<U: Upstreams>(
    upstreams: &U,
    directory: &Snapshot,
    due: Deadline,
) -> Vec<InvariantReport> {
    let mut reports = look(upstreams, directory, due).await;
    for _ in 1..LOOKS_MAX {
        let open = reports.iter().any(|report| report.verdict() == Verdict::Unknown);
        if !open || due.remaining().is_none_or(|left| left < 2 * BETWEEN) {
            break;
        }
        tokio::time::sleep(BETWEEN).await;
        let again = look(upstreams, directory, due).await;
        keep_what_is_known(&mut reports, again);
    }
    reports
}

async fn look<U: Upstreams>(
    upstreams: &U,
    directory: &Snapshot,
    due: Deadline,
) -> Vec<InvariantReport> {
    let groups = list_groups::ask(upstreams, directory, due).await;
    let logs = groups.iter().filter(|group| group.part_of == 0);
    let known = |group: &Group| GroupId::from_number(group.group);
    replicas::agree(logs.filter_map(|g| Some((known(g)?, g.replicas.as_slice()))))
}

/// A violation once seen stays; an unknown gives way to anything.
fn keep_what_is_known(reports: &mut [InvariantReport], again: Vec<InvariantReport>) {
    for new in again {
        let old = reports.iter_mut().find(|old| old.group == new.group);
        if let Some(old) = old
            && (old.verdict() == Verdict::Unknown || new.verdict() == Verdict::Violated)
        {
            *old = new;
        }
    }
}

fn not_asked(node: &Node, failure: &Failure) -> InvariantReport {
    InvariantReport {
        number: 0,
        name: "every node was asked".into(),
        verdict: Verdict::Unknown.into(),
        detail: format!("{} did not answer: {}", node.name, failure.reason()),
        group: 0,
    }
}
