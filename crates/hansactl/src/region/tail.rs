use std::process::ExitCode;

use hansa_api::pb::admin::{ListTailRequest, ListTailResponse};
use hansa_api::pb::node::TailOrder;

use crate::connect::{Role, Session};
use crate::error::{self, Problem};
use crate::output::{self, Rows};
use crate::values::{dash, short};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Asked of the region that is back: what it accepted before it heard that another one owns.

Example:
  hansactl region tail eu-west")]
pub struct Args {
    /// The region that is back, such as eu-west.
    #[arg(value_name = "REGION")]
    birth: String,
    /// Orders at most.
    #[arg(long, default_value_t = 1_000)]
    max: u32,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Problem> {
    let session = session.in_region(&args.birth);
    let request =
        ListTailRequest { region: args.birth.clone(), birth_region: args.birth, max: args.max };
    let told = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.region_loss.list_tail(request).await
        })
        .await?;
    output::print(session.format, "hansa.admin.v1.ListTailResponse", &told, rows)?;
    if !told.groups_not_final.is_empty() {
        eprintln!("the new owner's stream was not heard to its end yet: the list may shrink");
    }
    if told.silent_nodes.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("no answer from {}: what they lead is missing", told.silent_nodes.join(", "));
    Ok(ExitCode::from(error::NO_ANSWER))
}

fn rows(told: &ListTailResponse) -> Rows {
    let header =
        ["order", "version here", "owner has", "what happened", "proposed", "why", "decided"];
    let mut rows = Rows::new(&header, "the new owner has seen all of it");
    for of in &told.orders {
        let decided = of.decision.as_ref().map(|decision| decision.outcome.clone());
        rows.add([
            of.order.clone(),
            of.version.to_string(),
            of.adopted_version.to_string(),
            dash(&happened(of)),
            short(of.proposed().as_str_name(), "TAIL_ACTION_").to_lowercase(),
            dash(&of.why),
            dash(&decided.unwrap_or_default()),
        ]);
    }
    rows
}

fn happened(of: &TailOrder) -> String {
    let states = of.events.iter().map(|event| event.state.as_str());
    states.collect::<Vec<_>>().join(" ")
}
