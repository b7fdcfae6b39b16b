//! What a restore left to settle, here and with those who have copies.

use std::collections::BTreeMap;

use futures::future::join_all;
use hansa_api::pb::admin as pb;
use hansa_api::pb::node::{
    GetNodeRestoreRequest, ListNodeDifferencesRequest, ListNodeOriginsRequest,
    SettleNodeRestoreRequest,
};
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_region_router::core::directory::{Ownership, Snapshot};
use hansa_region_router::forward::Upstreams;
use hansa_types::id::{GroupId, GroupKind, OrderName};
use hansa_types::region::RegionNumber;

use super::{Own, nodes, part, within};

const DIFFERENCES_DEFAULT: u32 = 100;
const DIFFERENCES_MAX: u32 = 1_000;

fn orders_groups(directory: &Snapshot) -> impl Iterator<Item = GroupId> {
    directory.groups.keys().copied().filter(|group| group.kind() == GroupKind::Orders)
}

pub async fn status<U: Upstreams>(
    own: &Own<U>,
    directory: &Snapshot,
    due: Deadline,
) -> pb::GetRestoreResponse {
    let nodes = nodes(directory);
    let asked = nodes.iter().map(|node| async {
        let mut client = part(&own.upstreams, node.id);
        let request = outgoing(GetNodeRestoreRequest {}, due)?;
        within(due, client.get_node_restore(request)).await
    });
    let mut unknown: Vec<_> = orders_groups(directory).map(GroupId::number).collect();
    let mut groups = BTreeMap::new();
    for told in join_all(asked).await.into_iter().flatten() {
        unknown.retain(|group| !told.ordinary.contains(group));
        for group in told.groups {
            unknown.retain(|known| *known != group.group);
            groups.insert(group.group, group);
        }
    }
    pb::GetRestoreResponse { groups: groups.into_values().collect(), unknown }
}

pub async fn decide<U: Upstreams>(
    own: &Own<U>,
    directory: &Snapshot,
    asked: &pb::SettleRestoreRequest,
    due: Deadline,
) -> Result<u32, Failure> {
    let mut decided = 0;
    for node in nodes(directory) {
        let mut client = part(&own.upstreams, node.id);
        let message = SettleNodeRestoreRequest { decision: asked.decision, key: asked.key.clone() };
        decided += within(due, client.settle_node_restore(outgoing(message, due)?)).await?.decided;
    }
    Ok(decided)
}

/// # Errors
/// A group without an answer of its leader: what it knows may be the newest epoch.
pub async fn origins<U: Upstreams>(
    own: &Own<U>,
    directory: &Snapshot,
    due: Deadline,
) -> Result<Vec<pb::OriginEpoch>, Failure> {
    let (mut origins, mut led) = (Vec::new(), Vec::new());
    for node in nodes(directory) {
        let mut client = part(&own.upstreams, node.id);
        let request = outgoing(ListNodeOriginsRequest {}, due)?;
        let Some(told) = unless_away(within(due, client.list_node_origins(request)).await)? else {
            continue;
        };
        origins.extend(told.origins);
        led.extend(told.groups);
    }
    all_told(directory, &led)?;
    for (number, owner) in &directory.owners {
        let region = directory.region(*number).map(|region| region.name.to_string());
        let region = region.unwrap_or_default();
        origins.push(pb::OriginEpoch { region, group: 0, epoch: owner.epoch, applied_sequence: 0 });
    }
    Ok(origins)
}

/// `None` of a node that is away: its groups have other leaders by now, or will.
fn unless_away<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Err(failure) if failure.reason() == Reason::Unavailable => Ok(None),
        answer => answer.map(Some),
    }
}

/// # Errors
/// `NOT_LEADER` for a group of which no leader was among those that answered.
fn all_told(directory: &Snapshot, led: &[u32]) -> Result<(), Failure> {
    match orders_groups(directory).find(|group| !led.contains(&group.number())) {
        None => Ok(()),
        Some(group) => {
            Err(Failure::new(Reason::NotLeader, format!("no leader of {group} answered")))
        }
    }
}

/// Who owns what was born in each region.
pub fn births(directory: &Snapshot) -> Vec<pb::BirthEpoch> {
    let name = |number: &RegionNumber| {
        directory.region(*number).map(|region| region.name.to_string()).unwrap_or_default()
    };
    let birth = |(birth, of): (&RegionNumber, &Ownership)| pb::BirthEpoch {
        birth_region: name(birth),
        owner_region: name(&of.owner),
        epoch: of.epoch,
    };
    directory.owners.iter().map(birth).collect()
}

pub async fn differences<U: Upstreams>(
    own: &Own<U>,
    directory: &Snapshot,
    asked: &pb::ListDifferencesRequest,
    due: Deadline,
) -> Result<pb::ListDifferencesResponse, Failure> {
    let max = match asked.max {
        0 => DIFFERENCES_DEFAULT,
        max => max.min(DIFFERENCES_MAX),
    };
    let after = asked.page_token.clone();
    if !after.is_empty() && after.parse::<OrderName>().is_err() {
        let why = "the next_page_token of the same query";
        return Err(Failure::field(Reason::PageTokenInvalid, "page_token", why));
    }
    let (mut differences, mut led) = (Vec::new(), Vec::new());
    for node in nodes(directory) {
        let mut client = part(&own.upstreams, node.id);
        let (origin, after) = (asked.origin.clone(), after.clone());
        // One more, which says whether another page follows.
        let message = ListNodeDifferencesRequest { origin, max: max + 1, after };
        let request = outgoing(message, due)?;
        let told = within(due, client.list_node_differences(request)).await;
        let Some(told) = unless_away(told)? else { continue };
        differences.extend(told.differences);
        led.extend(told.groups);
    }
    all_told(directory, &led)?;
    let id = |found: &pb::CopyDifference| found.order.parse::<OrderName>().ok().map(|name| name.id);
    differences.sort_by_cached_key(id);
    let whole = differences.len() <= max as usize;
    differences.truncate(max as usize);
    let last = differences.last().filter(|_| !whole);
    let next_page_token = last.map(|found| found.order.clone()).unwrap_or_default();
    Ok(pb::ListDifferencesResponse { differences, next_page_token })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::directory;

    #[test]
    fn what_nobody_tells_is_not_taken_for_nothing() {
        let directory = directory(1, &[]);
        let of = |kind| GroupId::new(kind, 0).number();
        assert!(all_told(&directory, &[of(GroupKind::Orders)]).is_ok());
        for led in [&[][..], &[of(GroupKind::Inventory)]] {
            let refused = all_told(&directory, led).unwrap_err();
            assert_eq!(refused.reason(), Reason::NotLeader, "it is asked again");
        }
    }
}
