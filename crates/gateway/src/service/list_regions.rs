//! Which regions there are.

use hansa_api::pb::region::{ListRegionsResponse, Region};
use hansa_region_router::core::directory::Snapshot;
use hansa_types::region::RegionNumber;

/// Every region, in order of number.
pub fn list(directory: &Snapshot, reachable: impl Fn(RegionNumber) -> bool) -> ListRegionsResponse {
    let region = |(&number, region): (&RegionNumber, &_)| {
        let region: &hansa_region_router::core::directory::Region = region;
        let ground = directory.policy.ground(&region.name);
        let here = number == directory.here;
        Region {
            name: region.name.to_string(),
            number: number.get().into(),
            jurisdiction: ground.map(|j| j.name.to_string()).collect::<Vec<_>>().join(" "),
            epoch: directory.owners.get(&number).map_or(0, |owner| owner.epoch),
            endpoints: region.public.clone(),
            here,
            reachable: here || reachable(number),
        }
    };
    ListRegionsResponse {
        regions: directory.regions.iter().map(region).collect(),
        policy_version: directory.policy.version(),
    }
}
