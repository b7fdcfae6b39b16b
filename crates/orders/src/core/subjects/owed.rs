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
    fn key(&self) -> KeyOf {
        KeyOf { generation: self.upto, ..self.of }
    }
}

impl State {
    /// Another region that has, or had, his orders was asked to erase him. Who has ordered here
    /// since, or has moved here, is for this region to ask. What he left there says nothing of
    /// what is here.
    pub(super) fn told(&mut self, at: LogTime, of: KeyOf, asked: Asked, times: (u64, u64)) {
        let own = of.subject.home == self.meta.settings.region;
        if !own || asked.1 == Cause::Left {
            return;
        }
        let Next::Use(generation, _) = self.next_key(of.subject) else {
            self.owed.remove(&of.subject);
            return;
        };
        let newest = KeyOf { generation, ..of };
        if self.lives_here(of.subject) || self.ordered_since(newest, times.0) {
            return self.told_before(at, of.subject, asked, times);
        }
        if self.keeps(newest).is_none() {
            self.owed.remove(&of.subject);
            return self.drop_with_former(at, newest, asked, times);
        }
        if self.owed.len() < OWED_MAX || self.owed.contains(&of.subject) {
            self.owed.insert(of.subject, Owed { of, asked, asked_ms: times.0, upto: generation });
            self.brought_anew(newest);
        }
    }

    /// Carries a wish out that is owed to him from before he came, or ordered again: if only what
    /// it was about lies under his former key.
    fn told_before(&mut self, at: LogTime, subject: SubjectId, asked: Asked, times: (u64, u64)) {
        let known = self.owed.get(&subject).cloned();
        let same = |owed: &Owed| (owed.asked, owed.asked_ms) == (asked, times.0);
        let Some(owed) = known.filter(same) else { return };
        if self.keeps(owed.key()).is_some() {
            return;
        }
        self.owed.remove(&subject);
        if owed.asked.1 == Cause::Erased && !self.ordered_since(owed.key(), owed.asked_ms) {
            self.drop_with_former(at, owed.key(), owed.asked, times);
        }
    }

    /// What is on its way here with him came under the key that is to go: it comes again, under
    /// his next one.
    fn brought_anew(&mut self, of: KeyOf) {
        let carry = self.moves.carries.get(&of.subject);
        if carry.is_some_and(|carry| matches!(carry, Carry::Coming { .. })) {
            self.moves.drop_kept(of);
        }
    }

    /// What the next of his is sealed with: not with a key that is to go because of a wish from
    /// before he came, where he lives here or `comes`.
    pub fn sealing_key(&self, subject: SubjectId, comes: bool) -> Next {
        let next = self.next_key(subject);
        let Next::Use(generation, _) = next else { return next };
        let owed = self.owed.get(&subject).filter(|owed| owed.asked.1 == Cause::Erased);
        let to_go = owed.is_some_and(|owed| owed.upto == generation);
        if !to_go || !comes && !self.lives_here(subject) {
            return next;
        }
        let first = first_generation(self.meta.settings.epoch);
        Next::Mint(generation.saturating_add(1).max(first), self.meta.wraps)
    }

    /// Whether what this key opens is to be forgotten here.
    pub(in crate::core) fn owes(&self, of: KeyOf) -> bool {
        self.owed.get(&of.subject).is_some_and(|owed| of.generation <= owed.upto)
    }

    /// Whether anything under his keys up to this one was ordered since.
    fn ordered_since(&self, of: KeyOf, asked_ms: u64) -> bool {
        self.sealed_upto(of).any(|id| {
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
        let ended = self.owed.iter().filter(|(_, owed)| self.keeps(owed.key()).is_none());
        let told = ended.map(|(_, Owed { of, asked, asked_ms, .. })| KeyStep::Told {
            keys: vec![*of],
            asked: *asked,
            asked_ms: *asked_ms,
            destroy_after_ms,
        });
        told.take(max).collect()
    }

    /// The orders for whose end it is waited, in order.
    pub fn owed_for(&self, max: usize) -> Vec<OrderId> {
        let mut orders: Vec<_> =
            self.owed.iter().filter_map(|(_, owed)| self.keeps(owed.key())).collect();
        orders.sort_unstable();
        orders.truncate(max);
        orders
    }
}
