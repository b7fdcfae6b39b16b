//! RefundPayment: any part of what was captured, as often as wanted, never above it.

use hansa_api::convert::payment::RefundPayment;
use hansa_api::pb::payment as wire;
use hansa_api::status::{Failure, Reason};
use tonic::Request;

use crate::core::command::Command;
use crate::core::contents::Contents;
use crate::core::order::{Done, Note, Order};
use crate::shell::keys::{OfOrder, of_order};
use crate::shell::waiters::Want;
use crate::shell::{Shell, answer_by};
use crate::wire as show;

pub async fn run(
    shell: &Shell,
    request: Request<wire::RefundPaymentRequest>,
) -> Result<wire::RefundPaymentResponse, Failure> {
    let OfOrder { due, id, hosted, key, sent, asked } =
        of_order(shell, "RefundPayment", request, |asked: &RefundPayment| {
            (&asked.order, &asked.request_id)
        })
        .await?;
    let look = |_: &Order, contents: &Contents| (contents.currency, contents.total_minor > 0);
    let (currency, pays) = hosted.read(id, due, look).await?;
    if !pays {
        return Err(Failure::of(Reason::PaymentNotFound));
    }
    if currency != asked.amount.currency {
        let why = "the currency of the order";
        return Err(Failure::field(Reason::CurrencyMixed, "amount", why));
    }
    let (amount_minor, note) = (asked.amount.minor, Note::of_reason(asked.reason));
    let command = Command::Refund { order: id, key, amount_minor, note };
    let requested = hosted.request(command, sent, due).await;
    let (target, replayed) = requested.map_err(|failure| match failure.reason() {
        Reason::NotShippable => Failure::of(Reason::NotRefundable),
        _ => failure,
    })?;
    let mine = |order: &Order| {
        order.refunds.get(usize::from(target.first)).map(|refund| refund.state.clone())
    };
    let over = |order: &Order, _: &Contents| mine(order) != Some(Done::Outstanding);
    let show = |order: &Order, contents: &Contents| {
        (mine(order), show::payment(shell, id, order, contents))
    };
    let (state, payment) = hosted.when(id, Want::Change, answer_by(due), over, show).await?;
    match state {
        Some(Done::Refused(_)) => Err(Failure::of(Reason::NotRefundable)),
        _ => Ok(wire::RefundPaymentResponse { payment, replayed }),
    }
}
