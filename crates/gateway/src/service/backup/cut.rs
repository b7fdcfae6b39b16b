//! A consistent cut of the region.
//!
//! 1. On every orders group's leader no step of a saga begins any more.
//! 2. Orders and directory are frozen, orders each at or after the index where its pause began.
//! 3. Then every ledger group, at or after an index that shows all that was acknowledged until now.
//! 4. Steps go on; every leader must say that its pause lasted until here, else all of it is done
//!    again.
//!
//! So each effect in a ledger's cut was intended in an orders' cut (nothing began after the pause),
//! and each result in an orders' cut is in a ledger's (which was frozen later). What remains open
//! is what a saga repeats anyway: ADR 0009.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::try_join_all;
use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::ReplicaRole;
use hansa_api::pb::node::{
    FreezeGroupRequest, HoldStepsRequest, ReadIndexRequest, ReleaseStepsRequest,
};
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_region_router::core::directory::Snapshot;
use hansa_region_router::forward::Upstreams;
use hansa_types::id::{GroupId, GroupKind, NodeId};
use tokio::time::Instant;

use super::{Own, part, within};
use crate::service::list_groups;

/// Nobody waits longer for a cut that hangs.
const HOLD_MAX: Duration = Duration::from_secs(3);
const TRIES: u32 = 3;

/// Who leads a group, and who keeps its copy.
#[derive(Clone, Copy)]
struct Seats {
    leader: NodeId,
    keeper: NodeId,
}

type Frozen = Vec<pb::GroupCut>;

pub async fn start<U: Upstreams>(
    own: &Own<U>,
    directory: &Snapshot,
    due: Deadline,
) -> Result<pb::StartBackupResponse, Failure> {
    let here = directory.own_region().ok_or(Reason::Internal)?;
    // Of all births: a restore begins in an epoch that none of them had, and may have to name it
    // where no other region answers.
    let epoch = directory.owners.values().map(|owner| owner.epoch).max().unwrap_or(0);
    let mut last = Failure::of(Reason::Unavailable);
    for _ in 0..TRIES {
        let cut_ms = own.clock.wall().ms();
        let backup = format!("b-{cut_ms}-{:08x}", own.entropy.number() & 0xffff_ffff);
        match cut(own, directory, &backup, due).await {
            Ok((groups, held)) => {
                let held_ms = u64::try_from(held.as_millis()).unwrap_or(u64::MAX);
                return Ok(pb::StartBackupResponse {
                    backup,
                    region: here.name.to_string(),
                    region_number: u32::from(directory.here.get()),
                    epoch,
                    cut_ms,
                    groups,
                    held_ms,
                });
            }
            Err(failure) => {
                tracing::info!(%failure, "cut not made, again");
                own.drop_cut(directory, &backup, due).await;
                last = failure;
            }
        }
    }
    Err(last)
}

async fn cut<U: Upstreams>(
    own: &Own<U>,
    directory: &Snapshot,
    backup: &str,
    due: Deadline,
) -> Result<(Frozen, Duration), Failure> {
    let seats = seats(own, directory, due).await?;
    let due = due.min(Deadline::after(HOLD_MAX));
    let of = |orders: bool| {
        let wanted = move |group: &GroupId| (group.kind() == GroupKind::Orders) == orders;
        seats.iter().filter(move |(group, _)| wanted(group)).map(|(group, seats)| (*group, *seats))
    };
    let began = Instant::now();
    let holds = try_join_all(of(true).map(|(group, seats)| hold(own, group, seats, due))).await;
    // One that began ends by itself after its time.
    let holds = holds?;
    let indexes: BTreeMap<GroupId, u64> =
        holds.iter().map(|(group, _, index)| (*group, *index)).collect();
    let frozen = async {
        let orders = of(true).map(|(group, seats)| {
            let index = indexes.get(&group).copied().unwrap_or(0);
            freeze(own, backup, group, seats, index, due)
        });
        let mut groups = try_join_all(orders).await?;
        let others = of(false).map(|(group, seats)| async move {
            let index = read_index(own, group, seats, due).await?;
            freeze(own, backup, group, seats, index, due).await
        });
        groups.extend(try_join_all(others).await?);
        groups.sort_by_key(|cut| cut.group);
        Ok::<_, Failure>(groups)
    }
    .await;
    let released = holds.iter().map(|(group, hold, _)| {
        let leader = seats.get(group).map(|seats| seats.leader);
        release(own, *group, leader, *hold, due)
    });
    let released = try_join_all(released).await;
    let groups = frozen?;
    match released?.into_iter().all(|lasted| lasted) {
        true => Ok((groups, began.elapsed())),
        false => Err(Failure::new(Reason::Unavailable, "a leader changed during the cut")),
    }
}

