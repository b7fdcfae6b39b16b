//! The chart of accounts of money: one account per payment, six of the house per currency.

use hansa_types::id::AccountId;
use hansa_types::money::Currency;
use serde::{Deserialize, Serialize};

use crate::core::kernel::{AccountSpec, Code, Limit, Unit};

/// A payment, by the 16 bytes that orders minted for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PaymentKey(pub u128);

impl PaymentKey {
    pub const CODE: Code = Code(1);

    /// The payment's account has the payment's id; ids carry a time, so none is as small as those
    /// of the house.
    pub fn account(self) -> AccountId {
        AccountId::from_bytes(self.0.to_be_bytes())
    }

    /// Debits are refunds, credits are captures: never more of the first.
    pub fn spec(unit: Unit) -> AccountSpec {
        AccountSpec { unit, code: Self::CODE, limit: Limit::Debits { floor: 0 } }
    }

    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

/// The accounts of the house, one of each per currency and group; a region's figure is their sum.
///
/// `Merchant` and `Fees` are moved by settlement with the provider, which is not built yet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum House {
    /// What the provider owes us for captures.
    Clearing,
    /// What is payable to the merchant after settlement.
    Merchant,
    Fees,
    /// What was given back to customers.
    Refunds,
    /// What other regions' books said of payments that were taken over from them.
    Opening,
    /// What the accounts had of payments that have left; nothing is ever posted to it.
    Closed,
}

impl House {
    pub const ALL: [Self; 6] =
        [Self::Clearing, Self::Merchant, Self::Fees, Self::Refunds, Self::Opening, Self::Closed];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clearing => "clearing",
            Self::Merchant => "merchant",
            Self::Fees => "fees",
            Self::Refunds => "refunds",
            Self::Opening => "opening",
            Self::Closed => "closed",
        }
    }

    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|house| house.as_str() == name)
    }

    fn code(self) -> Code {
        Code(match self {
            Self::Clearing => 16,
            Self::Merchant => 17,
            Self::Fees => 18,
            Self::Refunds => 19,
            Self::Opening => 20,
            Self::Closed => 21,
        })
    }

    pub fn account(self, unit: Unit) -> AccountId {
        let packed = u128::from(unit.0) << 16 | u128::from(self.code().0);
        AccountId::from_bytes(packed.to_be_bytes())
    }

    pub fn spec(self, unit: Unit) -> AccountSpec {
        AccountSpec { unit, code: self.code(), limit: Limit::None }
    }

    /// The account of the house that has this id, and its unit.
    pub fn of_account(account: AccountId) -> Option<(Self, Unit)> {
        let packed = u128::from_be_bytes(account.to_bytes());
        let unit = Unit(u32::try_from(packed >> 16).ok()?);
        let house =
            Self::ALL.into_iter().find(|house| u128::from(house.code().0) == packed & 0xffff)?;
        Some((house, unit))
    }
}

/// Why money moved: the code of its transfers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Movement {
    Authorize,
    Capture,
    Void,
    Refund,
    Opening,
}

impl Movement {
    const ALL: [Self; 5] =
        [Self::Authorize, Self::Capture, Self::Void, Self::Refund, Self::Opening];

    pub fn code(self) -> Code {
        Code(match self {
            Self::Authorize => 201,
            Self::Capture => 202,
            Self::Void => 203,
            Self::Refund => 204,
            Self::Opening => 205,
        })
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Refund => "refund",
            Self::Opening => "opening",
        }
    }

    pub fn from_code(code: Code) -> Option<Self> {
        Self::ALL.into_iter().find(|movement| movement.code() == code)
    }
}

/// A currency as a unit: its three letters in one number.
pub fn unit_of(currency: Currency) -> Unit {
    let letters = currency.as_str().bytes();
    Unit(letters.fold(0, |packed, letter| packed << 8 | u32::from(letter)))
}

/// The currency of a unit.
pub fn currency_of(unit: Unit) -> Option<Currency> {
    let [0, letters @ ..] = unit.0.to_be_bytes() else { return None };
    std::str::from_utf8(&letters).ok()?.parse().ok()
}
