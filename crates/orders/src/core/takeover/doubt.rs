//! What a lost owner may have granted and nobody else heard of: no honest answer but "in doubt", at
//! whoever owns the births since, until no repeat can come any more.
//!
//! Every group keeps it of every region's births, from its own log: a planned change of owner later
//! on ends no doubt, nor does a policy that moves the customers.

use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use super::{Birth, Phase, Taken};
use crate::core::command::Refused;
use crate::core::keys::{Key, Seen};
use crate::core::state::State;

/// An owner ended without having told everything.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Loss {
    /// When the record was signed, wall clock ms; 0 for an epoch without one.
    pub record_ms: u64,
    /// How far clocks may be apart.
    pub skew_ms: u64,
}

/// Requests about which nobody can say whether they were granted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Doubt {
    /// What was first sent after this wall clock ms, nobody lost had heard.
    pub sent_upto_ms: u64,
    /// What was heard then is repeated no later.
    pub until: LogTime,
}

impl Doubt {
    /// The record was signed before the former owner had stopped: until this group hears of it, it
    /// may have granted what nobody here heard of.
    pub(super) fn of(loss: Loss, at: LogTime, key_ttl_ms: u64) -> Self {
        let stopped_ms = loss.record_ms.max(at.ms());
        let sent_upto_ms = stopped_ms.saturating_add(loss.skew_ms);
        Self { sent_upto_ms, until: at.plus_ms(key_ttl_ms) }
    }

    /// Both of them.
    pub(super) fn and(self, other: Option<Self>) -> Self {
        let Some(other) = other else { return self };
        Self {
            sent_upto_ms: self.sent_upto_ms.max(other.sent_upto_ms),
            until: self.until.max(other.until),
        }
    }
}

impl Taken {
    /// What was first sent after this wall clock ms is known to nobody before this group.
    fn sent_upto_ms(&self) -> u64 {
        let take = &self.take;
        take.record_ms.max(self.since.ms()).saturating_add(take.skew_ms)
    }

    /// What is missing of what the former owner granted.
    pub(super) fn doubt(&self, key_ttl_ms: u64) -> Doubt {
        let (record_ms, skew_ms) = (self.take.record_ms, self.take.skew_ms);
        Doubt::of(Loss { record_ms, skew_ms }, self.since, key_ttl_ms)
    }
}

impl State {
    /// What is in doubt about these births once their owner has changed.
    pub(super) fn doubt_after(
        &self,
        birth: RegionNumber,
        at: LogTime,
        loss: Option<Loss>,
    ) -> Option<Doubt> {
        let before = self.births.get(birth).and_then(|row| row.doubt);
        let ttl = self.meta.settings.key_ttl_ms;
        loss.map(|loss| Doubt::of(loss, at, ttl).and(before)).or(before)
    }

    /// Whether their owner's word on what it doubts says more than is known here; `None` where this
    /// group has not followed to its epoch, or is beyond it.
    pub fn hears_doubt(&self, birth: RegionNumber, epoch: u64, doubt: Doubt) -> Option<bool> {
        let row = self.births.get(birth).filter(|row| row.epoch == epoch)?;
        let here = self.meta.settings.region;
        let more = doubt.until > self.meta.now && Some(doubt.and(row.doubt)) != row.doubt;
        Some(more && !row.held_by(here))
    }

    /// # Outcomes
    /// `EpochNotNewer` of another epoch than the one that is known here.
    pub(super) fn hear_doubt(
        &mut self,
        birth: RegionNumber,
        epoch: u64,
        doubt: Doubt,
    ) -> Result<(), Refused> {
        let more = self.hears_doubt(birth, epoch, doubt).ok_or(Refused::EpochNotNewer)?;
        if let Some(row) = self.births.get(birth).filter(|_| more).cloned() {
            self.births.put(birth, Birth { doubt: Some(doubt.and(row.doubt)), ..row });
        }
        Ok(())
    }

    /// Whether anything here may be answered with doubt, and so asks when it was first sent.
    pub fn asks_when_sent(&self) -> bool {
        let doubts = |row: &Birth| row.taken.is_some() || row.doubt.is_some();
        self.restored.is_some() || self.births.iter().any(|(_, row)| doubts(row))
    }

    /// What is in doubt now of an unknown request about these births, whoever owns them.
    pub fn doubted(&self, birth: RegionNumber) -> Option<Doubt> {
        self.births.get(birth)?.doubt.filter(|doubt| self.meta.now < doubt.until)
    }

    /// Why an unknown request about births that were taken over has no answer here, if it has none.
    pub(in crate::core) fn doubts(
        &self,
        birth: RegionNumber,
        key: Key,
        first_sent_ms: Option<u64>,
        places: bool,
    ) -> Option<Refused> {
        // Whoever owns them knows better.
        let open = self.births.get(birth).is_some_and(Birth::open);
        if !open || !matches!(self.keys.seen(key), Seen::Never) {
            return None;
        }
        self.doubts_of(birth, first_sent_ms, places)
    }

    /// The same of a request that nobody here knows, wherever the births are.
    pub fn doubts_of(
        &self,
        birth: RegionNumber,
        first_sent_ms: Option<u64>,
        places: bool,
    ) -> Option<Refused> {
        let row = self.births.get(birth)?;
        let newer = |bound: u64| first_sent_ms.is_some_and(|sent| sent > bound);
        let taken = row.taken.as_ref().filter(|_| row.phase == Phase::Adopting);
        // The copy that knows of it may wait still.
        if places && taken.is_some_and(|taken| !newer(taken.sent_upto_ms())) {
            return Some(Refused::NotOwner);
        }
        let doubt = self.doubted(birth)?;
        (!newer(doubt.sent_upto_ms)).then_some(Refused::InDoubt)
    }
}
