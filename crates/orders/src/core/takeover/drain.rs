//! A planned change of owner: nothing new is taken, what runs ends or waits, and then nothing of
//! these births changes any more.

use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;

use super::{Birth, Phase};
use crate::core::command::Refused;
use crate::core::state::State;

/// How long steps that were under way may take to end. What has not ended then waits: it is
/// repeated by the new owner, under the same keys.
pub const DRAIN_MAX_MS: u64 = 10_000;

impl State {
    /// The row of births that are owned here in this epoch.
    fn row_in(&self, birth: RegionNumber, epoch: u64) -> Result<Birth, Refused> {
        let own = birth == self.meta.settings.region;
        let row = self.births.get(birth).cloned().or_else(|| {
            own.then_some(Birth {
                epoch: self.meta.settings.epoch,
                owner: birth,
                phase: Phase::Owned,
                floor: 0,
                taken: None,
                doubt: None,
                handed: None,
                hidden: None,
            })
        });
        match row {
            Some(row) if row.epoch == epoch && !matches!(row.phase, Phase::Elsewhere { .. }) => {
                Ok(row)
            }
            _ => Err(Refused::NotOwner),
        }
    }

    pub(super) fn drain(
        &mut self,
        at: LogTime,
        birth: RegionNumber,
        epoch: u64,
        (to, drain): (RegionNumber, u64),
    ) -> Result<(), Refused> {
        let row = self.row_in(birth, epoch)?;
        match row.phase {
            Phase::Owned => {}
            // Copies that wait would be lost to who comes next.
            Phase::Adopting => return Err(Refused::NotSettled),
            Phase::Draining { to: before, drain: known, .. }
            | Phase::Drained { to: before, drain: known, .. }
                if drain <= known =>
            {
                // An older one has ended, whatever who asks knows.
                let same = (before, known) == (to, drain);
                return if same { Ok(()) } else { Err(Refused::NotSettled) };
            }
            // Another drain, and nobody here heard that the one before was given up.
            Phase::Draining { work_upto, since, .. } => {
                let phase = Phase::Draining { to, work_upto, since, drain };
                self.births.put(birth, Birth { phase, ..row });
                return Ok(());
            }
            Phase::Drained { last, .. } => {
                self.births.put(birth, Birth { phase: Phase::Drained { to, last, drain }, ..row });
                return Ok(());
            }
            Phase::Elsewhere { .. } => return Err(Refused::NotOwner),
        }
        let phase = Phase::Draining { to, work_upto: self.meta.next_work, since: at, drain };
        self.births.put(birth, Birth { phase, ..row });
        Ok(())
    }

    /// # Outcomes
    /// `NotSettled` while a step is under way that was decided before the drain, for at most
    /// [`DRAIN_MAX_MS`].
    pub(super) fn drained(&mut self, birth: RegionNumber, epoch: u64) -> Result<(), Refused> {
        let row = self.row_in(birth, epoch)?;
        let Phase::Draining { to, since, drain, .. } = row.phase else {
            let done = matches!(row.phase, Phase::Drained { .. });
            return if done { Ok(()) } else { Err(Refused::NotSettled) };
        };
        let patient = self.meta.now < since.plus_ms(DRAIN_MAX_MS);
        if patient && self.running(birth) > 0 {
            return Err(Refused::NotSettled);
        }
        let phase = Phase::Drained { to, last: self.meta.seq, drain };
        self.births.put(birth, Birth { phase, ..row });
        self.unindex();
        Ok(())
    }

    /// # Outcomes
    /// `NotSettled` from who knows the directory only as it was before the drain.
    pub(super) fn undrain(
        &mut self,
        birth: RegionNumber,
        epoch: u64,
        seen: u64,
    ) -> Result<(), Refused> {
        let row = self.row_in(birth, epoch)?;
        let (Phase::Draining { drain, .. } | Phase::Drained { drain, .. }) = row.phase else {
            return Ok(());
        };
        if seen < drain {
            return Err(Refused::NotSettled);
        }
        // Somebody may have said meanwhile that an order goes on here.
        let phase = match self.to_own_again(birth).next() {
            Some(_) => Phase::Adopting,
            None => Phase::Owned,
        };
        self.births.put(birth, Birth { phase, ..row });
        self.reindex(birth);
        Ok(())
    }

    /// Steps of draining births that were decided before and have not ended.
    pub fn running(&self, birth: RegionNumber) -> usize {
        let Some(Birth { phase: Phase::Draining { work_upto, .. }, .. }) = self.births.get(birth)
        else {
            return 0;
        };
        self.work_of_upto(*work_upto).filter(|(_, id)| id.region() == birth).count()
    }
}
