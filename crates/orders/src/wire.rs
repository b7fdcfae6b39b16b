//! Orders as the wire shows them.

mod event;

pub use event::kind;

use hansa_api::convert::time::from_log;
use hansa_api::pb;
use hansa_api::pb::order as wire;
use hansa_types::id::OrderId;
use hansa_types::money::{Currency, Money};

use crate::core::contents::{Contents, Line, LineKind};
use crate::core::order::{Change, Goal, Order, ParkedWhy, Provider, Reject, Why, provider_key};
use crate::core::status::{FulfillmentStatus, OrderStatus, PaymentStatus};
use crate::shell::Shell;

/// The order as it stands. Says nothing of who ordered: the verb that may show it opens the block.
pub fn order(shell: &Shell, id: OrderId, order: &Order, contents: &Contents) -> wire::Order {
    match order.history.last() {
        Some(last) => order_at(shell, id, order, contents, last),
        // Every order has the event of its acceptance.
        None => wire::Order::default(),
    }
}

/// The order as it stood after one of its changes.
pub fn order_at(
    shell: &Shell,
    id: OrderId,
    order: &Order,
    contents: &Contents,
    change: &Change,
) -> wire::Order {
    let face = &change.face;
    let parked = order.parked.as_ref().filter(|_| face.order == OrderStatus::Parked);
    let line = |(place, line): (u16, &Line)| line_at(order, contents, place, line, change.version);
    wire::Order {
        name: shell.map.name_of(id),
        version: change.version,
        state: order_state(face.order).into(),
        payment_state: payment_state(face.payment).into(),
        fulfillment_state: fulfillment_state(face.fulfillment).into(),
        rejection: (face.order == OrderStatus::Rejected).then(|| rejection(order)).flatten(),
        parked_reason: parked.map_or_else(String::new, |parked| parked_word(parked.why).to_owned()),
        parked_detail: parked.map_or_else(String::new, |parked| parked.detail.clone()),
        customer_id: String::new(),
        customer_pseudonym: String::new(),
        residence_country: contents.residence.to_string(),
        client_reference: contents.reference.clone(),
        lines: (0_u16..).zip(&contents.lines).map(line).collect(),
        total: money(contents.total_minor, contents.currency),
        payment: payment_facts(id, order, contents, change),
        personal: None,
        home_region: shell.region.to_string(),
        epoch: order.epoch,
        placed_time: contents.placed_ms.map(hansa_api::convert::time::from_ms),
        create_time: Some(from_log(order.created)),
        update_time: Some(from_log(change.at)),
        cancel_reason: match face.cancel_asked {
            true => order.cancel_reason.clone(),
            false => String::new(),
        },
        personal_state: wire::PersonalState::Unspecified.into(),
    }
}

/// Ours alone, so that every region may read it; the provider's words are the detail's.
fn parked_word(why: ParkedWhy) -> &'static str {
    match why {
        ParkedWhy::CompensationRefused => "COMPENSATION_REFUSED",
        ParkedWhy::BooksDiffer => "BOOKS_DIFFER",
        ParkedWhy::RefundRefused => "REFUND_REFUSED",
        ParkedWhy::Stuck => "STUCK",
        ParkedWhy::Unallocated => "UNALLOCATED",
        ParkedWhy::LeftBehind => "LEFT_BEHIND",
    }
}

fn line_at(
    order: &Order,
    contents: &Contents,
    place: u16,
    line: &Line,
    version: u64,
) -> wire::OrderLine {
    wire::OrderLine {
        line: u32::from(place) + 1,
        kind: match line.kind {
            LineKind::Stock => wire::LineKind::Stock,
            LineKind::Fee => wire::LineKind::Fee,
            LineKind::Discount => wire::LineKind::Discount,
            LineKind::NonStock => wire::LineKind::NonStock,
        }
        .into(),
        sku: line.sku.as_ref().map_or_else(String::new, ToString::to_string),
        description: line.description.clone(),
        quantity: line.quantity,
        unit_price: money(line.price_minor, contents.currency),
        shipped_quantity: Order::moved_at(&order.shipments, place, version),
        returned_quantity: Order::moved_at(&order.returns, place, version),
        warehouse: order.shipped_from(place, version).map_or_else(String::new, ToString::to_string),
    }
}

