//! CancelOrder: commits the wish, waits until what was taken is given back.

use hansa_api::convert::order::CancelOrder;
use hansa_api::pb::order as wire;
use hansa_api::principal::Principal;
use hansa_api::status::Failure;
use tonic::Request;

use crate::core::command::Command;
use crate::core::status::OrderStatus;
use crate::shell::keys::{ScopeOf, Whose};
use crate::shell::waiters::Want;
use crate::shell::{Shell, answer_by, caller, deadline};
use crate::wire as show;

pub async fn run(
    shell: &Shell,
    request: Request<wire::CancelOrderRequest>,
) -> Result<wire::CancelOrderResponse, Failure> {
    let due = deadline(&request);
    let caller = caller(Principal::of(&request)?);
    let request = request.into_inner();
    let cancel = CancelOrder::try_from(request.clone())?;
    let (id, hosted) = shell.find(&cancel.order)?;
    let scope = ScopeOf {
        caller: &caller,
        method: "CancelOrder",
        home: shell.number,
        slot: id.slot(),
        whose: Whose::Order(id),
        request: &cancel.request_id,
    };
    let key = scope.key(shell.vault.as_ref(), &request);
    let command = Command::Cancel { order: id, key, reason: cancel.reason };
    let (_, replayed) = hosted.request(&command, due).await?;
    let over = |order: &crate::core::order::Order, contents: &_| {
        matches!(order.order_status(contents), OrderStatus::Cancelled | OrderStatus::Parked)
    };
    let answer = hosted
        .when(id, Want::Decision, answer_by(due), over, |order, contents| {
            show::order(shell, id, order, contents)
        })
        .await?;
    Ok(wire::CancelOrderResponse { order: Some(answer), replayed })
}
