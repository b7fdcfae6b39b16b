//! ReceiveStock: goods from a supplier become available.

use hansa_api::convert::inventory::ReceiveStock;
use hansa_api::pb::inventory as pb;
use hansa_api::status::Failure;
use tonic::Request;

use super::{Shell, request, wire};
use crate::core::inventory::{Command, Receive};

pub async fn run(
    shell: &Shell,
    call: Request<pb::ReceiveStockRequest>,
) -> Result<pb::ReceiveStockResponse, Failure> {
    let deadline = request::deadline(&call);
    let asked = ReceiveStock::try_from(call.get_ref().clone())?;
    let sku = asked.sku.as_str();
    let warehouse = asked.warehouse.as_ref().map(|warehouse| warehouse.as_str());
    let command = Command::Receive(Receive {
        id: request::key(&call, "ReceiveStock", &asked.request_id)?,
        sku,
        warehouse,
        quantity: asked.quantity.unsigned_abs(),
        document: &asked.document,
    });
    let group = shell.of_sku(sku)?;
    let (stock, now, replayed) =
        request::change(group, &command, (sku, warehouse), deadline).await?;
    Ok(pb::ReceiveStockResponse { stock: Some(wire::stock(stock, now)), replayed })
}
