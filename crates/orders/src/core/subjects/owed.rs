//! Customers whom another region was asked to forget while an order of theirs is under way here.
//!
//! Where they asked that order had ended, or was not known. Here it must end first: to whom would
//! its goods go? The wish is kept until then, and named with the order that it waits for. Of an
//! order that moves away in between its new owner must first have a key of its own.
//!
//! He may order here before that, or come to live here. What he orders and brings from then on is
//! not what he wished to have forgotten: from the moment that a wish is owed nothing more is sealed
//! with the key that is to go. So whether the wish is carried out is decided once.

use hansa_types::id::OrderId;
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use super::apply::{newest, under_way};
use super::{Asked, Cause, KeyOf, KeyState, KeyStep, Next, SubjectId, first_generation};
use crate::core::command::Refused;
use crate::core::moves::Carry;
use crate::core::state::State;
use crate::core::takeover::End;

/// Wishes kept.
const OWED_MAX: usize = 100_000;

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Owed {
    pub of: KeyOf,
    pub asked: Asked,
    pub asked_ms: u64,
    /// The newest generation of his key here by then: what the wish is about lies under it, or
    /// under one before it.
    pub upto: u32,
}

impl Owed {
    /// The newest key of his that it is about.
    pub fn key(&self) -> KeyOf {
        KeyOf { generation: self.upto, ..self.of }
    }

    /// Whether another word says nothing beyond this one: that is the same, is older, or does not
    /// even say that somebody asked.
    fn outweighs(&self, asked: Asked, asked_ms: u64) -> bool {
        let weight = |asked: Asked, ms: u64| (asked.cause == Cause::Erased, ms);
        (self.asked, self.asked_ms) == (asked, asked_ms)
            || weight(self.asked, self.asked_ms) > weight(asked, asked_ms)
    }
}

impl State {
    /// Another region that has, or had, his orders was asked to erase him. Who has ordered here
    /// since, or has moved here, is for this region to ask. What he left there says nothing of
    /// what is here.
    pub(super) fn told(&mut self, at: LogTime, of: KeyOf, asked: Asked, times: (u64, u64)) {
        let (subject, own) = (of.subject, of.subject.home == self.meta.settings.region);
        if !own || asked.cause == Cause::Left {
            return;
        }
        let Next::Use(generation, _) = self.next_key(subject) else {
            self.owed.remove(&subject);
            return self.told_late(at, of, asked, times);
        };
        let comes = self.on_his_way(subject);
        let known = self.owed.get(&subject);
        // What comes with him lies under a later key than the one that is to go. Where he has
        // ordered under that, too, he brings it again.
        let former = known.filter(|owed| comes && owed.asked.cause == Cause::Erased);
        let former = former.filter(|owed| !self.sealed_after(owed.key()));
        let about = former.map_or(KeyOf { generation, ..of }, Owed::key);
        let same = known.is_some_and(|owed| (owed.asked, owed.asked_ms) == (asked, times.0));
        let stays = known.is_some_and(|owed| owed.outweighs(asked, times.0));
        let asks_here = self.lives_here(subject) || self.ordered_since(about, times.0);
        if asks_here && !same {
            return;
        }
        if stays {
            return self.settle_owed(at, subject, times.1);
        }
        let unsure = comes && asked.cause == Cause::Unsaid;
        if !unsure && self.keeps(about).is_none() {
            self.owed.remove(&subject);
            return self.drop_with_former(at, about, asked, times);
        }
        if self.owed.len() < OWED_MAX || self.owed.contains(&subject) {
            let owed = Owed { of, asked, asked_ms: times.0, upto: about.generation };
            self.owed.insert(subject, owed);
        }
    }

    /// Whom this region was asked to forget after it had deleted what he left: that was no wish.
    fn told_late(&mut self, at: LogTime, of: KeyOf, asked: Asked, times: (u64, u64)) {
        let row = self.subjects.table.get(&of.subject).filter(|_| self.is_news(of, asked.cause));
        if let Some(generation) = row.map(|row| row.generation) {
            self.drop_with_former(at, KeyOf { generation, ..of }, asked, times);
        }
    }

