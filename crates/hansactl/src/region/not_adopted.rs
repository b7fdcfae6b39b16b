use std::process::ExitCode;

use hansa_api::pb::admin::{ListNotAdoptedRequest, ListNotAdoptedResponse};

use crate::connect::{Role, Session};
use crate::error::{self, Problem};
use crate::output::{self, Rows};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Asked of the new owner.

Example:
  hansactl region not-adopted eu-west --region eu-central")]
pub struct Args {
    /// Whose births, such as eu-west.
    #[arg(value_name = "REGION")]
    birth: String,
    /// Orders at most.
    #[arg(long, default_value_t = 1_000)]
    max: u32,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Problem> {
    let session = session.here()?;
    let request =
        ListNotAdoptedRequest { region: session.region(), birth_region: args.birth, max: args.max };
    let told = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.region_loss.list_not_adopted(request).await
        })
        .await?;
    output::print(session.format, "hansa.admin.v1.ListNotAdoptedResponse", &told, rows)?;
    if told.silent_nodes.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("no answer from {}: what they lead is missing", told.silent_nodes.join(", "));
    Ok(ExitCode::from(error::NO_ANSWER))
}

fn rows(told: &ListNotAdoptedResponse) -> Rows {
    let mut rows = Rows::new(&["order", "version", "why"], "all that came was adopted");
    for of in &told.orders {
        rows.add([of.order.clone(), of.version.to_string(), of.reason.clone()]);
    }
    rows
}
