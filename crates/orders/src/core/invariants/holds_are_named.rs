//! 6. Each live stock hold names an order that is pending or compensating, each money hold one that
//!    is not closed: a closed order therefore holds nothing.

use crate::core::contents::Contents;
use crate::core::order::{Funds, Goal, Order, Stock};

pub fn check(order: &Order, _contents: &Contents) -> Result<(), String> {
    if !order.closed() || order.parked.is_some() {
        return Ok(());
    }
    let confirmed = order.goal == Goal::Confirm;
    for part in &order.parts {
        let fine = match part.stock {
            Stock::Committed => confirmed,
            Stock::Gone | Stock::Refused(_) => !confirmed,
            Stock::Reserving
            | Stock::Held { .. }
            | Stock::Releasing
            | Stock::Uncommitting
            | Stock::Unallocated => false,
        };
        if !fine {
            return Err(format!("closed with stock {:?} in group {}", part.stock, part.group));
        }
    }
    match order.funds {
        Funds::Holding | Funds::Held | Funds::Voiding | Funds::Opening => {
            Err(format!("closed with funds {:?}", order.funds))
        }
        _ => Ok(()),
    }
}
