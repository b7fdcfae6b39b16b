//! Raises groups: all are checked before the first is raised, and each again by its own leader.

use std::collections::BTreeSet;

use hansa_api::pb::admin::{RaiseVersionRequest, RaiseVersionResponse, RaisedGroup};
use hansa_api::pb::node::RaiseGroupRequest;
use hansa_api::pb::node::node_version_service_client::NodeVersionServiceClient;
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_region_router::core::directory::Snapshot;
use hansa_region_router::forward::Upstreams;
use hansa_types::id::{GroupId, GroupKind, NodeId};

use super::super::{with_log, within};
use super::{Told, ask, hosted, led, members};

pub(super) async fn run<U: Upstreams>(
    upstreams: &U,
    now: &Snapshot,
    request: &RaiseVersionRequest,
    due: Deadline,
) -> Result<RaiseVersionResponse, Failure> {
    let to = request.version;
    if to == 0 {
        return Err(Failure::field(Reason::FieldInvalid, "version", "1 or more"));
    }
    let told = ask(upstreams, now, due).await;
    let groups = chosen(now, &told, &request.groups, to)?;
    check(now, &told, &groups, to)?;
    let mut raised = Vec::new();
    for group in groups {
        let (leader, held) = led(&told, group).ok_or_else(|| no_leader(group))?;
        let version = match held.version >= to {
            true => held.version,
            false => raise(upstreams, leader, group, to, due).await?,
        };
        let (group, former_version) = (group.number(), held.version);
        raised.push(RaisedGroup { group, former_version, version });
    }
    Ok(RaiseVersionResponse { groups: raised })
}

fn no_leader(group: GroupId) -> Failure {
    Failure::new(Reason::NotLeader, format!("no leader of {group} answered"))
}

/// The groups that were asked for, or all of the kinds that have this version anywhere.
fn chosen(now: &Snapshot, told: &Told, asked: &[u32], to: u32) -> Result<Vec<GroupId>, Failure> {
    if !asked.is_empty() {
        return asked.iter().map(|number| with_log(now, *number)).collect();
    }
    let logs = || now.logs().map(|(group, _)| *group);
    let has = |group: &GroupId| hosted(told, *group).any(|(_, held)| held.last >= to);
    let kinds: BTreeSet<GroupKind> = logs().filter(has).map(GroupId::kind).collect();
    if kinds.is_empty() {
        let why = format!("no node that answered applies version {to}");
        return Err(Failure::new(Reason::VersionNotSupported, why));
    }
    Ok(logs().filter(|group| kinds.contains(&group.kind())).collect())
}

/// Refuses before anything is changed, and names every node that stands in the way.
fn check(now: &Snapshot, told: &Told, groups: &[GroupId], to: u32) -> Result<(), Failure> {
    let mut unable = BTreeSet::new();
    for group in groups {
        if led(told, *group).is_some_and(|(_, held)| held.version >= to) {
            continue;
        }
        for node in members(now, *group) {
            let held = hosted(told, *group).find(|(host, _)| *host == node).map(|(_, held)| held);
            match held {
                Some(held) if (held.first..=held.last).contains(&to) => {}
                Some(held) => {
                    let (name, last) = (name(now, node), held.last);
                    unable.insert(format!("{name} applies {} up to {last}", group.kind().as_str()));
                }
                None => _ = unable.insert(format!("{} did not answer", name(now, node))),
            }
        }
    }
    if unable.is_empty() {
        return Ok(());
    }
    let unable = unable.into_iter().collect::<Vec<_>>().join(", ");
    let why = format!("version {to} is not applied everywhere: {unable}");
    Err(Failure::new(Reason::VersionNotSupported, why))
}

fn name(now: &Snapshot, node: NodeId) -> String {
    now.registry.get(&node).map_or_else(|| node.to_string(), |known| known.name.clone())
}

async fn raise<U: Upstreams>(
    upstreams: &U,
    leader: NodeId,
    group: GroupId,
    version: u32,
    due: Deadline,
) -> Result<u32, Failure> {
    let mut client = NodeVersionServiceClient::new(upstreams.node(leader));
    let ask = outgoing(RaiseGroupRequest { group: group.number(), version }, due)?;
    Ok(within(due, client.raise_group(ask)).await?.version)
}
