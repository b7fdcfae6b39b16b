//! A move before it is decided: what is brought, and what becomes of it if he never arrives.

use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;

use super::apply::SKEW_MS;
use super::{BLOCKS_MAX, CALLED_OFF_MAX, CalledOff, Carry, HOLD_MS, Keep, Kept};
use crate::core::command::Refused;
use crate::core::keys::Scope;
use crate::core::state::State;
use crate::core::subjects::{KeyOf, KeyState, Next, SubjectId, first_generation};

impl State {
    /// The newest request is the one that moves him: it looks at everything again.
    pub(super) fn begin_carry(
        &mut self,
        at: LogTime,
        subject: SubjectId,
        to: RegionNumber,
        request: Scope,
        since_ms: u64,
    ) -> Result<(), Refused> {
        let here = self.meta.settings.region;
        if subject.home != here || to == here {
            return Err(Refused::Malformed);
        }
        let row = self.moves.get(subject);
        if let Some(row) = row.filter(|row| row.lives != here || row.asked.contains(&request)) {
            // Another try of the same call was quicker.
            let same = row.left.as_ref().is_some_and(|left| left.request == request);
            return if same { Ok(()) } else { Err(Refused::Moved) };
        }
        if self.called_off(at, subject, request) {
            return Err(Refused::Moved);
        }
        let before = match self.moves.carries.get(&subject) {
            Some(Carry::Coming { .. }) => return Err(Refused::Moved),
            Some(Carry::Going { to: other, .. }) if *other != to => return Err(Refused::Moved),
            Some(Carry::Going { request: last, before, .. }) => {
                let mut before = before.clone();
                before.push(*last);
                before.retain(|one| *one != request);
                before.drain(..before.len().saturating_sub(CALLED_OFF_MAX));
                before
            }
            None => Vec::new(),
        };
        self.moves.carries.insert(subject, Carry::Going { to, request, before, since_ms });
        Ok(())
    }

    /// Whether this request was called off, and may be repeated still.
    pub fn called_off(&self, at: LogTime, subject: SubjectId, request: Scope) -> bool {
        let known = self.moves.called_off.get(&subject).into_iter().flatten();
        known.into_iter().any(|one| one.request == request && at <= one.until)
    }

    /// Whether this request is the one that moves him there.
    pub(super) fn goes_by(&self, subject: SubjectId, to: RegionNumber, request: Scope) -> bool {
        match self.moves.carries.get(&subject) {
            Some(Carry::Going { to: there, request: by, .. }) => (*there, *by) == (to, request),
            Some(Carry::Coming { .. }) | None => false,
        }
    }

    /// Who has gone is moved back, not called off. What was asked for is so for good: a repeat of
    /// it begins nothing.
    pub(super) fn cancel_carry(&mut self, at: LogTime, subject: SubjectId) -> Result<(), Refused> {
        let here = self.meta.settings.region;
        if self.moves.get(subject).is_some_and(|row| row.lives != here) {
            return Err(Refused::Moved);
        }
        self.forget_called_off(at);
        let Some(Carry::Going { request, before, .. }) = self.moves.carries.get(&subject).cloned()
        else {
            return Ok(());
        };
        self.moves.carries.remove(&subject);
        let until = at.plus_ms(self.meta.settings.key_ttl_ms);
        let mut known = self.moves.called_off.get(&subject).cloned().unwrap_or_default();
        let more = before.into_iter().chain([request]);
        known.extend(more.map(|request| CalledOff { request, until }));
        known.drain(..known.len().saturating_sub(CALLED_OFF_MAX));
        self.moves.called_off.insert(subject, known);
        Ok(())
    }

    /// What nobody repeats any more. Few are called off at a time.
    fn forget_called_off(&mut self, at: LogTime) {
        let over = |one: &CalledOff| one.until < at;
        let rows = self.moves.called_off.iter().filter(|(_, row)| row.iter().any(over));
        let old: Vec<SubjectId> = rows.map(|(subject, _)| *subject).collect();
        for subject in old {
            let Some(mut row) = self.moves.called_off.remove(&subject) else { continue };
            row.retain(|one| !over(one));
            if !row.is_empty() {
                self.moves.called_off.insert(subject, row);
            }
        }
    }

    pub(super) fn keep(&mut self, at: LogTime, keep: Keep) -> Result<(), Refused> {
        let Keep { of, mint, blocks, from, dead } = keep;
        let subject = of.subject;
        let fits = match blocks.len() > BLOCKS_MAX || from == self.meta.settings.region {
            true => Err(Refused::Malformed),
            false => {
                self.key_fits(of, mint.as_ref()).and_then(|()| self.comes(subject, from, dead))
            }
        };
        if let Err(why) = fits {
            mint.iter().for_each(|minted| self.logged(minted));
            return Err(why);
        }
        if let Some(wrapped) = mint {
            self.meta.wraps.get_or_insert(wrapped.by);
            self.subjects.put(of, wrapped);
        }
        self.hold_left(at, subject);
        if !self.lives_here(subject) {
            let until = at.plus_ms(HOLD_MS);
            self.moves.carries.insert(subject, Carry::Coming { from, until });
        }
        for (id, residence, personal) in blocks {
            if !self.holds(subject, id) {
                self.moves.keep(id, Kept { of, residence, personal });
            }
        }
        Ok(())
    }

