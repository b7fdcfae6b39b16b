use std::process::ExitCode;

use hansa_api::pb::admin::{RetryParkedEventsRequest, RetryParkedEventsResponse};

use crate::connect::{Role, Session};
use crate::error::{Problem, WRONG};
use crate::output::{self, Rows};
use crate::values;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The order: regions/<region>/orders/<id>.
    order: String,
    /// Repeat an earlier command safely; a new one is made and printed when not given.
    #[arg(long)]
    request_id: Option<String>,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Problem> {
    let request = RetryParkedEventsRequest {
        request_id: values::request_id(args.request_id),
        region: session.region(),
        order: args.order,
        ship_again: false,
    };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.replication.retry_parked_events(request).await
        })
        .await?;
    output::print(session.format, "hansa.admin.v1.RetryParkedEventsResponse", &response, rows)?;
    let done = response.applied || response.asked_again;
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::from(WRONG) })
}

fn rows(response: &RetryParkedEventsResponse) -> Rows {
    let mut rows = Rows::new(&["outcome"], "");
    let outcome = match (response.applied, response.asked_again) {
        (true, _) => "applied",
        (false, true) => "its home was asked for it again; see `replication parked`",
        (false, false) => "still parked; see `replication parked`",
    };
    rows.add([outcome.to_owned()]);
    rows
}
