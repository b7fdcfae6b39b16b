//! Indexes say what the tables say, and each order has its contents.

use crate::core::state::State;

pub fn check(state: &State) -> Result<(), String> {
    if !state.indexes_agree() {
        return Err("an index disagrees with its table".to_owned());
    }
    match state.orders.len() == state.contents.len() {
        true => Ok(()),
        false => Err("orders without contents".to_owned()),
    }
}
