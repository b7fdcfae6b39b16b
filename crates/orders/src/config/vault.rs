//! Where the region's keys lie.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::BadConfig;

/// `[orders.vault]`: the same for each node of the region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Vault {
    /// On a disk that the region's nodes share: made by the first leader. A node that finds
    /// another one there does not serve.
    File {
        path: PathBuf,
    },
    Hashicorp(Hashicorp),
}

/// A secret in HashiCorp Vault: nodes need not share a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hashicorp {
    /// `https://host:port`: of whatever answers for the active node.
    pub address: String,
    /// The authorities that its certificate may be of, PEM; read at each connect.
    pub ca: PathBuf,
    /// The KV v2 secrets engine.
    #[serde(default = "default_mount")]
    pub mount: String,
    /// The secret in it: one per region, and nobody else's.
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// For one request.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    pub auth: Auth,
}

/// What we show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Auth {
    /// A token that somebody else keeps alive (Vault Agent); read again every few seconds.
    Token { file: PathBuf },
    /// The pod's service account; logs in again before its token ends.
    Kubernetes {
        role: String,
        #[serde(default = "default_auth_mount")]
        mount: String,
        #[serde(default = "default_jwt")]
        jwt: PathBuf,
    },
}

fn default_mount() -> String {
    "secret".to_owned()
}

fn default_timeout_ms() -> u64 {
    2_000
}

fn default_auth_mount() -> String {
    "kubernetes".to_owned()
}

fn default_jwt() -> PathBuf {
    "/var/run/secrets/kubernetes.io/serviceaccount/token".into()
}

impl Default for Vault {
    fn default() -> Self {
        Self::File { path: "vault.key".into() }
    }
}

impl Vault {
    /// The file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File { path } => Some(path),
            Self::Hashicorp(_) => None,
        }
    }

    pub(super) fn check(&self) -> Result<(), BadConfig> {
        match self {
            Self::File { .. } => Ok(()),
            Self::Hashicorp(cfg) => cfg.check(),
        }
    }
}

impl Hashicorp {
    /// Host and port.
    ///
    /// # Errors
    /// The address is no `https://host:port`.
    pub fn server(&self) -> Result<(&str, u16), BadConfig> {
        let fits =
            |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b));
        let rest = self.address.strip_prefix("https://");
        let parts = rest.and_then(|rest| rest.rsplit_once(':'));
        let parts = parts.and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let parts = parts.filter(|(host, port)| !host.is_empty() && fits(host) && *port > 0);
        parts.ok_or_else(|| BadConfig {
            key: "vault.address",
            value: self.address.clone(),
            range: "https://host:port".to_owned(),
        })
    }

    fn check(&self) -> Result<(), BadConfig> {
        self.server()?;
        let mut paths = vec![("vault.mount", &self.mount), ("vault.path", &self.path)];
        paths.extend(self.namespace.as_ref().map(|name| ("vault.namespace", name)));
        if let Auth::Kubernetes { role, mount, .. } = &self.auth {
            paths.extend([("vault.auth.role", role), ("vault.auth.mount", mount)]);
        }
        let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        let part = |part: &str| !part.trim_matches('.').is_empty() && part.bytes().all(good);
        for (key, value) in paths {
            if !value.split('/').all(part) {
                let range = "names of letters, digits, `-`, `_` and `.`, with `/` between";
                return Err(BadConfig { key, value: value.clone(), range: range.to_owned() });
            }
        }
        match (100..=10_000).contains(&self.timeout_ms) {
            true => Ok(()),
            false => Err(BadConfig {
                key: "vault.timeout_ms",
                value: self.timeout_ms.to_string(),
                range: "100 to 10000".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
