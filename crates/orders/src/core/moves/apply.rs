//! What commands do to those who move.

use hansa_types::hash::StateHash;
use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;

use super::{Block, Carry, EPOCHS_MAX, HOLD_MS, Leave, Left, MoveRow, Step, print_of, remember};
use crate::core::command::{Command, Outcome, Refused};
use crate::core::contents::Sealed;
use crate::core::keys::{Scope, Seen};
use crate::core::state::State;
use crate::core::subjects::{Asked, Cause, KeyOf, KeyState, Next, SubjectId, SubjectRow, Wrapped};
use crate::core::takeover::Birth;

/// How far the log's time may be behind the wall clock, and two regions' clocks apart.
pub(super) const SKEW_MS: u64 = 10_000;

/// Whether a move may follow on the newest that is known. What another region says is believed,
/// so no word of it can use up the numbers.
fn next_step(known: u64, epoch: u64) -> bool {
    epoch > known && epoch - known <= EPOCHS_MAX
}

impl State {
    /// A new order of somebody who has moved, by who does not know that he lives here since that
    /// move: it would be a second home, or would not have asked the former one. What is known of
    /// his requests is answered wherever he lives. Who owns what is born where he lives serves him
    /// for that region.
    pub(in crate::core) fn lives_elsewhere(
        &self,
        command: &Command,
        resident: u64,
    ) -> Option<Refused> {
        let Command::Accept(accept) = command else { return None };
        let row = self.moves.get(accept.contents.sealed_with.subject)?;
        let lives = [self.meta.settings.region, accept.order.region()].contains(&row.lives);
        let here = lives && row.epoch == resident;
        let new = matches!(self.keys.seen(accept.key), Seen::Never);
        (new && !here).then_some(Refused::Moved)
    }

    pub(in crate::core) fn move_step(&mut self, at: LogTime, step: Step) -> Outcome {
        let here = self.meta.settings.region;
        let done = match step {
            Step::Keep(keep) => self.keep(at, *keep),
            Step::Leave(leave) => self.leave(*leave),
            Step::Arrive { subject, from, epoch, at_ms, untold } if subject.home == here => {
                self.arrive(subject, from, (epoch, at_ms), untold)
            }
            Step::Follow { subject, to, epoch, at_ms } if to != here => {
                self.follow(subject, to, epoch, at_ms)
            }
            Step::Arrive { .. } | Step::Follow { .. } => Err(Refused::Malformed),
            Step::Delete { subject, asked_ms, destroy_after_ms, by: _, reason: _ } => {
                self.delete_left(at, subject, (asked_ms, destroy_after_ms))
            }
            Step::Begin { subject, to, request, at_ms } => {
                self.begin_carry(at, subject, to, request, at_ms)
            }
            Step::Cancel { subject, by: _, reason: _ } => self.cancel_carry(at, subject),
            Step::Abandon { subject, by, asked_ms, destroy_after_ms } => {
                self.abandon(at, subject, by, (asked_ms, destroy_after_ms))
            }
            Step::Recall { subject, epoch, at_ms, by: _, reason: _ } => {
                match self.moves.get(subject).map(|row| row.lives) {
                    Some(lives) if lives != here => {
                        self.arrive(subject, lives, (epoch, at_ms), true)
                    }
                    Some(_) => Ok(()),
                    None => Err(Refused::SubjectNotFound),
                }
            }
            Step::Heard { subject, epoch } => {
                if let Some(row) = self.moves.get(subject).filter(|row| row.epoch == epoch) {
                    let row = MoveRow { untold: false, ..row.clone() };
                    self.moves.put(subject, row);
                }
                Ok(())
            }
        };
        match done {
            Ok(()) => Outcome::Noted,
            Err(why) => Outcome::Refused(why),
        }
    }

