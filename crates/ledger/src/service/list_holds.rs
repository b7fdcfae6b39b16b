//! ListHolds: the live holds of a group, for reconciliation.

use hansa_api::convert::id::{order_to_bytes, transfer_from_bytes, transfer_to_bytes};
use hansa_api::pb::ledger as pb;
use hansa_api::status::{Failure, Reason};
use hansa_types::id::TransferId;
use tonic::Request;

use super::groups::{Found, not_read};
use super::{Shell, request, wire};
use crate::core::inventory::{Held, Inventory};
use crate::core::payments::{PaymentKey, Payments, currency_of};

/// Holds of one page.
pub const PAGE_MAX: u32 = 1_000;

pub async fn run(
    shell: &Shell,
    call: Request<pb::ListHoldsRequest>,
) -> Result<pb::ListHoldsResponse, Failure> {
    let deadline = request::deadline(&call);
    let asked = call.into_inner();
    let after = match asked.after_id.is_empty() {
        true => None,
        false => Some(transfer_from_bytes(&asked.after_id).map_err(|_| Reason::FieldInvalid)?),
    };
    let max = page_size(asked.page_size);
    if asked.ids.len() > PAGE_MAX as usize {
        return Err(Reason::MessageTooLarge.into());
    }
    let id = |id: &bytes::Bytes| transfer_from_bytes(id);
    let ids = asked.ids.iter().map(id).collect::<Result<Vec<_>, _>>();
    let ids = ids.map_err(|_| Reason::FieldInvalid)?;
    let (holds, more) = match shell.group(asked.group)? {
        Found::Inventory(group) if !ids.is_empty() => {
            let look = |machine: &Inventory| {
                ids.iter().filter_map(|id| machine.held_by(id)).collect::<Vec<_>>()
            };
            let held = group.read(deadline, look).await.map_err(not_read)?;
            (held.into_iter().map(stock_hold).collect(), false)
        }
        Found::Payments(group, _) if !ids.is_empty() => {
            let look = |machine: &Payments| {
                ids.iter().filter_map(|id| money_hold(machine, id)).collect::<Vec<_>>()
            };
            (group.read(deadline, look).await.map_err(not_read)?, false)
        }
        Found::Inventory(group) => {
            let look = |machine: &Inventory| machine.list_held(after, max);
            let (held, more) = group.read(deadline, look).await.map_err(not_read)?;
            (held.into_iter().map(stock_hold).collect(), more)
        }
        Found::Payments(group, _) => {
            let look = |machine: &Payments| money_holds(machine, after, max);
            group.read(deadline, look).await.map_err(not_read)?
        }
    };
    Ok(pb::ListHoldsResponse { holds, more })
}

/// What a caller may have of what it asked for.
pub fn page_size(asked: u32) -> usize {
    let size = if asked == 0 { PAGE_MAX } else { asked.min(PAGE_MAX) };
    size as usize
}

fn stock_hold(held: Held) -> pb::Hold {
    let line = |line: crate::core::inventory::HeldLine| pb::StockLine {
        line: line.line,
        sku: line.sku,
        quantity: line.open,
        warehouse: line.warehouse,
    };
    pb::Hold {
        id: transfer_to_bytes(held.id),
        order: order_to_bytes(held.order),
        kind: pb::HoldKind::Stock.into(),
        expires_ms: held.expires.map_or(0, |expires| expires.ms()),
        lines: held.lines.into_iter().map(line).collect(),
        ..pb::Hold::default()
    }
}

fn money_holds(machine: &Payments, after: Option<TransferId>, max: usize) -> (Vec<pb::Hold>, bool) {
    let books = machine.kernel().books();
    let ids = books.holds().map(|(id, _)| *id);
    let mut ids: Vec<_> = ids.filter(|id| after.is_none_or(|after| *id > after)).collect();
    ids.sort_unstable();
    let more = ids.len() > max;
    ids.truncate(max);
    (ids.iter().filter_map(|id| money_hold(machine, id)).collect(), more)
}

fn money_hold(machine: &Payments, id: &TransferId) -> Option<pb::Hold> {
    let books = machine.kernel().books();
    let hold = books.hold(id)?;
    let unit = books.account(&hold.debit)?.unit;
    Some(pb::Hold {
        id: transfer_to_bytes(*id),
        order: order_to_bytes(machine.order_of(&PaymentKey(hold.reference.0))?),
        kind: pb::HoldKind::Money.into(),
        expires_ms: hold.expires.map_or(0, |expires| expires.ms()),
        amount_minor: wire::minor(hold.amount),
        currency: currency_of(unit)?.to_string(),
        lines: Vec::new(),
    })
}
