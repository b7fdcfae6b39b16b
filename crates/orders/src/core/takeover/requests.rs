//! The requests of an order whose owner changes: each has one effect, whoever is asked again.

use std::collections::BTreeSet;

use hansa_types::id::OrderId;
use hansa_types::time::LogTime;

use super::adopt::Facts;
use crate::core::command::{Refused, Target};
use crate::core::keys::{Key, Scope, Seen};
use crate::core::order::Heard;
use crate::core::state::State;

/// How far clocks of a caller and of a former owner may be apart.
const SKEW_MS: u64 = 10_000;

impl State {
    /// What was granted here after the order's next owner had its copy, that owner never did: a
    /// repeat is told neither that it counts nor that it does not. Nor is it of what that one may
    /// have forgotten: no time tells the two apart, for they are two regions' times.
    pub(super) fn heard_alone(&mut self, id: OrderId, facts: &Facts) {
        let Some(former) = self.orders.get(&id) else { return };
        let known: BTreeSet<Scope> = facts.requests.iter().map(|heard| heard.scope).collect();
        let alone = |heard: &&Heard| !known.contains(&heard.scope);
        let alone: Vec<Scope> = former.requests.iter().filter(alone).map(|of| of.scope).collect();
        alone.into_iter().for_each(|scope| self.keys.lose(scope, id));
    }

    /// A repeat of what another region granted is answered as there.
    pub(super) fn remember_requests(&mut self, at: LogTime, order: OrderId, facts: &Facts) {
        let first = facts.requests.first();
        let placed = facts.placed_as.zip(first).map(|(scope, heard)| Heard { scope, ..*heard });
        for heard in facts.requests.iter().copied().chain(placed) {
            let key = Key { scope: heard.scope, body: heard.body };
            let unknown = matches!(self.keys.seen(key), Seen::Never | Seen::Lost);
            if unknown || self.taken_alone(heard.scope, order) {
                let target = Target { order, first: heard.first, count: heard.count };
                self.keys.remember_under(key, at, target, heard.under);
            }
        }
    }

    /// Whether a request was taken here as well, for an order that nobody went on with: by who had
    /// not heard yet that it owned no more. What its caller heard of is what the owner made of it.
    fn taken_alone(&self, scope: Scope, order: OrderId) -> bool {
        let known = self.keys.table.get(&scope).map(|row| row.target.order);
        known.filter(|other| *other != order).is_some_and(|other| {
            self.orders.get(&other).is_some_and(|left| !self.is_own(other, left))
        })
    }

    /// Why an unknown request on an order that was taken over has no answer: the order came with
    /// its newest requests only, and this one may be older.
    pub(in crate::core) fn forgotten(
        &self,
        id: OrderId,
        key: Key,
        first_sent_ms: Option<u64>,
    ) -> Option<Refused> {
        let before = self.orders.get(&id)?.adopted?.forgot?;
        let expired = self.meta.now > before.plus_ms(self.meta.settings.key_ttl_ms);
        let newer = first_sent_ms.is_some_and(|sent| sent > before.plus_ms(SKEW_MS).ms());
        let unknown = matches!(self.keys.seen(key), Seen::Never);
        (unknown && !expired && !newer).then_some(Refused::InDoubt)
    }
}
