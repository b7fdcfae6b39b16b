//! Who a process is: its SPIFFE id.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::BadId;
use crate::region::RegionName;

/// A SPIFFE id: `spiffe://trust-domain/path`.
///
/// # Source
/// SPIFFE-ID standard §2: lower-case trust domain, no query or fragment, no empty, `.` or `..`
/// path segment, letters, digits, `.`, `-` and `_` in a segment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId(Box<str>);

/// What our own paths mean.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Role<'a> {
    /// `/region/<region>/node/<name>`
    Node { region: RegionName, name: &'a str },
    /// `/client/<name>`
    Client { name: &'a str },
}

const SCHEME: &str = "spiffe://";
const BYTES_MAX: usize = 256;

impl SpiffeId {
    pub fn node(trust_domain: &str, region: &RegionName, name: &str) -> Result<Self, BadId> {
        format!("{SCHEME}{trust_domain}/region/{region}/node/{name}").parse()
    }

    pub fn client(trust_domain: &str, name: &str) -> Result<Self, BadId> {
        format!("{SCHEME}{trust_domain}/client/{name}").parse()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn trust_domain(&self) -> &str {
        self.parts().0
    }

    /// What the path says this is, `None` for a path that is not one of ours.
    pub fn role(&self) -> Option<Role<'_>> {
        let segments: Vec<&str> = self.parts().1.split('/').collect();
        match segments.as_slice() {
            ["region", region, "node", name] => {
                Some(Role::Node { region: region.parse().ok()?, name })
            }
            ["client", name] => Some(Role::Client { name }),
            _ => None,
        }
    }

    fn parts(&self) -> (&str, &str) {
        self.0.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/')).unwrap_or(("", ""))
    }
}

fn domain_ok(domain: &str) -> bool {
    let ok = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-_".contains(&c);
    !domain.is_empty() && domain.bytes().all(ok)
}

fn segment_ok(segment: &str) -> bool {
    let ok = |c: u8| c.is_ascii_alphanumeric() || b".-_".contains(&c);
    !matches!(segment, "" | "." | "..") && segment.bytes().all(ok)
}

impl FromStr for SpiffeId {
    type Err = BadId;
    fn from_str(s: &str) -> Result<Self, BadId> {
        let good = s.len() <= BYTES_MAX
            && s.strip_prefix(SCHEME)
                .and_then(|rest| rest.split_once('/'))
                .is_some_and(|(domain, path)| domain_ok(domain) && path.split('/').all(segment_ok));
        if good { Ok(Self(s.into())) } else { Err(BadId::Grammar("SPIFFE id")) }
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = BadId;
    fn try_from(s: String) -> Result<Self, BadId> {
        s.parse()
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> String {
        id.0.into()
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alike_ids_do_not_parse() {
        for bad in [
            "spiffe://hansa",
            "spiffe://hansa/",
            "spiffe://HANSA/client/x",
            "https://hansa/client/x",
            "spiffe://hansa/client/../operator",
            "spiffe://hansa/client//x",
            "spiffe://hansa/client/x?role=operator",
            "spiffe://hansa/client%2fx",
            "spiffe://user@hansa/client/x",
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn our_paths_have_a_meaning() {
        let node: SpiffeId = "spiffe://hansa/region/eu-west/node/eu-west-2".parse().unwrap();
        assert_eq!(node.trust_domain(), "hansa");
        let region = "eu-west".parse().unwrap();
        assert_eq!(node.role(), Some(Role::Node { region, name: "eu-west-2" }));
        let client = SpiffeId::client("hansa", "storefront").unwrap();
        assert_eq!(client.role(), Some(Role::Client { name: "storefront" }));
        let odd: SpiffeId = "spiffe://hansa/other/path".parse().unwrap();
        assert_eq!(odd.role(), None);
    }
}
