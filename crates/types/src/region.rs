//! Regions and the slots that customers and SKUs are spread over.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use crate::id::BadId;

/// The name of a region: `eu-west`. Lower-case letters, digits and inner hyphens, 2 to 32 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegionName(Box<str>);

impl RegionName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RegionName {
    type Err = BadId;
    fn from_str(s: &str) -> Result<Self, BadId> {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let bytes = s.as_bytes();
        let good = (2..=32).contains(&bytes.len())
            && bytes.iter().all(|&c| plain(c) || c == b'-')
            && bytes.first().is_some_and(u8::is_ascii_lowercase)
            && bytes.last().is_some_and(|&c| plain(c));
        if good { Ok(Self(s.into())) } else { Err(BadId::Grammar("region name")) }
    }
}

impl TryFrom<String> for RegionName {
    type Error = BadId;
    fn try_from(s: String) -> Result<Self, BadId> {
        s.parse()
    }
}

impl From<RegionName> for String {
    fn from(r: RegionName) -> String {
        r.0.into()
    }
}

impl fmt::Display for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of a region, given once in the directory and never reused; part of an order id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct RegionNumber(u16);

#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("a region number lies between 1 and {}", RegionNumber::MAX)]
pub struct BadRegionNumber;

impl RegionNumber {
    /// Twelve bits in an order id.
    pub const MAX: u16 = 0x0fff;

    pub fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for RegionNumber {
    type Error = BadRegionNumber;
    fn try_from(n: u16) -> Result<Self, BadRegionNumber> {
        if (1..=Self::MAX).contains(&n) { Ok(Self(n)) } else { Err(BadRegionNumber) }
    }
}

impl From<RegionNumber> for u16 {
    fn from(n: RegionNumber) -> u16 {
        n.0
    }
}

impl fmt::Display for RegionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One of a region's 4,096 shares of customers or SKUs; the directory maps slots to groups.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Slot(u16);

#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("a slot lies between 0 and {}", Slot::COUNT - 1)]
pub struct BadSlot;

impl TryFrom<u16> for Slot {
    type Error = BadSlot;
    fn try_from(n: u16) -> Result<Self, BadSlot> {
        Self::new(n).ok_or(BadSlot)
    }
}

impl From<Slot> for u16 {
    fn from(slot: Slot) -> u16 {
        slot.0
    }
}

impl Slot {
    pub const COUNT: u16 = 4096;

    /// The slot of a customer id, a guest's request id or a SKU.
    pub fn of(key: &[u8]) -> Self {
        Self((xxh3_64(key) % u64::from(Self::COUNT)) as u16)
    }

    /// A slot by number, `None` when there is no such slot.
    pub fn new(n: u16) -> Option<Self> {
        (n < Self::COUNT).then_some(Self(n))
    }

    pub fn get(self) -> u16 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn region_names_have_a_grammar() {
        for good in ["eu-west", "us-east-2", "ap"] {
            assert_eq!(good.parse::<RegionName>().unwrap().as_str(), good);
        }
        for bad in ["", "e", "EU-west", "-eu", "eu-", "2eu", "eu west", "eu/west"] {
            assert!(bad.parse::<RegionName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn slots_never_move() {
        // A change of this hash would lose every customer: it is part of the data format.
        assert_eq!(Slot::of(b"17850").get(), 2102);
        assert_eq!(Slot::new(4096), None);
    }
}
