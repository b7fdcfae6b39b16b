//! Money: whole minor units of an ISO 4217 currency. No floats, checked arithmetic.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::country::listed;

/// An ISO 4217 currency, by its three letters.
///
/// # Source
/// ISO 4217 list one; the exponent decides how many decimals a minor unit stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// Currencies whose minor unit is not a hundredth. Everything else listed has exponent 2.
const EXPONENT_0: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF";
const EXPONENT_3: &str = "BHD IQD JOD KWD LYD OMR TND";
const EXPONENT_2: &str = "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL \
    BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP \
    GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK \
    LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR \
    NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN \
    SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD YER ZAR ZMW ZWL";

impl Currency {
    pub const GBP: Self = Self(*b"GBP");
    pub const EUR: Self = Self(*b"EUR");
    pub const USD: Self = Self(*b"USD");
    pub const JPY: Self = Self(*b"JPY");

    /// Decimal places of one major unit: JPY 0, EUR 2, KWD 3.
    pub fn exponent(self) -> u32 {
        if listed(EXPONENT_0, self.0) {
            0
        } else if listed(EXPONENT_3, self.0) {
            3
        } else {
            2
        }
    }

    pub fn as_str(&self) -> &str {
        // Only ASCII letters get in, so this never falls back.
        std::str::from_utf8(&self.0).unwrap_or("???")
    }
}

impl FromStr for Currency {
    type Err = MoneyError;
    fn from_str(s: &str) -> Result<Self, MoneyError> {
        let code = <[u8; 3]>::try_from(s.as_bytes()).map_err(|_| MoneyError::UnknownCurrency)?;
        let known = [EXPONENT_2, EXPONENT_0, EXPONENT_3].iter().any(|list| listed(list, code));
        if known { Ok(Self(code)) } else { Err(MoneyError::UnknownCurrency) }
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyError;
    fn try_from(s: String) -> Result<Self, MoneyError> {
        s.parse()
    }
}

impl From<Currency> for String {
    fn from(c: Currency) -> String {
        c.as_str().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An amount of money.
///
/// # Units
/// `minor`: whole minor units of `currency` (cents for EUR, yen for JPY). May be negative
/// (a discount line); where that is not allowed the user of the type checks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Money {
    pub minor: i64,
    pub currency: Currency,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum MoneyError {
    #[error("not an ISO 4217 currency code that is in use")]
    UnknownCurrency,
    #[error("units and nanos have different signs")]
    SignMismatch,
    #[error("nanos are outside -999,999,999..=999,999,999")]
    NanosRange,
    #[error("the amount has more decimals than the currency's minor unit")]
    SubMinor,
    #[error("the amount does not fit 64-bit minor units")]
    Overflow,
    #[error("amounts of different currencies cannot be added")]
    CurrencyMismatch,
}

const NANOS: i64 = 1_000_000_000;

impl Money {
    pub fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    pub fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    /// From the parts of `google.type.Money`.
    ///
    /// # Errors
    /// Signs that disagree, nanos out of range or finer than the minor unit, overflow.
    pub fn from_units_nanos(
        units: i64,
        nanos: i32,
        currency: Currency,
    ) -> Result<Self, MoneyError> {
        let nanos = i64::from(nanos);
        if nanos.abs() >= NANOS {
            return Err(MoneyError::NanosRange);
        }
        if (units > 0 && nanos < 0) || (units < 0 && nanos > 0) {
            return Err(MoneyError::SignMismatch);
        }
        let scale = 10_i64.pow(currency.exponent());
        let nanos_per_minor = NANOS / scale;
        if nanos % nanos_per_minor != 0 {
            return Err(MoneyError::SubMinor);
        }
        let minor = units
            .checked_mul(scale)
            .and_then(|m| m.checked_add(nanos / nanos_per_minor))
            .ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, currency })
    }

    /// The parts of `google.type.Money`: units and nanos, of one sign.
    pub fn to_units_nanos(self) -> (i64, i32) {
        let scale = 10_i64.pow(self.currency.exponent());
        let nanos = (self.minor % scale) * (NANOS / scale);
        // |minor % scale| < scale, so nanos stays below 10^9.
        (self.minor / scale, i32::try_from(nanos).unwrap_or(0))
    }

    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch);
        }
        let minor = self.minor.checked_add(other.minor).ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, ..self })
    }

    pub fn checked_mul(self, quantity: u32) -> Result<Self, MoneyError> {
        let minor = self.minor.checked_mul(i64::from(quantity)).ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, ..self })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.currency.exponent() as usize;
        let scale = 10_u64.pow(self.currency.exponent());
        let abs = self.minor.unsigned_abs();
        let sign = if self.minor < 0 { "-" } else { "" };
        match digits {
            0 => write!(f, "{sign}{abs} {}", self.currency),
            _ => write!(f, "{sign}{}.{:0digits$} {}", abs / scale, abs % scale, self.currency),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(units: i64, nanos: i32, code: &str, expect: Result<i64, MoneyError>) {
        let currency: Currency = code.parse().unwrap();
        let got = Money::from_units_nanos(units, nanos, currency);
        assert_eq!(got.map(|m| m.minor), expect, "{units}.{nanos} {code}");
        if let Ok(money) = got {
            assert_eq!(money.to_units_nanos(), (units, nanos));
        }
    }

    #[test]
    fn edge_amounts_become_minor_units_or_a_reason() {
        check(2, 550_000_000, "GBP", Ok(255));
        check(-2, -550_000_000, "GBP", Ok(-255));
        check(0, -10_000_000, "GBP", Ok(-1));
        check(1, 500_000_000, "JPY", Err(MoneyError::SubMinor));
        check(7, 0, "JPY", Ok(7));
        check(1, 1_000_000, "KWD", Ok(1001));
        check(1, 5_000_000, "EUR", Err(MoneyError::SubMinor));
        check(1, -10_000_000, "EUR", Err(MoneyError::SignMismatch));
        check(i64::MAX, 0, "EUR", Err(MoneyError::Overflow));
        check(0, i32::MIN, "EUR", Err(MoneyError::NanosRange));
    }

    #[test]
    fn only_listed_currencies_parse() {
        for bad in ["", "gbp", "GB", "XXX", "EURO", "E R"] {
            assert_eq!(bad.parse::<Currency>(), Err(MoneyError::UnknownCurrency));
        }
        for (list, exponent) in [(EXPONENT_0, 0), (EXPONENT_2, 2), (EXPONENT_3, 3)] {
            let all = list.split(' ').map(|code| code.parse::<Currency>().unwrap());
            assert!(all.clone().is_sorted() && all.clone().all(|c| c.exponent() == exponent));
        }
    }

    #[test]
    fn money_prints_with_its_own_decimals() {
        assert_eq!(Money::new(-5, Currency::GBP).to_string(), "-0.05 GBP");
        assert_eq!(Money::new(1250, Currency::JPY).to_string(), "1250 JPY");
    }
}
