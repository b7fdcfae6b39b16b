use std::process::ExitCode;

use hansa_api::pb::admin::{ListParkedEventsRequest, ListParkedEventsResponse, ParkedEvent};

use super::{code, say_silent};
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output::{self, Rows};
use crate::values::{short, time};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only events of this region.
    #[arg(long)]
    origin: Option<String>,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Problem> {
    let origin = args.origin.unwrap_or_default();
    let request = ListParkedEventsRequest { region: session.region(), origin };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.replication.list_parked_events(request).await
        })
        .await?;
    output::print(session.format, "hansa.admin.v1.ListParkedEventsResponse", &response, rows)?;
    say_silent(&response.silent_nodes);
    Ok(code(!response.events.is_empty(), !response.silent_nodes.is_empty()))
}

fn rows(response: &ListParkedEventsResponse) -> Rows {
    let header =
        ["order", "reason", "origin", "epoch", "sequence", "version", "here", "since", "content"];
    let mut rows = Rows::new(&header, "nothing is parked");
    response.events.iter().for_each(|event| rows.add(row(event)));
    rows
}

fn row(event: &ParkedEvent) -> [String; 9] {
    [
        event.order.clone(),
        short(event.reason().as_str_name(), "PARKED_EVENT_REASON_"),
        format!("{} orders-{}", event.origin, event.origin_group),
        event.epoch.to_string(),
        event.sequence.to_string(),
        event.version.to_string(),
        if event.copy_version == 0 { "-".to_owned() } else { event.copy_version.to_string() },
        time(event.parked_time.as_ref()),
        if event.has_content { "kept" } else { "not kept" }.to_owned(),
    ]
}
