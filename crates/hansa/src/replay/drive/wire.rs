//! Actions as requests. Pure: the same action is the same bytes on every run, which is what makes
//! a repeat recognizable.

use std::collections::BTreeMap;

use hansa_api::pb;
use hansa_api::pb::inventory::{AdjustStockRequest, ReceiveStockRequest, RecordShipmentRequest};
use hansa_api::pb::order::{
    CancelOrderRequest, LineKind, PersonalDetails, PlaceOrderLine, PlaceOrderRequest,
    ReturnItemsRequest, ReturnLine,
};
use hansa_api::pb::payment::RefundPaymentRequest;
use hansa_types::money::{Currency, Money};

use crate::replay::core::action::{Adjust, Line, Order};
use crate::replay::core::code::{Code, NonStock};
use crate::replay::core::plan::Load;
use crate::replay::core::request::{self, Verb};
use crate::replay::core::synthetic;

/// The sandbox provider's tokens.
const APPROVES: &str = "tok_approve";
const DECLINES: &str = "tok_decline";

/// What every request of one run shares.
#[derive(Clone, Debug)]
pub struct Maker {
    /// Tells deliberate replays of one file apart.
    pub run: String,
    pub seed: u64,
}

impl Maker {
    fn id(&self, verb: Verb, subject: &str, line: u32) -> String {
        request::id(&self.run, verb, subject, line).to_string()
    }

    pub fn place(&self, order: &Order, declined: bool) -> PlaceOrderRequest {
        let person = synthetic::person(self.seed, &order.buyer, &order.invoice);
        PlaceOrderRequest {
            residence_country: order.buyer.country.to_owned(),
            customer_id: order.buyer.customer.clone().unwrap_or_default(),
            request_id: self.id(Verb::Place, &order.invoice, 0),
            lines: order.lines.iter().map(|sold| line(sold, order.currency)).collect(),
            payment_token: if declined { DECLINES } else { APPROVES }.to_owned(),
            personal: Some(PersonalDetails {
                name: person.name,
                email: person.email,
                phone: person.phone,
                address_lines: vec![person.street],
                city: person.city,
                postal_code: person.postal_code,
                address_country: order.buyer.country.to_owned(),
            }),
            client_reference: order.invoice.clone(),
            placed_time: timestamp(&order.date),
        }
    }

    pub fn cancel(&self, invoice: &str, order: &str) -> CancelOrderRequest {
        CancelOrderRequest {
            order: order.to_owned(),
            request_id: self.id(Verb::Cancel, invoice, 0),
            reason: "synthetic: the buyer changed their mind".to_owned(),
        }
    }

    pub fn ship(&self, invoice: &str, order: &str) -> RecordShipmentRequest {
        RecordShipmentRequest {
            order: order.to_owned(),
            request_id: self.id(Verb::Ship, invoice, 0),
            carrier: "replay".to_owned(),
            ..Default::default()
        }
    }

    /// Goods of one order that come back on one invoice; `part` tells its orders apart.
    pub fn give_back(
        &self,
        invoice: &str,
        part: u32,
        order: &str,
        lines: &BTreeMap<usize, u32>,
    ) -> ReturnItemsRequest {
        ReturnItemsRequest {
            order: order.to_owned(),
            request_id: self.id(Verb::Return, invoice, part),
            lines: lines.iter().map(|(index, units)| return_line(*index, *units)).collect(),
            reason: invoice.to_owned(),
        }
    }

    /// Fees of one order that are paid back: there is nothing to send back.
    pub fn refund(
        &self,
        invoice: &str,
        part: u32,
        order: &str,
        amount: pb::Money,
    ) -> RefundPaymentRequest {
        RefundPaymentRequest {
            order: order.to_owned(),
            request_id: self.id(Verb::Refund, invoice, part),
            amount: Some(amount),
            reason: invoice.to_owned(),
        }
    }

