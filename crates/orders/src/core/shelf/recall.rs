//! Orders that left come back: the shell reads the archive, and what it read is checked here. A
//! verb follows in the same entry; where none does, or none changes it, the order leaves again.

use bytes::Bytes;
use hansa_pages::shelf::{Proof, Was};
use hansa_types::id::OrderId;
use serde::{Deserialize, Serialize};

use super::{SPENT, Shelved};
use crate::core::command::{Outcome, Refused};
use crate::core::near::Near;
use crate::core::order::Funds;
use crate::core::state::State;

/// Orders in one command.
pub const RECALLED_MAX: usize = 256;

/// What happens to what left; commands of the shell.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Step {
    /// One after the other: a proof is made for what those before it leave.
    Recall(Vec<Recalled>),
}

/// A record of the archive, and what shows that it is the order that left.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recalled {
    pub order: OrderId,
    pub record: Bytes,
    pub proof: Proof,
}

impl State {
    /// # Outcomes
    /// `Malformed`: no shelved order; `ShelfChanged`: it is here, or was, its chunk is another by
    /// now, or its payment is not in the near books: the shell reads again. Those before it are
    /// back.
    pub(in crate::core) fn shelf_step(&mut self, step: Step, near: &Near<'_>) -> Outcome {
        let Step::Recall(recalled) = step;
        if recalled.len() > RECALLED_MAX {
            return Outcome::Refused(Refused::Malformed);
        }
        let back = recalled.into_iter().try_for_each(|one| self.recall(&one, near));
        back.map_or_else(Outcome::Refused, |()| Outcome::Noted)
    }

    fn recall(&mut self, one: &Recalled, near: &Near<'_>) -> Result<(), Refused> {
        let Recalled { order: id, record, proof } = one;
        let Shelved { order, contents, .. } = Shelved::decode(record).ok_or(Refused::Malformed)?;
        let here = contents.payment_group == self.meta.settings.index;
        let captured = order.money.payment.filter(|_| here && order.funds == Funds::Captured);
        if self.orders.contains(id) || captured.is_some_and(|payment| near.lacks(payment)) {
            return Err(Refused::ShelfChanged);
        }
        let taken = self.shelf.records.take((*id).into(), order.last_seq, record, proof);
        if taken.map_err(|_| Refused::ShelfChanged)? == Was::Closed {
            self.shelf.send(SPENT, &proof.number.to_be_bytes(), Vec::new());
        }
        let here = self.meta.settings.region;
        self.meta.left_versions -= order.version - order.base();
        self.shelf.count(here, &order, &contents, -1);
        self.subjects.left(contents.sealed_with, |left| left.remove(*id, &contents));
        self.bring(*id, contents, order);
        // Its births may have gone and come back meanwhile.
        self.adopt_late(*id);
        Ok(())
    }
}
