//! The hash of a state, and whether its indexes say what its tables say.

use hansa_types::hash::StateHash;
use hansa_types::id::OrderId;

use super::State;
use super::listing::Listed;
use crate::core::order::Order;
use crate::core::restored::Restored;

impl State {
    pub fn digest(&self) -> StateHash {
        let mut sum = StateHash::of_record("meta", &0_u8, &self.meta);
        for part in [self.contents.digest(), self.orders.digest(), self.keys.table.digest()] {
            sum.add(part);
        }
        sum.add(self.remote.cursors.digest());
        sum.add(self.remote.copies.digest());
        sum.add(self.remote.views.digest());
        sum.add(self.remote.parked.digest());
        sum.add(self.subjects.table.digest());
        sum.add(self.repairs.digest());
        sum.add(self.births.digest());
        sum.add(self.moves.digest());
        sum.add(self.owed.digest());
        sum.add(self.shelf.digest());
        sum.add(restored_digest(self.restored.as_ref()));
        sum
    }

    pub fn digest_full(&self) -> StateHash {
        let mut sum = StateHash::of_record("meta", &0_u8, &self.meta);
        sum.add(self.contents.recompute_digest());
        sum.add(self.orders.recompute_digest());
        sum.add(self.keys.table.recompute_digest());
        sum.add(self.remote.cursors.recompute_digest());
        sum.add(self.remote.copies.recompute_digest());
        sum.add(self.remote.views.recompute_digest());
        sum.add(self.remote.parked.recompute_digest());
        sum.add(self.subjects.table.recompute_digest());
        sum.add(self.repairs.digest_full());
        sum.add(self.births.digest_full());
        sum.add(self.moves.digest_full());
        sum.add(self.owed.recompute_digest());
        sum.add(self.shelf.digest_full());
        sum.add(restored_digest(self.restored.as_ref()));
        sum
    }

    /// Whether the indexes say what the tables say.
    pub fn indexes_agree(&self) -> bool {
        let mut work = 0;
        let orders = self.orders.iter().all(|(id, order)| {
            let moves = self.moves(*id, order);
            work += if moves { order.work.len() } else { 0 };
            let waits = order.work.iter().all(|work| self.work.get(&work.no) == Some(id));
            let wakes = order.wake.is_none_or(|at| self.timers.contains(&(at, *id)));
            (!moves || (waits && wakes))
                && self.by_seq.get(&order.last_seq) == Some(id)
                && self.by_age.contains(&Listed::of(*id, order))
                && self.parked.contains(id) == order.parked.is_some()
        });
        let timed =
            |(id, order): &(&OrderId, &Order)| order.wake.is_some() && self.moves(**id, order);
        let timers = self.orders.iter().filter(timed).count();
        orders
            && work == self.work.len()
            && timers == self.timers.len()
            && self.by_seq.len() == self.orders.len()
            && self.by_age.len() == self.orders.len()
            && self.ready == self.ready_of_tables()
            && self.keys.consistent()
            && self.remote.consistent()
            && self.subjects.consistent(self.orders.len())
            && self.moves.consistent()
    }
}

/// Nothing for a group that was never restored: its digest is what it always was.
pub fn restored_digest(restored: Option<&Restored>) -> StateHash {
    restored.map_or_else(StateHash::default, |now| StateHash::of_record("restored", &0_u8, now))
}
