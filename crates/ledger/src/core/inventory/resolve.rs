//! Extend, commit, uncommit and release: what becomes of a reservation before it is shipped.

use hansa_types::id::TransferId;
use hansa_types::seeded::{self, Bug};
use hansa_types::time::LogTime;

use super::{Bucket, Inventory, Moved, Movement, Reservation, ReservationState, order_reference};
use crate::core::kernel::Origin;
use crate::core::outcome::{Outcome, OutcomeCode};

impl Inventory {
    /// Moves a hold's expiry to `ttl_ms` from now, never past its cap and never earlier.
    ///
    /// # Outcomes
    /// `ExtendCapReached` when the hold already lasts as long as any may.
    pub(super) fn extend(
        &mut self,
        at: LogTime,
        hold: &TransferId,
        ttl_ms: u32,
    ) -> Result<Outcome, Outcome> {
        let reservation = self.held(hold)?;
        let ReservationState::Held { expires } = reservation.state else {
            return Err(OutcomeCode::AlreadyPosted.into());
        };
        let cap = reservation.created.plus_ms(self.settings.hold_ms_max);
        if expires >= cap {
            return Err(Outcome { expires: Some(expires), ..OutcomeCode::ExtendCapReached.into() });
        }
        let expires = at.plus_ms(u64::from(ttl_ms)).min(cap).max(expires);
        let lines = reservation.lines.len();
        for n in 0..lines {
            let line = self.reservations.get(hold).and_then(|held| held.lines.get(n));
            let Some(line) = line.map(|line| line.line) else { break };
            let extended = self.books.extend(&hold.child(line), expires);
            assert!(extended.is_ok(), "each line of a held reservation has a live hold");
        }
        self.reservations.update(hold, |held| held.state = ReservationState::Held { expires });
        Ok(Outcome { expires: Some(expires), ..OutcomeCode::Applied.into() })
    }

    /// Posts a hold: available to committed.
    pub(super) fn commit(
        &mut self,
        at: LogTime,
        id: TransferId,
        hold: &TransferId,
    ) -> Result<Outcome, Outcome> {
        let mut reservation = self.held(hold)?.clone();
        for line in &reservation.lines {
            let posted = self.books.post(&hold.child(line.line), None);
            let Ok((held, amount)) = posted else {
                unreachable!("each line of a held reservation has a live hold")
            };
            let moved = Moved {
                id: id.child(line.line),
                at,
                debit: held.debit,
                credit: held.credit,
                movement: Movement::Commit,
                reference: order_reference(reservation.order),
            };
            self.post(moved, amount, Origin::Hold { hold: hold.child(line.line), released: 0 });
        }
        reservation.state = ReservationState::Committed;
        self.reservations.insert(*hold, reservation);
        Ok(OutcomeCode::Applied.into())
    }

    /// Brings back to available what was committed and nobody shipped.
    ///
    /// # Outcomes
    /// `ExceedsCommitted` while the hold is not committed.
    pub(super) fn uncommit(
        &mut self,
        at: LogTime,
        id: TransferId,
        hold: &TransferId,
    ) -> Result<Outcome, Outcome> {
        let reservation = self.reservations.get(hold).ok_or_else(|| self.gone(hold))?;
        if reservation.state != ReservationState::Committed {
            return Err(OutcomeCode::ExceedsCommitted.into());
        }
        let Some(reservation) = self.reservations.remove(hold) else {
            unreachable!("it was there a moment ago")
        };
        for line in reservation.lines.iter().filter(|line| line.open() > 0) {
            let debit = Bucket::Committed.account(line.sku, line.warehouse);
            let credit = Bucket::Available.account(line.sku, line.warehouse);
            let amount = u64::from(line.open());
            let moved = self.books.transfer(&debit, &credit, amount);
            assert!(moved.is_ok(), "what a reservation committed lies in committed");
            let reference = order_reference(reservation.order);
            let (id, movement) = (id.child(line.line), Movement::Uncommit);
            self.post(Moved { id, at, debit, credit, movement, reference }, amount, Origin::Move);
        }
        self.spend(hold, OutcomeCode::AlreadyVoided);
        Ok(OutcomeCode::Applied.into())
    }

    /// Voids a hold.
    pub(super) fn release(&mut self, hold: &TransferId) -> Result<Outcome, Outcome> {
        self.held(hold)?;
        self.void(hold);
        Ok(OutcomeCode::Applied.into())
    }

    /// Voids the hold of a held reservation and forgets the reservation.
    pub(super) fn void(&mut self, hold: &TransferId) {
        let Some(reservation) = self.reservations.remove(hold) else { return };
        for line in &reservation.lines {
            let voided = self.books.void(&hold.child(line.line));
            assert!(voided.is_ok(), "each line of a held reservation has a live hold");
            if seeded::on(Bug::DoubleRelease) {
                let [from, to] = [Bucket::Supplier, Bucket::Available]
                    .map(|bucket| bucket.account(line.sku, line.warehouse));
                let _again = self.books.transfer(&from, &to, u64::from(line.quantity));
            }
        }
        self.spend(hold, OutcomeCode::AlreadyVoided);
    }

    /// A reservation that still holds.
    fn held(&self, hold: &TransferId) -> Result<&Reservation, Outcome> {
        let reservation = self.reservations.get(hold).ok_or_else(|| self.gone(hold))?;
        match reservation.state {
            ReservationState::Held { .. } => Ok(reservation),
            ReservationState::Committed => Err(OutcomeCode::AlreadyPosted.into()),
        }
    }
}
