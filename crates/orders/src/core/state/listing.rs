//! Listings: orders newest first, of one customer or of all.

use std::ops::Bound;

use hansa_types::id::OrderId;

use super::State;
use crate::core::status::OrderStatus;
use crate::core::subjects::SubjectId;

/// Whose orders. A guest is no customer: his are in everybody's only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Of {
    Customer(SubjectId),
    Everybody,
}

/// A row of a listing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listed {
    pub id: OrderId,
    pub status: OrderStatus,
}

impl State {
    /// At most `limit` orders that were born before `before`, if it is given, newest first.
    pub fn listed(&self, of: Of, before: Option<OrderId>, limit: usize) -> Vec<Listed> {
        let row = |id: OrderId| {
            let (order, contents) = (self.orders.get(&id)?, self.contents.get(&id)?);
            Some(Listed { id, status: order.order_status(contents) })
        };
        match of {
            Of::Customer(subject) => {
                self.subjects.newest_of(subject, before).filter_map(row).take(limit).collect()
            }
            Of::Everybody => {
                let end = before.map_or(Bound::Unbounded, Bound::Excluded);
                let ids = self.by_birth.range((Bound::Unbounded, end)).rev().copied();
                ids.filter_map(row).take(limit).collect()
            }
        }
    }
}
