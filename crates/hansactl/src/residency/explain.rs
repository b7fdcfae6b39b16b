use clap::ValueEnum;
use hansa_api::pb::admin::{ExplainPolicyRequest, ExplainPolicyResponse};
use hansa_api::pb::hansa::options::v1::DataClass;

use super::{list, yes};
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output::{self, Rows};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hansactl residency explain --country DE --class PERSONAL")]
pub struct Args {
    /// Residence, ISO 3166-1 alpha-2.
    #[arg(long)]
    country: String,
    /// The class of data.
    #[arg(long, value_enum, ignore_case = true, default_value = "PERSONAL")]
    class: Class,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "UPPER")]
enum Class {
    /// Name, e-mail, phone, address, customer id.
    Personal,
    /// Payment tokens and references, money facts of a payment.
    Financial,
    /// Ids, SKU, quantities, totals, status, times.
    Operational,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let class = match args.class {
        Class::Personal => DataClass::Personal,
        Class::Financial => DataClass::Financial,
        Class::Operational => DataClass::Operational,
    };
    let request = ExplainPolicyRequest {
        residence_country: args.country,
        region: session.region(),
        class: class.into(),
    };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.residency.explain_policy(request).await
        })
        .await?;
    output::print(session.format, "hansa.admin.v1.ExplainPolicyResponse", &response, rows)
}

fn rows(response: &ExplainPolicyResponse) -> Rows {
    let mut rows = Rows::new(&["what", "value"], "no rule");
    let mut add = |what: &str, value: String| rows.add([what.to_owned(), value]);
    add("jurisdiction", response.jurisdiction.clone());
    add("policy version", format!("{} in {}", response.policy_version, response.region));
    add("home", list(&response.home_regions));
    add("may be stored", list(&response.store_regions));
    add("copies", list(&response.failover_regions));
    add("transit", yes(response.transit));
    add("raised fields", list(&response.raised_fields));
    for (number, step) in (1..).zip(&response.explanation) {
        add(&format!("step {number}"), step.clone());
    }
    rows
}
