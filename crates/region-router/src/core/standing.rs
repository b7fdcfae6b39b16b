//! What a region knows of who owns what, against what another one says.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use hansa_types::region::RegionNumber;

use super::directory::{Fence, Isolation, Kind, Ownership, OwnershipRecord, Snapshot, State};

/// Owners, promises and records, as of one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    pub owners: BTreeMap<RegionNumber, Ownership>,
    pub fences: BTreeMap<RegionNumber, Fence>,
    pub records: BTreeMap<RegionNumber, OwnershipRecord>,
    /// What this region does while it is cut off.
    pub isolation: Isolation,
    /// How many regions the league has.
    pub regions: usize,
}

impl Standing {
    pub fn of(snapshot: &Snapshot) -> Self {
        let Snapshot { owners, fences, records, .. } = snapshot;
        Self {
            owners: owners.clone(),
            fences: fences.clone(),
            records: records.clone(),
            isolation: snapshot.isolation(snapshot.here),
            regions: snapshot.regions.len(),
        }
    }

    /// Whether the region may go on in the epoch in which it says that it owns: nobody else is
    /// known to own, nothing newer is known, and nothing is promised to another one.
    ///
    /// An epoch beyond what is known is one after a restore, or one whose record is on its way: a
    /// new owner's counts only with a promise.
    pub fn renews(&self, birth: RegionNumber, asked: Ownership) -> bool {
        let Some(known) = self.owners.get(&birth) else { return false };
        let goes_on = known.owner == asked.owner && known.epoch <= asked.epoch;
        match self.fences.get(&birth) {
            None => goes_on,
            Some(fence) if fence.to != asked.owner => false,
            Some(fence) => fence.epoch == asked.epoch || (goes_on && fence.epoch < asked.epoch),
        }
    }

    /// The records that whoever says `theirs` lacks: of a newer epoch, or of another owner.
    pub fn news<'a>(
        &'a self,
        theirs: &'a BTreeMap<RegionNumber, Ownership>,
    ) -> impl Iterator<Item = &'a OwnershipRecord> + 'a {
        let lacks = |record: &&OwnershipRecord| {
            theirs
                .get(&record.birth)
                .is_none_or(|known| known.epoch < record.epoch || known.owner != record.owner)
        };
        self.records.values().filter(lacks)
    }

    /// What taking in this record would change, if anything.
    pub fn heeds(&self, told: &OwnershipRecord) -> Heed {
        let birth = &told.birth;
        match self.owners.get(birth) {
            Some(now) => heed(*now, self.records.get(birth), self.fences.get(birth), told),
            None => Heed::Old,
        }
    }

    /// Newer epochs of the owners that are known here, which no record tells of: a region came back
    /// from a backup, or what it said then was settled.
    pub fn goes_on(
        &self,
        theirs: &BTreeMap<RegionNumber, Ownership>,
    ) -> Vec<(RegionNumber, Ownership)> {
        let newer = |(birth, told): &(&RegionNumber, &Ownership)| {
            let fence = self.fences.get(birth);
            self.owners
                .get(birth)
                .is_some_and(|now| now.epoch < told.epoch && now.owner == told.owner)
                && fence.is_none_or(|fence| fence.to == told.owner)
        };
        theirs.iter().filter(newer).map(|(birth, told)| (*birth, *told)).collect()
    }
}

/// What a record from elsewhere means here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heed {
    /// It is taken, and this is owned from then on.
    Take(Ownership),
    /// Its epoch is promised to another region.
    Fenced(Fence),
    Old,
}

/// Judges a record by who is known to own, the newest record that is known, and what is promised.
///
/// An epoch that no record tells of is a claim: a region came back from a backup, and what it does
/// not remember may have been given to another one. A record of another owner beats it. Of two
/// records of one epoch one wins by a rule that everybody applies alike. The winner goes on in an
/// epoch that nobody wrote in.
pub fn heed(
    now: Ownership,
    held: Option<&OwnershipRecord>,
    fence: Option<&Fence>,
    told: &OwnershipRecord,
) -> Heed {
    let of = Ownership { owner: told.owner, epoch: told.epoch };
    if let Some(fence) = fence.filter(|f| f.epoch == told.epoch && f.to != told.owner) {
        return Heed::Fenced(*fence);
    }
    if told.epoch > now.epoch {
        return Heed::Take(of);
    }
    let recorded = held.map_or(1, |held| held.epoch);
    if now.owner == told.owner {
        // The owner is known by hearsay: this says why.
        return if told.epoch > recorded { Heed::Take(now) } else { Heed::Old };
    }
    let wins = match told.epoch.cmp(&recorded) {
        Ordering::Greater => true,
        Ordering::Equal => held.is_some_and(|held| rank(told) < rank(held)),
        Ordering::Less => false,
    };
    match wins {
        true => Heed::Take(Ownership { epoch: now.epoch.saturating_add(1), ..of }),
        false => Heed::Old,
    }
}

/// Which of two records of one epoch stands: what was fenced before what was planned, then what was
/// signed first.
fn rank(record: &OwnershipRecord) -> (bool, u64, u128) {
    (record.kind != Kind::Failover, record.time_ms, record.hash().0)
}

impl State {
    /// What is known of who owns what, without the rest of the directory.
    pub fn standing(&self) -> Standing {
        Standing {
            owners: self.owners_now(),
            fences: self.fences_now(),
            records: self.records_now(),
            isolation: self.isolation_here(),
            regions: self.regions_now(),
        }
    }
}

#[cfg(test)]
mod tests;
