//! What a gateway reads of a request: the routing fields at tags 1 to 5, and nothing else.
//!
//! Other fields are skipped by their length without being looked at, so an entry gateway never
//! holds a personal field in decoded form. Each service may add one field at tag 6 that routing
//! needs ([`Extra`]). A test compares this file with the descriptors of all public services.

pub(crate) mod wire;

use std::str::FromStr;

use hansa_types::country::Country;
use hansa_types::id::{CustomerId, OrderName, RequestId, Sku};
use hansa_types::region::RegionName;

use crate::status::{Failure, Reason};
use wire::{Field, Value};

/// Tags of the routing fields, alike in every public request that has them.
pub mod tag {
    pub const RESIDENCE_COUNTRY: u32 = 1;
    pub const CUSTOMER_ID: u32 = 2;
    pub const ORDER: u32 = 3;
    pub const REQUEST_ID: u32 = 4;
    pub const REGION: u32 = 5;
    /// What [`super::Extra`] says.
    pub const EXTRA: u32 = 6;
}

/// No routing field is longer.
const FIELD_BYTES_MAX: usize = 128;
/// `GetOrderRequest.read` for the entry region's own copy.
const READ_LOCAL_COPY: u64 = 2;

/// What a service has at tag 6 that routing needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    Nothing,
    /// The SKU, which chooses the stock group.
    Sku,
    /// The read mode: a local copy is served where it was asked for.
    Read,
}

impl Extra {
    /// By the request's path: `/hansa.order.v1.OrderService/GetOrder`.
    pub fn of_path(path: &str) -> Self {
        match path.strip_prefix('/').and_then(|p| p.split_once('/')) {
            Some(("hansa.inventory.v1.InventoryService", _)) => Self::Sku,
            Some(("hansa.order.v1.OrderService", "GetOrder")) => Self::Read,
            _ => Self::Nothing,
        }
    }
}

/// The routing fields of one request; what the request leaves empty is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routing {
    pub residence_country: Option<Country>,
    pub customer_id: Option<CustomerId>,
    pub order: Option<OrderName>,
    pub request_id: Option<RequestId>,
    pub region: Option<RegionName>,
    pub sku: Option<Sku>,
    /// The caller wants the entry region's copy.
    pub local_copy: bool,
}

impl Routing {
    /// Reads the routing fields of an encoded request message.
    ///
    /// # Errors
    /// `MESSAGE_MALFORMED` for bytes that are not Protobuf or a routing field that is not UTF-8;
    /// the field's own reason for one that does not parse.
    pub fn decode(mut message: &[u8], extra: Extra) -> Result<Self, Failure> {
        let mut routing = Self::default();
        while let Some(field) = wire::next(&mut message).map_err(|_| malformed())? {
            routing.take(field, extra)?;
        }
        Ok(routing)
    }

    fn take(&mut self, field: Field<'_>, extra: Extra) -> Result<(), Failure> {
        match (field.tag, field.value) {
            (tag::RESIDENCE_COUNTRY, Value::Bytes(bytes)) => {
                let reason = Reason::CountryUnknown;
                self.residence_country = parse(bytes, "residence_country", reason)?;
            }
            (tag::CUSTOMER_ID, Value::Bytes(bytes)) => {
                self.customer_id = parse(bytes, "customer_id", Reason::FieldInvalid)?;
            }
            (tag::ORDER, Value::Bytes(bytes)) => {
                self.order = parse(bytes, "order", Reason::OrderNameInvalid)?;
            }
            (tag::REQUEST_ID, Value::Bytes(bytes)) => {
                self.request_id = parse(bytes, "request_id", Reason::FieldInvalid)?;
            }
            (tag::REGION, Value::Bytes(bytes)) => {
                self.region = parse(bytes, "region", Reason::FieldInvalid)?;
            }
            (tag::EXTRA, Value::Bytes(bytes)) if extra == Extra::Sku => {
                self.sku = parse(bytes, "sku", Reason::FieldInvalid)?;
            }
            (tag::EXTRA, Value::Varint(read)) if extra == Extra::Read => {
                self.local_copy = read == READ_LOCAL_COPY;
            }
            (tag::RESIDENCE_COUNTRY..=tag::REGION, _) => return Err(malformed()),
            _ => {}
        }
        Ok(())
    }
}

/// An empty field is one that is not there, as everywhere in proto3.
fn parse<T: FromStr>(
    bytes: &[u8],
    field: &'static str,
    reason: Reason,
) -> Result<Option<T>, Failure> {
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.len() > FIELD_BYTES_MAX {
        return Err(Failure::field(Reason::FieldTooLong, field, "at most 128 bytes"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| malformed())?;
    match text.parse() {
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(Failure::field(reason, field, reason.meaning())),
    }
}

fn malformed() -> Failure {
    Failure::of(Reason::MessageMalformed)
}

#[cfg(test)]
mod tests;
