//! A take-over's beginning and its end.

use std::collections::BTreeSet;

use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;

use super::{Birth, Lost, Phase, TakeOver, Taken};
use crate::core::command::Refused;
use crate::core::remote::Origin;
use crate::core::state::State;

impl State {
    /// # Outcomes
    /// `EpochNotNewer`; `NotSettled` while former orders hold here what is to be given back.
    pub(super) fn take_over(&mut self, at: LogTime, take: TakeOver) -> Result<(), Refused> {
        let TakeOver { birth, epoch, from, .. } = take;
        if let Some(row) = self.births.get(birth) {
            let mine = row.owner == self.meta.settings.region;
            if mine && row.epoch == epoch {
                return Ok(());
            }
            if row.epoch >= epoch {
                return Err(Refused::EpochNotNewer);
            }
        } else if birth == self.meta.settings.region && self.meta.settings.epoch >= epoch {
            return Err(Refused::EpochNotNewer);
        }
        if self.goes_on(at, &take) {
            return Ok(());
        }
        if self.gives_back(birth) {
            return Err(Refused::NotSettled);
        }
        self.births.forget_failed(birth);
        let mut take = take;
        let blocked = |(id, _): (&OrderId, _)| id.region() == birth && self.blocked(*id);
        take.complete &= !self.remote.parked.iter().any(blocked);
        let lost = self.missing(from, &take.heard);
        let doubt = self.doubt_after(birth, at, take.loss());
        let floor = self.births.get(birth).map_or(0, |row| row.floor);
        let before = self.births.get(birth).filter(|_| !take.unheard);
        let handed = before.and_then(|row| row.handed);
        let hidden = before.and_then(|row| row.hidden);
        let taken = Some(Taken { take, since: at, settled: None, total: 0, done: 0, lost, floor });
        let (owner, phase) = (self.meta.settings.region, Phase::Adopting);
        let floor = epoch;
        self.births.put(birth, Birth { epoch, owner, phase, floor, taken, doubt, handed, hidden });
        self.count(birth);
        self.unindex();
        Ok(())
    }

    /// The owner itself goes on in a newer epoch, after a failover that was given up: its orders
    /// stay its own as they are. Without a record it came back from a backup, or another one took
    /// itself for the owner meanwhile: what was granted beside it is in doubt. Where another owned
    /// them in an epoch that nobody here heard of before it was over, they are taken over from it.
    fn goes_on(&mut self, at: LogTime, take: &TakeOver) -> bool {
        let (birth, epoch) = (take.birth, take.epoch);
        if take.unheard {
            return false;
        }
        let beside = take.loss().filter(|_| take.record == 0);
        let doubt = self.doubt_after(birth, at, beside);
        let here = self.meta.settings.region;
        let (owner, floor, taken, handed, hidden) = (here, 0, None, None, None);
        let row = match self.births.get(birth) {
            None if birth == here => {
                let phase = Phase::Owned;
                Birth { epoch, owner, phase, floor, taken, doubt, handed, hidden }
            }
            Some(row) if row.held_by(here) => Birth { epoch, doubt, ..row.clone() },
            None | Some(_) => return false,
        };
        self.births.put(birth, row);
        true
    }

    /// What is missing of each of the former owner's streams, as far as anybody heard; and how far
    /// those of everybody else are here: who owned them before that may ask what was told.
    fn missing(&self, from: RegionNumber, heard: &[(Origin, u64)]) -> Vec<Lost> {
        let here = self.remote.cursors.iter().map(|(origin, _)| *origin);
        let told = heard.iter().map(|(origin, _)| *origin).filter(|of| of.region == from);
        let all: BTreeSet<Origin> = here.chain(told).collect();
        let lost = |origin: Origin| {
            let after = self.remote.cursors.get(&origin).map_or(0, |cursor| cursor.applied);
            let marks = heard.iter().filter(|(of, _)| *of == origin).map(|(_, mark)| *mark);
            Lost { origin, after, upto: marks.max().unwrap_or(after).max(after) }
        };
        all.into_iter().map(lost).collect()
    }

    pub(super) fn settled(
        &mut self,
        at: LogTime,
        birth: RegionNumber,
        epoch: u64,
    ) -> Result<(), Refused> {
        let Some(mut row) = self.births.get(birth).filter(|row| row.epoch == epoch).cloned() else {
            return Err(Refused::NotOwner);
        };
        match row.phase {
            Phase::Adopting if self.waiting(birth, 1).is_empty() => {}
            Phase::Owned => return Ok(()),
            _ => return Err(Refused::NotSettled),
        }
        row.phase = Phase::Owned;
        if let Some(taken) = &mut row.taken {
            taken.settled = Some(at);
        }
        self.births.put(birth, row);
        Ok(())
    }
}
