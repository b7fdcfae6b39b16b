//! Region loss: drains, fences and records of ownership. Pure; signatures are the shell's.

use std::collections::BTreeMap;

use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;

use super::apply::Change;
use super::command::Refusal;
use super::ownership::{LEASE_MS_MAX, SUBMIT_MS_MAX};
use super::{Drain, Fence, Isolation, Kind, Ownership, OwnershipRecord, State};
use crate::core::heir;
use crate::core::standing::{Heed, heed};

impl State {
    /// The record is made here: by the old side of a switchover, or by the survivor.
    ///
    /// # Outcomes
    /// Refused: what is no record, an epoch that is not newer, an owner whom the law of those who
    /// live there does not admit, and what its kind asks for and is not there.
    pub(super) fn make_record(
        &mut self,
        at: LogTime,
        record: OwnershipRecord,
        drained: Option<u64>,
    ) -> Change {
        if self.records.get(&record.birth) == Some(&record) {
            return Ok(false);
        }
        record.check()?;
        let now = self.newer(&record)?;
        // Somebody fails over, whatever was planned: a majority may have promised it.
        if let Some(fence) = self.fences.get(&record.birth).copied()
            && fence.epoch >= record.epoch
            && fence.to != record.owner
        {
            return Err(Refusal::Fenced { epoch: fence.epoch, to: fence.to });
        }
        self.heir_is_lawful(record.birth, record.owner)?;
        match record.kind {
            Kind::Switchover | Kind::Failback => self.handed_over(&record, now, drained)?,
            Kind::Failover => self.forced(at, &record, now)?,
        }
        let of = Ownership { owner: record.owner, epoch: record.epoch };
        self.put_record(record, of);
        Ok(true)
    }

    /// The record was made elsewhere, and its signature checked.
    pub(super) fn take_record(&mut self, record: OwnershipRecord) -> Change {
        if self.records.get(&record.birth) == Some(&record) {
            return Ok(false);
        }
        record.check()?;
        self.known(record.owner)?;
        let now = self.known_owner(record.birth)?;
        let birth = &record.birth;
        let have = Ownership { epoch: self.newest(*birth, now), ..now };
        let held = self.records.get(birth);
        let of = match heed(have, held, self.fences.get(birth), &record) {
            Heed::Take(of) => self.not_again(of, record.kind),
            Heed::Fenced(Fence { epoch, to, .. }) => return Err(Refusal::Fenced { epoch, to }),
            Heed::Old => return Err(Refusal::EpochNotNewer { have: have.epoch }),
        };
        self.put_record(record, of);
        Ok(true)
    }

    /// What this region is told that it owns, in an epoch in which it has not written: it came back
    /// from a backup, and may have forgotten what it did in the one that the record names.
    fn not_again(&self, of: Ownership, kind: Kind) -> Ownership {
        let Some(reborn) = self.reborn().filter(|_| self.here() == Some(of.owner)) else {
            return of;
        };
        match kind == Kind::Failover || of.epoch < reborn {
            true => Ownership { epoch: reborn.max(of.epoch.saturating_add(1)), ..of },
            false => of,
        }
    }

    /// The epoch in which this region came back from a backup, if nothing was recorded since.
    fn reborn(&self) -> Option<u64> {
        let here = self.here()?;
        let of = self.owners.get(&here).filter(|of| of.owner == here)?;
        let recorded = self.records.get(&here).map_or(1, |record| record.epoch);
        (of.epoch > recorded).then_some(of.epoch)
    }

    /// The owner of a region's births goes on in a newer epoch without a record: it came back from
    /// a backup.
    pub(super) fn heard_epoch(&mut self, birth: RegionNumber, told: Ownership) -> Change {
        let now = self.known_owner(birth)?;
        if now == told {
            return Ok(false);
        }
        // Only who owns may.
        if now.owner != told.owner || told.epoch <= now.epoch {
            return Err(Refusal::EpochNotNewer { have: now.epoch });
        }
        match self.fences.get(&birth).copied() {
            Some(Fence { epoch, to, .. }) if to != told.owner => {
                return Err(Refusal::Fenced { epoch, to });
            }
            Some(fence) if fence.epoch <= told.epoch => _ = self.fences.remove(&birth),
            Some(_) | None => {}
        }
        self.owners.insert(birth, told);
        Ok(true)
    }

