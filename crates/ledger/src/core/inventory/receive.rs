//! Receive: goods from a supplier; the only way in for a new SKU or warehouse.

use hansa_types::id::{Sku, TransferId, WarehouseId};
use hansa_types::time::LogTime;

use super::command::{Receive, SetFloor};
use super::{Bucket, Inventory, Moved, Movement, Note, SkuNo, WarehouseNo};
use crate::core::kernel::{Limit, Origin, Reference};
use crate::core::outcome::{Outcome, OutcomeCode};

impl Inventory {
    /// Moves stock from the supplier to available.
    ///
    /// # Outcomes
    /// `Malformed` for a name outside the grammar, `Overflow` when the account cannot count it.
    pub(super) fn receive(
        &mut self,
        at: LogTime,
        id: TransferId,
        receive: &Receive<'_>,
    ) -> Result<Outcome, Outcome> {
        // Before the warehouse is numbered: what is refused leaves no trace.
        self.good_sku(receive.sku)?;
        let warehouse = self.new_warehouse(receive.warehouse)?;
        let sku = SkuNo(self.skus.number_or_new(receive.sku));
        let debit = self.open(Bucket::Supplier, sku, warehouse);
        let credit = self.open(Bucket::Available, sku, warehouse);
        self.books
            .transfer(&debit, &credit, receive.quantity)
            .map_err(|why| Outcome::of(why.into()))?;
        let (movement, reference) = (Movement::Receive, Reference(0));
        let moved = Moved { id, at, debit, credit, movement, reference };
        self.post(moved, receive.quantity, Origin::Move);
        let warehouse = self.warehouse_name(warehouse).unwrap_or_default().to_owned();
        self.notes.push(Note {
            id,
            at,
            sku: receive.sku.to_owned(),
            warehouse,
            delta: i64::try_from(receive.quantity).unwrap_or(i64::MAX),
            reason: "received".to_owned(),
            document: receive.document.to_owned(),
        });
        Ok(OutcomeCode::Applied.into())
    }

    fn good_sku(&self, name: &str) -> Result<(), Outcome> {
        let canonical = || name.parse::<Sku>().is_ok_and(|sku| sku.as_str() == name);
        match self.skus.number(name).is_some() || canonical() {
            true => Ok(()),
            false => Err(OutcomeCode::Malformed.into()),
        }
    }

    fn new_warehouse(&mut self, name: Option<&str>) -> Result<WarehouseNo, Outcome> {
        if let Some(known) = self.warehouse(name) {
            return Ok(known);
        }
        let name = name.unwrap_or_default();
        // One number is kept for accounts that lie in no warehouse.
        if name.parse::<WarehouseId>().is_err() || self.warehouses.len() >= usize::from(u16::MAX) {
            return Err(OutcomeCode::Malformed.into());
        }
        let number = self.warehouses.number_or_new(name);
        let number = u16::try_from(number).map_err(|_| Outcome::of(OutcomeCode::Overflow))?;
        Ok(WarehouseNo(number))
    }

    /// Sets how much is kept back (safety stock) or sold ahead (backorder limit).
    ///
    /// # Outcomes
    /// `BelowHeld` when holds already reach beyond the new floor.
    pub(super) fn set_floor(&mut self, set: &SetFloor<'_>) -> Result<Outcome, Outcome> {
        let sku = self.skus.number(set.sku).ok_or(Outcome::of(OutcomeCode::UnknownSku))?;
        let warehouse = self.warehouse(set.warehouse);
        let warehouse = warehouse.ok_or(Outcome::of(OutcomeCode::AccountNotFound))?;
        let account = self.open(Bucket::Available, SkuNo(sku), warehouse);
        let floor = i64::from(set.backorder_limit) - i64::from(set.safety_stock);
        self.books
            .set_limit(&account, Limit::Debits { floor })
            .map_err(|_| Outcome::of(OutcomeCode::BelowHeld))?;
        Ok(OutcomeCode::Applied.into())
    }
}
