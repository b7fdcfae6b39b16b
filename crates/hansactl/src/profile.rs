//! The profile: which gateways there are and who we are. `hansa dev` writes one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::Problem;

/// Where `hansa dev` leaves its profile when it is not told otherwise.
pub const DEFAULT: &str = "hansa-data/dev/profile.toml";

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The region to ask when none is named.
    pub region: String,
    /// The authority that signed the league's certificates.
    pub ca: PathBuf,
    pub regions: BTreeMap<String, Region>,
    /// Our certificates by client name.
    pub clients: BTreeMap<String, Client>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// Gateways, `host:port`.
    pub endpoints: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Profile {
    pub fn read(path: &Path) -> Result<Self, Problem> {
        let next = "`hansa dev` writes one; or give --endpoint, --ca, --cert and --key";
        let text = std::fs::read_to_string(path).map_err(|error| {
            Problem::usage(format!("cannot read the profile {}: {error}", path.display()), next)
        })?;
        toml::from_str(&text).map_err(|error| {
            Problem::usage(format!("the profile {} is wrong: {error}", path.display()), next)
        })
    }
}
