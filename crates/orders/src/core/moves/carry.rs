//! A move before it is decided: what is brought, and what becomes of it if he never arrives.

use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;

use super::apply::SKEW_MS;
use super::{BLOCKS_MAX, CALLED_OFF_MAX, CalledOff, Carry, HOLD_MS, Keep, Kept};
use crate::core::command::Refused;
use crate::core::keys::Scope;
use crate::core::state::State;
use crate::core::subjects::{Asked, Cause, KeyOf, KeyState, Next, SubjectId, first_generation};

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
                let fits = self.key_fits(of, mint.as_ref());
                fits.and_then(|()| self.comes(subject, from, dead))
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
    /// kept as if he had brought it along, and goes with his key here. Not what was erased there,
    /// nor what this region was asked to forget. `came`: what opened it there.
    pub(in crate::core) fn keep_own(&mut self, id: OrderId, came: KeyOf) {
        let Some(own) = self.contents.get(&id) else { return };
        let (of, residence) = (own.sealed_with, own.residence);
        let Some(personal) = own.personal.clone() else { return };
        let kept = self.moves.kept.get(&id).map(|kept| kept.of);
        let opens = |of: KeyOf| matches!(self.subjects.key(of), KeyState::Living(_));
        let his = self.lives_here(of.subject) && self.key_fits(of, None).is_ok();
        let gone = self.erased_there(of, came);
        if his && !gone && !kept.is_some_and(opens) {
            self.moves.keep(id, Kept { of, residence, personal });
        }
    }

    /// Whether what `came` opened was erased there, as somebody asked, and not deleted because he
    /// had left (which counts on what lies here): by the word that ended that key, the first that
    /// covers it. Where it does not say which, by when: by his first move nobody can have deleted
    /// yet what he left. A key from before a backup shows nothing then: the group may have
    /// forgotten when he came.
    fn erased_there(&self, own: KeyOf, came: KeyOf) -> bool {
        let there = self.subjects.table.get(&came.subject);
        let words = there.into_iter().flat_map(|row| &row.erased);
        let covers = words.filter(|erased| erased.generation >= came.generation);
        let Some(word) = covers.min_by_key(|erased| erased.generation) else { return false };
        let restored = own.generation < first_generation(self.meta.settings.epoch);
        let first = self.moves.get(own.subject).filter(|row| row.epoch == 1 && !restored);
        let before = |since_ms| word.asked_ms.saturating_add(SKEW_MS) < since_ms;
        match word.cause {
            Cause::Erased => true,
            Cause::Left => false,
            Cause::Unsaid => {
                word.request != Scope(0) && first.is_some_and(|row| before(row.since_ms))
            }
        }
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
    pub(in crate::core) fn lives_here(&self, subject: SubjectId) -> bool {
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
    /// it; what was brought back under the key that he left goes when that is deleted.
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
        if !self.lives_here(subject) {
            let left = self.moves.get(subject).and_then(|row| row.left.as_ref());
            let left = left.filter(|left| !left.deleted).map_or(0, |left| left.generation);
            self.drop_came(at, subject, left, times);
        }
        Ok(())
    }

    /// Drops what came under later keys of his than the one that he left, and the newest of them;
    /// where something else of his lies under another, that one goes with the wish because of which
    /// there are two.
    fn drop_came(&mut self, at: LogTime, subject: SubjectId, left: u32, times: (u64, u64)) {
        let kept = |id: &OrderId| self.moves.kept.get(id).map(|kept| kept.of);
        let later = |id: &OrderId| kept(id).is_some_and(|of| of.generation > left);
        let came: Vec<OrderId> = self.moves.kept_of(subject).filter(later).collect();
        came.into_iter().for_each(|id| self.moves.unkeep(subject, id));
        let Next::Use(generation, _) = self.next_key(subject) else { return };
        if generation <= left {
            return;
        }
        let kept = |id: OrderId| self.moves.kept.get(&id).map(|kept| kept.of);
        let own = |id: OrderId| self.contents.get(&id).map(|contents| contents.sealed_with);
        let opens = |of: KeyOf| matches!(self.subjects.key(of), KeyState::Living(_));
        let own = self.subjects.orders_of(subject).filter_map(own);
        let of = KeyOf { subject, generation };
        let left = self.subjects.left_of(subject);
        let left = left.map(|left| KeyOf { subject, generation: left.generation });
        let kept = self.moves.kept_of(subject).filter_map(kept);
        let stays = own.chain(kept).chain(left).any(opens);
        match stays {
            true => self.owe_too(of),
            false => {
                let asked = Asked { request: Scope(0), cause: Cause::Left };
                self.drop_with_former(at, of, asked, times);
            }
        }
    }
}
