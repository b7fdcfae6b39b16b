//! GetStock: one SKU, read linearizably.

use hansa_api::convert::inventory::GetStock;
use hansa_api::pb::inventory as pb;
use hansa_api::status::{Failure, Reason};
use tonic::Request;

use super::groups::not_read;
use super::{Shell, request, wire};

pub async fn run(
    shell: &Shell,
    call: Request<pb::GetStockRequest>,
) -> Result<pb::GetStockResponse, Failure> {
    let deadline = request::deadline(&call);
    let asked = GetStock::try_from(call.into_inner())?;
    let (sku, warehouse) = (asked.sku.as_str(), asked.warehouse.as_ref());
    let group = shell.of_sku(sku)?;
    let (known, stocks, now) = group
        .read(deadline, |machine| {
            let stocks = machine.stock(sku, warehouse.map(|warehouse| warehouse.as_str()));
            (machine.knows(sku), stocks, machine.now())
        })
        .await
        .map_err(not_read)?;
    if !known {
        return Err(Reason::UnknownSku.into());
    }
    let stocks = stocks.into_iter().map(|stock| wire::stock(stock, now)).collect();
    Ok(pb::GetStockResponse { stocks })
}