fn rejection(order: &Order) -> Option<wire::Rejection> {
    let Goal::Undo { why: Why::Rejected(reason, refusal), .. } = &order.goal else { return None };
    let reason = match reason {
        Reject::UnknownSku => wire::RejectReason::UnknownSku,
        Reject::OutOfStock => wire::RejectReason::OutOfStock,
        Reject::StockExpired => wire::RejectReason::HoldExpired,
        Reject::StockRefused => wire::RejectReason::StockRefused,
        Reject::PaymentDeclined => wire::RejectReason::PaymentDeclined,
        Reject::PaymentRefused => wire::RejectReason::PaymentRefused,
        Reject::PaymentInDoubt => wire::RejectReason::PaymentInDoubt,
    };
    Some(wire::Rejection {
        reason: reason.into(),
        line: refusal.line,
        sku: refusal.sku.clone(),
        available_quantity: refusal.available,
    })
}

fn payment_facts(
    id: OrderId,
    order: &Order,
    contents: &Contents,
    change: &Change,
) -> Option<wire::PaymentFacts> {
    if contents.total_minor == 0 {
        return None;
    }
    let face = &change.face;
    Some(wire::PaymentFacts {
        payment: provider_key(id),
        provider_reference: match face.authorized_minor {
            0 => String::new(),
            _ => order.money.reference.0.clone(),
        },
        authorized: money(face.authorized_minor, contents.currency),
        captured: money(face.captured_minor, contents.currency),
        refunded: money(face.refunded_minor, contents.currency),
        decline_reason: match &order.provider {
            Provider::Declined(why) if face.order == OrderStatus::Rejected => why.clone(),
            _ => String::new(),
        },
    })
}

/// An order's payment; `None` when there is nothing to pay.
pub fn payment(
    shell: &Shell,
    id: OrderId,
    order: &Order,
    contents: &Contents,
) -> Option<pb::payment::Payment> {
    if contents.total_minor == 0 {
        return None;
    }
    Some(pb::payment::Payment {
        payment: provider_key(id),
        order: shell.map.name_of(id),
        state: payment_state(order.payment_status()).into(),
        authorized: money(order.money.authorized_minor, contents.currency),
        captured: money(order.money.captured_minor, contents.currency),
        refunded: money(order.money.refunded_minor, contents.currency),
        provider: crate::provider::NAME.to_owned(),
        provider_reference: order.money.reference.0.clone(),
        create_time: Some(from_log(order.created)),
        update_time: Some(from_log(order.updated)),
    })
}

pub fn money(minor: i64, currency: Currency) -> Option<pb::Money> {
    Some(Money::new(minor, currency).into())
}

pub fn order_state(status: OrderStatus) -> wire::OrderState {
    match status {
        OrderStatus::Pending => wire::OrderState::Pending,
        OrderStatus::Confirmed => wire::OrderState::Confirmed,
        OrderStatus::Completed => wire::OrderState::Completed,
        OrderStatus::Rejected => wire::OrderState::Rejected,
        OrderStatus::Cancelled => wire::OrderState::Cancelled,
        OrderStatus::Parked => wire::OrderState::Parked,
    }
}

fn payment_state(status: PaymentStatus) -> wire::PaymentState {
    match status {
        PaymentStatus::None => wire::PaymentState::None,
        PaymentStatus::Authorized => wire::PaymentState::Authorized,
        PaymentStatus::PartiallyCaptured => wire::PaymentState::PartiallyCaptured,
        PaymentStatus::Captured => wire::PaymentState::Captured,
        PaymentStatus::PartiallyRefunded => wire::PaymentState::PartiallyRefunded,
        PaymentStatus::Refunded => wire::PaymentState::Refunded,
        PaymentStatus::InDoubt => wire::PaymentState::InDoubt,
        PaymentStatus::Disputed => wire::PaymentState::Disputed,
        PaymentStatus::Voided => wire::PaymentState::Voided,
    }
}

fn fulfillment_state(status: FulfillmentStatus) -> wire::FulfillmentState {
    match status {
        FulfillmentStatus::Unallocated => wire::FulfillmentState::Unallocated,
        FulfillmentStatus::Allocated => wire::FulfillmentState::Allocated,
        FulfillmentStatus::PartiallyShipped => wire::FulfillmentState::PartiallyShipped,
        FulfillmentStatus::Shipped => wire::FulfillmentState::Shipped,
        FulfillmentStatus::Delivered => wire::FulfillmentState::Delivered,
        FulfillmentStatus::PartiallyReturned => wire::FulfillmentState::PartiallyReturned,
        FulfillmentStatus::Returned => wire::FulfillmentState::Returned,
    }
}
