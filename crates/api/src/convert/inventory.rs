//! Checked requests of InventoryService.

use hansa_types::id::{OrderName, RequestId, Sku, WarehouseId};
use hansa_types::limits::{LINE_QUANTITY_MAX, ORDER_LINES_MAX};
use hansa_types::region::RegionName;

use super::Checks;
use super::page::Page;
use crate::pb::inventory as pb;
use crate::status::{Failure, Reason};

/// The most that one receipt or adjustment moves: a thousand full lines.
pub const STOCK_QUANTITY_MAX: i64 = LINE_QUANTITY_MAX as i64 * 1_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiveStock {
    pub request_id: RequestId,
    pub region: Option<RegionName>,
    pub sku: Sku,
    /// `None`: the region's default.
    pub warehouse: Option<WarehouseId>,
    /// 1 to [`STOCK_QUANTITY_MAX`].
    pub quantity: i64,
    pub document: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdjustStock {
    pub request_id: RequestId,
    pub region: Option<RegionName>,
    pub sku: Sku,
    pub warehouse: Option<WarehouseId>,
    /// Not zero; at most [`STOCK_QUANTITY_MAX`] either way.
    pub delta: i64,
    /// Never empty.
    pub reason: String,
    pub document: String,
    pub expected_on_hand: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordShipment {
    pub order: OrderName,
    pub request_id: RequestId,
    pub region: Option<RegionName>,
    /// Empty: all that the order has committed.
    pub lines: Vec<ShipmentLine>,
    pub warehouse: Option<WarehouseId>,
    pub carrier: String,
    pub tracking_code: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShipmentLine {
    /// The order's line, from 1.
    pub line: u32,
    pub sku: Sku,
    pub quantity: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetStock {
    pub region: Option<RegionName>,
    pub sku: Sku,
    /// `None`: all.
    pub warehouse: Option<WarehouseId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListStock {
    pub region: Option<RegionName>,
    pub warehouse: Option<WarehouseId>,
    pub page: Page,
}

impl TryFrom<pb::ReceiveStockRequest> for ReceiveStock {
    type Error = Failure;
    fn try_from(request: pb::ReceiveStockRequest) -> Result<Self, Failure> {
        let mut checks = Checks::begin(&request)?;
        let request_id = checks.request_id(&request.request_id);
        let region = checks.optional("region", &request.region);
        let sku = checks.required("sku", &request.sku);
        let warehouse = checks.optional("warehouse", &request.warehouse);
        let quantity = request.quantity;
        if !(1..=STOCK_QUANTITY_MAX).contains(&quantity) {
            let why = format!("1 to {STOCK_QUANTITY_MAX}");
            checks.refuse(Reason::QuantityInvalid, "quantity", why);
        }
        checks.text("document", &request.document);
        let document = request.document;
        let value = (|| {
            let (request_id, region) = (request_id?, region?);
            Some(Self { request_id, region, sku: sku?, warehouse: warehouse?, quantity, document })
        })();
        checks.done(value)
    }
}

impl TryFrom<pb::AdjustStockRequest> for AdjustStock {
    type Error = Failure;
    fn try_from(request: pb::AdjustStockRequest) -> Result<Self, Failure> {
        let mut checks = Checks::begin(&request)?;
        let request_id = checks.request_id(&request.request_id);
        let region = checks.optional("region", &request.region);
        let sku = checks.required("sku", &request.sku);
        let warehouse = checks.optional("warehouse", &request.warehouse);
        let (delta, max) = (request.delta, STOCK_QUANTITY_MAX);
        if delta == 0 || !(-max..=max).contains(&delta) {
            let why = format!("not 0, at most {max} either way");
            checks.refuse(Reason::QuantityInvalid, "delta", why);
        }
        if request.expected_on_hand.is_some_and(|n| n < 0) {
            checks.refuse(Reason::QuantityInvalid, "expected_on_hand", "0 or more");
        }
        checks.required_text("reason", &request.reason);
        checks.text("document", &request.document);
        let value = (|| {
            Some(Self {
                request_id: request_id?,
                region: region?,
                sku: sku?,
                warehouse: warehouse?,
                delta,
                reason: request.reason,
                document: request.document,
                expected_on_hand: request.expected_on_hand,
            })
        })();
        checks.done(value)
    }
}

impl TryFrom<pb::RecordShipmentRequest> for RecordShipment {
    type Error = Failure;
    fn try_from(request: pb::RecordShipmentRequest) -> Result<Self, Failure> {
        let mut checks = Checks::begin(&request)?;
        let order = checks.required("order", &request.order);
        let request_id = checks.request_id(&request.request_id);
        let region = checks.optional("region", &request.region);
        let warehouse = checks.optional("warehouse", &request.warehouse);
        checks.text("carrier", &request.carrier);
        checks.text("tracking_code", &request.tracking_code);
        if request.lines.len() > ORDER_LINES_MAX {
            let why = format!("at most {ORDER_LINES_MAX} lines");
            checks.refuse(Reason::LineCountInvalid, "lines", why);
        }
        let mut lines: Vec<ShipmentLine> = Vec::new();
        for (n, line) in request.lines.iter().take(ORDER_LINES_MAX).enumerate() {
            if line.line == 0 || lines.iter().any(|seen| seen.line == line.line) {
                let why = "a line of the order, from 1, named once";
                checks.refuse(Reason::LineInvalid, format!("lines[{n}].line"), why);
            }
            lines.extend(shipment_line(&mut checks, n, line));
        }
        let value = (|| {
            Some(Self {
                order: order?,
                request_id: request_id?,
                region: region?,
                lines,
                warehouse: warehouse?,
                carrier: request.carrier,
                tracking_code: request.tracking_code,
            })
        })();
        checks.done(value)
    }
}

fn shipment_line(checks: &mut Checks, n: usize, line: &pb::ShipmentLine) -> Option<ShipmentLine> {
    let sku = checks.required(format!("lines[{n}].sku"), &line.sku);
    match u32::try_from(line.quantity) {
        Ok(quantity) if (1..=LINE_QUANTITY_MAX).contains(&quantity) => {
            sku.map(|sku| ShipmentLine { line: line.line, sku, quantity })
        }
        _ => {
            let why = format!("1 to {LINE_QUANTITY_MAX}");
            checks.refuse(Reason::QuantityInvalid, format!("lines[{n}].quantity"), why);
            None
        }
    }
}

impl TryFrom<pb::GetStockRequest> for GetStock {
    type Error = Failure;
    fn try_from(request: pb::GetStockRequest) -> Result<Self, Failure> {
        let mut checks = Checks::begin(&request)?;
        let region = checks.optional("region", &request.region);
        let sku = checks.required("sku", &request.sku);
        let warehouse = checks.optional("warehouse", &request.warehouse);
        let value = (|| Some(Self { region: region?, sku: sku?, warehouse: warehouse? }))();
        checks.done(value)
    }
}

impl TryFrom<pb::ListStockRequest> for ListStock {
    type Error = Failure;
    fn try_from(mut request: pb::ListStockRequest) -> Result<Self, Failure> {
        let mut checks = Checks::begin(&request)?;
        let token = std::mem::take(&mut request.page_token);
        let size = std::mem::take(&mut request.page_size);
        let page = Page::read(&mut checks, size, &token, &request);
        let region = checks.optional("region", &request.region);
        let warehouse = checks.optional("warehouse", &request.warehouse);
        let value = (|| Some(Self { region: region?, warehouse: warehouse?, page: page? }))();
        checks.done(value)
    }
}

#[cfg(test)]
mod tests;