    /// Whether a word on this key is a wish, and news, though the key is gone: what he left was
    /// deleted, and before that nobody had asked to forget what it opened.
    pub fn is_news(&self, of: KeyOf, cause: Cause) -> bool {
        let Some(row) = self.subjects.table.get(&of.subject) else { return false };
        let left = newest(&row.erased).is_some_and(|last| last.cause == Cause::Left);
        let asked = row.erased.iter().filter(|erased| erased.cause != Cause::Left);
        let mut covers = asked.filter(|erased| erased.generation >= of.generation);
        let late = left && row.key.is_none() && covers.next().is_none();
        late && cause == Cause::Erased && !self.lives_here(of.subject)
    }

    /// Carries a wish out that is owed to him, once what keeps it has ended.
    fn settle_owed(&mut self, at: LogTime, subject: SubjectId, destroy_after_ms: u64) {
        let Some(owed) = self.owed.get(&subject).filter(|owed| !self.not_yet(owed)).cloned() else {
            return;
        };
        self.owed.remove(&subject);
        if self.takes(&owed) {
            let times = (owed.asked_ms, destroy_after_ms);
            self.drop_with_former(at, owed.key(), owed.asked, times);
        }
    }

    /// What he left is about to be deleted: what is owed to him goes before that, or nobody would
    /// hear that it was a wish. A word that may be none waits for who is on his way, and so does
    /// the deletion.
    pub(in crate::core) fn settle_left(
        &mut self,
        at: LogTime,
        subject: SubjectId,
        destroy_after_ms: u64,
    ) -> Result<(), Refused> {
        if self.owed.get(&subject).is_some_and(|owed| self.unsure(owed)) {
            return Err(Refused::Moved);
        }
        self.settle_owed(at, subject, destroy_after_ms);
        Ok(())
    }

    /// What came under this key was given up. It goes with the wish that is owed to him, if he has
    /// ordered nothing under it.
    pub(in crate::core) fn owe_too(&mut self, of: KeyOf) {
        let wish = self.owed.get(&of.subject).filter(|owed| owed.asked.cause == Cause::Erased);
        if wish.is_some_and(|owed| owed.upto < of.generation && !self.sealed_after(owed.key())) {
            self.owed.update(&of.subject, |owed| owed.upto = of.generation);
        }
    }

    /// Whether it is not to be carried out yet.
    fn not_yet(&self, owed: &Owed) -> bool {
        self.unsure(owed) || self.keeps(owed.key()).is_some()
    }

    /// A word that may be none takes nothing from who is on his way: he arrives, or it goes.
    fn unsure(&self, owed: &Owed) -> bool {
        owed.asked.cause == Cause::Unsaid && self.on_his_way(owed.of.subject)
    }

    /// Whether it is carried out once it need not wait. A wish is: nothing that came later lies
    /// under its keys.
    fn takes(&self, owed: &Owed) -> bool {
        let since = || self.ordered_since(owed.key(), owed.asked_ms);
        owed.asked.cause == Cause::Erased || !self.lives_here(owed.of.subject) && !since()
    }

    /// Whether what is owed to him is this wish, or covers it, and is going to be carried out.
    pub fn will_forget(&self, subject: SubjectId, asked: Asked, asked_ms: u64) -> bool {
        // Who has come has brought what an earlier wish is not about.
        let covers = |owed: &&Owed| {
            owed.outweighs(asked, asked_ms)
                && (owed.asked_ms >= asked_ms || !self.lives_here(subject))
        };
        self.owed.get(&subject).filter(covers).is_some_and(|owed| self.takes(owed))
    }

    /// What an order that comes home is sealed with: one from before a wish that is owed goes with
    /// that, unless he lives here and it is of what he brought.
    pub fn adopting_key(&self, subject: SubjectId, created_ms: u64) -> Next {
        let wish = self.owed.get(&subject).filter(|owed| {
            let before = owed.asked.cause == Cause::Erased && created_ms <= owed.asked_ms;
            before && !self.lives_here(subject)
        });
        match wish.map(|owed| (owed.upto, self.subjects.key(owed.key()))) {
            Some((upto, KeyState::Living(key))) => Next::Use(upto, key),
            _ => self.sealing_key(subject),
        }
    }