    pub(super) fn drain(&mut self, birth: RegionNumber, to: RegionNumber, epoch: u64) -> Change {
        let now = self.known_owner(birth)?;
        self.known(to)?;
        if now.epoch != epoch || Some(now.owner) != self.here() {
            return Err(Refusal::NotOwner { owner: now.owner, epoch: now.epoch });
        }
        if to == now.owner {
            return Err(Refusal::BadRecord("a drain is to another region"));
        }
        match self.draining.get(&birth) {
            Some(drain) if drain.to == to && drain.epoch == epoch => return Ok(false),
            Some(drain) => return Err(Refusal::Draining { to: drain.to }),
            None => {}
        }
        self.heir_is_lawful(birth, to)?;
        let since = self.version().saturating_add(1);
        self.draining.insert(birth, Drain { to, epoch, since });
        Ok(true)
    }

    /// The drain is given up; its region goes on in its own epoch.
    pub(super) fn undrain(&mut self, birth: RegionNumber, epoch: u64) -> Change {
        match self.draining.get(&birth) {
            Some(drain) if drain.epoch == epoch => {
                self.draining.remove(&birth);
                Ok(true)
            }
            Some(_) | None => Ok(false),
        }
    }

    /// # Outcomes
    /// One epoch is fenced for one region; a newer epoch takes the fence over.
    pub(super) fn fence(&mut self, at: LogTime, birth: RegionNumber, asked: Fence) -> Change {
        let now = self.known_owner(birth)?;
        self.known(asked.to)?;
        if asked.epoch <= now.epoch {
            return Err(Refusal::EpochNotNewer { have: now.epoch });
        }
        if let Some(held) = self.fences.get(&birth) {
            let same = held.epoch == asked.epoch && held.to == asked.to;
            if same && held.wait_ms >= asked.wait_ms {
                return Ok(false);
            }
            if held.epoch >= asked.epoch && !same {
                return Err(Refusal::Fenced { epoch: held.epoch, to: held.to });
            }
        }
        let wait_ms = asked.wait_ms.min(WAIT_MS_MAX);
        self.fences.insert(birth, Fence { wait_ms, since: at, ..asked });
        Ok(true)
    }

    pub(super) fn set_isolation(&mut self, region: RegionNumber, to: Isolation) -> Change {
        self.known(region)?;
        if to.lease_ms().is_some_and(|ms| !(1_000..=LEASE_MS_MAX).contains(&ms)) {
            return Err(Refusal::TooMany("the lease"));
        }
        let held = self.isolation.get(&region).copied().unwrap_or_default();
        if held == to {
            return Ok(false);
        }
        self.isolation.insert(region, to);
        Ok(true)
    }

    /// What a switchover asks for: that its drain is still the one that was seen to end.
    fn handed_over(
        &self,
        record: &OwnershipRecord,
        now: Ownership,
        drained: Option<u64>,
    ) -> Result<(), Refusal> {
        let Some(drain) = self.draining.get(&record.birth) else {
            return Err(Refusal::NotDraining);
        };
        let same = drain.to == record.owner && drain.epoch == record.ends;
        if !same || Some(drain.since) != drained || now.epoch != record.ends {
            return Err(Refusal::NotDraining);
        }
        Ok(())
    }

