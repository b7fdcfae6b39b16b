//! 8. One request id in its scope, one effect: a key leads to an order that exists,
//!    or left.

use crate::core::state::State;

pub fn check(state: &State) -> Result<(), String> {
    for (scope, row) in state.keys.table.iter() {
        let order = row.target.order;
        if !state.orders.contains(&order) && !state.may_have_left(order) {
            return Err(format!("key {:032x} leads to no order", scope.0));
        }
    }
    Ok(())
}
