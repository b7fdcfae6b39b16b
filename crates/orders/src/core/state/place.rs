//! Orders come into the tables and go out of them, and with them out of every index.

use hansa_types::id::OrderId;

use super::State;
use super::listing::Listed;
use crate::core::contents::Contents;
use crate::core::order::Order;

impl State {
    /// Puts an order in as it stands.
    pub(in crate::core) fn bring(&mut self, id: OrderId, contents: Contents, order: Order) {
        self.work.extend(order.work.iter().map(|work| (work.no, id)));
        self.timers.extend(order.wake.map(|at| (at, id)));
        self.by_seq.insert(order.last_seq, id);
        let listed = Listed::of(id, &order);
        self.by_age.insert(listed);
        self.parked.extend(order.parked.as_ref().map(|_| id));
        self.subjects.own(contents.sealed_with.subject, listed);
        self.contents.insert(id, contents);
        self.orders.insert(id, order);
        self.ready_again(id);
    }

    /// Takes an order out. What its requests were fingerprinted with stays known.
    pub(in crate::core) fn take_away(&mut self, id: OrderId) -> Option<(Order, Contents)> {
        self.unready(id);
        let (old, contents) = (self.orders.remove(&id)?, self.contents.remove(&id)?);
        self.by_seq.remove(&old.last_seq);
        let listed = Listed::of(id, &old);
        self.by_age.remove(&listed);
        for work in &old.work {
            self.work.remove(&work.no);
        }
        old.wake.map(|at| self.timers.remove(&(at, id)));
        self.parked.remove(&id);
        for heard in &old.requests {
            self.keys.pin(heard.scope, id, contents.sealed_with);
        }
        self.subjects.disown(contents.sealed_with.subject, listed);
        Some((old, contents))
    }
}
