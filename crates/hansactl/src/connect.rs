//! Who we are and whom we ask: flags first, then the environment (clap reads both), then the
//! profile.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::transport::Channel;

use crate::args::{Format, Global};
use crate::error::Problem;
use crate::profile::{self, Profile};

/// The role that a command needs, and the profile's client that has it.
#[derive(Clone, Copy, Debug)]
pub enum Role {
    Storefront,
    Warehouse,
    Finance,
    Operator,
}

impl Role {
    fn client(self) -> &'static str {
        match self {
            Self::Storefront => "storefront",
            Self::Warehouse => "warehouse",
            Self::Finance => "finance",
            Self::Operator => "operator",
        }
    }
}

/// One command's connection.
#[derive(Debug)]
pub struct Session {
    pub format: Format,
    timeout: Duration,
    region: Option<String>,
    client: Option<String>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Flags { endpoint: String, ca: PathBuf, cert: PathBuf, key: PathBuf },
    Profile { profile: Profile, folder: PathBuf, endpoint: Option<String> },
}

/// What a channel is made of.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    endpoints: Vec<String>,
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

impl Session {
    pub fn new(global: &Global) -> Result<Self, Problem> {
        Ok(Self {
            format: global.output,
            timeout: global.timeout,
            region: global.region.clone(),
            client: global.client.clone(),
            source: source(global)?,
        })
    }

    /// The region that was asked for; empty means the one that answers.
    pub fn region(&self) -> String {
        self.region.clone().unwrap_or_default()
    }

    /// A request that ends with `--timeout`.
    pub fn request<M>(&self, message: M) -> tonic::Request<M> {
        let mut request = tonic::Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    /// A connection to the first gateway that answers.
    pub async fn channel(&self, role: Role) -> Result<Channel, Problem> {
        let target = self.target(role)?;
        let _ = target;
        Err(Problem::failed("", ""))
    }

    fn target(&self, role: Role) -> Result<Target, Problem> {
        match &self.source {
            Source::Flags { endpoint, ca, cert, key } => Ok(Target {
                endpoints: vec![endpoint.clone()],
                ca: ca.clone(),
                cert: cert.clone(),
                key: key.clone(),
            }),
            Source::Profile { profile, folder, endpoint } => {
                let name = self.client.as_deref().unwrap_or_else(|| role.client());
                let client = profile.clients.get(name).ok_or_else(|| {
                    let known: Vec<_> = profile.clients.keys().map(String::as_str).collect();
                    Problem::usage(
                        format!("the profile has no client `{name}`"),
                        format!("use --as with one of: {}", known.join(", ")),
                    )
                })?;
                let endpoints = match endpoint {
                    Some(endpoint) => vec![endpoint.clone()],
                    None => self.endpoints(profile)?,
                };
                Ok(Target {
                    endpoints,
                    ca: folder.join(&profile.ca),
                    cert: folder.join(&client.cert),
                    key: folder.join(&client.key),
                })
            }
        }
    }

    fn endpoints(&self, profile: &Profile) -> Result<Vec<String>, Problem> {
        let name = self.region.as_deref().unwrap_or(&profile.region);
        let region = profile.regions.get(name).ok_or_else(|| {
            let known: Vec<_> = profile.regions.keys().map(String::as_str).collect();
            Problem::usage(
                format!("the profile has no region `{name}`"),
                format!("use --region with one of: {}", known.join(", ")),
            )
        })?;
        Ok(region.endpoints.clone())
    }
}

/// Flags alone are enough when all four are there; otherwise a profile fills in.
fn source(global: &Global) -> Result<Source, Problem> {
    let path = global.profile.clone();
    if let (None, Some(endpoint), Some(ca), Some(cert), Some(key)) =
        (&path, &global.endpoint, &global.ca, &global.cert, &global.key)
    {
        let (endpoint, ca) = (endpoint.clone(), ca.clone());
        return Ok(Source::Flags { endpoint, ca, cert: cert.clone(), key: key.clone() });
    }
    let path = path.unwrap_or_else(|| PathBuf::from(profile::DEFAULT));
    let mut profile = Profile::read(&path)?;
    if let Some(ca) = &global.ca {
        profile.ca = absolute(ca);
    }
    if let (Some(cert), Some(key)) = (&global.cert, &global.key) {
        let own = profile::Client { cert: absolute(cert), key: absolute(key) };
        for client in profile.clients.values_mut() {
            client.clone_from(&own);
        }
    }
    let folder = path.parent().unwrap_or_else(|| Path::new("")).to_owned();
    Ok(Source::Profile { profile, folder, endpoint: global.endpoint.clone() })
}

/// Paths of flags are relative to where we are, those of a profile to its folder.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests;
