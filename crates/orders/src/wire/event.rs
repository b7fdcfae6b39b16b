//! What an event is called: derived from what changed, as the status axes are.

use hansa_api::pb::order::OrderEventKind as Kind;

use crate::core::order::Change;
use crate::core::status::{Face, FulfillmentStatus, OrderStatus, PaymentStatus};

/// The kind of a change; the most telling one when several axes moved.
pub fn kind(before: Option<&Face>, change: &Change) -> Kind {
    let after = &change.face;
    let Some(before) = before else {
        // Where books are in the order's own log its first entry may have decided it.
        return match after.order {
            OrderStatus::Rejected if change.version == 1 => Kind::Rejected,
            OrderStatus::Confirmed if change.version == 1 => Kind::Confirmed,
            _ => Kind::Accepted,
        };
    };
    if before.order != after.order {
        match after.order {
            OrderStatus::Completed => return Kind::Completed,
            OrderStatus::Rejected => return Kind::Rejected,
            OrderStatus::Cancelled => return Kind::Cancelled,
            OrderStatus::Parked => return Kind::Parked,
            OrderStatus::Confirmed => return Kind::Confirmed,
            OrderStatus::Pending => {}
        }
    }
    if before.parked != after.parked && after.order == OrderStatus::Parked {
        return Kind::Parked;
    }
    if before.cancel_asked != after.cancel_asked {
        return Kind::Compensating;
    }
    if before.shipped != after.shipped {
        return Kind::Shipped;
    }
    if before.returned != after.returned {
        return Kind::Returned;
    }
    if before.refunded_minor != after.refunded_minor {
        return Kind::Refunded;
    }
    if before.payment != after.payment {
        match after.payment {
            PaymentStatus::Authorized => return Kind::PaymentAuthorized,
            PaymentStatus::InDoubt => return Kind::PaymentInDoubt,
            PaymentStatus::Captured | PaymentStatus::PartiallyCaptured => {
                return Kind::PaymentCaptured;
            }
            PaymentStatus::Voided => return Kind::PaymentVoided,
            PaymentStatus::PartiallyRefunded | PaymentStatus::Refunded => return Kind::Refunded,
            PaymentStatus::None | PaymentStatus::Disputed => {}
        }
    }
    if before.asked != after.asked {
        return Kind::Requested;
    }
    match after.fulfillment {
        FulfillmentStatus::Allocated => Kind::StockReserved,
        _ => Kind::Compensating,
    }
}
