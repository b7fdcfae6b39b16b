//! Ship and return: stock that leaves to a customer, and stock that comes back.

use hansa_types::id::{OrderId, TransferId};
use hansa_types::time::LogTime;

use super::command::{Return, Ship};
use super::{
    Bucket, Inventory, Moved, Movement, Reservation, ReservationState, SkuNo, order_reference,
};
use crate::core::kernel::Origin;
use crate::core::outcome::{Outcome, OutcomeCode};

impl Inventory {
    /// Moves committed stock to the customer, every line or none.
    ///
    /// # Outcomes
    /// `ExceedsCommitted` for the first line that asks for more than is still open, or while the
    /// hold is not committed.
    pub(super) fn ship(
        &mut self,
        at: LogTime,
        id: TransferId,
        ship: &Ship<'_>,
    ) -> Result<Outcome, Outcome> {
        let reservation = self.reservations.get(&ship.hold).ok_or_else(|| self.gone(&ship.hold))?;
        if reservation.state != ReservationState::Committed {
            return Err(OutcomeCode::ExceedsCommitted.into());
        }
        let mut after = reservation.clone();
        let shipped = self.take_lines(&mut after, ship)?;
        for (nth, quantity) in shipped {
            let line = after.lines[nth];
            let debit = Bucket::Committed.account(line.sku, line.warehouse);
            let credit = self.open(Bucket::Customer, line.sku, line.warehouse);
            let amount = u64::from(quantity);
            let moved = self.books.transfer(&debit, &credit, amount);
            assert!(moved.is_ok(), "what a reservation committed lies in committed");
            let reference = order_reference(after.order);
            let (id, movement) = (id.child(line.line), Movement::Ship);
            self.post(Moved { id, at, debit, credit, movement, reference }, amount, Origin::Move);
        }
        if after.lines.iter().all(|line| line.open() == 0) {
            self.reservations.remove(&ship.hold);
            self.spend(&ship.hold, OutcomeCode::AlreadyPosted);
        } else {
            self.reservations.insert(ship.hold, after);
        }
        Ok(OutcomeCode::Applied.into())
    }

    /// Marks what is shipped on `after`; which lines, and how much of each.
    fn take_lines(
        &self,
        after: &mut Reservation,
        ship: &Ship<'_>,
    ) -> Result<Vec<(usize, u32)>, Outcome> {
        if ship.lines.is_empty() {
            let open = after.lines.iter_mut().enumerate().filter(|(_, line)| line.open() > 0);
            let take = |(nth, line): (usize, &mut super::Line)| {
                let quantity = line.open();
                line.shipped = line.quantity;
                (nth, quantity)
            };
            return Ok(open.map(take).collect());
        }
        let mut taken = Vec::with_capacity(ship.lines.len());
        for asked in &ship.lines {
            let refuse = |available: u32| Outcome {
                available: i64::from(available),
                ..Outcome::of(OutcomeCode::ExceedsCommitted).at_line(asked.line)
            };
            let sku = self.skus.number(asked.sku).map(SkuNo);
            let found = after
                .lines
                .iter_mut()
                .enumerate()
                .find(|(_, line)| line.line == asked.line && Some(line.sku) == sku);
            let (nth, line) = found.ok_or(refuse(0))?;
            if asked.quantity > line.open() {
                return Err(refuse(line.open()));
            }
            line.shipped += asked.quantity;
            taken.push((nth, asked.quantity));
        }
        Ok(taken)
    }

    /// Moves goods that came back to quarantine, every line or none: from the customer, and as far
    /// as another region's books shipped them (`elsewhere`, line by line), from there. So no return
    /// is short of what this region shipped for other orders.
    ///
    /// # Outcomes
    /// `ExceedsShipped` for the first line that brings back more than ever left here. That an order
    /// returns no more than it got, here and elsewhere, is kept by the order.
    pub(super) fn take_back(
        &mut self,
        at: LogTime,
        id: TransferId,
        returned: &Return<'_>,
        elsewhere: &[u32],
    ) -> Result<Outcome, Outcome> {
        self.books.begin();
        let mark = self.journal.mark();
        let away = |nth: usize| elsewhere.get(nth).copied().unwrap_or(0);
        // What may be refused comes first: only goods that stay here may bring a new SKU.
        for foreign in [false, true] {
            for (nth, line) in returned.lines.iter().enumerate() {
                let units = if foreign { away(nth) } else { line.quantity - away(nth) };
                let back = Back { id, order: returned.order, foreign, units: u64::from(units) };
                if let Err(code) = self.take_back_line(at, &back, line) {
                    self.books.take_back();
                    self.journal.take_back(mark);
                    return Err(Outcome::of(code).at_line(line.line));
                }
            }
        }
        self.books.keep();
        Ok(OutcomeCode::Applied.into())
    }

    fn take_back_line(
        &mut self,
        at: LogTime,
        back: &Back,
        line: &super::StockLine<'_>,
    ) -> Result<(), OutcomeCode> {
        let Back { id, order, foreign, units: amount } = *back;
        let warehouse = self.warehouse(line.warehouse).ok_or(OutcomeCode::AccountNotFound)?;
        if amount == 0 {
            return Ok(());
        }
        let (from, movement, id) = match foreign {
            false => (Bucket::Customer, Movement::Return, id.child(line.line)),
            true => {
                let id = id.child(FOREIGN | line.line);
                (Bucket::Elsewhere, Movement::ReturnElsewhere, id)
            }
        };
        let sku = match (self.skus.number(line.sku), foreign) {
            (Some(sku), _) => SkuNo(sku),
            (None, true) => SkuNo(self.skus.number_or_new(line.sku)),
            (None, false) => return Err(OutcomeCode::UnknownSku),
        };
        let debit = self.open(from, sku, warehouse);
        let credit = self.open(Bucket::Quarantine, sku, warehouse);
        if foreign {
            // Where it is restocked: a SKU that came this way may be ordered.
            self.open(Bucket::Available, sku, warehouse);
        }
        self.books.transfer(&debit, &credit, amount).map_err(|_| OutcomeCode::ExceedsShipped)?;
        let reference = order_reference(order);
        self.post(Moved { id, at, debit, credit, movement, reference }, amount, Origin::Move);
        Ok(())
    }
}

/// Tells a line's two transfers apart: numbers of lines are far below.
const FOREIGN: u32 = 1 << 31;

/// A part of a return.
struct Back {
    id: TransferId,
    order: OrderId,
    /// Shipped by another region's books.
    foreign: bool,
    units: u64,
}
