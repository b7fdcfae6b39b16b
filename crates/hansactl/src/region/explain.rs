use hansa_api::pb::region::{ExplainRouteRequest, ExplainRouteResponse};

use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output::{self, Rows};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hansactl region explain --country DE --customer 12583")]
#[group(required = true, multiple = true)]
pub struct Args {
    /// Residence of the customer, ISO 3166-1 alpha-2.
    #[arg(long)]
    country: Option<String>,
    /// The customer; leave out for a guest.
    #[arg(long, requires = "country")]
    customer: Option<String>,
    /// An order, by name.
    #[arg(long, conflicts_with = "country")]
    order: Option<String>,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let request = ExplainRouteRequest {
        residence_country: args.country.unwrap_or_default(),
        customer_id: args.customer.unwrap_or_default(),
        order: args.order.unwrap_or_default(),
        request_id: String::new(),
    };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.regions.explain_route(request).await
        })
        .await?;
    output::print(session.format, "hansa.region.v1.ExplainRouteResponse", &response, rows)
}

fn rows(response: &ExplainRouteResponse) -> Rows {
    let mut rows = Rows::new(&["what", "value"], "no route");
    let mut add = |what: &str, value: String| rows.add([what.to_owned(), value]);
    add("home region", response.home_region.clone());
    add("jurisdiction", response.jurisdiction.clone());
    add("policy version", response.policy_version.to_string());
    add("epoch", response.epoch.to_string());
    add("slot", response.slot.to_string());
    add("forwarded", response.forwarded.to_string());
    add("transit forbidden", response.transit_forbidden.to_string());
    add("endpoints", response.endpoints.join(" "));
    for (number, step) in (1..).zip(&response.explanation) {
        add(&format!("step {number}"), step.clone());
    }
    rows
}
