//! Adjust: what was counted differs from the books.

use hansa_types::id::TransferId;
use hansa_types::time::LogTime;

use super::command::Adjust;
use super::{Bucket, Inventory, Moved, Movement, Note, ReservationState, SkuNo, WarehouseNo};
use crate::core::kernel::{self, Origin, Reference};
use crate::core::outcome::{Outcome, OutcomeCode};

/// Orders named in a refusal; an operator needs a few, not all.
const NAMED_MAX: usize = 16;

impl Inventory {
    /// Moves `delta` between available and shrinkage.
    ///
    /// # Outcomes
    /// `UnknownSku`, `AccountNotFound` for an unknown warehouse; `CountDiffers` when on hand is not
    /// what was counted; `BelowHeld` with the newest orders that hold the stock, unless forced:
    /// then their holds are voided, newest first, as far as needed; `ExceedsAvailable` when even
    /// that is not enough.
    pub(super) fn adjust(
        &mut self,
        at: LogTime,
        id: TransferId,
        adjust: &Adjust<'_>,
    ) -> Result<Outcome, Outcome> {
        let sku = self.skus.number(adjust.sku).ok_or(Outcome::of(OutcomeCode::UnknownSku))?;
        let (sku, warehouse) = (SkuNo(sku), self.warehouse(adjust.warehouse));
        let warehouse = warehouse.ok_or(Outcome::of(OutcomeCode::AccountNotFound))?;
        if let Some(expected) = adjust.expected_on_hand {
            let on_hand = self.stock_of(sku, warehouse).on_hand();
            if on_hand != expected {
                return Err(Outcome { available: on_hand, ..OutcomeCode::CountDiffers.into() });
            }
        }
        let available = self.open(Bucket::Available, sku, warehouse);
        let shrinkage = self.open(Bucket::Shrinkage, sku, warehouse);
        let amount = adjust.delta.unsigned_abs();
        let (debit, credit) =
            if adjust.delta < 0 { (available, shrinkage) } else { (shrinkage, available) };
        let mut moved = self.books.transfer(&debit, &credit, amount);
        if moved == Err(kernel::Outcome::ExceedsAvailable) {
            self.make_room(sku, warehouse, amount, adjust.force)?;
            moved = self.books.transfer(&debit, &credit, amount);
        }
        moved.map_err(|why| Outcome { available: self.left(&debit), ..Outcome::from(why) })?;
        let (movement, reference) = (Movement::Adjust, Reference(0));
        let moved = Moved { id, at, debit, credit, movement, reference };
        self.post(moved, amount, Origin::Move);
        let warehouse = self.warehouse_name(warehouse).unwrap_or_default().to_owned();
        self.notes.push(Note {
            id,
            at,
            sku: adjust.sku.to_owned(),
            warehouse,
            delta: adjust.delta,
            reason: adjust.reason.to_owned(),
            document: adjust.document.to_owned(),
        });
        Ok(OutcomeCode::Applied.into())
    }

    /// Voids the newest holds until `amount` is available, or says which stand in the way.
    ///
    /// Looks at every reservation: an adjustment that does not fit is rare, an index for it would
    /// be paid for by every order.
    fn make_room(
        &mut self,
        sku: SkuNo,
        warehouse: WarehouseNo,
        amount: u64,
        force: bool,
    ) -> Result<(), Outcome> {
        let held = |line: &super::Line| {
            let here = line.sku == sku && line.warehouse == warehouse;
            if here { i128::from(line.quantity) } else { 0 }
        };
        let mut holders: Vec<_> = self
            .reservations
            .iter()
            .filter(|(_, held)| matches!(held.state, ReservationState::Held { .. }))
            .map(|(id, held_by)| {
                let quantity: i128 = held_by.lines.iter().map(held).sum();
                (held_by.created, *id, held_by.order, quantity)
            })
            .filter(|(.., quantity)| *quantity > 0)
            .collect();
        holders.sort_unstable_by(|a, b| b.cmp(a));
        let account = Bucket::Available.account(sku, warehouse);
        let left = self.books.account(&account).and_then(|account| account.debitable());
        let left = left.unwrap_or(0);
        let reserved: i128 = holders.iter().map(|(.., quantity)| quantity).sum();
        if left + reserved < i128::from(amount) {
            let available = i64::try_from((left + reserved).max(0)).unwrap_or(i64::MAX);
            return Err(Outcome { available, ..OutcomeCode::ExceedsAvailable.into() });
        }
        if !force {
            let orders = holders.iter().take(NAMED_MAX).map(|(_, _, order, _)| *order).collect();
            let available = i64::try_from(left.max(0)).unwrap_or(i64::MAX);
            return Err(Outcome { available, orders, ..OutcomeCode::BelowHeld.into() });
        }
        let mut free = left;
        for (_, id, _, quantity) in holders {
            if free >= i128::from(amount) {
                break;
            }
            self.void(&id);
            free += quantity;
        }
        Ok(())
    }
}
