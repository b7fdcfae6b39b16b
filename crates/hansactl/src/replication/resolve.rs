use std::process::ExitCode;

use clap::ValueEnum;
use hansa_api::pb::admin::{Keep, ResolveParkedEventsRequest, ResolveParkedEventsResponse};

use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output::{self, Rows};
use crate::values;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The order: regions/<region>/orders/<id>.
    order: String,
    /// Which content stays.
    #[arg(long)]
    keep: Which,
    /// Why; goes into the log and so into the audit chain.
    #[arg(long)]
    reason: String,
    /// Repeat an earlier command safely; a new one is made and printed when not given.
    #[arg(long)]
    request_id: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    /// What is in the region that is asked.
    Mine,
    /// What its origin sent.
    Theirs,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Problem> {
    let keep = match args.keep {
        Which::Mine => Keep::Mine,
        Which::Theirs => Keep::Theirs,
    };
    let request = ResolveParkedEventsRequest {
        request_id: values::request_id(args.request_id),
        region: session.region(),
        order: args.order,
        keep: keep.into(),
        reason: args.reason,
    };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.replication.resolve_parked_events(request).await
        })
        .await?;
    output::print(session.format, "hansa.admin.v1.ResolveParkedEventsResponse", &response, rows)?;
    Ok(ExitCode::SUCCESS)
}

fn rows(response: &ResolveParkedEventsResponse) -> Rows {
    let mut rows = Rows::new(&["version here now"], "");
    rows.add([response.version.to_string()]);
    rows
}
