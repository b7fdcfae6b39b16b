//! Planned: drain, ship to the last sequence, hand over.

use hansa_api::pb::admin as pb;
use hansa_api::pb::node::{BirthPhase, GroupTakeover};
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_region_router::core::directory::{Command, Drain, Kind, OwnershipRecord, Snapshot};
use hansa_region_router::forward::Upstreams;

use super::super::replication::outgoing_streams;
use super::{Held, Own, change_directory, check_laws, held, record, refused, spread};

/// # Errors
/// `OWNERSHIP_REFUSED` with what is missing, `NO_LAWFUL_REGION`, `EPOCH_ENDED`; those of the
/// directory.
pub(super) async fn run<U: Upstreams>(
    own: &Own<U>,
    request: pb::SwitchoverRequest,
    due: Deadline,
) -> Result<pb::SwitchoverResponse, Failure> {
    let now = own.directory()?;
    let record = record(request.record, &now)?;
    if now.records.get(&record.birth) == Some(&record) {
        return Ok(recorded(own, &record, due).await);
    }
    if record.kind == Kind::Failover {
        let why = "a failover is asked of the region that takes over";
        return Err(Failure::field(Reason::FieldInvalid, "record", why));
    }
    check_laws(&now, &record, request.accept_refused_laws)?;
    let drain = begin(own, &now, &record, due).await?;
    let now = own.directory()?;
    let standing = standing(own, &now, &record, due).await?;
    if standing.step() != pb::SwitchoverStep::Recorded {
        return Ok(standing.answer(&record));
    }
    let drained = Some(drain.since);
    let command = Command::MakeRecord { record: Box::new(record.clone()), drained };
    change_directory(&own.upstreams, &own.book, &now, &command, due).await?;
    Ok(recorded(own, &record, due).await)
}

/// # Errors
/// `UNKNOWN_REGION`; those of the directory.
pub(super) async fn cancel<U: Upstreams>(
    own: &Own<U>,
    request: &pb::CancelSwitchoverRequest,
    due: Deadline,
) -> Result<pb::CancelSwitchoverResponse, Failure> {
    let now = own.directory()?;
    let birth = now.number_of(&request.birth_region).ok_or(Reason::UnknownRegion)?;
    let epoch = now.owners.get(&birth).map_or(0, |of| of.epoch);
    let command = Command::Undrain { birth, epoch };
    let changed = change_directory(&own.upstreams, &own.book, &now, &command, due).await?;
    Ok(pb::CancelSwitchoverResponse { cancelled: changed.changed, epoch })
}

/// The drain for this record, begun if it was not.
async fn begin<U: Upstreams>(
    own: &Own<U>,
    now: &Snapshot,
    record: &OwnershipRecord,
    due: Deadline,
) -> Result<Drain, Failure> {
    let OwnershipRecord { birth, owner: to, ends: epoch, .. } = *record;
    let command = Command::Drain { birth, to, epoch };
    change_directory(&own.upstreams, &own.book, now, &command, due).await?;
    let now = own.directory()?;
    let fits = |drain: &&Drain| drain.to == to && drain.epoch == epoch;
    let behind = || Failure::new(Reason::Unavailable, "this gateway has not seen the drain yet");
    now.draining.get(&birth).filter(fits).copied().ok_or_else(behind)
}

async fn recorded<U: Upstreams>(
    own: &Own<U>,
    record: &OwnershipRecord,
    due: Deadline,
) -> pb::SwitchoverResponse {
    let spread = spread::run(own, due).await;
    pb::SwitchoverResponse {
        step: pb::SwitchoverStep::Recorded.into(),
        epoch: record.epoch,
        told_regions: spread.told,
        untold_regions: spread.untold,
        ..pb::SwitchoverResponse::default()
    }
}

/// How far the hand-over is.
struct Standing {
    groups: u32,
    drained: u32,
    shipped: u32,
    running: u64,
    to_ship: u64,
    waits: Vec<String>,
}

async fn standing<U: Upstreams>(
    own: &Own<U>,
    now: &Snapshot,
    record: &OwnershipRecord,
    due: Deadline,
) -> Result<Standing, Failure> {
    let Held { groups: told, silent, .. } = held(own, now, due).await;
    let peer = now.region(record.owner).map(|r| r.name.to_string()).unwrap_or_default();
    let birth = now.region(record.birth).map(|r| r.name.to_string()).unwrap_or_default();
    let acknowledged = outgoing_streams(own, now, due).await;
    let all = now.groups.keys().filter(|g| g.kind() == hansa_types::id::GroupKind::Orders);
    let mut standing = Standing {
        groups: 0,
        drained: 0,
        shipped: 0,
        running: 0,
        to_ship: 0,
        waits: Vec::new(),
    };
    for group in all {
        standing.groups += 1;
        let Some(of) = told.iter().find(|told| told.group == group.number()) else {
            let who = if silent.is_empty() { "no leader".to_owned() } else { silent.join(", ") };
            standing.waits.push(format!("{group}: nobody answers for it ({who})"));
            continue;
        };
        let acknowledged = acknowledged.iter().find(|(number, to, epoch, _)| {
            *number == group.number() && *to == peer && *epoch == of.stream_epoch
        });
        standing.add(of, &birth, acknowledged.map_or(0, |(.., sequence)| *sequence));
    }
    match standing.groups {
        0 => Err(refused("the region has no orders groups")),
        _ => Ok(standing),
    }
}

impl Standing {
    fn add(&mut self, group: &GroupTakeover, birth: &str, acknowledged: u64) {
        let name = &group.name;
        let Some(of) = group.births.iter().find(|of| of.birth == birth) else {
            self.waits.push(format!("{name}: knows nothing of {birth} yet"));
            return;
        };
        self.running += of.running_steps;
        if of.phase() != BirthPhase::Drained {
            let why = match of.phase() {
                BirthPhase::Draining => format!("{} steps run", of.running_steps),
                _ => "has not begun to drain".to_owned(),
            };
            self.waits.push(format!("{name}: {why}"));
            return;
        }
        self.drained += 1;
        let left = of.last_sequence.saturating_sub(acknowledged);
        self.to_ship += left;
        match left {
            0 => self.shipped += 1,
            left => self.waits.push(format!("{name}: {left} events to ship")),
        }
    }

    fn step(&self) -> pb::SwitchoverStep {
        if self.shipped == self.groups {
            pb::SwitchoverStep::Recorded
        } else if self.drained == self.groups {
            pb::SwitchoverStep::Shipping
        } else {
            pb::SwitchoverStep::Draining
        }
    }

    fn answer(&self, record: &OwnershipRecord) -> pb::SwitchoverResponse {
        let step = self.step();
        let shipping = step == pb::SwitchoverStep::Shipping;
        pb::SwitchoverResponse {
            step: step.into(),
            groups: self.groups,
            groups_done: if shipping { self.shipped } else { self.drained },
            running_steps: self.running,
            events_to_ship: self.to_ship,
            detail: self.waits.join("; "),
            epoch: record.epoch,
            ..pb::SwitchoverResponse::default()
        }
    }
}
