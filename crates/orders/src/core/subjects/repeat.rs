//! An erasure that is asked for again.
//!
//! The same request has its first receipt, unless an order from before it was adopted since: it was
//! under way where it came from, which refused to forget him, and it is sealed anew here. Then the
//! receipt would not be true.

use hansa_types::id::OrderId;

use super::{Erased, SubjectId};
use crate::core::command::{Outcome, Refused};
use crate::core::keys::Scope;
use crate::core::state::State;

impl State {
    /// What a repeat is told; `None` where there is still something to erase.
    pub(super) fn erased_before(&self, subject: SubjectId, request: Scope) -> Option<Outcome> {
        let erased = self.subjects.erased_by(subject, request)?;
        match self.came_back(subject, erased) {
            None => Some(Outcome::Erased(Box::new(erased.clone()), true)),
            // The order shares its key with what nobody asked to have forgotten.
            Some(order) if self.served_since(subject, erased) => {
                Some(Outcome::Refused(Refused::ServedSince(order)))
            }
            Some(_) => None,
        }
    }

    /// An order from before an erasure that shows him again.
    fn came_back(&self, subject: SubjectId, erased: &Erased) -> Option<OrderId> {
        let shows = |id: &OrderId| {
            let (Some(order), Some(contents)) = (self.orders.get(id), self.contents.get(id)) else {
                return false;
            };
            let anew = contents.sealed_with.generation > erased.generation;
            let before = order.created.ms() <= erased.asked_ms;
            order.adopted.is_some() && anew && before && !self.is_erased(*id)
        };
        self.subjects.orders_of(subject).find(shows)
    }

    /// Whether he has ordered or moved since. What was placed here under a newer key was, whatever
    /// the clocks say: that key was made after the erasure.
    fn served_since(&self, subject: SubjectId, erased: &Erased) -> bool {
        let moved = self.moves.get(subject).is_some_and(|row| row.since_ms > erased.asked_ms);
        let later = |id: &OrderId| {
            let (Some(order), Some(contents)) = (self.orders.get(id), self.contents.get(id)) else {
                return false;
            };
            let anew = contents.sealed_with.generation > erased.generation;
            order.adopted.is_none() && anew || order.created.ms() > erased.asked_ms
        };
        // What left was accepted here.
        let mut left = self.subjects.left_of(subject);
        let left = left
            .any(|left| left.generation > erased.generation || left.newest.ms() > erased.asked_ms);
        moved || left || self.subjects.orders_of(subject).any(|id| later(&id))
    }
}
