//! Ids that callers choose: text with a grammar.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::BadId;
use crate::limits::ID_BYTES_MAX;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $good:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(s: &str) -> Result<Self, BadId> {
                let good: fn(u8) -> bool = $good;
                match s.len() {
                    0 => Err(BadId::Empty($what)),
                    n if n > ID_BYTES_MAX => Err(BadId::TooLong($what)),
                    _ if !s.bytes().all(good) => Err(BadId::Grammar($what)),
                    _ => Ok(Self(s.into())),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(s: String) -> Result<Self, BadId> {
                s.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn plain(c: u8) -> bool {
    c.is_ascii_alphanumeric() || b"-_.:".contains(&c)
}

text_id!(
    /// What a caller chose so that a repeat has one effect: a UUID or any id of its grammar.
    ///
    /// # Source
    /// AIP-155.
    RequestId, "request_id", plain
);
text_id!(
    /// A customer, by the caller's own pseudonymous id.
    CustomerId, "customer_id", plain
);
text_id!(
    /// A warehouse of a region.
    WarehouseId, "warehouse_id", plain
);
text_id!(
    /// A payment: `pay-<order uuid>`.
    PaymentId, "payment_id", plain
);

/// A stock keeping unit, kept in upper case: codes that differ in case are one SKU.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sku(Arc<str>);

impl Sku {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Sku {
    type Err = BadId;
    fn from_str(s: &str) -> Result<Self, BadId> {
        let good = |c: u8| c.is_ascii_alphanumeric() || b"-_./ ".contains(&c);
        match s.len() {
            0 => Err(BadId::Empty("sku")),
            n if n > ID_BYTES_MAX => Err(BadId::TooLong("sku")),
            _ if s.trim() != s || !s.bytes().all(good) => Err(BadId::Grammar("sku")),
            _ => Ok(Self(s.to_ascii_uppercase().into())),
        }
    }
}

impl TryFrom<String> for Sku {
    type Error = BadId;
    fn try_from(s: String) -> Result<Self, BadId> {
        s.parse()
    }
}

impl From<Sku> for String {
    fn from(sku: Sku) -> String {
        sku.0.as_ref().to_owned()
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skus_compare_in_upper_case() {
        assert_eq!("85123a".parse::<Sku>().unwrap(), "85123A".parse::<Sku>().unwrap());
        for bad in ["", " 1", "a\nb", "é", "\0"] {
            assert!(bad.parse::<Sku>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(65).parse::<Sku>().is_err());
    }
}