    fn arrive(
        &mut self,
        subject: SubjectId,
        from: RegionNumber,
        (epoch, at_ms): (u64, u64),
        untold: bool,
    ) -> Result<(), Refused> {
        let here = self.meta.settings.region;
        let known = self.moves.get(subject).map_or(0, |row| row.epoch);
        if epoch <= known {
            return Ok(());
        }
        if from == here {
            return Err(Refused::Malformed);
        }
        if !next_step(known, epoch) || !self.may_come(subject, from, at_ms) {
            return Err(Refused::Moved);
        }
        // Back before it was due: what he had left is his again.
        let row = MoveRow::after(self.moves.get(subject), epoch, (from, here), at_ms);
        self.moved(subject, MoveRow { untold, ..row });
        if matches!(self.moves.carries.get(&subject), Some(Carry::Coming { .. })) {
            self.moves.carries.remove(&subject);
        }
        Ok(())
    }

    /// Where he went from here he has gone on. Who lives here goes by the word of where he came
    /// from alone: that took this region over, or took him back, and what is here he has left.
    fn follow(
        &mut self,
        subject: SubjectId,
        to: RegionNumber,
        epoch: u64,
        at_ms: u64,
    ) -> Result<(), Refused> {
        let here = self.meta.settings.region;
        let row = self.moves.get(subject).ok_or(Refused::SubjectNotFound)?;
        if epoch <= row.epoch {
            return Ok(());
        }
        let lived_here = row.lives == here;
        let lets_go = || row.former == to && self.lets_go(subject, row, to);
        if !next_step(row.epoch, epoch) || lived_here && !lets_go() {
            return Err(Refused::Moved);
        }
        let mut next = MoveRow::after(Some(row), epoch, (row.lives, to), at_ms);
        next.left = match lived_here {
            true => self.left_behind(subject, at_ms),
            false => row.left.clone(),
        };
        if lived_here {
            self.moves.carries.remove(&subject);
        }
        self.moved(subject, next);
        Ok(())
    }

    /// Whether a region's word alone may take him away from here. Whom this region knew before he
    /// came from there is not that region's to take: he had never left, or he came by a word
    /// alone, too. Which was so this region knows where it let him go itself before, or where that
    /// region owned what is born here for a while.
    fn lets_go(&self, subject: SubjectId, row: &MoveRow, to: RegionNumber) -> bool {
        let here = self.meta.settings.region;
        let went_on = |birth: &Birth| {
            birth.owner == to || birth.taken.as_ref().is_some_and(|taken| taken.take.from == to)
        };
        // By two clocks: what he ordered first here may be dated before he came.
        let early = |ms: u64| ms.saturating_add(SKEW_MS) < row.since_ms;
        let before = |id: OrderId| {
            let created = self.orders.get(&id).map(|order| order.created.ms());
            id.region() == here && created.is_some_and(early)
        };
        let mut left = self.subjects.left_of(subject).filter_map(|left| left.oldest);
        !row.asked.is_empty()
            || self.births.get(here).is_some_and(went_on)
            || !left.any(|oldest| early(oldest.ms()))
                && !self.subjects.orders_of(subject).any(before)
    }

    /// What he leaves here by another region's word.
    fn left_behind(&self, subject: SubjectId, at_ms: u64) -> Option<Left> {
        let Next::Use(generation, _) = self.next_key(subject) else { return None };
        let (orders, digest) = self.sum_of(KeyOf { subject, generation });
        let delete_after_ms = at_ms.saturating_add(self.meta.settings.key_ttl_ms);
        let (request, deleted, held) = (Scope(0), false, LogTime::ZERO);
        Some(Left { generation, request, orders, digest, delete_after_ms, deleted, held })
    }

    /// Who lives here, and where he lived does not know it.
    pub fn untold(&self) -> impl Iterator<Item = SubjectId> {
        let here = self.meta.settings.region;
        let untold = move |(_, row): &(&SubjectId, &MoveRow)| row.untold && row.lives == here;
        self.moves.rows.iter().filter(untold).map(|(subject, _)| *subject)
    }

