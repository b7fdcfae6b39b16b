//! Listings: orders newest first, of one customer or of all.

use std::ops::Bound;

use hansa_types::id::OrderId;

use super::State;
use crate::core::order::Order;
use crate::core::status::OrderStatus;
use crate::core::subjects::SubjectId;

/// Whose orders. A guest is no customer: his are in everybody's only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Of {
    Customer(SubjectId),
    Everybody,
}

/// An order's place in a listing: by when it was created, as the log has it. The time in its id is
/// of its leader's clock, and of before it was accepted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Listed {
    created: u64,
    id: u128,
}

impl Listed {
    pub const FIRST: Self = Self { created: 0, id: 0 };
    pub const LAST: Self = Self { created: u64::MAX, id: u128::MAX };

    pub fn of(id: OrderId, order: &Order) -> Self {
        Self { created: order.created.ms(), id: id.into() }
    }

    pub fn id(&self) -> OrderId {
        match OrderId::try_from(self.id) {
            Ok(id) => id,
            Err(_) => unreachable!("it was made of an id"),
        }
    }

    /// What a page token carries.
    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.created.to_be_bytes());
        bytes[8..].copy_from_slice(&self.id.to_be_bytes());
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (created, id) = bytes.split_at_checked(8)?;
        let created = u64::from_be_bytes(created.try_into().ok()?);
        let id = OrderId::from_bytes(id.try_into().ok()?).ok()?;
        Some(Self { created, id: id.into() })
    }
}

impl State {
    /// At most `limit` orders before `before`, if it is given, newest first.
    pub fn listed(
        &self,
        of: Of,
        before: Option<Listed>,
        limit: usize,
    ) -> Vec<(Listed, OrderStatus)> {
        let row = |listed: Listed| {
            let id = listed.id();
            let (order, contents) = (self.orders.get(&id)?, self.contents.get(&id)?);
            Some((listed, order.order_status(contents)))
        };
        match of {
            Of::Customer(subject) => {
                let listed = self.subjects.listed(subject, before).rev();
                listed.filter_map(row).take(limit).collect()
            }
            Of::Everybody => {
                let end = before.map_or(Bound::Unbounded, Bound::Excluded);
                let listed = self.by_age.range((Bound::Unbounded, end)).rev().copied();
                listed.filter_map(row).take(limit).collect()
            }
        }
    }
}
