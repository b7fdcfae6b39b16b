//! The profile that `hansa dev` writes and that `hansactl` and `hansa replay` read: gateways by
//! region, certificates by client name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use hansa_types::region::RegionName;
use serde::{Deserialize, Serialize};

/// Relative paths are relative to the profile's folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The region to ask when none is named.
    pub region: RegionName,
    /// The authority that signed the league's certificates.
    pub ca: PathBuf,
    pub regions: BTreeMap<RegionName, Region>,
    pub clients: BTreeMap<String, Client>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// Gateways, `host:port`.
    pub endpoints: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Profile {
    /// # Errors
    /// A missing or wrong file, by name.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{}: `hansa dev` writes one", path.display()))?;
        let mut profile: Self =
            toml::from_str(&text).with_context(|| path.display().to_string())?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        profile.ca = folder.join(&profile.ca);
        for client in profile.clients.values_mut() {
            client.cert = folder.join(&client.cert);
            client.key = folder.join(&client.key);
        }
        Ok(profile)
    }

    /// Writes it, with a line that says what it is.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let head = "# Written by `hansa dev`; read by hansactl and `hansa replay`.\n";
        let text = format!("{head}{}", toml::to_string_pretty(self)?);
        std::fs::write(path, text).with_context(|| path.display().to_string())
    }
}
