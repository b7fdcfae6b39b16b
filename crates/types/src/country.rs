//! Countries by ISO 3166-1 alpha-2 code.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A country that ISO 3166-1 lists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Country([u8; 2]);

/// # Source
/// ISO 3166-1 alpha-2, officially assigned codes.
const ASSIGNED: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI \
    BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY \
    CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN \
    GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH \
    KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO \
    MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL \
    PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV \
    SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN \
    VU WF WS YE YT ZA ZM ZW";

#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("not an ISO 3166-1 alpha-2 country code in capitals")]
pub struct UnknownCountry;

impl Country {
    pub fn as_str(&self) -> &str {
        // Only ASCII letters get in, so this never falls back.
        std::str::from_utf8(&self.0).unwrap_or("??")
    }

    /// Every assigned code, in alphabetical order.
    pub fn all() -> impl Iterator<Item = Self> {
        ASSIGNED
            .split_ascii_whitespace()
            .filter_map(|code| code.as_bytes().try_into().ok().map(Self))
    }
}

/// Whether a list of codes, in alphabetical order and with a blank between any two, has this one.
pub(crate) fn listed<const N: usize>(list: &str, code: [u8; N]) -> bool {
    let list = list.as_bytes();
    let (mut low, mut high) = (0, list.len().div_ceil(N + 1));
    while low < high {
        let middle = low.midpoint(high);
        match list[middle * (N + 1)..][..N].cmp(&code) {
            Ordering::Less => low = middle + 1,
            Ordering::Equal => return true,
            Ordering::Greater => high = middle,
        }
    }
    false
}

impl FromStr for Country {
    type Err = UnknownCountry;
    fn from_str(s: &str) -> Result<Self, UnknownCountry> {
        let code = <[u8; 2]>::try_from(s.as_bytes()).map_err(|_| UnknownCountry)?;
        if listed(ASSIGNED, code) { Ok(Self(code)) } else { Err(UnknownCountry) }
    }
}

impl TryFrom<String> for Country {
    type Error = UnknownCountry;
    fn try_from(s: String) -> Result<Self, UnknownCountry> {
        s.parse()
    }
}

impl From<Country> for String {
    fn from(c: Country) -> String {
        c.as_str().to_owned()
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_assigned_codes_in_capitals_parse() {
        for good in ["GB", "JE", "GG", "IE", "US", "JP"] {
            assert_eq!(good.parse::<Country>().unwrap().as_str(), good);
        }
        for bad in ["", "gb", "UK", "XX", "GBR", " G", "é"] {
            assert_eq!(bad.parse::<Country>(), Err(UnknownCountry));
        }
        assert_eq!(Country::all().count(), 249);
        assert!(Country::all().is_sorted());
        assert!(Country::all().all(|country| country.as_str().parse() == Ok(country)));
    }
}
