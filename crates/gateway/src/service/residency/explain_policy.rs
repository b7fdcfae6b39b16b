use hansa_api::convert::class::class_of;
use hansa_api::pb::admin::{ExplainPolicyRequest, ExplainPolicyResponse};
use hansa_api::status::{Failure, Reason};
use hansa_region_router::core::directory::Snapshot;
use hansa_region_router::core::home::NoHome;
use hansa_region_router::core::policy;
use hansa_region_router::core::route::Refusal;
use hansa_types::country::Country;
use hansa_types::region::RegionName;

use super::here;

/// # Errors
/// A country or class that is none, or a country that no rule places.
pub(super) fn explain(
    request: &ExplainPolicyRequest,
    now: &Snapshot,
) -> Result<ExplainPolicyResponse, Failure> {
    let class = class_of("class", request.class)?;
    let unknown =
        |_| Failure::field(Reason::CountryUnknown, "residence_country", "ISO 3166-1 alpha-2");
    let country: Country = request.residence_country.parse().map_err(unknown)?;
    let policy_version = now.policy.version();
    let why = policy::explain(&now.policy, country, class);
    let unplaced = || Failure::from(Refusal::NoHome(NoHome::Unplaced { country, policy_version }));
    let why = why.ok_or_else(unplaced)?;
    let names = |regions: Vec<RegionName>| regions.iter().map(ToString::to_string).collect();
    Ok(ExplainPolicyResponse {
        region: here(now),
        policy_version,
        jurisdiction: why.jurisdiction.to_string(),
        home_regions: names(why.homes),
        store_regions: names(why.may_store),
        failover_regions: names(why.failover),
        transit: why.transit,
        raised_fields: why.raised,
        explanation: why.reasons,
    })
}
