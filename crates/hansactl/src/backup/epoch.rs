//! The epoch of a restored region: newer than any that anybody has seen.

use hansa_api::pb::admin::ListEpochsRequest;
use hansa_backup::Manifest;

use crate::connect::{Role, Session};
use crate::error::Problem;

/// # Errors
/// A region that does not answer: it may know of a newer epoch than the others.
pub async fn newest(session: &Session, manifest: &Manifest) -> Result<u64, Problem> {
    let mut newest = manifest.epoch;
    for region in session.other_regions(&manifest.region) {
        let peer = session.in_region(&region);
        let request = ListEpochsRequest { region: region.clone() };
        let told = peer
            .call(Role::Operator, request, |mut services, request| async move {
                services.backups.list_epochs(request).await
            })
            .await;
        let told = told.map_err(|problem| {
            let what = format!("{region} does not say which epochs it knows: {}", problem.text());
            Problem::unreachable(what, "give --epoch, newer than any the region ever had")
        })?;
        let of = told.origins.iter().filter(|origin| origin.region == manifest.region);
        newest = of.map(|origin| origin.epoch).fold(newest, u64::max);
    }
    Ok(newest)
}
