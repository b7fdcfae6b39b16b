//! Checked requests of OrderService.

mod place;

pub use place::{Line, LineKind, Personal, PlaceOrder};

use std::fmt;

use hansa_types::country::Country;
use hansa_types::id::{CustomerId, OrderName, RequestId};
use hansa_types::limits::{LINE_QUANTITY_MAX, ORDER_LINES_MAX};
use hansa_types::region::RegionName;

use super::Checks;
use super::page::Page;
use crate::pb::order as pb;
use crate::status::{Failure, Reason};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetOrder {
    pub order: OrderName,
    /// The entry region's own copy will do.
    pub local_copy: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOrders {
    pub residence_country: Option<Country>,
    /// Whose orders; without one, a whole region's, which needs another role.
    pub customer_id: Option<CustomerId>,
    pub region: Option<RegionName>,
    pub state: Option<pb::OrderState>,
    pub page: Page,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelOrder {
    pub order: OrderName,
    pub request_id: RequestId,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnItems {
    pub order: OrderName,
    pub request_id: RequestId,
    pub lines: Vec<ReturnLine>,
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnLine {
    /// The order's line, from 1.
    pub line: u32,
    pub quantity: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchOrder {
    pub order: OrderName,
    /// Resume after this; `None` from the first event.
    pub after: Option<Cursor>,
}

impl TryFrom<pb::GetOrderRequest> for GetOrder {
    type Error = Failure;
    fn try_from(request: pb::GetOrderRequest) -> Result<Self, Failure> {
        let mut checks = Checks::begin(&request)?;
        let order = checks.required("order", &request.order);
        let read = pb::ReadMode::try_from(request.read);
        if read.is_err() {
            checks.refuse(Reason::FieldInvalid, "read", "LINEARIZABLE or LOCAL_COPY");
        }
        let local_copy = read == Ok(pb::ReadMode::LocalCopy);
        checks.done(order.map(|order| Self { order, local_copy }))
    }
}

impl TryFrom<pb::ListOrdersRequest> for ListOrders {
    type Error = Failure;
    fn try_from(mut request: pb::ListOrdersRequest) -> Result<Self, Failure> {
        let mut checks = Checks::begin(&request)?;
        let token = std::mem::take(&mut request.page_token);
        let size = std::mem::take(&mut request.page_size);
        let page = Page::read(&mut checks, size, &token, &request);
        let residence = checks.optional("residence_country", &request.residence_country);
        let customer = checks.optional("customer_id", &request.customer_id);
        let region = checks.optional("region", &request.region);
        let state = match pb::OrderState::try_from(request.state) {
            Ok(pb::OrderState::Unspecified) => Some(None),
            Ok(state) => Some(Some(state)),
            Err(_) => {
                checks.refuse(Reason::FieldInvalid, "state", "one of OrderState");
                None
            }
        };
        let value = (|| {
            Some(Self {
                residence_country: residence?,
                customer_id: customer?,
                region: region?,
                state: state?,
                page: page?,
            })
        })();
        checks.done(value)
    }
}

impl TryFrom<pb::CancelOrderRequest> for CancelOrder {
    type Error = Failure;
    fn try_from(request: pb::CancelOrderRequest) -> Result<Self, Failure> {
        let mut checks = Checks::begin(&request)?;
        let order = checks.required("order", &request.order);
        let id = checks.request_id(&request.request_id);
        checks.text("reason", &request.reason);
        let value = order.zip(id);
        let value =
            value.map(|(order, request_id)| Self { order, request_id, reason: request.reason });
        checks.done(value)
    }
}

impl TryFrom<pb::ReturnItemsRequest> for ReturnItems {
    type Error = Failure;
    fn try_from(request: pb::ReturnItemsRequest) -> Result<Self, Failure> {
        let mut checks = Checks::begin(&request)?;
        let order = checks.required("order", &request.order);
        let id = checks.request_id(&request.request_id);
        checks.text("reason", &request.reason);
        check_line_count(&mut checks, request.lines.len());
        let mut lines: Vec<ReturnLine> = Vec::new();
        for (n, line) in request.lines.iter().take(ORDER_LINES_MAX).enumerate() {
            let twice = lines.iter().any(|seen| seen.line == line.line);
            if line.line == 0 || twice {
                let why = "a line of the order, from 1, named once";
                checks.refuse(Reason::LineInvalid, format!("lines[{n}].line"), why);
            }
            let quantity = quantity(&mut checks, n, line.quantity);
            lines.extend(quantity.map(|quantity| ReturnLine { line: line.line, quantity }));
        }
        let value = order.zip(id).map(|(order, request_id)| Self {
            order,
            request_id,
            lines,
            reason: request.reason,
        });
        checks.done(value)
    }
}

impl TryFrom<pb::WatchOrderRequest> for WatchOrder {
    type Error = Failure;
    fn try_from(request: pb::WatchOrderRequest) -> Result<Self, Failure> {
        let mut checks = Checks::begin(&request)?;
        let order = checks.required("order", &request.order);
        let after = match request.cursor.as_str() {
            "" => None,
            cursor => {
                let after = Cursor::parse(cursor);
                if after.is_none() {
                    checks.refuse(Reason::CursorInvalid, "cursor", "a cursor of this stream");
                }
                after
            }
        };
        checks.done(order.map(|order| Self { order, after }))
    }
}

/// How far a watch has come, and in whose telling: an owner that was lost, or that came back from a
/// backup, may have told of events that nobody else knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub sequence: u64,
    /// In which its owner came to have the order.
    pub epoch: u64,
    /// In which that owner came back from a backup; 0 if it never did.
    pub restored: u64,
}

impl Cursor {
    /// A cursor from before they named who told it is nobody's: its order is shown anew.
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('s')?;
        let (sequence, rest) = text.split_once('e').unwrap_or((text, "0r0"));
        let (epoch, restored) = rest.split_once('r')?;
        let number = |digits: &str| {
            let digits = digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits);
            digits?.parse().ok()
        };
        let (sequence, epoch) = (number(sequence)?, number(epoch)?);
        Some(Self { sequence, epoch, restored: number(restored)? })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, epoch, restored } = self;
        write!(f, "s{sequence}e{epoch}r{restored}")
    }
}

fn check_line_count(checks: &mut Checks, lines: usize) {
    if !(1..=ORDER_LINES_MAX).contains(&lines) {
        let why = format!("1 to {ORDER_LINES_MAX} lines");
        checks.refuse(Reason::LineCountInvalid, "lines", why);
    }
}

fn quantity(checks: &mut Checks, line: usize, quantity: i32) -> Option<u32> {
    match u32::try_from(quantity) {
        Ok(quantity) if (1..=LINE_QUANTITY_MAX).contains(&quantity) => Some(quantity),
        _ => {
            let why = format!("1 to {LINE_QUANTITY_MAX}");
            checks.refuse(Reason::QuantityInvalid, format!("lines[{line}].quantity"), why);
            None
        }
    }
}

#[cfg(test)]
mod tests;
