//! Customers whom another region was asked to forget while an order of theirs is under way here.
//!
//! Where they asked that order had ended, or was not known. Here it must end first: to whom would
//! its goods go? The wish is kept until then, and named with the order that it waits for. Of an
//! order that moves away in between its new owner must first have a key of its own.

use hansa_types::id::OrderId;
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use super::apply::under_way;
use super::{KeyOf, KeyStep, Next};
use crate::core::keys::Scope;
use crate::core::state::State;
use crate::core::takeover::End;

/// Wishes kept.
const OWED_MAX: usize = 100_000;

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Owed {
    pub of: KeyOf,
    pub request: Scope,
    pub asked_ms: u64,
}

impl State {
    /// Another region that has, or had, his orders was asked to erase him. Who has ordered here
    /// since, or has moved here, is for this region to ask.
    pub(super) fn told(&mut self, at: LogTime, of: KeyOf, request: Scope, times: (u64, u64)) {
        let own = of.subject.home == self.meta.settings.region;
        let lives = self.moves.get(of.subject).is_some_and(|row| row.lives == of.subject.home);
        let Next::Use(generation, _) = self.next_key(of.subject) else {
            self.owed.remove(&of.subject);
            return;
        };
        let asks_here = !own || lives || self.ordered_since(of, times.0);
        if !asks_here && self.keeps(of).is_some() {
            if self.owed.len() < OWED_MAX || self.owed.contains(&of.subject) {
                self.owed.insert(of.subject, Owed { of, request, asked_ms: times.0 });
            }
            return;
        }
        self.owed.remove(&of.subject);
        if !asks_here {
            self.drop_with_former(at, KeyOf { generation, ..of }, request, times);
        }
    }

    fn ordered_since(&self, of: KeyOf, asked_ms: u64) -> bool {
        self.subjects.orders_of(of.subject).any(|id| {
            let order = self.orders.get(&id).filter(|order| self.is_own(id, order));
            order.is_some_and(|order| order.created.ms() > asked_ms)
        })
    }

    /// The order that is under way and keeps his key: here, or in another region that did not go
    /// on with it yet and would open it with this key.
    fn keeps(&self, of: KeyOf) -> Option<OrderId> {
        let keeps = |id: &OrderId| self.is_open(*id) || self.waits_elsewhere(*id);
        self.subjects.orders_of(of.subject).find(keeps)
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
        let ended = self.owed.iter().filter(|(_, owed)| self.keeps(owed.of).is_none());
        let told = ended.map(|(_, Owed { of, request, asked_ms })| KeyStep::Told {
            keys: vec![*of],
            request: *request,
            asked_ms: *asked_ms,
            destroy_after_ms,
        });
        told.take(max).collect()
    }

    /// The orders for whose end it is waited, in order.
    pub fn owed_for(&self, max: usize) -> Vec<OrderId> {
        let mut orders: Vec<_> =
            self.owed.iter().filter_map(|(_, owed)| self.keeps(owed.of)).collect();
        orders.sort_unstable();
        orders.truncate(max);
        orders
    }
}
