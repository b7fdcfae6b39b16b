//! 8. One request id in its scope, one effect: a key leads to an order that exists.

use crate::core::state::State;

pub fn check(state: &State) -> Result<(), String> {
    for (scope, row) in state.keys.table.iter() {
        if !state.orders.contains(&row.target.order) {
            return Err(format!("key {:032x} leads to no order", scope.0));
        }
    }
    Ok(())
}
