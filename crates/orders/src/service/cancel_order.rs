//! CancelOrder: commits the wish, waits until what was taken is given back.

use hansa_api::convert::order::CancelOrder;
use hansa_api::pb::order as wire;
use hansa_api::status::Failure;
use tonic::Request;

use crate::core::command::Command;
use crate::core::status::OrderStatus;
use crate::shell::keys::{OfOrder, of_order};
use crate::shell::waiters::Want;
use crate::shell::{Shell, answer_by, personal};
use crate::wire as show;

pub async fn run(
    shell: &Shell,
    request: Request<wire::CancelOrderRequest>,
) -> Result<wire::CancelOrderResponse, Failure> {
    let OfOrder { due, id, hosted, key, sent, asked } =
        of_order(shell, "CancelOrder", request, |asked: &CancelOrder| {
            (&asked.order, &asked.request_id)
        })
        .await?;
    let command = Command::Cancel { order: id, key, reason: asked.reason };
    let (_, replayed) = hosted.request(command, sent, due).await?;
    let over = |order: &crate::core::order::Order, contents: &_| {
        matches!(order.order_status(contents), OrderStatus::Cancelled | OrderStatus::Parked)
    };
    let mut answer = hosted
        .when(id, Want::Decision, answer_by(due), over, |order, contents| {
            show::order(shell, id, order, contents)
        })
        .await?;
    personal::reveal(shell, hosted, id, &mut answer, false).await?;
    Ok(wire::CancelOrderResponse { order: Some(answer), replayed })
}
