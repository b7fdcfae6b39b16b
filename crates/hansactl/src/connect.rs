//! Who we are and whom we ask: flags first, then the environment (clap reads both), then the
//! profile.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hansa_api::client::{Expect, Files, Identity, League, Options, Services, Timing};
use hansa_api::pb::directory::OwnershipRecord;
use hansa_api::signature::Authorities;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

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
    Approver,
}

impl Role {
    fn client(self) -> &'static str {
        match self {
            Self::Storefront => "storefront",
            Self::Warehouse => "warehouse",
            Self::Finance => "finance",
            Self::Operator => "operator",
            Self::Approver => "approver",
        }
    }
}

/// One command's connection.
#[derive(Clone, Debug)]
pub struct Session {
    pub format: Format,
    timeout: Duration,
    region: Option<String>,
    client: Option<String>,
    source: Source,
}

#[derive(Clone, Debug)]
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

    /// How long an answer may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The region that was asked for; empty means the one that answers.
    pub fn region(&self) -> String {
        self.region.clone().unwrap_or_default()
    }

    /// Makes a call at the first gateway that answers, again where the league's policy allows.
    ///
    /// `make` is one try: it gets the typed clients and the request with its deadline.
    pub async fn call<M, T, F, Fut>(&self, role: Role, message: M, make: F) -> Result<T, Problem>
    where
        M: Clone,
        F: Fn(Services, Request<M>) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let league = self.league(role).await?;
        let answer = league
            .call(self.timeout, |services, call| make(services, call.request(message.clone())));
        Ok(answer.await?)
    }

    /// The typed clients at a gateway that answers, for streams.
    pub async fn services(&self, role: Role) -> Result<Services, Problem> {
        Ok(self.league(role).await?.services()?)
    }

    /// The same session with its region named: the profile's first choice when none was given.
    pub fn here(&self) -> Result<Self, Problem> {
        match (&self.region, &self.source) {
            (Some(_), _) => Ok(self.clone()),
            (None, Source::Profile { profile, .. }) => Ok(self.in_region(&profile.region)),
            (None, Source::Flags { .. }) => {
                Err(Problem::usage("no region is named", "give --region, such as eu-west"))
            }
        }
    }

    /// The authorities that we trust when we call as this role.
    pub fn authorities(&self, role: Role) -> Result<Authorities, Problem> {
        let Target { ca, cert, key, .. } = self.target(role)?;
        let identity = Identity::read(&Files { cert, key, ca }).map_err(|error| {
            Problem::usage(error.to_string(), "check --cert, --key and --ca, or the profile")
        })?;
        Ok(identity.authorities())
    }

    /// Who we are when we call as this role, by certificate.
    pub fn who(&self, role: Role) -> Result<String, Problem> {
        let Target { ca, cert, key, .. } = self.target(role)?;
        let identity = Identity::read(&Files { cert, key, ca }).map_err(|error| {
            Problem::usage(error.to_string(), "check --cert, --key and --ca, or the profile")
        })?;
        Ok(identity.id().to_string())
    }

    /// Signs a record of ownership as this role, by the key of its certificate.
    pub fn sign(&self, role: Role, record: OwnershipRecord) -> Result<OwnershipRecord, Problem> {
        let Target { ca, cert, key, .. } = self.target(role)?;
        let identity = Identity::read(&Files { cert, key, ca }).map_err(|error| {
            Problem::usage(error.to_string(), "check --cert, --key and --ca, or the profile")
        })?;
        hansa_api::ownership::sign(record, &identity).map_err(|error| {
            let next = "use another key: --cert and --key";
            Problem::usage(format!("the record cannot be signed: {error}"), next)
        })
    }

    /// The regions of the profile but `region`; none when there is no profile.
    pub fn other_regions(&self, region: &str) -> Vec<String> {
        match &self.source {
            Source::Flags { .. } => Vec::new(),
            Source::Profile { profile, .. } => {
                profile.regions.keys().filter(|name| *name != region).cloned().collect()
            }
        }
    }

    /// Every region of the profile; without a profile the one that is asked.
    pub fn regions(&self) -> Vec<String> {
        match &self.source {
            Source::Flags { .. } => vec![self.region()],
            Source::Profile { profile, .. } => profile.regions.keys().cloned().collect(),
        }
    }

    /// The same session at another region of the profile.
    pub fn in_region(&self, region: &str) -> Self {
        Self { region: Some(region.to_owned()), ..self.clone() }
    }

    /// The same session with another patience.
    pub fn patient(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// A channel to a node itself, which must be one of `region`.
    pub async fn node(&self, role: Role, region: &str, at: &str) -> Result<Channel, Problem> {
        let Target { ca, cert, key, .. } = self.target(role)?;
        let identity = Identity::read(&Files { cert, key, ca }).map_err(|error| {
            Problem::usage(error.to_string(), "check --cert, --key and --ca, or the profile")
        })?;
        let region = region.parse().map_err(|_| {
            Problem::usage(format!("{region} is no region's name"), "see the backup's manifest")
        })?;
        let (expect, timing) = (Expect::NodeOf(region), Timing::default());
        hansa_api::client::connect(&identity, at, &expect, timing).await.map_err(|error| {
            let next = "is the node started with `hansa serve --restore`?";
            Problem::unreachable(error.to_string(), next)
        })
    }

    async fn league(&self, role: Role) -> Result<League, Problem> {
        let Target { endpoints, ca, cert, key } = self.target(role)?;
        let identity = Identity::read(&Files { cert, key, ca }).map_err(|error| {
            Problem::usage(error.to_string(), "check --cert, --key and --ca, or the profile")
        })?;
        let asked = endpoints.join(", ");
        let league = League::connect(identity, endpoints, self.expect()?, Options::default());
        league.await.map_err(|error| {
            let next = format!("is the league running, and is it {asked}? `hansa dev` starts one");
            Problem::unreachable(error.to_string(), next)
        })
    }

    /// Whom we accept: a node of the region that was named, any node of our trust domain otherwise.
    fn expect(&self) -> Result<Expect, Problem> {
        match (&self.region, &self.source) {
            // Through another gateway a region is asked by name, so any node may answer.
            (Some(region), Source::Profile { endpoint: None, .. }) => {
                let region = region.parse().map_err(|error| {
                    Problem::usage(format!("--region {region}: {error}"), "such as eu-west")
                })?;
                Ok(Expect::NodeOf(region))
            }
            _ => Ok(Expect::AnyNode),
        }
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
