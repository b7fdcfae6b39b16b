//! Who a call is for, as one node tells another.
//!
//! The entry gateway makes a [`Principal`] from the client's certificate and policy, and sends it
//! in headers that only a node's identity may set: gateways strip them from what clients send.

use std::fmt;
use std::str::FromStr;

use hansa_types::identity::SpiffeId;
use hansa_types::region::RegionName;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::status::{Failure, Reason};

/// All headers with this prefix are ours; a gateway removes them from a client's request.
pub const HEADER_PREFIX: &str = "hansa-";
/// The caller's SPIFFE id.
pub const PRINCIPAL: HeaderName = HeaderName::from_static("hansa-principal");
/// The caller's roles, separated by commas.
pub const ROLES: HeaderName = HeaderName::from_static("hansa-roles");
/// The region where the call entered the league.
pub const ENTRY: HeaderName = HeaderName::from_static("hansa-entry");
/// Set by the entry gateway on a call to another region; such a call is never forwarded again.
pub const FORWARDED: HeaderName = HeaderName::from_static("hansa-forwarded");
/// The version of the residency policy by which the entry gateway passed such a call on.
pub const POLICY: HeaderName = HeaderName::from_static("hansa-policy");

/// What a client may be. Which calls a role allows is the policy file's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Storefront,
    Warehouse,
    Finance,
    Operator,
    Auditor,
    Approver,
}

impl Role {
    pub const ALL: [Self; 6] = [
        Self::Storefront,
        Self::Warehouse,
        Self::Finance,
        Self::Operator,
        Self::Auditor,
        Self::Approver,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Storefront => "storefront",
            Self::Warehouse => "warehouse",
            Self::Finance => "finance",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
            Self::Approver => "approver",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one of storefront, warehouse, finance, operator, auditor, approver")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;
    fn from_str(name: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == name).ok_or(UnknownRole)
    }
}

/// A set of roles; empty by default, which allows nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    pub fn has(self, role: Role) -> bool {
        self.0 & 1 << role as u8 != 0
    }

    /// Whether any role is in both sets.
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |&role| self.has(role))
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |bits, role| bits | 1 << role as u8))
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Role::as_str).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for Roles {
    type Err = UnknownRole;
    fn from_str(names: &str) -> Result<Self, UnknownRole> {
        names.split(',').filter(|name| !name.is_empty()).map(str::parse).collect()
    }
}

/// The caller on whose behalf a node works; in the request's extensions on the internal port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub id: SpiffeId,
    pub roles: Roles,
    /// Where the call entered the league.
    pub region: RegionName,
}

impl Principal {
    /// Sets the headers that carry this principal.
    pub fn write(&self, headers: &mut HeaderMap) {
        let text = [
            (PRINCIPAL, self.id.to_string()),
            (ROLES, self.roles.to_string()),
            (ENTRY, self.region.to_string()),
        ];
        for (name, value) in text {
            // Ids, roles and region names are ASCII by their grammars, so none is dropped.
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }

    /// The principal that a node's request carries, `None` when it carries none.
    ///
    /// The caller must have checked that the peer is a node: anyone can write headers.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when the headers are there but cannot be read.
    pub fn read(headers: &HeaderMap) -> Result<Option<Self>, Failure> {
        if !headers.contains_key(PRINCIPAL) {
            return Ok(None);
        }
        let id = one(headers, &PRINCIPAL)?;
        let roles = one(headers, &ROLES)?;
        let region = one(headers, &ENTRY)?;
        Ok(Some(Self { id, roles, region }))
    }

    /// The principal that a layer on the internal port has put on a request.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when there is none.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<&Self, Failure> {
        request.extensions().get::<Self>().ok_or(Reason::Unauthenticated.into())
    }

    /// # Errors
    /// `PERMISSION_DENIED` when the caller has none of `roles`.
    pub fn require(&self, roles: &[Role]) -> Result<(), Failure> {
        match roles.iter().any(|&role| self.roles.has(role)) {
            true => Ok(()),
            false => Err(Reason::PermissionDenied.into()),
        }
    }
}

/// The region that forwarded a call, `None` for a call that entered here.
///
/// # Errors
/// `FORWARD_REFUSED` when the header is there but names no region.
pub fn forwarded_by(headers: &HeaderMap) -> Result<Option<RegionName>, Failure> {
    match headers.get(FORWARDED) {
        None => Ok(None),
        Some(_) => one(headers, &FORWARDED).map(Some).map_err(|_| Reason::ForwardRefused.into()),
    }
}

/// Removes every header that only nodes may set.
pub fn strip(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(HEADER_PREFIX)).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}

/// Exactly one value: with two, one reader could believe the first and another the last.
fn one<T: FromStr>(headers: &HeaderMap, name: &HeaderName) -> Result<T, Failure> {
    let mut values = headers.get_all(name).iter();
    let parsed = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().and_then(|text| text.parse().ok()),
        _ => None,
    };
    parsed.ok_or_else(|| Failure::new(Reason::Unauthenticated, "the principal cannot be read"))
}

#[cfg(test)]
mod tests;