    /// Whether a request that is not known here was not placed in a region whose births this one
    /// went on with; why not, if nobody can tell.
    pub fn may_have_heard(
        &self,
        birth: RegionNumber,
        epoch: u64,
        sent_ms: Option<u64>,
    ) -> Option<Refused> {
        let owns = |row: &Birth| row.taken.is_some() && row.open() && row.epoch >= epoch;
        match self.births.get(birth).is_some_and(owns) {
            true => self.doubts_of(birth, sent_ms, true),
            // The directory is ahead of the group, or they are being handed over.
            false => Some(Refused::NotOwner),
        }
    }

    /// Whether somebody who lived in `from` may come to live here: who went from here comes back
    /// from where he went, and who came here lately may be known to where he came from only.
    pub fn may_come(&self, subject: SubjectId, from: RegionNumber, at_ms: u64) -> bool {
        let Some(row) = self.moves.get(subject) else { return true };
        match row.lives == self.meta.settings.region {
            true => row.former == from || at_ms >= self.settled_ms(row),
            false => row.lives == from,
        }
    }

    /// When no request that the former region heard may be repeated any more.
    pub fn settled_ms(&self, row: &MoveRow) -> u64 {
        row.since_ms.saturating_add(self.meta.settings.key_ttl_ms)
    }

    /// Whose an order is, by what is here of it: its own contents, or what was brought along.
    pub fn whose(&self, order: OrderId) -> Option<SubjectId> {
        let kept = self.moves.kept.get(&order).map(|kept| kept.of.subject);
        let own = self.contents.get(&order).map(|contents| contents.sealed_with.subject);
        kept.or(own.filter(|subject| subject.home == self.meta.settings.region))
    }

    /// Whether the block of an order of his is here, and opens by his key here; not by one that is
    /// to go because of a wish that is owed.
    pub fn holds(&self, subject: SubjectId, order: OrderId) -> bool {
        let kept = self.moves.kept.get(&order).map(|kept| kept.of);
        let own = self.contents.get(&order).filter(|contents| contents.personal.is_some());
        let own = own.map(|contents| contents.sealed_with);
        let opens = |of: KeyOf| {
            let living = matches!(self.subjects.key(of), KeyState::Living(_));
            of.subject == subject && living && !self.goes(of)
        };
        kept.into_iter().chain(own).any(opens)
    }

    /// The block of an order of his that is here, with the key that opens it; as [`Self::holds`].
    pub fn block_of(&self, subject: SubjectId, id: OrderId) -> Option<(KeyOf, Wrapped, Sealed)> {
        let kept = self.moves.kept.get(&id).map(|kept| (kept.of, kept.personal.clone()));
        let own = self.contents.get(&id);
        let own = own.and_then(|own| Some((own.sealed_with, own.personal.clone()?)));
        let his = kept.into_iter().chain(own);
        let his = his.filter(|(of, _)| of.subject == subject && !self.goes(*of));
        let mut opens = his.filter_map(|(of, sealed)| match self.subjects.key(of) {
            KeyState::Living(wrapped) => Some((of, wrapped, sealed)),
            KeyState::Erased | KeyState::Unknown => None,
        });
        opens.next()
    }

    /// Whether who placed an order of another region is shown here: his block was brought along, or
    /// lies here since the order was this region's, and he lives here.
    pub fn shows_who(&self, order: OrderId) -> bool {
        let lives_here = |of: KeyOf| {
            self.moves.get(of.subject).is_some_and(|row| row.lives == self.meta.settings.region)
        };
        let own = self.contents.get(&order).filter(|contents| contents.personal.is_some());
        self.moves.kept.contains(&order) || own.is_some_and(|own| lives_here(own.sealed_with))
    }

    /// Late and repeated news of a move change nothing.
    fn moved(&mut self, subject: SubjectId, row: MoveRow) {
        if self.moves.get(subject).is_none_or(|known| known.epoch < row.epoch) {
            self.moves.put(subject, row);
        }
    }