    pub fn receive(&self, load: &Load) -> ReceiveStockRequest {
        // The quantity is part of the subject: a longer file asks for more, and that is a new load.
        let subject = format!("{}/{}/{}", load.region, load.sku, load.quantity);
        ReceiveStockRequest {
            request_id: self.id(Verb::Receive, &subject, 0),
            region: load.region.to_string(),
            sku: load.sku.clone(),
            warehouse: String::new(),
            quantity: i64::try_from(load.quantity).unwrap_or(i64::MAX),
            document: "replay".to_owned(),
        }
    }

    pub fn adjust(&self, region: &str, adjust: &Adjust) -> AdjustStockRequest {
        AdjustStockRequest {
            request_id: self.id(Verb::Adjust, &adjust.invoice, adjust.position),
            region: region.to_owned(),
            sku: adjust.sku.clone(),
            warehouse: String::new(),
            delta: adjust.delta,
            reason: adjust.reason.clone(),
            document: adjust.invoice.clone(),
            expected_on_hand: None,
        }
    }
}

/// An amount for the wire; `None` for a currency that is none, which the mapping never makes.
pub fn money(minor: i64, currency: &str) -> Option<pb::Money> {
    let code: Currency = currency.parse().ok()?;
    let (units, nanos) = Money::new(minor, code).to_units_nanos();
    Some(pb::Money { currency_code: currency.to_owned(), units, nanos })
}

/// Minor units of an amount of the wire.
pub fn minor(money: &pb::Money) -> Option<i64> {
    let code: Currency = money.currency_code.parse().ok()?;
    Money::from_units_nanos(money.units, money.nanos, code).ok().map(|money| money.minor)
}

fn line(sold: &Line, currency: &str) -> PlaceOrderLine {
    PlaceOrderLine {
        kind: kind(sold).into(),
        sku: sold.code.text().to_owned(),
        description: sold.description.clone(),
        quantity: i32::try_from(sold.quantity).unwrap_or(i32::MAX),
        unit_price: money(sold.unit_price_minor, currency),
    }
}

fn kind(sold: &Line) -> LineKind {
    match &sold.code {
        Code::Stock(_) => LineKind::Stock,
        Code::NonStock { .. } if sold.unit_price_minor < 0 => LineKind::Discount,
        Code::NonStock { kind: NonStock::Postage | NonStock::Fee, .. } => LineKind::Fee,
        // A discount at a positive price takes nothing off: it is a charge without a better name.
        Code::NonStock { kind: NonStock::Voucher | NonStock::Discount, .. } => LineKind::NonStock,
    }
}

fn return_line(index: usize, units: u32) -> ReturnLine {
    let line = u32::try_from(index + 1).unwrap_or(u32::MAX);
    ReturnLine { line, quantity: i32::try_from(units).unwrap_or(i32::MAX) }
}

/// The file's local minute, read as UTC: it is informative only.
fn timestamp(date: &str) -> Option<prost_types::Timestamp> {
    let number = |range| date.get(range).and_then(|text: &str| text.parse::<u8>().ok());
    let year: i64 = date.get(0..4)?.parse().ok()?;
    let (month, day) = (number(5..7)?, number(8..10)?);
    let (hour, minute) = (number(11..13)?, number(14..16)?);
    prost_types::Timestamp::date_time(year, month, day, hour, minute, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_minute_is_a_time() {
        let time = timestamp("2010-12-01 08:26").expect("a time");
        assert_eq!(time.to_string(), "2010-12-01T08:26:00Z");
        assert_eq!(timestamp("2010-13-01 08:26"), None);
        assert_eq!(timestamp("whenever"), None);
    }

    #[test]
    fn amounts_survive_the_wire() {
        for (minor_units, currency) in [(255, "GBP"), (-1, "USD"), (255, "JPY"), (0, "GBP")] {
            let wire = money(minor_units, currency).expect("a currency");
            assert_eq!(minor(&wire), Some(minor_units));
        }
    }
}
