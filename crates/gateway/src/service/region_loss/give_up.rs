//! The owner goes on itself in a newer epoch: a failover to another region is given up.
//!
//! That region may own already, and what it granted would be carried out here once more. So every
//! other region says that it knows of no other owner, before and after it has promised the new
//! epoch to this one: who has promised it makes no record of an older epoch any more. Policies may
//! differ while regions are cut off from each other, so it is not asked who would be lawful.

use futures::future::join_all;
use hansa_api::pb::directory::{
    KnownEpoch, OwnershipRecord as Signed, RenewEpochsRequest, RenewEpochsResponse,
};
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_region_router::core::directory::{OwnershipRecord, Snapshot};
use hansa_region_router::forward::Upstreams;
use hansa_region_router::ownership;
use hansa_types::region::RegionName;

use super::failover::ask;
use super::{Own, here, refused};

/// Nothing, once nobody else owns nor will by an older epoch, or the record doubts it.
///
/// # Errors
/// `OWNERSHIP_REFUSED` while a region does not answer and the record does not doubt; `EPOCH_ENDED`
/// where another one owns.
pub(super) async fn nobody_else_owns<U: Upstreams>(
    own: &Own<U>,
    now: &Snapshot,
    record: &OwnershipRecord,
    signed: &Signed,
    due: Deadline,
) -> Result<(), Failure> {
    let others = now.regions.iter().filter(|(number, _)| **number != now.here);
    let others: Vec<RegionName> = others.map(|(_, region)| region.name.clone()).collect();
    // Who is away must not use up the time of the rest.
    let each = || Deadline::after(due.remaining().unwrap_or_default() / 4).min(due);
    // First without a promise: what is refused leaves nothing behind.
    heard(record, now, known(own, now, &others, record, each()).await?)?;
    heard(record, now, ask(own, &others, signed, None, each()).await?.not)?;
    heard(record, now, known(own, now, &others, record, each()).await?)
}

/// Whether its groups take what they do not know for another owner's: it ends an epoch that none
/// of them has followed into, so they take over from whoever owned in that, and doubt.
fn doubts(record: &OwnershipRecord, now: &Snapshot) -> bool {
    let held = now.owners.get(&record.birth).map_or(0, |of| of.epoch);
    record.confirmed_stopped && record.ends > held
}

fn heard(record: &OwnershipRecord, now: &Snapshot, silent: Vec<String>) -> Result<(), Failure> {
    if silent.is_empty() || doubts(record, now) {
        return Ok(());
    }
    Err(refused(format!(
        "no answer from {}: who does not answer may own already, and would do what is done here, \
         too. A failover is given up where every other region says that it knows of no other \
         owner: bring them back and repeat; or see that their machines are off and repeat with \
         --confirm-stopped, and what nobody here knows is in doubt then",
        silent.join(", ")
    )))
}

/// Asks the others' directories whether somebody else owns; who does not answer.
async fn known<U: Upstreams>(
    own: &Own<U>,
    now: &Snapshot,
    others: &[RegionName],
    record: &OwnershipRecord,
    due: Deadline,
) -> Result<Vec<String>, Failure> {
    let birth = now.region(record.birth).ok_or(Reason::UnknownRegion)?.name.to_string();
    // A renewal is answered from a linearizable read, with the record of any other owner.
    let epoch = KnownEpoch { birth_region: birth, owner_region: here(now), epoch: record.epoch };
    let request = RenewEpochsRequest { region: here(now), epochs: vec![epoch] };
    let asked =
        others.iter().map(|region| ownership::renew(&own.upstreams, region, request.clone(), due));
    let recorded = now.records.get(&record.birth).map_or(0, |held| held.epoch);
    let mut silent = Vec::new();
    for (region, answer) in others.iter().zip(join_all(asked).await) {
        match answer {
            Ok(told) => nobody_newer(&told, recorded, now, region)?,
            Err(failure) => silent.push(format!("{region} ({failure})")),
        }
    }
    Ok(silent)
}

fn nobody_newer(
    told: &RenewEpochsResponse,
    recorded: u64,
    now: &Snapshot,
    region: &RegionName,
) -> Result<(), Failure> {
    let own = here(now);
    let other = |of: &&Signed| of.owner_region != own && of.epoch >= recorded;
    let Some(of) = told.records.iter().find(other) else { return Ok(()) };
    let why = format!(
        "{region} says that {} owns what was born in {} since epoch {}: there is nothing to give \
         up, bring it home with `region failback`",
        of.owner_region, of.birth_region, of.epoch
    );
    Err(Failure::new(Reason::EpochEnded, why))
}

#[cfg(test)]
mod tests;
