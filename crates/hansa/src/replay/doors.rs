//! The league as the replay sees it: gateways by region, each with a client per role.

use std::collections::BTreeMap;

use hansa_api::pb::inventory::inventory_service_client::InventoryServiceClient;
use hansa_api::pb::order::order_service_client::OrderServiceClient;
use hansa_api::pb::payment::payment_service_client::PaymentServiceClient;
use hansa_api::pb::region::ExplainRouteRequest;
use hansa_api::pb::region::region_service_client::RegionServiceClient;
use hansa_types::region::RegionName;
use tonic::transport::Channel;

/// One gateway, once for each role that the replay plays.
#[derive(Clone, Debug)]
pub struct Door {
    pub orders: OrderServiceClient<Channel>,
    pub stock: InventoryServiceClient<Channel>,
    pub payments: PaymentServiceClient<Channel>,
    pub regions: RegionServiceClient<Channel>,
}

/// Channels of one gateway by role.
#[derive(Clone, Debug)]
pub struct Channels {
    pub storefront: Channel,
    pub warehouse: Channel,
    pub finance: Channel,
}

impl Door {
    #[must_use]
    pub fn new(channels: Channels) -> Self {
        Self {
            orders: OrderServiceClient::new(channels.storefront.clone()),
            stock: InventoryServiceClient::new(channels.warehouse),
            payments: PaymentServiceClient::new(channels.finance),
            regions: RegionServiceClient::new(channels.storefront),
        }
    }
}

/// All gateways that may be asked.
#[derive(Clone, Debug, Default)]
pub struct Doors {
    regions: BTreeMap<RegionName, Vec<Door>>,
}

impl Doors {
    pub fn add(&mut self, region: RegionName, door: Door) {
        self.regions.entry(region).or_default().push(door);
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// The gateway for attempt `attempt` of step `step`: spread over the home's gateways, another
    /// one at each attempt; every eighth step enters by another region, so that forwarding is used.
    #[must_use]
    pub fn pick(&self, home: &RegionName, step: usize, attempt: usize) -> Option<Door> {
        let names: Vec<&RegionName> = self.regions.keys().collect();
        let elsewhere = step % 8 == 7 || !self.regions.contains_key(home);
        let region = if elsewhere { names.get((step / 8) % names.len().max(1))? } else { &home };
        let doors = self.regions.get(*region)?;
        doors.get((step + attempt) % doors.len()).cloned()
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
    let mut door = any.cloned().ok_or_else(|| anyhow::anyhow!("no gateway to ask"))?;
    let mut homes = BTreeMap::new();
    for country in countries {
        if homes.contains_key(country) {
            continue;
        }
        let request =
            ExplainRouteRequest { residence_country: country.to_owned(), ..Default::default() };
        let response = door.regions.explain_route(request).await?.into_inner();
        homes.insert(country, response.home_region.parse()?);
    }
    Ok(homes)
}
