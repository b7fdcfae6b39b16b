//! Who owns what, as this region knows it.

use hansa_api::pb::admin as pb;
use hansa_api::pb::node::GroupTakeover;
use hansa_node::layers::Deadline;
use hansa_region_router::core::directory::{Ownership, Snapshot};
use hansa_region_router::forward::Upstreams;
use hansa_region_router::wire::loss::record_pb;
use hansa_types::region::RegionNumber;

use super::{Held, Own, heirs, held, here};

pub(super) async fn run<U: Upstreams>(
    own: &Own<U>,
    now: &Snapshot,
    due: Deadline,
) -> pb::GetRegionLossResponse {
    let Held { groups, leases, silent } = held(own, now, due).await;
    let births = now.owners.iter().map(|(birth, of)| birth_of(now, *birth, *of, &groups));
    pb::GetRegionLossResponse {
        region: here(now),
        births: births.collect(),
        groups,
        silent_nodes: silent,
        leases,
        directory_version: now.version,
    }
}

fn birth_of(
    now: &Snapshot,
    birth: RegionNumber,
    of: Ownership,
    groups: &[GroupTakeover],
) -> pb::BirthOwner {
    let named = |number| now.region(number).map(|r| r.name.to_string()).unwrap_or_default();
    let name = named(birth);
    let fence = now.fences.get(&birth);
    let heir = |to: &RegionNumber| {
        let of = heirs(now, birth, *to);
        let words = |laws: &[hansa_region_router::core::policy::JurisdictionName]| {
            laws.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let (served_laws, refused_laws) = (words(&of.served), words(&of.refused));
        pb::LawfulHeir { region: named(*to), served_laws, refused_laws }
    };
    let others = now.regions.keys().filter(|to| **to != of.owner).map(heir);
    // What is promised to another one is nobody else's epoch.
    let promised = fence.filter(|fence| fence.to != now.here).map_or(0, |fence| fence.epoch);
    let newest = newest_epoch(&name, groups).max(of.epoch).max(promised);
    pb::BirthOwner {
        owner_region: named(of.owner),
        epoch: of.epoch,
        newest_epoch: newest,
        record: now.records.get(&birth).map(|record| record_pb(record, now)),
        draining_to: now.draining.get(&birth).map(|drain| named(drain.to)).unwrap_or_default(),
        fence_epoch: fence.map_or(0, |fence| fence.epoch),
        fence_to: fence.map(|fence| named(fence.to)).unwrap_or_default(),
        lease_ms: now.isolation(birth).lease_ms().unwrap_or(0),
        heirs: others.filter(|heir| !heir.served_laws.is_empty()).collect(),
        birth_region: name,
    }
}

/// The newest epoch of a region's births that streams or groups have told of.
fn newest_epoch(birth: &str, groups: &[GroupTakeover]) -> u64 {
    let births = groups.iter().flat_map(|group| &group.births);
    let held = births.filter(|of| of.birth == birth).map(|of| of.epoch);
    let cursors = groups.iter().flat_map(|group| &group.cursors);
    let heard = cursors.filter(|cursor| cursor.origin == birth).map(|cursor| cursor.epoch);
    held.chain(heard).max().unwrap_or(0)
}
