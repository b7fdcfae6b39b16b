//! Between the wire and the core: commands in, outcomes out.

use bytes::Bytes;
use hansa_api::convert::id::{BadIdBytes, order_from_bytes, transfer_from_bytes};
use hansa_api::convert::time::from_log;
use hansa_api::pb::inventory as stock_pb;
use hansa_api::pb::ledger as pb;
use hansa_api::pb::ledger::command::Command as Verb;
use hansa_types::id::{GroupKind, TransferId};
use hansa_types::money::Currency;
use hansa_types::time::LogTime;

use crate::core::inventory::{self, CommandId, Stock, StockLine};
use crate::core::outcome::{Outcome, OutcomeCode};
use crate::core::payments::{self, PaymentKey};
use crate::machine::Batch;

/// A command that is not one of its group's kind, or does not read. Only our own nodes send these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

impl From<BadIdBytes> for Malformed {
    fn from(_: BadIdBytes) -> Self {
        Self
    }
}

/// A batch in the log format, for a group of `kind`.
///
/// # Errors
/// The first command that does not read; nothing of the batch is applied then.
pub fn encode(commands: &[pb::Command], kind: GroupKind) -> Result<Bytes, Malformed> {
    let mut batch = Batch::default();
    for command in commands {
        let verb = command.command.as_ref().ok_or(Malformed)?;
        match kind {
            GroupKind::Inventory => batch.push(&stock_command(verb)?),
            GroupKind::Payments => batch.push(&money_command(verb)?),
            GroupKind::Directory | GroupKind::Orders => return Err(Malformed),
        }
    }
    Ok(batch.finish().into())
}

fn stock_command(verb: &Verb) -> Result<inventory::Command<'_>, Malformed> {
    use inventory::Command;
    let id = |bytes: &Bytes| transfer_from_bytes(bytes);
    Ok(match verb {
        Verb::Reserve(it) => Command::Reserve(inventory::Reserve {
            id: id(&it.id)?,
            order: order_from_bytes(&it.order)?,
            ttl_ms: it.ttl_ms,
            lines: lines(&it.lines),
        }),
        Verb::Extend(it) => {
            Command::Extend { id: id(&it.id)?, hold: id(&it.hold)?, ttl_ms: it.ttl_ms }
        }
        Verb::Commit(it) => Command::Commit { id: id(&it.id)?, hold: id(&it.hold)? },
        Verb::Uncommit(it) => Command::Uncommit { id: id(&it.id)?, hold: id(&it.hold)? },
        Verb::Release(it) => Command::Release { id: id(&it.id)?, hold: id(&it.hold)? },
        Verb::Ship(it) => Command::Ship(inventory::Ship {
            id: id(&it.id)?,
            hold: id(&it.hold)?,
            lines: lines(&it.lines),
        }),
        Verb::ReturnStock(it) => returned(it)?,
        Verb::Receive(it) => Command::Receive(inventory::Receive {
            id: CommandId::Given(id(&it.id)?),
            sku: &it.sku,
            warehouse: named(&it.warehouse),
            quantity: u64::try_from(it.quantity).map_err(|_| Malformed)?,
            document: &it.document,
        }),
        Verb::Adjust(it) => Command::Adjust(inventory::Adjust {
            id: CommandId::Given(id(&it.id)?),
            sku: &it.sku,
            warehouse: named(&it.warehouse),
            delta: it.delta,
            expected_on_hand: it.expected_on_hand,
            force: false,
            reason: &it.reason,
            document: &it.document,
        }),
        Verb::Rebook(it) => Command::Rebook(inventory::Rebook {
            id: id(&it.id)?,
            sku: &it.sku,
            delta: it.delta,
            expected_shipped: it.expected_shipped,
            reason: &it.reason,
            document: &it.document,
        }),
        Verb::Authorize(_) | Verb::Capture(_) | Verb::Void(_) | Verb::Refund(_) | Verb::Open(_) => {
            return Err(Malformed);
        }
    })
}

