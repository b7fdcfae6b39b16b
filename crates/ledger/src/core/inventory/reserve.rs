//! Reserve: hold every line of an order, or none.

use hansa_types::id::TransferId;
use hansa_types::time::LogTime;

use super::command::Reserve;
use super::reference_of;
use super::{Bucket, Inventory, Line, Movement, Reservation, ReservationState, SkuNo};
use crate::core::kernel::{self, Hold};
use crate::core::outcome::{Outcome, OutcomeCode};

impl Inventory {
    /// Moves nothing yet: available stock is held for `ttl_ms`, at most the cap.
    ///
    /// # Outcomes
    /// `UnknownSku` for the first line whose SKU the shard does not know, `AccountNotFound` for an
    /// unknown warehouse, then `ExceedsAvailable` for the first line that does not fit beside the
    /// lines before it.
    pub(super) fn reserve(
        &mut self,
        at: LogTime,
        id: TransferId,
        reserve: &Reserve<'_>,
    ) -> Result<Outcome, Outcome> {
        let lines = self.places(reserve)?;
        let ttl_ms = u64::from(reserve.ttl_ms).min(self.settings.hold_ms_max);
        let expires = at.plus_ms(ttl_ms);
        self.books.begin();
        for line in &lines {
            if let Err(refusal) = self.hold_line(id, line, expires) {
                self.books.take_back();
                return Err(refusal);
            }
        }
        self.books.keep();
        let state = ReservationState::Held { expires };
        let reservation = Reservation { order: reserve.order, created: at, state, lines };
        self.reservations.insert(id, reservation);
        Ok(Outcome { expires: Some(expires), ..OutcomeCode::Applied.into() })
    }

    /// Where each line is taken from.
    fn places(&self, reserve: &Reserve<'_>) -> Result<Vec<Line>, Outcome> {
        let place = |line: &super::StockLine<'_>| {
            let refuse = |code: OutcomeCode| Outcome::of(code).at_line(line.line);
            let sku = self.skus.number(line.sku).ok_or(refuse(OutcomeCode::UnknownSku))?;
            let warehouse =
                self.warehouse(line.warehouse).ok_or(refuse(OutcomeCode::AccountNotFound))?;
            Ok(Line {
                line: line.line,
                sku: SkuNo(sku),
                warehouse,
                quantity: line.quantity,
                shipped: 0,
            })
        };
        reserve.lines.iter().map(place).collect()
    }

    fn hold_line(
        &mut self,
        reservation: TransferId,
        line: &Line,
        expires: LogTime,
    ) -> Result<(), Outcome> {
        let debit = Bucket::Available.account(line.sku, line.warehouse);
        let credit = self.open(Bucket::Committed, line.sku, line.warehouse);
        let hold = Hold {
            debit,
            credit,
            amount: u64::from(line.quantity),
            expires: Some(expires),
            code: Movement::Reserve.code(),
            reference: reference_of(reservation),
        };
        self.books.place(reservation.child(line.line), hold).map_err(|why| {
            let code = match why {
                // The SKU is known, but this warehouse never had it.
                kernel::Outcome::AccountNotFound(_) => OutcomeCode::ExceedsAvailable,
                why => why.into(),
            };
            let available = self.left(&debit);
            Outcome { available, ..Outcome::of(code).at_line(line.line) }
        })
    }
}
