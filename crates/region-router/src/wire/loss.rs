//! Records, drains and fences on the wire and back.

use hansa_api::pb::directory as pb;
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;

use super::{name, number};
use crate::core::directory::{
    BadSnapshot, Drain, Fence, Kind, OwnershipRecord, Proof, Snapshot,
};

/// A record as others read it and as it was signed: by the names of regions.
pub fn record_pb(record: &OwnershipRecord, directory: &Snapshot) -> pb::OwnershipRecord {
    let named = |number: RegionNumber| {
        directory.region(number).map(|region| region.name.to_string()).unwrap_or_default()
    };
    let Proof { chain, scheme, signature } = &record.proof;
    pb::OwnershipRecord {
        birth_region: named(record.birth),
        owner_region: named(record.owner),
        epoch: record.epoch,
        ends_epoch: record.ends,
        kind: record.kind.as_str().to_owned(),
        confirmed_stopped: record.confirmed_stopped,
        reason: record.reason.clone(),
        ticket: record.ticket.clone(),
        time_ms: record.time_ms,
        signed_by: record.by.clone(),
        certificates: chain.iter().map(|der| der.clone().into()).collect(),
        scheme: (*scheme).into(),
        signature: signature.clone().into(),
    }
}

/// # Errors
/// A region that the directory does not know, or a kind that there is not.
pub fn record_of(
    sent: &pb::OwnershipRecord,
    directory: &Snapshot,
) -> Result<OwnershipRecord, BadSnapshot> {
    let region = |text: &str| -> Result<RegionNumber, BadSnapshot> {
        directory.number(&name(text)?).ok_or(BadSnapshot("a record's region is missing"))
    };
    Ok(OwnershipRecord {
        birth: region(&sent.birth_region)?,
        owner: region(&sent.owner_region)?,
        epoch: sent.epoch,
        ends: sent.ends_epoch,
        kind: Kind::parse(&sent.kind).ok_or(BadSnapshot("a record's kind"))?,
        confirmed_stopped: sent.confirmed_stopped,
        reason: sent.reason.clone(),
        ticket: sent.ticket.clone(),
        time_ms: sent.time_ms,
        by: sent.signed_by.clone(),
        proof: Proof {
            chain: sent.certificates.iter().map(|der| der.to_vec()).collect(),
            scheme: sent.scheme.try_into().map_err(|_| BadSnapshot("a record's scheme"))?,
            signature: sent.signature.to_vec(),
        },
    })
}

pub(super) fn drains_pb(snapshot: &Snapshot) -> Vec<pb::DirectoryDrain> {
    let drain = |(birth, drain): (&RegionNumber, &Drain)| pb::DirectoryDrain {
        birth_region: birth.get().into(),
        to_region: drain.to.get().into(),
        epoch: drain.epoch,
        since_version: drain.since,
    };
    snapshot.draining.iter().map(drain).collect()
}

pub(super) fn fences_pb(snapshot: &Snapshot) -> Vec<pb::DirectoryFence> {
    let fence = |(birth, fence): (&RegionNumber, &Fence)| pb::DirectoryFence {
        birth_region: birth.get().into(),
        epoch: fence.epoch,
        to_region: fence.to.get().into(),
        wait_ms: fence.wait_ms,
        since_ms: fence.since.0,
    };
    snapshot.fences.iter().map(fence).collect()
}

/// Reads what was sent into a snapshot that knows its regions.
pub(super) fn take(sent: &pb::Directory, snapshot: &mut Snapshot) -> Result<(), BadSnapshot> {
    for record in &sent.records {
        let record = record_of(record, snapshot)?;
        snapshot.records.insert(record.birth, record);
    }
    for drain in &sent.drains {
        let (to, since) = (number(drain.to_region)?, drain.since_version);
        let drained = Drain { to, epoch: drain.epoch, since };
        snapshot.draining.insert(number(drain.birth_region)?, drained);
    }
    for fence in &sent.fences {
        let (epoch, to) = (fence.epoch, number(fence.to_region)?);
        let (wait_ms, since) = (fence.wait_ms, LogTime(fence.since_ms));
        let fenced = Fence { epoch, to, wait_ms, since };
        snapshot.fences.insert(number(fence.birth_region)?, fenced);
    }
    Ok(())
}