    /// What is sealed with that he orders, or that comes here with him: no key that is to go
    /// because of a wish.
    pub fn sealing_key(&self, subject: SubjectId) -> Next {
        let next = self.next_key(subject);
        let Next::Use(generation, _) = next else { return next };
        if !self.goes(KeyOf { subject, generation }) {
            return next;
        }
        let first = first_generation(self.meta.settings.epoch);
        Next::Mint(generation.saturating_add(1).max(first), self.meta.wraps)
    }

    /// Whether this key is to go, for sure: whoever counts on what it opens would lose it.
    pub(in crate::core) fn goes(&self, of: KeyOf) -> bool {
        let wish = self.owed.get(&of.subject).filter(|owed| owed.asked.cause == Cause::Erased);
        wish.is_some_and(|owed| of.generation <= owed.upto)
    }

    /// Whether an order of his is sealed with a later key than this one.
    fn sealed_after(&self, of: KeyOf) -> bool {
        let with = |id: OrderId| self.contents.get(&id).map(|own| own.sealed_with.generation);
        let mut left = self.subjects.left_of(of.subject);
        left.any(|left| left.generation > of.generation)
            || self.subjects.orders_of(of.subject).any(|id| with(id) > Some(of.generation))
    }

    pub(in crate::core) fn on_his_way(&self, subject: SubjectId) -> bool {
        matches!(self.moves.carries.get(&subject), Some(Carry::Coming { .. }))
    }

    /// Whether anything under his keys up to this one was ordered here since.
    fn ordered_since(&self, of: KeyOf, asked_ms: u64) -> bool {
        let mut left = self.subjects.left_upto(of);
        left.any(|left| left.newest.ms() > asked_ms)
            || self.sealed_upto(of).any(|id| {
                let order = self.orders.get(&id).filter(|order| self.is_own(id, order));
                order.is_some_and(|order| order.created.ms() > asked_ms)
            })
    }

    /// The order that is under way and keeps his keys up to this one: here, or in another region
    /// that did not go on with it yet and would open it with this key.
    fn keeps(&self, of: KeyOf) -> Option<OrderId> {
        let keeps = |id: &OrderId| self.is_open(*id) || self.waits_elsewhere(*id);
        self.sealed_upto(of).find(keeps)
    }

    /// Whether an order that was under way here is another region's by now, and nobody has gone on
    /// with it nor decided what becomes of it. Who went on with it seals it with a key of his own,
    /// and hears of the erasure in his turn.
    pub(in crate::core) fn waits_elsewhere(&self, id: OrderId) -> bool {
        let (Some(order), Some(contents)) = (self.orders.get(&id), self.contents.get(&id)) else {
            return false;
        };
        let went_on = || self.remote.copies.get(&id).is_some_and(|c| c.epoch() > order.epoch);
        let decided = || self.births.tail.get(&id).is_some_and(|row| row.end == Some(End::Done));
        let ended = order.closed() && !under_way(order, contents);
        !self.is_own(id, order) && !ended && !went_on() && !decided()
    }

    /// Who can be forgotten now, as the commands that do it.
    pub fn owed_now(&self, destroy_after_ms: u64, max: usize) -> Vec<KeyStep> {
        let ended = self.owed.iter().filter(|(_, owed)| !self.not_yet(owed));
        let told = ended.map(|(_, Owed { of, asked, asked_ms, .. })| KeyStep::Told {
            keys: vec![*of],
            asked: *asked,
            asked_ms: *asked_ms,
            destroy_after_ms,
        });
        told.take(max).collect()
    }

    /// The orders upon whose end somebody is forgotten here, in order.
    pub fn owed_for(&self, max: usize) -> Vec<OrderId> {
        let taken = self.owed.iter().filter(|(_, owed)| self.takes(owed));
        let mut orders: Vec<_> = taken.filter_map(|(_, owed)| self.keeps(owed.key())).collect();
        orders.sort_unstable();
        orders.truncate(max);
        orders
    }
}
