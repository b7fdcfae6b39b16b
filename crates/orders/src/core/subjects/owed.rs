//! Customers whom another region was asked to forget while an order of theirs is under way here.
//!
//! Where they asked that order had ended, or was not known. Here it must end first: to whom would
//! its goods go? The wish is kept until then, and named with the order that it waits for. Of an
//! order that moves away in between its new owner must first have a key of its own.
//!
//! He may come to live here before that. What he brings, and what he orders from then on, is not
//! what he wished to have forgotten: it lies under his next key, and the wish is carried out for
//! what lies under the former one.

use hansa_types::id::OrderId;
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use super::apply::under_way;
use super::{Asked, Cause, KeyOf, KeyStep, Next, SubjectId, first_generation};
use crate::core::moves::Carry;
use crate::core::order::Order;
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
            return;
        };
        let comes = self.on_his_way(subject);
        let known = self.owed.get(&subject);
        // What comes with him lies under a later key than the one that is to go.
        let former = known.filter(|owed| comes && owed.asked.cause == Cause::Erased);
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

    /// Carries a wish out that is owed to him, once what keeps it has ended; if only what it was
    /// about lies under his key.
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

    /// What he left is about to be deleted: a wish that is about it goes before that, or nobody
    /// would hear that there was one.
    pub(in crate::core) fn settle_left(&mut self, at: LogTime, left: KeyOf, destroy_after_ms: u64) {
        let wish = self.owed.get(&left.subject).filter(|owed| owed.asked.cause == Cause::Erased);
        if wish.is_some_and(|owed| owed.upto <= left.generation) {
            self.settle_owed(at, left.subject, destroy_after_ms);
        }
    }

    /// Whether it is not to be carried out yet. A word that may be none takes nothing from who is
    /// on his way: he arrives, or it goes.
    fn not_yet(&self, owed: &Owed) -> bool {
        let unsure = owed.asked.cause == Cause::Unsaid && self.on_his_way(owed.of.subject);
        unsure || self.keeps(owed.key()).is_some()
    }

    /// Whether it is carried out once it need not wait, as far as is known today.
    fn takes(&self, owed: &Owed) -> bool {
        let sure = owed.asked.cause == Cause::Erased || !self.lives_here(owed.of.subject);
        sure && !self.ordered_since(owed.key(), owed.asked_ms)
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

    /// What the next order of his is sealed with: where he lives here, not with a key that is to
    /// go because of a wish from before he came.
    pub fn sealing_key(&self, subject: SubjectId) -> Next {
        match self.lives_here(subject) {
            true => self.luggage_key(subject),
            false => self.next_key(subject),
        }
    }

    /// What is sealed with that comes here with him.
    pub fn luggage_key(&self, subject: SubjectId) -> Next {
        let next = self.next_key(subject);
        let Next::Use(generation, _) = next else { return next };
        if !self.goes(KeyOf { subject, generation }) {
            return next;
        }
        let first = first_generation(self.meta.settings.epoch);
        Next::Mint(generation.saturating_add(1).max(first), self.meta.wraps)
    }

    /// Whether this key is to go, and nothing under it stays: whoever counts on what it opens would
    /// lose it. Where he has ordered under it since, the wish takes nothing.
    pub(in crate::core) fn goes(&self, of: KeyOf) -> bool {
        let ends = |owed: &Owed| !self.any_since(owed.key(), owed.asked_ms, |_, _| true);
        self.wish(of).is_some_and(ends)
    }

    /// Whether this order, which the key opens, is to be forgotten here.
    pub(in crate::core) fn owes(&self, of: KeyOf, id: OrderId) -> bool {
        let created = self.orders.get(&id).map_or(0, |order| order.created.ms());
        self.wish(of).is_some_and(|owed| created <= owed.asked_ms)
    }

    /// The wish that is owed, if it is one for sure and about what this key opens.
    fn wish(&self, of: KeyOf) -> Option<&Owed> {
        let owed = self.owed.get(&of.subject)?;
        let wish = owed.asked.cause == Cause::Erased && of.generation <= owed.upto;
        wish.then_some(owed)
    }

    fn on_his_way(&self, subject: SubjectId) -> bool {
        matches!(self.moves.carries.get(&subject), Some(Carry::Coming { .. }))
    }

    /// Whether anything under his keys up to this one was ordered since. What another region goes
    /// on with counts where he lives here or comes: what he brings may lie under that key.
    fn ordered_since(&self, of: KeyOf, asked_ms: u64) -> bool {
        let all = self.lives_here(of.subject) || self.on_his_way(of.subject);
        self.any_since(of, asked_ms, |id, order| all || self.is_own(id, order))
    }

    fn any_since(
        &self,
        of: KeyOf,
        asked_ms: u64,
        counts: impl Fn(OrderId, &Order) -> bool,
    ) -> bool {
        self.sealed_upto(of).any(|id| {
            let order = self.orders.get(&id).filter(|order| counts(id, order));
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