/// A return, told apart by whether another region shipped any of it.
fn returned(it: &pb::ReturnStock) -> Result<inventory::Command<'_>, Malformed> {
    use inventory::Command;
    let (id, order) = (transfer_from_bytes(&it.id)?, order_from_bytes(&it.order)?);
    let returned = inventory::Return { id, order, lines: lines(&it.lines) };
    if it.elsewhere.is_empty() {
        return Ok(Command::Return(returned));
    }
    let units = |line: u32| it.elsewhere.iter().find(|of| of.line == line).map(|of| of.quantity);
    let elsewhere = returned.lines.iter().map(|line| units(line.line).unwrap_or(0)).collect();
    let ended = it.ended_epoch;
    Ok(Command::ReturnElsewhere(inventory::ReturnElsewhere { returned, elsewhere, ended }))
}

fn money_command(verb: &Verb) -> Result<payments::Command, Malformed> {
    use payments::Command;
    let id = |bytes: &Bytes| transfer_from_bytes(bytes);
    let amount = |minor: i64| u64::try_from(minor).map_err(|_| Malformed);
    Ok(match verb {
        Verb::Authorize(it) => Command::Authorize(payments::Authorize {
            id: id(&it.id)?,
            payment: payment(&it.payment)?,
            order: order_from_bytes(&it.order)?,
            amount: amount(it.amount_minor)?,
            currency: it.currency.parse::<Currency>().map_err(|_| Malformed)?,
            timeout_ms: u64::from(it.timeout_ms),
        }),
        Verb::Capture(it) => Command::Capture(payments::Capture {
            id: id(&it.id)?,
            hold: id(&it.hold)?,
            payment: payment(&it.payment)?,
            amount: Some(amount(it.amount_minor)?),
            remainder: None,
        }),
        Verb::Void(it) => Command::Void(payments::Void {
            id: id(&it.id)?,
            hold: id(&it.hold)?,
            payment: payment(&it.payment)?,
        }),
        Verb::Refund(it) => Command::Refund(payments::Refund {
            id: id(&it.id)?,
            payment: payment(&it.payment)?,
            amount: amount(it.amount_minor)?,
        }),
        Verb::Open(it) => Command::Open(payments::Open {
            id: id(&it.id)?,
            payment: payment(&it.payment)?,
            order: order_from_bytes(&it.order)?,
            currency: it.currency.parse::<Currency>().map_err(|_| Malformed)?,
            authorized: amount(it.authorized_minor)?,
            captured: amount(it.captured_minor)?,
            refunded: amount(it.refunded_minor)?,
            ended: it.ended_epoch,
        }),
        Verb::Reserve(_)
        | Verb::Extend(_)
        | Verb::Commit(_)
        | Verb::Uncommit(_)
        | Verb::Release(_)
        | Verb::Ship(_)
        | Verb::ReturnStock(_)
        | Verb::Receive(_)
        | Verb::Adjust(_)
        | Verb::Rebook(_) => return Err(Malformed),
    })
}

fn payment(bytes: &Bytes) -> Result<PaymentKey, Malformed> {
    let id: TransferId = transfer_from_bytes(bytes)?;
    Ok(PaymentKey(u128::from_be_bytes(id.to_bytes())))
}

/// Lines in order of their number, as the core wants them; a caller's order means nothing.
fn lines(lines: &[pb::StockLine]) -> Vec<StockLine<'_>> {
    let mut sorted: Vec<StockLine<'_>> = lines.iter().map(line).collect();
    sorted.sort_by_key(|line| line.line);
    sorted
}

fn line(line: &pb::StockLine) -> StockLine<'_> {
    let pb::StockLine { line, sku, quantity, warehouse } = line;
    StockLine { line: *line, sku, warehouse: named(warehouse), quantity: *quantity }
}

fn named(name: &str) -> Option<&str> {
    (!name.is_empty()).then_some(name)
}

/// An outcome for the caller that sent `command`.
pub fn outcome(outcome: &Outcome, command: &pb::Command) -> pb::Outcome {
    let sku = if outcome.line == 0 { None } else { sku_of(command, outcome.line) };
    pb::Outcome {
        code: outcome_code(outcome.code).into(),
        line: outcome.line,
        sku: sku.unwrap_or_default().to_owned(),
        available: outcome.available,
        field: outcome.field.unwrap_or_default().to_owned(),
        lines: Vec::new(),
        expires_ms: outcome.expires.map_or(0, LogTime::ms),
    }
}

