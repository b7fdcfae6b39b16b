//! Who may call what, where: clients have roles in regions, roles have methods. Deny by default.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use hansa_api::principal::{Role, Roles};
use hansa_region_router::core::route::METHODS;
use hansa_types::region::RegionName;
use serde::Deserialize;
use thiserror::Error;

/// The layout of the file that this program reads.
const FORMAT: u32 = 1;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    version: u64,
    role: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    grant: Vec<GrantText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantText {
    client: String,
    roles: Vec<String>,
    regions: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Grant {
    roles: Roles,
    /// `None`: every region.
    regions: Option<BTreeSet<RegionName>>,
}

/// Why an authorization policy was not taken.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refused {
    #[error("the authorization policy does not parse: {0}")]
    Syntax(String),
    #[error("this program reads format {FORMAT}, not {0}")]
    Format(u32),
    #[error("there is no role {0:?}")]
    NoSuchRole(String),
    #[error("there is no public method {0:?}")]
    NoSuchMethod(String),
    #[error("a client's name is one segment of a SPIFFE id, {0:?} is not")]
    BadClient(String),
    #[error("{0:?} is not a region's name")]
    BadRegion(String),
}

/// The authorization policy, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authz {
    version: u64,
    /// Which roles may call a method; one that is not here is closed.
    methods: BTreeMap<&'static str, Roles>,
    clients: BTreeMap<String, Vec<Grant>>,
}

impl Authz {
    /// Reads and checks a policy file.
    ///
    /// # Errors
    /// Text that is not of the strict format, or names what does not exist: a misspelled method
    /// would otherwise be closed without anybody noticing.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let file: File = toml::from_str(text).map_err(|e| Refused::Syntax(e.to_string()))?;
        if file.format != FORMAT {
            return Err(Refused::Format(file.format));
        }
        let mut methods: BTreeMap<&'static str, Vec<Role>> = BTreeMap::new();
        for (name, list) in &file.role {
            let role = role(name)?;
            for method in list {
                let known = METHODS.iter().find(|known| known.name == method);
                let known = known.ok_or_else(|| Refused::NoSuchMethod(method.clone()))?;
                methods.entry(known.name).or_default().push(role);
            }
        }
        let mut clients: BTreeMap<String, Vec<Grant>> = BTreeMap::new();
        for grant in file.grant {
            if !segment(&grant.client) {
                return Err(Refused::BadClient(grant.client));
            }
            let roles = grant.roles.iter().map(|name| role(name)).collect::<Result<_, _>>()?;
            let regions = regions(&grant.regions)?;
            clients.entry(grant.client).or_default().push(Grant { roles, regions });
        }
        let methods = methods.into_iter().map(|(m, roles)| (m, roles.into_iter().collect()));
        Ok(Self { version: file.version, methods: methods.collect(), clients })
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    /// The roles of a client in a region; none for a client that is not known.
    pub fn roles(&self, client: &str, region: &RegionName) -> Roles {
        self.held(client, |regions| regions.is_none_or(|set| set.contains(region)))
    }

    /// Whether a client has a role for the method in any region: the question before the call's
    /// region is known, so that a stranger costs nothing.
    pub fn anywhere(&self, client: &str, method: &str) -> bool {
        self.allows(self.held(client, |_| true), method)
    }

    /// Whether one of these roles may call the method.
    pub fn allows(&self, roles: Roles, method: &str) -> bool {
        self.methods.get(method).is_some_and(|allowed| allowed.meets(roles))
    }

    /// The methods that some role may call.
    pub fn methods(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.methods.keys().copied()
    }

    fn held(&self, client: &str, there: impl Fn(Option<&BTreeSet<RegionName>>) -> bool) -> Roles {
        let grants = self.clients.get(client).map_or(&[][..], Vec::as_slice);
        let held = grants.iter().filter(|grant| there(grant.regions.as_ref()));
        held.flat_map(|grant| grant.roles.iter()).collect()
    }
}

fn role(name: &str) -> Result<Role, Refused> {
    name.parse().map_err(|_| Refused::NoSuchRole(name.to_owned()))
}

fn segment(name: &str) -> bool {
    hansa_types::identity::SpiffeId::client("x", name).is_ok() && !name.contains('/')
}

fn regions(names: &[String]) -> Result<Option<BTreeSet<RegionName>>, Refused> {
    if names.iter().any(|name| name == "*") {
        return Ok(None);
    }
    let parse = |name: &String| name.parse().map_err(|_| Refused::BadRegion(name.clone()));
    names.iter().map(parse).collect::<Result<_, _>>().map(Some)
}