    /// The blocks that this key of his opens, his own orders' first.
    pub fn blocks(&self, of: KeyOf) -> impl Iterator<Item = Block> {
        let own = self.subjects.orders_of(of.subject).filter_map(move |id| {
            let contents = self.contents.get(&id).filter(|contents| contents.sealed_with == of)?;
            Some((id, contents.residence, contents.personal.clone()?))
        });
        let kept = self.moves.kept_of(of.subject).filter_map(move |id| {
            let kept = self.moves.kept.get(&id).filter(|kept| kept.of == of)?;
            Some((id, kept.residence, kept.personal.clone()))
        });
        own.chain(kept)
    }

    /// His orders that are known here: this region's, and those of which he brought along what is
    /// personal.
    pub fn orders_known(&self, subject: SubjectId) -> impl Iterator<Item = OrderId> {
        self.subjects.orders_of(subject).chain(self.moves.kept_of(subject))
    }

    /// He may be on his way back, and brings along only what is not here.
    pub(super) fn hold_left(&mut self, at: LogTime, subject: SubjectId) {
        let Some(mut row) = self.moves.get(subject).cloned() else { return };
        if let Some(left) = row.left.as_mut().filter(|left| !left.deleted) {
            left.held = at.plus_ms(HOLD_MS);
            self.moves.put(subject, row);
        }
    }

    fn leave(&mut self, leave: Leave) -> Result<(), Refused> {
        let Leave { subject, to, epoch, generation, orders, digest, request, .. } = leave;
        let here = self.meta.settings.region;
        if subject.home != here || to == here {
            return Err(Refused::Malformed);
        }
        let row = self.moves.get(subject);
        if let Some(row) = row.filter(|row| row.lives != here) {
            let same = row.left.as_ref().is_some_and(|left| left.request == request);
            return if same { Ok(()) } else { Err(Refused::Moved) };
        }
        // Where he goes asks the region that he leaves, not the one that he left before.
        let young = |row: &MoveRow| row.former != to && leave.asked_ms < self.settled_ms(row);
        if row.is_some_and(young) {
            return Err(Refused::Moved);
        }
        if !self.goes_by(subject, to, request) {
            return Err(Refused::Moved);
        }
        let before = row.map_or(0, |row| row.epoch);
        let of = KeyOf { subject, generation };
        let living = matches!(self.subjects.key(of), KeyState::Living(_));
        // Who was forgotten takes nothing along, and goes all the same: what he ordered here lies
        // here under a key that is gone.
        let next = self.next_key(subject);
        let nothing = matches!(next, Next::Mint(..)) && row.is_some();
        // Beside one that is to go: what he has ordered since lies under the next.
        let newest = matches!(next, Next::Use(newest, _) if newest == generation);
        let found = match living {
            true => newest && self.sum_of(of) == (orders, digest),
            false => nothing && (orders, digest) == (0, StateHash::default()),
        };
        // Somebody ordered meanwhile, or was forgotten, or moved: the shell looks again.
        if !next_step(before, epoch) || !found {
            return Err(Refused::KeyChanged);
        }
        let (delete_after_ms, held) = (leave.delete_after_ms, LogTime::ZERO);
        let deleted = !living;
        let left = Left { generation, request, orders, digest, delete_after_ms, deleted, held };
        let mut next = MoveRow::after(row, epoch, (here, to), leave.asked_ms);
        next.left = Some(left);
        remember(&mut next.asked, request);
        self.moves.put(subject, next);
        self.moves.carries.remove(&subject);
        Ok(())
    }

    /// How many blocks a key opens, and what they add up to.
    fn sum_of(&self, of: KeyOf) -> (u32, StateHash) {
        let (mut count, mut sum) = (0_u32, StateHash::default());
        for left in self.subjects.left_of(of.subject) {
            if left.generation == of.generation {
                count = count.saturating_add(left.blocks);
                sum.add(left.prints);
            }
        }
        for (id, residence, personal) in self.blocks(of) {
            count = count.saturating_add(1);
            sum.add(print_of(id, residence, &personal));
        }
        (count, sum)
    }

