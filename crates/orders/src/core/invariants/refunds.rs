//! 4. Refunded ≤ captured ≤ authorized, counting refunds on their way.

use crate::core::contents::Contents;
use crate::core::order::{Done, Order};

pub fn check(order: &Order, _contents: &Contents) -> Result<(), String> {
    let money = &order.money;
    let done = order.refunds.iter().filter(|refund| refund.state == Done::Done);
    let done: i64 = done.map(|refund| refund.amount_minor).sum();
    if done != money.refunded_minor {
        return Err(format!("refunds sum to {done}, not to {}", money.refunded_minor));
    }
    if order.refundable_minor() < 0 {
        return Err(format!("{} beyond what was captured", -order.refundable_minor()));
    }
    if money.captured_minor > money.authorized_minor {
        let (captured, authorized) = (money.captured_minor, money.authorized_minor);
        return Err(format!("captured {captured} of {authorized} authorized"));
    }
    Ok(())
}
