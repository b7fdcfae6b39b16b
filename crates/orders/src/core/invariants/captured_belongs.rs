//! 5. Every captured cent belongs to an order past stock commit and not rejected, or to a refund.

use crate::core::contents::Contents;
use crate::core::effect::Effect;
use crate::core::order::{Funds, Goal, Order, Stock, Why};

pub fn check(order: &Order, _contents: &Contents) -> Result<(), String> {
    let kept = order.refundable_minor();
    if kept <= 0 || order.parked.is_some() {
        return Ok(());
    }
    // What people have said goes on is captured again, under the same key, to be booked.
    let settles = order.outstanding(Effect::Settle) && order.funds != Funds::Captured;
    // What was taken over is reserved anew: another region's stock was committed to it.
    let committed = |stock: &Stock| match stock {
        Stock::Committed => true,
        Stock::Unallocated | Stock::Reserving | Stock::Held { .. } => order.came(),
        _ => false,
    };
    let fine = match &order.goal {
        Goal::Confirm => {
            let settled = order.settled || settles;
            settled && order.parts.iter().all(|part| committed(&part.stock))
        }
        Goal::Undo { why: Why::Rejected(..), .. } => false,
        // Decided in the same breath as the refund, unless the last leg is still on its way.
        Goal::Undo { why: Why::Cancelled, .. } => settles,
    };
    if fine { Ok(()) } else { Err(format!("{kept} captured without an order that owns it")) }
}
