//! Payments that were taken over with their orders: their books go on from what the former ones
//! said, so that refunded ≤ captured ≤ authorized holds across both.

use hansa_types::time::LogTime;

use super::chart::{House, Movement, PaymentKey, unit_of};
use super::{Open, Opened, Payment, Payments, kernel, transfer};
use crate::core::kernel::Act;
use crate::core::outcome::{Outcome, OutcomeCode};

impl Payments {
    /// Opens a payment's books with what was captured and given back elsewhere.
    ///
    /// The provider's clearing account is not touched: it owes the other region what that one
    /// captured. Both transfers are of one command, so a repeat finds both or neither.
    ///
    /// # Outcomes
    /// `ExistsWithDifferent` for a payment of another order; `ExceedsCaptured` when more was given
    /// back than captured, `ExceedsHold` when more was captured than authorized.
    pub(super) fn open(&mut self, at: LogTime, open: &Open) -> Outcome {
        let Open { id, payment, order, currency, authorized, captured, refunded, ended } = *open;
        let unit = unit_of(currency);
        if self.payments.get(&payment).is_some_and(|known| known.order != order) {
            return Outcome::differs("order");
        }
        if refunded > captured {
            return OutcomeCode::ExceedsCaptured.into();
        }
        if captured > authorized {
            return OutcomeCode::ExceedsHold.into();
        }
        let opening = House::Opening.account(unit);
        let books = self.kernel.books_mut();
        books.open(payment.account(), PaymentKey::spec(unit));
        books.open(opening, House::Opening.spec(unit));
        let act = Act::Move { debit: opening, credit: payment.account(), amount: captured };
        let outcome = self.one(at, transfer(id, act, Movement::Opening, payment));
        if outcome != kernel::Outcome::Created {
            return outcome.into();
        }
        if refunded > 0 {
            let act = Act::Move { debit: payment.account(), credit: opening, amount: refunded };
            // Its amount is within what was just credited, and its id is as new as the first.
            let given = self.one(at, transfer(id.child(1), act, Movement::Opening, payment));
            if given != kernel::Outcome::Created {
                return given.into();
            }
        }
        let opened = Some(Opened { ended, captured, refunded });
        let touched = self.payments.get(&payment).map_or(at, |known| known.touched);
        self.payments.insert(payment, Payment { order, unit, authorized, opened, touched });
        outcome.into()
    }
}
