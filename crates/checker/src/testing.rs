//! Values for unit tests.

use crate::seen::{Fulfillment, LineSeen, Money, OrderSeen, OrderState, PaymentState};

/// A confirmed order of one line of one piece at 5, with reference `r`.
pub fn order(name: &str, version: u64) -> OrderSeen {
    let (line, sku) = (1, String::new());
    OrderSeen {
        name: name.to_owned(),
        version,
        state: OrderState::Confirmed,
        payment_state: PaymentState::Captured,
        fulfillment: Fulfillment::Allocated,
        rejected: None,
        reference: "r".to_owned(),
        lines: vec![LineSeen { line, sku, quantity: 1, price_minor: 5, shipped: 0, returned: 0 }],
        total_minor: 5,
        money: Some(Money { authorized: 5, captured: 5, refunded: 0 }),
        parked: String::new(),
    }
}
