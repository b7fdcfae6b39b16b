//! The id of an order, which says where it was born, and its public name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::BadId;
use crate::region::{RegionName, RegionNumber, Slot};
use crate::time::LogTime;

/// An order's id: a UUIDv8 of 48-bit milliseconds, birth region number (12 bits), birth slot
/// (12 bits) and 50 random bits.
///
/// # Source
/// RFC 9562 §5.8; architecture: an id routes from anywhere by (birth region, slot).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u128", into = "u128")]
pub struct OrderId(u128);

const RANDOM_BITS: u32 = 50;
const SLOT_SHIFT: u32 = RANDOM_BITS;
const VARIANT_SHIFT: u32 = 62;
const REGION_SHIFT: u32 = 64;
const VERSION_SHIFT: u32 = 76;
const MS_SHIFT: u32 = 80;
const MS_MAX: u128 = (1 << 48) - 1;

impl OrderId {
    pub fn new(born: LogTime, region: RegionNumber, slot: Slot, random: u64) -> Self {
        let random = u128::from(random) & ((1 << RANDOM_BITS) - 1);
        Self(
            (u128::from(born.ms()) & MS_MAX) << MS_SHIFT
                | 8 << VERSION_SHIFT
                | u128::from(region.get()) << REGION_SHIFT
                | 0b10 << VARIANT_SHIFT
                | u128::from(slot.get()) << SLOT_SHIFT
                | random,
        )
    }

    /// When it was born.
    pub fn born(self) -> LogTime {
        LogTime((self.0 >> MS_SHIFT) as u64)
    }

    pub fn region(self) -> RegionNumber {
        let number = ((self.0 >> REGION_SHIFT) & 0xfff) as u16;
        match RegionNumber::try_from(number) {
            Ok(region) => region,
            Err(_) => unreachable!("an order id is checked where it is made"),
        }
    }

    pub fn slot(self) -> Slot {
        match Slot::new(((self.0 >> SLOT_SHIFT) & 0xfff) as u16) {
            Some(slot) => slot,
            None => unreachable!("twelve bits are always a slot"),
        }
    }

    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// # Errors
    /// Bytes that are not a UUIDv8 of ours.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Self, BadId> {
        u128::from_be_bytes(bytes).try_into()
    }
}

impl TryFrom<u128> for OrderId {
    type Error = BadId;
    fn try_from(n: u128) -> Result<Self, BadId> {
        let good = (n >> VERSION_SHIFT) & 0xf == 8
            && (n >> VARIANT_SHIFT) & 0b11 == 0b10
            && (n >> REGION_SHIFT) & 0xfff != 0;
        if good { Ok(Self(n)) } else { Err(BadId::Grammar("order id")) }
    }
}

impl From<OrderId> for u128 {
    fn from(id: OrderId) -> u128 {
        id.0
    }
}

impl FromStr for OrderId {
    type Err = BadId;
    fn from_str(s: &str) -> Result<Self, BadId> {
        // Only the canonical form: the text of an id parses only as itself.
        let uuid = Uuid::parse_str(s).map_err(|_| BadId::Grammar("order id"))?;
        if uuid.hyphenated().to_string() != s {
            return Err(BadId::Grammar("order id"));
        }
        uuid.as_u128().try_into()
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Uuid::from_u128(self.0).hyphenated())
    }
}

impl fmt::Debug for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The public name of an order: `regions/<birth>/orders/<uuid>`.
///
/// That the birth region's number is the one in the id is checked by whoever knows the numbers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OrderName {
    pub region: RegionName,
    pub id: OrderId,
}

impl FromStr for OrderName {
    type Err = BadId;
    fn from_str(s: &str) -> Result<Self, BadId> {
        let parts = s.strip_prefix("regions/").and_then(|rest| rest.split_once("/orders/"));
        let (region, id) = parts.ok_or(BadId::Grammar("order name"))?;
        Ok(Self { region: region.parse()?, id: id.parse()? })
    }
}

impl fmt::Display for OrderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "regions/{}/orders/{}", self.region, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_id_says_where_and_when_it_was_born() {
        let region = RegionNumber::try_from(7).unwrap();
        let slot = Slot::new(4095).unwrap();
        let id = OrderId::new(LogTime(1_700_000_000_123), region, slot, u64::MAX);
        assert_eq!((id.region(), id.slot()), (region, slot));
        assert_eq!(id.born(), LogTime(1_700_000_000_123));
        assert_eq!(Uuid::from_u128(id.into()).get_version_num(), 8);
        assert_eq!(id.to_string().parse::<OrderId>(), Ok(id));
        assert_eq!(OrderId::from_bytes(id.to_bytes()), Ok(id));
    }

    #[test]
    fn names_parse_only_as_themselves() {
        let region = RegionNumber::try_from(1).unwrap();
        let id = OrderId::new(LogTime(1), region, Slot::of(b"x"), 5);
        let name = OrderName { region: "eu-west".parse().unwrap(), id };
        assert_eq!(name.to_string().parse::<OrderName>(), Ok(name.clone()));
        for bad in [
            name.to_string().to_uppercase(),
            format!("{name}/"),
            format!("regions/eu-west/orders/{}", Uuid::nil()),
            format!("regions/eu-west/orders/{}", id.to_string().replace('-', "")),
        ] {
            assert!(bad.parse::<OrderName>().is_err(), "{bad}");
        }
    }
}
