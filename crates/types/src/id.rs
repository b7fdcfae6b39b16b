//! Ids: each its own type, with a text form that parses only as itself.

mod order;
mod text;
mod transfer;

pub use order::{OrderId, OrderName};
pub use text::{CustomerId, PaymentId, RequestId, Sku, WarehouseId};
pub use transfer::{AccountId, TransferId};

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum BadId {
    #[error("{0} is empty")]
    Empty(&'static str),
    #[error("{0} is longer than {max} bytes", max = crate::limits::ID_BYTES_MAX)]
    TooLong(&'static str),
    #[error("{0} does not have the right form")]
    Grammar(&'static str),
    #[error("the order's name and id name different regions")]
    RegionMismatch,
}

/// A node of the league. Given once, never reused with an empty log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a Raft group keeps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupKind {
    Directory,
    Orders,
    Inventory,
    Payments,
}

impl GroupKind {
    pub const ALL: [Self; 4] = [Self::Directory, Self::Orders, Self::Inventory, Self::Payments];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Orders => "orders",
            Self::Inventory => "inventory",
            Self::Payments => "payments",
        }
    }

    fn number(self) -> u32 {
        match self {
            Self::Directory => 1,
            Self::Orders => 2,
            Self::Inventory => 3,
            Self::Payments => 4,
        }
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A Raft group of a region: its kind and its index among the groups of that kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupId(u32);

impl GroupId {
    pub fn new(kind: GroupKind, index: u16) -> Self {
        Self(kind.number() << 16 | u32::from(index))
    }

    /// The id with this number, `None` when its kind is not one of ours.
    pub fn from_number(n: u32) -> Option<Self> {
        GroupKind::ALL.iter().any(|kind| kind.number() == n >> 16).then_some(Self(n))
    }

    pub fn number(self) -> u32 {
        self.0
    }

    pub fn index(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    pub fn kind(self) -> GroupKind {
        let kind = GroupKind::ALL.into_iter().find(|kind| kind.number() == self.0 >> 16);
        // `new` and `from_number` let no other kind in; a decoded one falls to the directory,
        // which serves no data.
        kind.unwrap_or(GroupKind::Directory)
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.kind(), self.index())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_ids_keep_kind_and_index() {
        for kind in GroupKind::ALL {
            let id = GroupId::new(kind, 7);
            assert_eq!((id.kind(), id.index()), (kind, 7));
            assert_eq!(GroupId::from_number(id.number()), Some(id));
        }
        assert_eq!(GroupId::new(GroupKind::Orders, 1).to_string(), "orders-1");
        assert_eq!(GroupId::from_number(9 << 16), None);
    }
}
