use hansa_api::pb::region::{ListRegionsRequest, ListRegionsResponse};

use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output::{self, Rows};

pub async fn run(session: &Session) -> Result<(), Problem> {
    let response = session
        .call(Role::Operator, ListRegionsRequest {}, |mut services, request| async move {
            services.regions.list_regions(request).await
        })
        .await?;
    output::print(session.format, "hansa.region.v1.ListRegionsResponse", &response, rows)
}

fn rows(response: &ListRegionsResponse) -> Rows {
    let header = ["region", "number", "jurisdiction", "epoch", "here", "reachable", "endpoints"];
    let mut rows = Rows::new(&header, "no regions");
    for region in &response.regions {
        rows.add([
            region.name.clone(),
            region.number.to_string(),
            region.jurisdiction.clone(),
            region.epoch.to_string(),
            yes(region.here),
            yes(region.reachable),
            region.endpoints.join(" "),
        ]);
    }
    rows
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}
