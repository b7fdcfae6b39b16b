//! Rebook: what left, by the books, is not what orders shipped. A compensating movement that two
//! people agreed on, after a count.

use hansa_types::id::TransferId;
use hansa_types::time::LogTime;

use super::command::Rebook;
use super::{Bucket, Inventory, Moved, Movement, Note, SkuNo, WarehouseNo};
use crate::core::kernel::{Origin, Reference};
use crate::core::outcome::{Outcome, OutcomeCode};

impl Inventory {
    /// Moves `delta` from what customers have to the default warehouse's available, or back.
    ///
    /// # Outcomes
    /// `UnknownSku`; `CountDiffers` when customers have another number of units than was said;
    /// `ExceedsAvailable` when there is less to move.
    pub(super) fn rebook(
        &mut self,
        at: LogTime,
        id: TransferId,
        rebook: &Rebook<'_>,
    ) -> Result<Outcome, Outcome> {
        let sku = self.skus.number(rebook.sku).ok_or(Outcome::of(OutcomeCode::UnknownSku))?;
        let (sku, warehouse) = (SkuNo(sku), WarehouseNo::DEFAULT);
        let customer = self.open(Bucket::Customer, sku, warehouse);
        let available = self.open(Bucket::Available, sku, warehouse);
        let shipped = self.books.account(&customer).map_or(0, |account| account.balance());
        if shipped != i128::from(rebook.expected_shipped) {
            let available = i64::try_from(shipped).unwrap_or(i64::MAX);
            return Err(Outcome { available, ..OutcomeCode::CountDiffers.into() });
        }
        let (debit, credit) =
            if rebook.delta > 0 { (customer, available) } else { (available, customer) };
        let amount = rebook.delta.unsigned_abs();
        let moved = self.books.transfer(&debit, &credit, amount);
        moved.map_err(|why| Outcome { available: self.left(&debit), ..Outcome::from(why) })?;
        let (movement, reference) = (Movement::Rebook, Reference(0));
        let moved = Moved { id, at, debit, credit, movement, reference };
        self.post(moved, amount, Origin::Move);
        self.notes.push(Note {
            id,
            at,
            sku: rebook.sku.to_owned(),
            warehouse: self.default_warehouse().to_owned(),
            delta: rebook.delta,
            reason: rebook.reason.to_owned(),
            document: rebook.document.to_owned(),
        });
        Ok(OutcomeCode::Applied.into())
    }
}
