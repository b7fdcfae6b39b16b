//! The chart of accounts of stock: buckets per (SKU, warehouse) and external accounts per SKU.

use hansa_types::id::AccountId;
use serde::{Deserialize, Serialize};

use crate::core::kernel::{AccountSpec, Code, Limit, Unit};

/// The number of a SKU in its shard, given at its first receipt.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SkuNo(pub u32);

/// The number of a warehouse in its shard; 0 is the region's default.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WarehouseNo(pub u16);

impl WarehouseNo {
    pub const DEFAULT: Self = Self(0);
    /// External accounts lie in no warehouse.
    const NOWHERE: Self = Self(u16::MAX);
}

/// What an account of stock is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Bucket {
    /// On the shelf; its pending debits are what is reserved.
    Available,
    /// Confirmed, not yet shipped.
    Committed,
    Picked,
    /// Returned, to be inspected.
    Quarantine,
    Damaged,
    /// Expected, not in the house.
    Incoming,
    /// External: where goods come from.
    Supplier,
    /// External: where goods go, and may come back from.
    Customer,
    /// External: what is lost or found when counting.
    Shrinkage,
    /// External: what another region's books shipped, and came back here.
    Elsewhere,
}

impl Bucket {
    /// The buckets whose sum is on hand.
    pub const PHYSICAL: [Self; 5] =
        [Self::Available, Self::Committed, Self::Picked, Self::Quarantine, Self::Damaged];

    const ALL: [Self; 10] = [
        Self::Available,
        Self::Committed,
        Self::Picked,
        Self::Quarantine,
        Self::Damaged,
        Self::Incoming,
        Self::Supplier,
        Self::Customer,
        Self::Shrinkage,
        Self::Elsewhere,
    ];

    fn code(self) -> Code {
        Code(match self {
            Self::Available => 1,
            Self::Committed => 2,
            Self::Picked => 3,
            Self::Quarantine => 4,
            Self::Damaged => 5,
            Self::Incoming => 6,
            Self::Supplier => 16,
            Self::Customer => 17,
            Self::Shrinkage => 18,
            Self::Elsewhere => 19,
        })
    }

    /// The bucket of an account with this code.
    pub fn from_code(code: Code) -> Option<Self> {
        Self::ALL.into_iter().find(|bucket| bucket.code() == code)
    }

    fn is_external(self) -> bool {
        matches!(self, Self::Supplier | Self::Customer | Self::Shrinkage | Self::Elsewhere)
    }

    fn limit(self) -> Limit {
        match self {
            // No bucket may hold less than nothing, and no more comes back than went out.
            Self::Available
            | Self::Committed
            | Self::Picked
            | Self::Quarantine
            | Self::Damaged
            | Self::Customer => Limit::Debits { floor: 0 },
            Self::Incoming | Self::Supplier | Self::Shrinkage => Limit::None,
            // Goods only come from there.
            Self::Elsewhere => Limit::Credits { floor: 0 },
        }
    }

    /// The account of this bucket: the three numbers side by side, so no two can collide.
    pub fn account(self, sku: SkuNo, warehouse: WarehouseNo) -> AccountId {
        let warehouse = if self.is_external() { WarehouseNo::NOWHERE } else { warehouse };
        let packed =
            u128::from(sku.0) << 32 | u128::from(warehouse.0) << 16 | u128::from(self.code().0);
        AccountId::from_bytes(packed.to_be_bytes())
    }

    pub fn spec(self, sku: SkuNo) -> AccountSpec {
        AccountSpec { unit: Unit(sku.0), code: self.code(), limit: self.limit() }
    }
}

/// Why stock moved: the code of its transfers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Movement {
    Receive,
    Adjust,
    Reserve,
    Commit,
    Uncommit,
    Ship,
    Return,
    Rebook,
    /// A return of what another region's books shipped.
    ReturnElsewhere,
}

impl Movement {
    const ALL: [Self; 9] = [
        Self::Receive,
        Self::Adjust,
        Self::Reserve,
        Self::Commit,
        Self::Uncommit,
        Self::Ship,
        Self::Return,
        Self::Rebook,
        Self::ReturnElsewhere,
    ];

    pub fn code(self) -> Code {
        Code(match self {
            Self::Receive => 101,
            Self::Adjust => 102,
            Self::Reserve => 103,
            Self::Commit => 104,
            Self::Uncommit => 105,
            Self::Ship => 106,
            Self::Return => 107,
            Self::Rebook => 108,
            Self::ReturnElsewhere => 109,
        })
    }

    pub fn from_code(code: Code) -> Option<Self> {
        Self::ALL.into_iter().find(|movement| movement.code() == code)
    }
}
