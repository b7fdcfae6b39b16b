//! Releases of nodes and versions of groups, put side by side.

use std::collections::BTreeMap;

use hansa_api::pb::admin::{AppliedVersions, GroupVersion, ListVersionsResponse, NodeRelease};
use hansa_api::pb::node::GetReleaseResponse;
use hansa_region_router::core::directory::{Node, Snapshot};
use hansa_types::id::{GroupId, GroupKind};

use super::{Told, hosted, led, members};
use crate::service::{list_groups, nodes};

pub(super) fn put_together(now: &Snapshot, told: &Told) -> ListVersionsResponse {
    let nodes = nodes(now);
    let logs = now.logs().map(|(group, _)| *group);
    let groups = logs.map(|group| group_version(now, &nodes, told, group)).collect();
    let release = |node: &Node| NodeRelease {
        node: node.id.0,
        node_name: node.name.clone(),
        release: told.get(&node.id).map(|told| told.release.clone()).unwrap_or_default(),
        applies: told.get(&node.id).map(applies).unwrap_or_default(),
        foreign_peers: told.get(&node.id).map(|told| foreign(&nodes, told)).unwrap_or_default(),
    };
    ListVersionsResponse { nodes: nodes.iter().map(release).collect(), groups }
}

fn foreign(nodes: &[Node], release: &GetReleaseResponse) -> Vec<String> {
    let name = |id: u64| nodes.iter().find(|node| node.id.0 == id).map(|node| &node.name);
    let peers = release.foreign_peers.iter();
    let told = peers.filter_map(|peer| Some(format!("{}: {}", name(peer.node)?, peer.why)));
    told.collect()
}

/// What a binary applies, by kind; groups that did not start say nothing of it.
fn applies(release: &GetReleaseResponse) -> Vec<AppliedVersions> {
    let mut kinds: BTreeMap<GroupKind, AppliedVersions> = BTreeMap::new();
    for held in release.groups.iter().filter(|held| held.last > 0) {
        let Some(group) = GroupId::from_number(held.group) else { continue };
        let kind = list_groups::kind(group.kind()).into();
        let (first, last) = (held.first, held.last);
        kinds.entry(group.kind()).or_insert(AppliedVersions { kind, first, last });
    }
    kinds.into_values().collect()
}

fn group_version(now: &Snapshot, nodes: &[Node], told: &Told, group: GroupId) -> GroupVersion {
    let version = led(told, group).map_or(0, |(_, held)| held.version);
    let members = members(now, group);
    let lasts = hosted(told, group).filter(|(node, _)| members.contains(node));
    let common = lasts.map(|(_, held)| held.last).min().unwrap_or(version);
    let silent = nodes.iter().filter(|n| members.contains(&n.id) && !told.contains_key(&n.id));
    let silent_nodes: Vec<_> = silent.map(|node| node.name.clone()).collect();
    GroupVersion {
        group: group.number(),
        kind: list_groups::kind(group.kind()).into(),
        version,
        raisable_to: if silent_nodes.is_empty() { common.max(version) } else { version },
        silent_nodes,
    }
}
