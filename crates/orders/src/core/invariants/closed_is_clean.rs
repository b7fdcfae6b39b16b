//! An order that is not closed, parked or settled has something outstanding or a time to wake at:
//! no saga can be forgotten.

use crate::core::contents::Contents;
use crate::core::order::{Goal, Order};

pub fn check(order: &Order, _contents: &Contents) -> Result<(), String> {
    let idle = order.work.is_empty() && order.wake.is_none();
    if idle && order.parked.is_none() && !order.closed() {
        return Err("open, with nothing outstanding and no timer".to_owned());
    }
    let undone = matches!(order.goal, Goal::Undo { .. }) && order.closed();
    if undone && !order.provider.clear() && order.refundable_minor() > 0 {
        return Err("closed while the provider holds money".to_owned());
    }
    Ok(())
}
