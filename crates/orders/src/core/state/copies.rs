//! Commands about copies of other regions' orders.

use hansa_types::id::OrderId;
use hansa_types::time::LogTime;

use super::State;
use crate::core::command::{Outcome, Refused};
use crate::core::remote::{RemoteStep, Resolved};

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
                self.remote.purge(reduced);
                Outcome::Noted
            }
            RemoteStep::Retry { order, events } => match self.remote.retry(order, &events) {
                Some(retried) => {
                    self.look_again(order);
                    Outcome::Retried(retried)
                }
                None => Outcome::Refused(Refused::NotParked),
            },
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
}
