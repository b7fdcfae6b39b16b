//! The orders' own books: each step is the command that a lane would have carried, to the byte, so
//! that it is one and the same whichever way it comes.

use hansa_ledger::core::inventory::{
    self, Command as Stock, Reserve, Return, ReturnElsewhere, Ship,
};
use hansa_ledger::core::outcome::{Outcome, OutcomeCode};
use hansa_ledger::core::payments::{self, Command as Money, PaymentKey};
use hansa_ledger::machine::book_stock;
use hansa_ledger::wire::outcome_code;
use hansa_orders::carried::came_to;
use hansa_orders::core::effect::{Booking, StepResult, StockCall, StockLine, StockVerb};
use hansa_orders::core::near::NearBooks;
use hansa_types::id::{OrderId, TransferId};
use hansa_types::seeded::{self, Bug};
use hansa_types::time::LogTime;

use crate::machine::Books;

impl NearBooks for Books {
    fn book(&mut self, at: LogTime, order: OrderId, booking: &Booking) -> StepResult {
        let outcome = match booking {
            Booking::Stock(call) => {
                let outcome = book_stock(&mut self.stock, at, &stock(order, call));
                if seeded::on(Bug::NearBooksAgain) {
                    let again = StockCall { id: call.id.child(u32::MAX), ..call.clone() };
                    let _twice = book_stock(&mut self.stock, at, &stock(order, &again));
                }
                outcome
            }
            booking => match money(order, booking) {
                Some(command) => self.money.apply(at, &command),
                None => OutcomeCode::Malformed.into(),
            },
        };
        result(&outcome, booking)
    }

    fn has_payment(&self, payment: TransferId) -> bool {
        let key = PaymentKey(u128::from_be_bytes(payment.to_bytes()));
        self.money.payment(&key).is_some()
    }
}

/// What an outcome means for the step.
pub(crate) fn result(outcome: &Outcome, booking: &Booking) -> StepResult {
    let sku = line_of(booking, outcome.line).map_or("", |line| line.sku.as_str());
    came_to(outcome_code(outcome.code), outcome.line, sku, outcome.available)
}

fn line_of(booking: &Booking, place: u32) -> Option<&StockLine> {
    let Booking::Stock(call) = booking else { return None };
    let lines = match &call.verb {
        StockVerb::Reserve { lines, .. }
        | StockVerb::Ship { lines, .. }
        | StockVerb::Restock { lines, .. } => lines,
        StockVerb::Extend { .. }
        | StockVerb::Release { .. }
        | StockVerb::Commit { .. }
        | StockVerb::Uncommit { .. } => return None,
    };
    lines.iter().find(|line| line.line == place)
}

pub(crate) fn stock(order: OrderId, call: &StockCall) -> Stock<'_> {
    let id = call.id;
    match &call.verb {
        StockVerb::Reserve { lines: of, ttl_ms } => {
            Stock::Reserve(Reserve { id, order, ttl_ms: ms(*ttl_ms), lines: lines(of) })
        }
        StockVerb::Extend { hold, ttl_ms } => {
            Stock::Extend { id, hold: *hold, ttl_ms: ms(*ttl_ms) }
        }
        StockVerb::Release { hold } => Stock::Release { id, hold: *hold },
        StockVerb::Commit { hold } => Stock::Commit { id, hold: *hold },
        StockVerb::Uncommit { hold } => Stock::Uncommit { id, hold: *hold },
        StockVerb::Ship { hold, lines: of } => {
            Stock::Ship(Ship { id, hold: *hold, lines: lines(of) })
        }
        StockVerb::Restock { lines: of, elsewhere, ended, .. } => {
            let returned = Return { id, order, lines: lines(of) };
            if elsewhere.is_empty() {
                return Stock::Return(returned);
            }
            let units = |line: u32| elsewhere.iter().find(|of| of.line == line);
            let units = |line: u32| units(line).map_or(0, |of| of.quantity);
            let elsewhere = returned.lines.iter().map(|line| units(line.line)).collect();
            Stock::ReturnElsewhere(ReturnElsewhere { returned, elsewhere, ended: *ended })
        }
    }
}

/// `None` for an amount that is none, as a lane would be told.
pub(crate) fn money(order: OrderId, booking: &Booking) -> Option<Money> {
    let amount = |minor: i64| u64::try_from(minor).ok();
    Some(match booking {
        Booking::Stock(_) => return None,
        Booking::HoldFunds { books, id, money, timeout_ms } => {
            Money::Authorize(payments::Authorize {
                id: *id,
                payment: payment(books.payment),
                order,
                amount: amount(money.minor)?,
                currency: money.currency,
                timeout_ms: u64::from(ms(*timeout_ms)),
            })
        }
        Booking::VoidFunds { books, id, hold } => {
            Money::Void(payments::Void { id: *id, hold: *hold, payment: payment(books.payment) })
        }
        Booking::Capture { books, id, hold, money } => Money::Capture(payments::Capture {
            id: *id,
            hold: *hold,
            payment: payment(books.payment),
            amount: Some(amount(money.minor)?),
            remainder: None,
        }),
        Booking::Refund { books, id, money } => {
            let (payment, amount) = (payment(books.payment), amount(money.minor)?);
            Money::Refund(payments::Refund { id: *id, payment, amount })
        }
        Booking::Open(open) => Money::Open(payments::Open {
            id: open.id,
            payment: payment(open.books.payment),
            order,
            currency: open.currency,
            authorized: amount(open.authorized_minor)?,
            captured: amount(open.captured_minor)?,
            refunded: amount(open.refunded_minor)?,
            ended: open.ended,
        }),
    })
}

fn ms(ms: u64) -> u32 {
    u32::try_from(ms).unwrap_or(u32::MAX)
}

fn payment(id: TransferId) -> PaymentKey {
    PaymentKey(u128::from_be_bytes(id.to_bytes()))
}

/// In order of their number, as the books want them.
fn lines(lines: &[StockLine]) -> Vec<inventory::StockLine<'_>> {
    let mut sorted: Vec<_> = lines
        .iter()
        .map(|of| inventory::StockLine {
            line: of.line,
            sku: of.sku.as_str(),
            warehouse: None,
            quantity: of.quantity,
        })
        .collect();
    sorted.sort_by_key(|line| line.line);
    sorted
}