fn sku_of(command: &pb::Command, line: u32) -> Option<&str> {
    let lines = match command.command.as_ref()? {
        Verb::Reserve(it) => &it.lines,
        Verb::Ship(it) => &it.lines,
        Verb::ReturnStock(it) => &it.lines,
        _ => return None,
    };
    lines.iter().find(|it| it.line == line).map(|it| it.sku.as_str())
}

/// The one mapping of the closed list to the wire.
pub fn outcome_code(code: OutcomeCode) -> pb::OutcomeCode {
    match code {
        OutcomeCode::Applied => pb::OutcomeCode::Applied,
        OutcomeCode::Exists => pb::OutcomeCode::Exists,
        OutcomeCode::ExistsWithDifferent => pb::OutcomeCode::ExistsWithDifferent,
        OutcomeCode::IdTooOld => pb::OutcomeCode::IdTooOld,
        OutcomeCode::IdTooNew => pb::OutcomeCode::IdTooNew,
        OutcomeCode::LinkedFailed => pb::OutcomeCode::LinkedFailed,
        OutcomeCode::AmountInvalid => pb::OutcomeCode::AmountInvalid,
        OutcomeCode::AccountsSame => pb::OutcomeCode::AccountsSame,
        OutcomeCode::UnitMismatch => pb::OutcomeCode::UnitMismatch,
        OutcomeCode::AccountNotFound => pb::OutcomeCode::AccountNotFound,
        OutcomeCode::UnknownSku => pb::OutcomeCode::UnknownSku,
        OutcomeCode::HoldNotFound => pb::OutcomeCode::HoldNotFound,
        OutcomeCode::NotAHold => pb::OutcomeCode::NotAHold,
        OutcomeCode::AlreadyPosted => pb::OutcomeCode::AlreadyPosted,
        OutcomeCode::AlreadyVoided => pb::OutcomeCode::AlreadyVoided,
        OutcomeCode::Expired => pb::OutcomeCode::Expired,
        OutcomeCode::ExceedsHold => pb::OutcomeCode::ExceedsHold,
        OutcomeCode::ExceedsAvailable => pb::OutcomeCode::ExceedsAvailable,
        OutcomeCode::Overflow => pb::OutcomeCode::Overflow,
        OutcomeCode::CountDiffers => pb::OutcomeCode::CountDiffers,
        OutcomeCode::BelowHeld => pb::OutcomeCode::BelowHeld,
        OutcomeCode::ExtendCapReached => pb::OutcomeCode::ExtendCapReached,
        OutcomeCode::ExceedsCommitted => pb::OutcomeCode::ExceedsCommitted,
        OutcomeCode::ExceedsShipped => pb::OutcomeCode::ExceedsShipped,
        OutcomeCode::ExceedsCaptured => pb::OutcomeCode::ExceedsCaptured,
        // Nobody is told of the shelf: whoever looks in the archive finds the payment or does not.
        OutcomeCode::PaymentNotFound | OutcomeCode::Shelved => pb::OutcomeCode::PaymentNotFound,
        OutcomeCode::Malformed => pb::OutcomeCode::Malformed,
    }
}

/// Minor units on the wire; no account of ours comes near the end of either range.
pub fn minor(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

pub fn stock(stock: Stock, now: LogTime) -> stock_pb::Stock {
    let on_hand_quantity = stock.on_hand();
    stock_pb::Stock {
        sku: stock.sku,
        warehouse: stock.warehouse,
        available_quantity: stock.available,
        reserved_quantity: stock.reserved,
        committed_quantity: stock.committed,
        picked_quantity: stock.picked,
        quarantine_quantity: stock.quarantine,
        damaged_quantity: stock.damaged,
        incoming_quantity: stock.incoming,
        on_hand_quantity,
        sellable_quantity: stock.sellable,
        as_of: Some(from_log(now)),
    }
}

#[cfg(test)]
mod tests;
