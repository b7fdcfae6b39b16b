//! Commands about copies of other regions' orders.

use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;

use super::State;
use crate::core::command::{Outcome, Refused};
use crate::core::remote::{Copy, RemoteStep, Resolved, Retried};

impl State {
    pub(super) fn remote_step(&mut self, at: LogTime, step: RemoteStep) -> Outcome {
        match step {
            RemoteStep::Refill(mut refill) => {
                let origin = refill.origin;
                refill.events.retain(|event| !self.is_late(origin, event));
                Outcome::Received(self.remote.refill(at, *refill))
            }
            RemoteStep::Held { origin, terms, lowered } => {
                self.remote.hold(origin, terms, lowered);
                Outcome::Noted
            }
            RemoteStep::Purge(reduced) => {
                self.meta.purges += u64::from(self.remote.purge(reduced));
                Outcome::Noted
            }
            RemoteStep::Reduce(reductions) => {
                if let Some(unused) = self.remote.reduce(reductions) {
                    self.meta.purges += 1;
                    self.give_back(unused);
                }
                Outcome::Noted
            }
            RemoteStep::Retry { order, events } => {
                let dropped = self.drop_late(order);
                let none = dropped.then_some(Retried { left: 0, ask_home: false });
                match self.remote.retry(order, &events).or(none) {
                    Some(retried) => {
                        self.look_again(order);
                        Outcome::Retried(retried)
                    }
                    None => Outcome::Refused(Refused::NotParked),
                }
            }
            #[cfg(test)]
            RemoteStep::Plant(order, copy) => {
                self.remote.plant(order, copy.map(|copy| *copy));
                Outcome::Noted
            }
            // Who and why are for whoever reads the log.
            RemoteStep::Resolve { order, keep_mine, by: _, reason: _ } => {
                self.resolve_remote(at, order, keep_mine)
            }
        }
    }

    pub(super) fn resolve_remote(
        &mut self,
        at: LogTime,
        order: OrderId,
        keep_mine: bool,
    ) -> Outcome {
        let resolved = self.remote.resolve(at, order, keep_mine);
        self.look_again(order);
        match resolved {
            Resolved::NotParked => Outcome::Refused(Refused::NotParked),
            Resolved::Done(version) => Outcome::Resolved(version),
            Resolved::AskHome => Outcome::Refused(Refused::NotKept),
        }
    }

    /// Another owner is known: what the one before it sent late holds its orders back no more.
    pub(in crate::core) fn release_late(&mut self, birth: RegionNumber) {
        let waiting = self.remote.parked.iter().map(|(id, _)| *id);
        let waiting: Vec<OrderId> = waiting.filter(|id| id.region() == birth).collect();
        for order in waiting {
            if self.drop_late(order) {
                self.remote.retry(order, &[]);
                self.look_again(order);
            }
        }
    }

    /// Drops what a replaced owner wrote where the copy is its successor's already; whether the
    /// order waited for that.
    fn drop_late(&mut self, order: OrderId) -> bool {
        let Some(reached) = self.remote.copies.get(&order).map(Copy::epoch) else { return false };
        let births = &self.births;
        self.remote.let_late_go(order, |waiting| {
            let epoch = waiting.event.epoch(waiting.origin);
            epoch < reached && births.is_over(order.region(), epoch)
        })
    }
}
