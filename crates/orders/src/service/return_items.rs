//! ReturnItems: takes shipped goods back into quarantine and refunds them.

use hansa_api::convert::order::ReturnItems;
use hansa_api::pb::order as wire;
use hansa_api::status::{Failure, Reason};
use tonic::Request;

use crate::core::command::{Command, Target};
use crate::core::contents::Contents;
use crate::core::order::{Done, Note, Order, RefundCause};
use crate::shell::keys::{OfOrder, of_order};
use crate::shell::waiters::Want;
use crate::shell::{Shell, answer_by, personal};
use crate::wire as show;

pub async fn run(
    shell: &Shell,
    request: Request<wire::ReturnItemsRequest>,
) -> Result<wire::ReturnItemsResponse, Failure> {
    let OfOrder { due, id, hosted, key, sent, asked } =
        of_order(shell, "ReturnItems", request, |asked: &ReturnItems| {
            (&asked.order, &asked.request_id)
        })
        .await?;
    let place = |line: u32| u16::try_from(line.saturating_sub(1)).unwrap_or(u16::MAX);
    let lines = asked.lines.iter().map(|line| (place(line.line), line.quantity)).collect();
    let command = Command::Return { order: id, key, lines, note: Note::of_reason(asked.reason) };
    let requested = hosted.request(command, sent, due).await;
    let (target, replayed) = requested.map_err(|failure| match failure.reason() {
        Reason::NotShippable => Failure::of(Reason::NotReturnable),
        _ => failure,
    })?;
    let over = |order: &Order, _: &Contents| order.parked.is_some() || settled(order, target);
    let show = |order: &Order, contents: &Contents| wire::ReturnItemsResponse {
        order: Some(show::order(shell, id, order, contents)),
        refund: show::money(worth(order, target), contents.currency),
        replayed,
    };
    let mut answer = hosted.when(id, Want::Change, answer_by(due), over, show).await?;
    if let Some(order) = &mut answer.order {
        personal::reveal(shell, hosted, id, order, false).await?;
    }
    Ok(answer)
}

/// Whether the goods are booked and the refund made.
fn settled(order: &Order, target: Target) -> bool {
    let (first, end) = (usize::from(target.first), usize::from(target.first + target.count));
    let back = order.returns.get(first..end).unwrap_or_default();
    let open = |state: &Done| *state == Done::Outstanding;
    let refunds = order.refunds.iter().filter(|refund| refund.cause == RefundCause::Return);
    !back.iter().any(|movement| open(&movement.state))
        && !refunds.into_iter().any(|refund| open(&refund.state))
}

/// What this return gives back: the refund that was decided with it.
fn worth(order: &Order, target: Target) -> i64 {
    let Some(movement) = order.returns.get(usize::from(target.first)) else { return 0 };
    let mut refunds = order.refunds.iter();
    let mine = refunds
        .find(|refund| refund.cause == RefundCause::Return && refund.with == Some(movement.id));
    mine.map_or(0, |refund| refund.amount_minor)
}
