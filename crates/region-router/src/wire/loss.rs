//! Records, drains and fences on the wire and back.

use std::collections::BTreeMap;

use hansa_api::pb::directory as pb;
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;

use super::{name, number};
use crate::core::directory::{
    BadSnapshot, Drain, Fence, Isolation, Kind, Ownership, OwnershipRecord, Proof, REGIONS_MAX,
    Snapshot,
};
use crate::core::standing::Standing;

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
    all_fences(&snapshot.fences)
}

fn all_fences(fences: &BTreeMap<RegionNumber, Fence>) -> Vec<pb::DirectoryFence> {
    let fence = |(birth, fence): (&RegionNumber, &Fence)| pb::DirectoryFence {
        birth_region: birth.get().into(),
        epoch: fence.epoch,
        to_region: fence.to.get().into(),
        wait_ms: fence.wait_ms,
        since_ms: fence.since.0,
    };
    fences.iter().map(fence).collect()
}

/// Who owns what, by name.
pub fn known_pb(
    owners: &BTreeMap<RegionNumber, Ownership>,
    directory: &Snapshot,
) -> Vec<pb::KnownEpoch> {
    let named = |number: RegionNumber| directory.region(number).map(|r| r.name.to_string());
    let known = |(birth, of): (&RegionNumber, &Ownership)| {
        let (birth_region, owner_region) = (named(*birth)?, named(of.owner)?);
        Some(pb::KnownEpoch { birth_region, owner_region, epoch: of.epoch })
    };
    owners.iter().filter_map(known).collect()
}

/// The same back; what names a region that is not known here is left out.
pub fn known_of(
    sent: &[pb::KnownEpoch],
    directory: &Snapshot,
) -> BTreeMap<RegionNumber, Ownership> {
    let number = |text: &str| directory.number(&text.parse().ok()?);
    let known = |sent: &pb::KnownEpoch| {
        let (birth, owner) = (number(&sent.birth_region)?, number(&sent.owner_region)?);
        Some((birth, Ownership { owner, epoch: sent.epoch }))
    };
    sent.iter().take(REGIONS_MAX).filter_map(known).collect()
}

pub fn standing_pb(standing: &Standing, directory: &Snapshot) -> pb::ReadOwnershipResponse {
    let records = standing.records.values().map(|record| record_pb(record, directory));
    pb::ReadOwnershipResponse {
        known: known_pb(&standing.owners, directory),
        fences: all_fences(&standing.fences),
        records: records.collect(),
        lease_ms: standing.isolation.lease_ms().unwrap_or(0),
        regions: u32::try_from(standing.regions).unwrap_or(u32::MAX),
    }
}

/// # Errors
/// A record or a fence of regions that the directory does not know.
pub fn standing_of(
    sent: &pb::ReadOwnershipResponse,
    directory: &Snapshot,
) -> Result<Standing, BadSnapshot> {
    let records = sent.records.iter().map(|record| {
        let record = record_of(record, directory)?;
        Ok((record.birth, record))
    });
    let fences = sent.fences.iter().map(fence_of);
    Ok(Standing {
        owners: known_of(&sent.known, directory),
        fences: fences.collect::<Result<_, BadSnapshot>>()?,
        records: records.collect::<Result<_, BadSnapshot>>()?,
        isolation: match sent.lease_ms {
            0 => Isolation::Serve,
            ms => Isolation::Lease { ms },
        },
        regions: sent.regions as usize,
    })
}

fn fence_of(sent: &pb::DirectoryFence) -> Result<(RegionNumber, Fence), BadSnapshot> {
    let (epoch, to) = (sent.epoch, number(sent.to_region)?);
    let (wait_ms, since) = (sent.wait_ms, LogTime(sent.since_ms));
    Ok((number(sent.birth_region)?, Fence { epoch, to, wait_ms, since }))
}

/// Reads what was sent into a snapshot that knows its regions.
pub(super) fn take(sent: &pb::Directory, snapshot: &mut Snapshot) -> Result<(), BadSnapshot> {
    for region in sent.regions.iter().filter(|region| region.lease_ms > 0) {
        let lease = Isolation::Lease { ms: region.lease_ms };
        snapshot.isolation.insert(number(region.number)?, lease);
    }
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
        let (birth, fence) = fence_of(fence)?;
        snapshot.fences.insert(birth, fence);
    }
    Ok(())
}