    /// An order comes back without its block. Who lives here may have left where it is from, and
    /// that may have deleted the block because this region said that it has it: what lies here is
    /// kept as if he had brought it along, and goes with his key here. Not of who was erased there
    /// before he came, nor of whom this region was asked to forget. `came`: what opened it there.
    pub(in crate::core) fn keep_own(&mut self, id: OrderId, came: KeyOf) {
        let Some(own) = self.contents.get(&id) else { return };
        let (of, residence) = (own.sealed_with, own.residence);
        let Some(personal) = own.personal.clone() else { return };
        let kept = self.moves.kept.get(&id).map(|kept| kept.of);
        let opens = |of: KeyOf| matches!(self.subjects.key(of), KeyState::Living(_));
        let his = self.lives_here(of.subject) && self.key_fits(of, None).is_ok();
        let gone = self.owed.contains(&of.subject) || self.gone_before_he_came(of, came);
        if his && !gone && !kept.is_some_and(opens) {
            self.moves.keep(id, Kept { of, residence, personal });
        }
    }

    /// Whether what `came` opened was erased, as somebody asked, before its customer came to live
    /// here. By his first move nobody can have deleted yet what he left, so it is no such deletion
    /// (which counts on what lies here). A key from before a backup shows nothing: the group may
    /// have forgotten when he came.
    fn gone_before_he_came(&self, own: KeyOf, came: KeyOf) -> bool {
        let restored = own.generation < first_generation(self.meta.settings.epoch);
        let row = self.moves.get(own.subject).filter(|row| row.epoch == 1 && !restored);
        let (Some(row), Some(there)) = (row, self.subjects.table.get(&came.subject)) else {
            return false;
        };
        let asked = there.erased.iter().filter(|erased| erased.request != Scope(0));
        let mut covers = asked.filter(|erased| erased.generation >= came.generation);
        covers.any(|erased| erased.asked_ms.saturating_add(SKEW_MS) < row.since_ms)
    }

    /// Whether what a region brings is taken: from one at a time, and not after an erasure that
    /// its bringer does not know of.
    fn comes(&self, subject: SubjectId, from: RegionNumber, dead: u32) -> Result<(), Refused> {
        if self.subjects.dead(subject) != dead {
            return Err(Refused::KeyChanged);
        }
        match self.moves.carries.get(&subject) {
            Some(Carry::Coming { from: other, .. }) if *other != from => Err(Refused::Moved),
            Some(Carry::Going { .. }) => Err(Refused::Moved),
            Some(Carry::Coming { .. }) | None => Ok(()),
        }
    }

    /// Whether a move has brought him here to stay.
    fn lives_here(&self, subject: SubjectId) -> bool {
        let row = self.moves.get(subject);
        row.is_some_and(|row| row.lives == self.meta.settings.region)
    }

    /// Whose luggage came so long ago that no call brings more of it, and from where.
    pub fn stranded(&self) -> impl Iterator<Item = (SubjectId, RegionNumber)> {
        let now = self.meta.now;
        self.moves.carries.iter().filter_map(move |(subject, carry)| match carry {
            Carry::Coming { from, until } if *until <= now => Some((*subject, *from)),
            Carry::Coming { .. } | Carry::Going { .. } => None,
        })
    }

    /// Drops what came, and his key here if nothing else of his is under it. Who lives here keeps
    /// it; what was brought back to who has left goes when that is deleted.
    pub(super) fn abandon(
        &mut self,
        at: LogTime,
        subject: SubjectId,
        by: Option<RegionNumber>,
        times: (u64, u64),
    ) -> Result<(), Refused> {
        let Some(Carry::Coming { from, until }) = self.moves.carries.get(&subject).cloned() else {
            return Ok(());
        };
        if by.map_or(at < until, |by| by != from) {
            return Err(Refused::Moved);
        }
        self.moves.carries.remove(&subject);
        let left = self.moves.get(subject).and_then(|row| row.left.as_ref());
        if self.lives_here(subject) || left.is_some_and(|left| !left.deleted) {
            return Ok(());
        }
        let came: Vec<OrderId> = self.moves.kept_of(subject).collect();
        came.into_iter().for_each(|id| self.moves.unkeep(subject, id));
        let Next::Use(generation, _) = self.next_key(subject) else { return Ok(()) };
        let opens = |id: OrderId| {
            let of = self.contents.get(&id).map(|contents| contents.sealed_with);
            of.is_some_and(|of| matches!(self.subjects.key(of), KeyState::Living(_)))
        };
        if !self.subjects.orders_of(subject).any(opens) {
            self.drop_with_former(at, KeyOf { subject, generation }, Scope(0), times);
        }
        Ok(())
    }
}
