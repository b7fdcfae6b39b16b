//! What left is counted: orders of customers are as many as there are records on the shelf, and
//! each has an event that is not its group's any more.

use crate::core::state::State;
use crate::core::subjects::SubjectRow;

pub fn check(state: &State) -> Result<(), String> {
    let rows = state.subjects.table.iter().flat_map(|(_, row)| &row.left);
    let counted: u64 = rows.map(|left| u64::from(left.orders)).sum();
    let (left, events) = (state.shelf.records.len(), state.meta.left_versions);
    if counted != left || events < left {
        return Err(format!("{left} orders left: {counted} of customers, with {events} events"));
    }
    let ascends = |row: &SubjectRow| {
        let by_key = row.left.is_sorted_by(|one, next| one.generation < next.generation);
        by_key && row.left.iter().all(|left| left.orders > 0 && left.blocks <= left.orders)
    };
    match state.subjects.table.iter().all(|(_, row)| ascends(row)) {
        true => Ok(()),
        false => Err("what is known of orders that left is not one row for a key".to_owned()),
    }
}
