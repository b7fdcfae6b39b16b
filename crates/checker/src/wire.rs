//! The wire's answers as plain values.

use hansa_api::pb;
use hansa_api::pb::order as wire;

use crate::final_state::{Held, Report};
use crate::seen::{
    Fulfillment, LineSeen, Money, OrderSeen, OrderState, PaymentSeen, PaymentState, RejectReason,
    Rejected, StockSeen,
};

/// Minor units of a currency with two decimals, which is what harnesses pay in.
#[must_use]
pub fn minor(money: Option<&pb::Money>) -> i64 {
    money.map_or(0, |money| money.units * 100 + i64::from(money.nanos) / 10_000_000)
}

#[must_use]
pub fn order(from: &wire::Order) -> OrderSeen {
    OrderSeen {
        name: from.name.clone(),
        version: from.version,
        state: order_state(from.state()),
        payment_state: payment_state(from.payment_state()),
        fulfillment: fulfillment(from.fulfillment_state()),
        rejected: from.rejection.as_ref().and_then(rejected),
        reference: from.client_reference.clone(),
        lines: from.lines.iter().map(line).collect(),
        total_minor: minor(from.total.as_ref()),
        money: from.payment.as_ref().map(|facts| Money {
            authorized: minor(facts.authorized.as_ref()),
            captured: minor(facts.captured.as_ref()),
            refunded: minor(facts.refunded.as_ref()),
        }),
        parked: from.parked_reason.clone(),
    }
}

fn line(from: &wire::OrderLine) -> LineSeen {
    LineSeen {
        line: from.line,
        sku: from.sku.clone(),
        quantity: from.quantity,
        price_minor: minor(from.unit_price.as_ref()),
        shipped: from.shipped_quantity,
        returned: from.returned_quantity,
    }
}

#[must_use]
pub fn payment(from: &pb::payment::Payment) -> PaymentSeen {
    PaymentSeen {
        order: from.order.clone(),
        state: payment_state(from.state()),
        money: Money {
            authorized: minor(from.authorized.as_ref()),
            captured: minor(from.captured.as_ref()),
            refunded: minor(from.refunded.as_ref()),
        },
        reference: from.provider_reference.clone(),
    }
}

#[must_use]
pub fn stock(from: &pb::inventory::Stock) -> StockSeen {
    StockSeen {
        available: from.available_quantity,
        reserved: from.reserved_quantity,
        committed: from.committed_quantity,
        picked: from.picked_quantity,
        quarantine: from.quarantine_quantity,
        damaged: from.damaged_quantity,
        on_hand: from.on_hand_quantity,
        sellable: from.sellable_quantity,
    }
}

#[must_use]
pub fn report(region: &str, from: &pb::admin::InvariantReport) -> Report {
    Report {
        region: region.to_owned(),
        number: from.number,
        name: from.name.clone(),
        held: match from.verdict() {
            pb::admin::Verdict::Held => Held::Held,
            pb::admin::Verdict::Violated => Held::Violated,
            pb::admin::Verdict::Unknown | pb::admin::Verdict::Unspecified => Held::Unknown,
        },
        detail: format!("group {}: {}", from.group, from.detail),
    }
}

fn order_state(state: wire::OrderState) -> OrderState {
    match state {
        wire::OrderState::Unspecified | wire::OrderState::Pending => OrderState::Pending,
        wire::OrderState::Confirmed => OrderState::Confirmed,
        wire::OrderState::Completed => OrderState::Completed,
        wire::OrderState::Rejected => OrderState::Rejected,
        wire::OrderState::Cancelled => OrderState::Cancelled,
        wire::OrderState::Parked => OrderState::Parked,
    }
}

fn payment_state(state: wire::PaymentState) -> PaymentState {
    match state {
        wire::PaymentState::Unspecified | wire::PaymentState::None => PaymentState::None,
        wire::PaymentState::Authorized => PaymentState::Authorized,
        wire::PaymentState::PartiallyCaptured => PaymentState::PartiallyCaptured,
        wire::PaymentState::Captured => PaymentState::Captured,
        wire::PaymentState::PartiallyRefunded => PaymentState::PartiallyRefunded,
        wire::PaymentState::Refunded => PaymentState::Refunded,
        wire::PaymentState::InDoubt => PaymentState::InDoubt,
        wire::PaymentState::Disputed => PaymentState::Disputed,
        wire::PaymentState::Voided => PaymentState::Voided,
    }
}

fn fulfillment(state: wire::FulfillmentState) -> Fulfillment {
    match state {
        wire::FulfillmentState::Unspecified | wire::FulfillmentState::Unallocated => {
            Fulfillment::Unallocated
        }
        wire::FulfillmentState::Allocated => Fulfillment::Allocated,
        wire::FulfillmentState::PartiallyShipped => Fulfillment::PartiallyShipped,
        wire::FulfillmentState::Shipped => Fulfillment::Shipped,
        wire::FulfillmentState::Delivered => Fulfillment::Delivered,
        wire::FulfillmentState::PartiallyReturned => Fulfillment::PartiallyReturned,
        wire::FulfillmentState::Returned => Fulfillment::Returned,
    }
}

fn rejected(from: &wire::Rejection) -> Option<Rejected> {
    let reason = match from.reason() {
        wire::RejectReason::Unspecified => return None,
        wire::RejectReason::UnknownSku => RejectReason::UnknownSku,
        wire::RejectReason::OutOfStock => RejectReason::OutOfStock,
        wire::RejectReason::PaymentDeclined => RejectReason::PaymentDeclined,
        wire::RejectReason::PaymentInDoubt => RejectReason::PaymentInDoubt,
        wire::RejectReason::HoldExpired => RejectReason::HoldExpired,
        wire::RejectReason::PaymentUnavailable => RejectReason::PaymentUnavailable,
        wire::RejectReason::StockRefused => RejectReason::StockRefused,
        wire::RejectReason::PaymentRefused => RejectReason::PaymentRefused,
    };
    let (line, sku, available) = (from.line, from.sku.clone(), from.available_quantity);
    Some(Rejected { reason, line, sku, available })
}
