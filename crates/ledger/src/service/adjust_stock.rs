//! AdjustStock: what was counted differs from the books.

use hansa_api::convert::inventory::AdjustStock;
use hansa_api::pb::inventory as pb;
use hansa_api::status::Failure;
use tonic::Request;

use super::{Shell, request, wire};
use crate::core::inventory::{Adjust, Command};

pub async fn run(
    shell: &Shell,
    call: Request<pb::AdjustStockRequest>,
) -> Result<pb::AdjustStockResponse, Failure> {
    let deadline = request::deadline(&call);
    let asked = AdjustStock::try_from(call.get_ref().clone())?;
    let sku = asked.sku.as_str();
    let warehouse = asked.warehouse.as_ref().map(|warehouse| warehouse.as_str());
    let command = Command::Adjust(Adjust {
        id: request::key(&call, "AdjustStock", &asked.request_id)?,
        sku,
        warehouse,
        delta: asked.delta,
        expected_on_hand: asked.expected_on_hand,
        force: false,
        reason: &asked.reason,
        document: &asked.document,
    });
    let group = shell.of_sku(sku)?;
    let (stock, now, replayed) =
        request::change(group, &command, (sku, warehouse), deadline).await?;
    Ok(pb::AdjustStockResponse { stock: Some(wire::stock(stock, now)), replayed })
}