/// The leader of each group and a follower, where one is well.
async fn seats<U: Upstreams>(
    own: &Own<U>,
    directory: &Snapshot,
    due: Deadline,
) -> Result<BTreeMap<GroupId, Seats>, Failure> {
    let mut seats = BTreeMap::new();
    let groups = list_groups::ask(&own.upstreams, directory, due).await;
    // A part is in the copy of the group in which it lies.
    for group in groups.into_iter().filter(|group| group.part_of == 0) {
        let Some(id) = GroupId::from_number(group.group) else { continue };
        let well = group.replicas.iter().filter(|replica| replica.reachable);
        let leads = well.clone().filter(|replica| replica.role() == ReplicaRole::Leader);
        let leader = leads.max_by_key(|replica| replica.term).ok_or_else(|| {
            Failure::new(Reason::Unavailable, format!("{id} has no leader now"))
                .retry_after(Duration::from_secs(1))
        })?;
        let follows = well.filter(|replica| replica.role() == ReplicaRole::Follower);
        let keeper = follows.max_by_key(|replica| replica.applied_index).unwrap_or(leader);
        seats.insert(id, Seats { leader: NodeId(leader.node), keeper: NodeId(keeper.node) });
    }
    Ok(seats)
}

async fn hold<U: Upstreams>(
    own: &Own<U>,
    group: GroupId,
    seats: Seats,
    due: Deadline,
) -> Result<(GroupId, u64, u64), Failure> {
    let mut client = part(&own.upstreams, seats.leader);
    let hold_ms = u64::try_from(HOLD_MAX.as_millis()).unwrap_or(u64::MAX);
    let request = outgoing(HoldStepsRequest { group: group.number(), hold_ms }, due)?;
    let held = within(due, client.hold_steps(request)).await?;
    Ok((group, held.hold, held.index))
}

async fn release<U: Upstreams>(
    own: &Own<U>,
    group: GroupId,
    leader: Option<NodeId>,
    hold: u64,
    due: Deadline,
) -> Result<bool, Failure> {
    let leader = leader.ok_or(Reason::Internal)?;
    let mut client = part(&own.upstreams, leader);
    let request = outgoing(ReleaseStepsRequest { group: group.number(), hold }, due)?;
    Ok(within(due, client.release_steps(request)).await?.held)
}

async fn read_index<U: Upstreams>(
    own: &Own<U>,
    group: GroupId,
    seats: Seats,
    due: Deadline,
) -> Result<u64, Failure> {
    let mut client = part(&own.upstreams, seats.leader);
    let request = outgoing(ReadIndexRequest { group: group.number() }, due)?;
    Ok(within(due, client.read_index(request)).await?.index)
}

async fn freeze<U: Upstreams>(
    own: &Own<U>,
    backup: &str,
    group: GroupId,
    seats: Seats,
    min_index: u64,
    due: Deadline,
) -> Result<pb::GroupCut, Failure> {
    let mut client = part(&own.upstreams, seats.keeper);
    let (backup, group) = (backup.to_owned(), group.number());
    let request = outgoing(FreezeGroupRequest { backup, group, min_index }, due)?;
    let frozen = within(due, client.freeze_group(request)).await?;
    frozen.cut.ok_or_else(|| Failure::of(Reason::Internal))
}