    /// His orders here that are under way under what he left: who ships them asks for him.
    pub fn left_open(&self, subject: SubjectId) -> impl Iterator<Item = OrderId> {
        let left = self.moves.get(subject).and_then(|row| row.left.as_ref());
        let generation = left.filter(|left| !left.deleted).map(|left| left.generation);
        let living = |of: KeyOf| matches!(self.subjects.key(of), KeyState::Living(_));
        // All other keys of his that live go with this one.
        let goes =
            move |of: KeyOf| generation.is_some_and(|left| of.generation == left || living(of));
        let under = move |id: &OrderId| {
            self.contents.get(id).is_some_and(|contents| goes(contents.sealed_with))
        };
        let open = |id: &OrderId| self.is_open(*id) || self.waits_elsewhere(*id);
        let open = move |id: &OrderId| under(id) && open(id);
        self.subjects.orders_of(subject).filter(open)
    }

    fn delete_left(
        &mut self,
        at: LogTime,
        subject: SubjectId,
        times: (u64, u64),
    ) -> Result<(), Refused> {
        let row = self.moves.get(subject).filter(|row| row.left.is_some());
        let mut row = row.cloned().ok_or(Refused::SubjectNotFound)?;
        let Some(left) = row.left.as_mut().filter(|left| !left.deleted) else { return Ok(()) };
        if let Some(open) = self.left_open(subject).next() {
            return Err(Refused::OrderOpen(open));
        }
        // What he orders there now is here, and under this key perhaps.
        let here = self.meta.settings.region;
        let serves = self.births.get(row.lives).is_some_and(|of| of.held_by(here));
        if at < left.held || (row.lives != here && serves) {
            return Err(Refused::Moved);
        }
        left.deleted = true;
        let (generation, request) = (left.generation, left.request);
        self.settle_left(at, subject, times.1)?;
        let left = self.left_keys(subject, generation);
        // None where he was forgotten meanwhile: that was more than this.
        if let Some(generation) = left.last().copied() {
            let asked = Asked { request, cause: Cause::Left };
            self.drop_with_former(at, KeyOf { subject, generation }, asked, times);
            left.into_iter().for_each(|generation| remember(&mut row.gone, generation));
        }
        self.moves.put(subject, row);
        Ok(())
    }

    /// His living keys that go when what he left under this one is deleted: all, but what comes
    /// with who is on his way is his once he arrives.
    fn left_keys(&self, subject: SubjectId, left: u32) -> Vec<u32> {
        let comes = self.on_his_way(subject);
        let living = self.subjects.table.get(&subject).into_iter().flat_map(SubjectRow::living);
        let generations = living.map(|(generation, _)| generation);
        generations.filter(|generation| !comes || *generation <= left).collect()
    }

    /// What is here of who has left under the key that he left, or a later one, and is to be shown
    /// to be where he lives before it is deleted.
    pub fn left_blocks(&self, subject: SubjectId) -> Vec<(KeyOf, Wrapped, Vec<Block>)> {
        let left = self.moves.get(subject).and_then(|row| row.left.as_ref());
        let Some(left) = left.filter(|left| !left.deleted) else { return Vec::new() };
        let keys = self.left_keys(subject, left.generation).into_iter();
        let keys = keys.filter(|generation| *generation >= left.generation);
        let of = |generation| KeyOf { subject, generation };
        let blocks = keys.filter_map(|generation| match self.subjects.key(of(generation)) {
            KeyState::Living(key) => {
                Some((of(generation), key, self.blocks(of(generation)).collect()))
            }
            KeyState::Erased | KeyState::Unknown => None,
        });
        blocks.collect()
    }
}
