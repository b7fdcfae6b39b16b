//! RecordShipment: committed stock of an order leaves the house.
//!
//! The intent is committed in the order first, so that a cancel cannot race it; the books follow,
//! then the fact.

use hansa_api::convert::inventory::RecordShipment;
use hansa_api::pb::inventory as wire;
use hansa_api::status::{Failure, Reason};
use tonic::Request;

use crate::core::command::{Command, Target};
use crate::core::contents::Contents;
use crate::core::order::{Done, Movement, Note, Order};
use crate::shell::keys::{OfOrder, of_order};
use crate::shell::waiters::Want;
use crate::shell::{Shell, answer_by};

pub async fn run(
    shell: &Shell,
    request: Request<wire::RecordShipmentRequest>,
) -> Result<wire::RecordShipmentResponse, Failure> {
    let OfOrder { due, id, hosted, key, sent, asked } =
        of_order(shell, "RecordShipment", request, |asked: &RecordShipment| {
            (&asked.order, &asked.request_id)
        })
        .await?;
    hosted.read(id, due, |_, contents| check_skus(&asked, contents)).await??;
    let place = |line: u32| u16::try_from(line.saturating_sub(1)).unwrap_or(u16::MAX);
    let lines = asked.lines.iter().map(|line| (place(line.line), line.quantity)).collect();
    let RecordShipment { carrier, tracking_code, warehouse, .. } = asked;
    let note = Note { carrier, tracking_code, warehouse, reason: String::new() };
    let command = Command::Ship { order: id, key, lines, note };
    let (target, replayed) = hosted.request(command, sent, due).await?;
    let over = |order: &Order, _: &Contents| {
        !moved(order, target).iter().any(|movement| movement.state == Done::Outstanding)
    };
    let show = |order: &Order, contents: &Contents| answer(order, contents, target, replayed);
    hosted.when(id, Want::Change, answer_by(due), over, show).await?
}

/// A line that names another SKU than the order's is a mistake worth stopping at.
fn check_skus(asked: &RecordShipment, contents: &Contents) -> Result<(), Failure> {
    for (n, line) in asked.lines.iter().enumerate() {
        let place = usize::try_from(line.line).unwrap_or(0).checked_sub(1);
        let ordered = place.and_then(|place| contents.lines.get(place));
        if ordered.is_none_or(|ordered| ordered.sku.as_ref() != Some(&line.sku)) {
            let field = format!("lines[{n}]");
            return Err(Failure::field(Reason::LineInvalid, field, "a line of the order"));
        }
    }
    Ok(())
}

fn moved(order: &Order, target: Target) -> &[Movement] {
    let (first, end) = (usize::from(target.first), usize::from(target.first + target.count));
    order.shipments.get(first..end).unwrap_or_default()
}

fn answer(
    order: &Order,
    contents: &Contents,
    target: Target,
    replayed: bool,
) -> Result<wire::RecordShipmentResponse, Failure> {
    let movements = moved(order, target);
    if movements.iter().any(|movement| matches!(movement.state, Done::Refused(_))) {
        return Err(Failure::of(Reason::NotShippable));
    }
    let line = |(place, units): &(u16, u32)| {
        let sku = contents.lines.get(usize::from(*place))?.sku.as_ref()?;
        let (line, quantity) = (u32::from(*place) + 1, i64::from(*units));
        Some(wire::ShipmentLine { line, sku: sku.to_string(), quantity })
    };
    let lines = movements.iter().flat_map(|movement| &movement.lines).filter_map(line).collect();
    Ok(wire::RecordShipmentResponse { lines, replayed })
}
