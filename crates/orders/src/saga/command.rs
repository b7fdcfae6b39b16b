//! Steps as ledger commands, and ledger outcomes as results.

use bytes::Bytes;
use hansa_api::convert::id::{order_to_bytes, transfer_to_bytes};
use hansa_api::pb::ledger as wire;
use hansa_api::pb::ledger::OutcomeCode as Code;
use hansa_api::pb::ledger::command::Command as Verb;
use hansa_types::id::{OrderId, TransferId};

use crate::core::effect::{
    Booking, Open, Refusal, RefusalCode, StepResult, StockCall, StockLine, StockVerb,
};

fn id(transfer: TransferId) -> Bytes {
    transfer_to_bytes(transfer)
}

fn command(verb: Verb) -> wire::Command {
    wire::Command { command: Some(verb) }
}

fn ms(ms: u64) -> u32 {
    u32::try_from(ms).unwrap_or(u32::MAX)
}

/// What a lane sends to the books' group for a step of this order.
pub fn booking(of: OrderId, booking: &Booking) -> wire::Command {
    match booking {
        Booking::Stock(call) => stock(of, call),
        Booking::HoldFunds { books, id: step, money, timeout_ms } => {
            command(Verb::Authorize(wire::Authorize {
                id: id(*step),
                payment: id(books.payment),
                order: order_to_bytes(of),
                amount_minor: money.minor,
                currency: money.currency.as_str().to_owned(),
                timeout_ms: ms(*timeout_ms),
            }))
        }
        Booking::VoidFunds { books, id: step, hold } => {
            let payment = id(books.payment);
            command(Verb::Void(wire::Void { id: id(*step), hold: id(*hold), payment }))
        }
        Booking::Capture { books, id: step, hold, money } => {
            command(Verb::Capture(wire::Capture {
                id: id(*step),
                hold: id(*hold),
                amount_minor: money.minor,
                payment: id(books.payment),
            }))
        }
        Booking::Refund { books, id: step, money } => {
            let (payment, amount_minor) = (id(books.payment), money.minor);
            command(Verb::Refund(wire::Refund { id: id(*step), payment, amount_minor }))
        }
        Booking::Open(it) => command(Verb::Open(open(of, it))),
    }
}

fn stock(of: OrderId, call: &StockCall) -> wire::Command {
    let order = order_to_bytes(of);
    let step = id(call.id);
    command(match &call.verb {
        StockVerb::Reserve { lines: l, ttl_ms } => {
            let (lines, ttl_ms) = (lines(l), ms(*ttl_ms));
            Verb::Reserve(wire::Reserve { id: step, order, lines, ttl_ms })
        }
        StockVerb::Extend { hold, ttl_ms } => {
            let ttl_ms = ms(*ttl_ms);
            Verb::Extend(wire::Extend { id: step, hold: id(*hold), ttl_ms, order })
        }
        StockVerb::Release { hold } => {
            Verb::Release(wire::Release { id: step, hold: id(*hold), order })
        }
        StockVerb::Commit { hold } => {
            Verb::Commit(wire::Commit { id: step, hold: id(*hold), order })
        }
        StockVerb::Uncommit { hold } => {
            Verb::Uncommit(wire::Uncommit { id: step, hold: id(*hold), order })
        }
        StockVerb::Ship { hold, lines: l } => {
            Verb::Ship(wire::Ship { id: step, hold: id(*hold), order, lines: lines(l) })
        }
        StockVerb::Restock { hold, lines: l, elsewhere, ended } => {
            let (hold, elsewhere, ended_epoch) = (id(*hold), lines(elsewhere), *ended);
            let (id, lines) = (step, lines(l));
            Verb::ReturnStock(wire::ReturnStock { id, hold, order, lines, elsewhere, ended_epoch })
        }
    })
}

fn lines(lines: &[StockLine]) -> Vec<wire::StockLine> {
    let line = |line: &StockLine| wire::StockLine {
        line: line.line,
        sku: line.sku.to_string(),
        quantity: line.quantity,
        warehouse: String::new(),
    };
    lines.iter().map(line).collect()
}

fn open(of: OrderId, open: &Open) -> wire::Open {
    wire::Open {
        id: id(open.id),
        payment: id(open.books.payment),
        order: order_to_bytes(of),
        currency: open.currency.as_str().to_owned(),
        authorized_minor: open.authorized_minor,
        captured_minor: open.captured_minor,
        refunded_minor: open.refunded_minor,
        ended_epoch: open.ended,
    }
}

/// What an outcome means for a step.
pub fn result(outcome: &wire::Outcome) -> StepResult {
    came_to(outcome.code(), outcome.line, &outcome.sku, outcome.available)
}

/// The same, of an outcome that travelled otherwise. Every code is listed: a new one must be
/// thought about. With books in the orders' own log this is part of applying a command: another
/// meaning, or another name, is another version of behaviour.
pub fn came_to(code: Code, line: u32, sku: &str, available: i64) -> StepResult {
    let refusal = match code {
        Code::Applied | Code::Exists => return StepResult::Done,
        Code::UnknownSku => RefusalCode::UnknownSku,
        Code::ExceedsAvailable => RefusalCode::OutOfStock,
        Code::Expired => RefusalCode::Expired,
        // An operator may void a hold by force: then there is nothing left to give back.
        Code::HoldNotFound | Code::AlreadyVoided => RefusalCode::Gone,
        Code::AlreadyPosted => RefusalCode::Resolved,
        Code::Unspecified
        | Code::ExistsWithDifferent
        | Code::IdTooOld
        | Code::IdTooNew
        | Code::LinkedFailed
        | Code::AmountInvalid
        | Code::AccountsSame
        | Code::UnitMismatch
        | Code::AccountNotFound
        | Code::NotAHold
        | Code::ExceedsHold
        | Code::Overflow
        | Code::CountDiffers
        | Code::BelowHeld
        | Code::ExtendCapReached
        | Code::ExceedsCommitted
        | Code::ExceedsShipped
        | Code::ExceedsCaptured
        | Code::PaymentNotFound
        | Code::Malformed => RefusalCode::Other,
    };
    let (sku, detail) = (sku.to_owned(), code.as_str_name().to_owned());
    StepResult::Refused(Refusal { code: refusal, line, sku, available, detail })
}
