//! The league as the replay sees it: gateways by region, each with a client per role.

use std::collections::BTreeMap;

use anyhow::Context;
use hansa_api::client::{Expect, Files, Identity, Services, Timing, connect_lazy};
use hansa_api::pb::region::ExplainRouteRequest;
use hansa_types::region::RegionName;

use crate::profile::Profile;

/// One gateway, once for each role that the replay plays.
#[derive(Clone, Debug)]
pub struct Door {
    pub storefront: Services,
    pub warehouse: Services,
    pub finance: Services,
    pub operator: Services,
}

/// All gateways that may be asked.
#[derive(Clone, Debug, Default)]
pub struct Doors {
    regions: BTreeMap<RegionName, Vec<Door>>,
}

/// The profile's clients by the role that they have.
const ROLES: [&str; 4] = ["storefront", "warehouse", "finance", "operator"];

impl Doors {
    /// Channels to every gateway of the profile; each connects at its first call.
    ///
    /// # Errors
    /// A certificate that is missing or wrong, by file.
    pub fn of(profile: &Profile) -> anyhow::Result<Self> {
        let mut identities = Vec::with_capacity(ROLES.len());
        for role in ROLES {
            let client = profile.clients.get(role);
            let client = client.with_context(|| format!("the profile has no client `{role}`"))?;
            let (cert, key) = (client.cert.clone(), client.key.clone());
            identities.push(Identity::read(&Files { cert, key, ca: profile.ca.clone() })?);
        }
        let mut doors = Self::default();
        for (region, gateways) in &profile.regions {
            for endpoint in &gateways.endpoints {
                let services = |role: usize| -> anyhow::Result<Services> {
                    let expect = Expect::NodeOf(region.clone());
                    let channel =
                        connect_lazy(&identities[role], endpoint, &expect, Timing::default())?;
                    Ok(Services::new(channel))
                };
                let door = Door {
                    storefront: services(0)?,
                    warehouse: services(1)?,
                    finance: services(2)?,
                    operator: services(3)?,
                };
                doors.regions.entry(region.clone()).or_default().push(door);
            }
        }
        Ok(doors)
    }

    #[must_use]
    pub fn regions(&self) -> Vec<RegionName> {
        self.regions.keys().cloned().collect()
    }

    /// The gateway for attempt `attempt` of step `step`: spread over the home's gateways, another
    /// one at each attempt; every eighth step enters by another region, so that forwarding is used.
    #[must_use]
    pub fn pick(&self, home: &RegionName, step: usize, attempt: usize) -> Option<Door> {
        let elsewhere = step % 8 == 7 || !self.regions.contains_key(home);
        let region = if elsewhere {
            let others: Vec<_> = self.regions.keys().filter(|name| *name != home).collect();
            others.get((step / 8) % others.len().max(1)).copied().unwrap_or(home)
        } else {
            home
        };
        self.at(region, step + attempt)
    }

    /// The same for a caller that follows: once each gateway of the home had its turn, every other
    /// attempt enters by another region, for the home may be lost and owned elsewhere.
    #[must_use]
    pub fn follow(&self, home: &RegionName, step: usize, attempt: usize) -> Option<Door> {
        let own = self.regions.get(home).map_or(0, Vec::len);
        if attempt < own || attempt.is_multiple_of(2) {
            return self.pick(home, step, attempt);
        }
        let others: Vec<_> = self.regions.keys().filter(|name| *name != home).collect();
        let turn = (step + attempt / 2) % others.len().max(1);
        self.at(others.get(turn).copied().unwrap_or(home), step + attempt)
    }

    fn at(&self, region: &RegionName, turn: usize) -> Option<Door> {
        let doors = self.regions.get(region)?;
        doors.get(turn % doors.len()).cloned()
    }
}

/// Asks the league for the home region of each country: policy is the server's.
///
/// # Errors
/// The first refusal, or a name that is no region name.
pub async fn homes(
    doors: &Doors,
    countries: impl IntoIterator<Item = &'static str>,
) -> anyhow::Result<BTreeMap<&'static str, RegionName>> {
    let any = doors.regions.values().flatten().next();
    let mut regions = any.context("the profile names no gateway")?.storefront.regions.clone();
    let mut homes = BTreeMap::new();
    for country in countries {
        if homes.contains_key(country) {
            continue;
        }
        let request = ExplainRouteRequest {
            residence_country: country.to_owned(),
            // A guest's slot comes from the request; no slot of ours has moved to another region.
            request_id: "replay".to_owned(),
            ..Default::default()
        };
        let response = regions.explain_route(request).await;
        let response = response.with_context(|| format!("where is the home of {country}?"))?;
        homes.insert(country, response.into_inner().home_region.parse()?);
    }
    Ok(homes)
}
