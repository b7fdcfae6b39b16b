//! What a client asks for when it places an order.

use hansa_api::pb::Money;
use hansa_api::pb::order::{LineKind, PersonalDetails, PlaceOrderLine, PlaceOrderRequest};
use hansa_checker::history::{Place, PlaceLine};
use hansa_checker::seen::StockKey;

use super::caller::WAREHOUSE;
use crate::world::Region;

pub const PRICE_MINOR: i64 = 255;
/// A SKU that nobody else orders: tries whose end nobody knows would burden the search on others.
pub const PROBED: usize = 90;
/// The token of a buyer who pays.
pub const PAYS: &str = "tok_approve";

/// The order as the history has it and as it is sent; lines are a SKU's number and a quantity.
pub fn asked(
    region: &Region,
    request_id: &str,
    customer_id: String,
    lines: &[(usize, i32)],
    token: &str,
) -> (Place, PlaceOrderRequest) {
    let request = PlaceOrderRequest {
        residence_country: region.country.to_owned(),
        customer_id,
        client_reference: request_id.to_owned(),
        request_id: request_id.to_owned(),
        lines: lines.iter().map(|(sku, quantity)| line(*sku, *quantity)).collect(),
        payment_token: token.to_owned(),
        personal: Some(PersonalDetails {
            name: "Greta Muster".to_owned(),
            email: "greta@example.org".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let placed = |(sku, quantity): &(usize, i32)| PlaceLine {
        stock: Some(key(region.name.as_str(), *sku)),
        quantity: *quantity as u32,
        price_minor: PRICE_MINOR,
    };
    let units: i64 = lines.iter().map(|(_, quantity)| i64::from(*quantity)).sum();
    let place = Place {
        request: request.request_id.clone(),
        reference: request.client_reference.clone(),
        lines: lines.iter().map(placed).collect(),
        total_minor: units * PRICE_MINOR,
    };
    (place, request)
}

pub fn key(region: &str, sku: usize) -> StockKey {
    let (region, warehouse) = (region.to_owned(), WAREHOUSE.to_owned());
    StockKey { region, sku: sku_name(sku), warehouse }
}

pub fn sku_name(sku: usize) -> String {
    format!("SKU-{sku}")
}

pub fn money(minor: i64) -> Money {
    let nanos = (minor % 100) as i32 * 10_000_000;
    Money { currency_code: "EUR".to_owned(), units: minor / 100, nanos }
}

fn line(sku: usize, quantity: i32) -> PlaceOrderLine {
    PlaceOrderLine {
        kind: LineKind::Stock.into(),
        sku: sku_name(sku),
        description: "a thing".to_owned(),
        quantity,
        unit_price: Some(money(PRICE_MINOR)),
    }
}