    /// What a failover asks for: that nobody else writes.
    fn forced(&self, at: LogTime, record: &OwnershipRecord, now: Ownership) -> Result<(), Refusal> {
        // The owner itself goes on in a newer epoch: a failover to another one is given up.
        if Some(record.owner) == self.here() && now.owner == record.owner {
            return Ok(());
        }
        if Some(record.owner) != self.here() {
            return Err(Refusal::BadRecord("a failover is made by the region that takes over"));
        }
        let held = self.fences.get(&record.birth);
        let fence = held.filter(|fence| fence.epoch == record.epoch && fence.to == record.owner);
        let isolation = self.isolation.get(&now.owner).copied().unwrap_or_default();
        if !record.confirmed_stopped && isolation == Isolation::Serve {
            return Err(Refusal::NotConfirmed { owner: now.owner });
        }
        let Some(fence) = fence else { return Err(Refusal::NotFenced) };
        if isolation == Isolation::Serve || record.confirmed_stopped {
            return Ok(());
        }
        let end = fence.since.0.saturating_add(fence.wait_ms);
        match end.saturating_sub(at.0) {
            0 => Ok(()),
            left_ms => Err(Refusal::FenceYoung { left_ms }),
        }
    }

    fn heir_is_lawful(&self, birth: RegionNumber, heir: RegionNumber) -> Result<(), Refusal> {
        let name = |number| self.regions.get(&number).map(|region| &region.name);
        let (Some(policy), Some(birth), Some(heir)) = (&self.policy, name(birth), name(heir))
        else {
            return Err(Refusal::UnknownRegion(heir));
        };
        match heir::lawful(policy, birth, heir) {
            heirs if heirs.served.is_empty() && !heirs.refused.is_empty() => {
                Err(Refusal::NoLawfulRegion {
                    laws: heirs.refused.iter().map(ToString::to_string).collect(),
                })
            }
            _ => Ok(()),
        }
    }

    fn newer(&self, record: &OwnershipRecord) -> Result<Ownership, Refusal> {
        self.known(record.owner)?;
        let now = self.known_owner(record.birth)?;
        let have = self.newest(record.birth, now);
        match record.epoch > have {
            true => Ok(now),
            false => Err(Refusal::EpochNotNewer { have }),
        }
    }

    /// The newest epoch of a region's births, moved slots included.
    fn newest(&self, birth: RegionNumber, whole: Ownership) -> u64 {
        let slots = self.moved.iter().filter(|((region, _), _)| *region == birth);
        slots.map(|(_, of)| of.epoch).fold(whole.epoch, u64::max)
    }

    fn put_record(&mut self, record: OwnershipRecord, of: Ownership) {
        let birth = record.birth;
        self.own_all(birth, of);
        self.draining.remove(&birth);
        // A newer fence is another operator's, who goes beyond this record.
        if self.fences.get(&birth).is_some_and(|fence| fence.epoch <= record.epoch) {
            self.fences.remove(&birth);
        }
        self.records.insert(birth, record);
    }

    pub(crate) fn owners_now(&self) -> BTreeMap<RegionNumber, Ownership> {
        self.owners.iter().map(|(birth, of)| (*birth, *of)).collect()
    }

    pub(crate) fn fences_now(&self) -> BTreeMap<RegionNumber, Fence> {
        self.fences.iter().map(|(birth, fence)| (*birth, *fence)).collect()
    }

    pub(crate) fn records_now(&self) -> BTreeMap<RegionNumber, OwnershipRecord> {
        self.records.iter().map(|(birth, record)| (*birth, record.clone())).collect()
    }

    pub(crate) fn isolation_here(&self) -> Isolation {
        let here = self.here().and_then(|here| self.isolation.get(&here));
        here.copied().unwrap_or_default()
    }

    pub(crate) fn regions_now(&self) -> usize {
        self.regions.iter().count()
    }

    fn known(&self, region: RegionNumber) -> Result<(), Refusal> {
        match self.regions.contains(&region) {
            true => Ok(()),
            false => Err(Refusal::UnknownRegion(region)),
        }
    }

    fn known_owner(&self, birth: RegionNumber) -> Result<Ownership, Refusal> {
        self.owners.get(&birth).copied().ok_or(Refusal::UnknownRegion(birth))
    }
}

/// No fence keeps its record waiting longer.
const WAIT_MS_MAX: u64 = 2 * (LEASE_MS_MAX + SUBMIT_MS_MAX);

#[cfg(test)]
mod tests;
