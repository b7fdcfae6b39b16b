use std::process::ExitCode;

use hansa_api::pb::admin::{
    ListReplicaDifferencesRequest, ListReplicaDifferencesResponse, ReplicaDifference,
};

use super::{code, say_silent};
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output::{self, Rows};
use crate::values::{short, time};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only copies at this region.
    #[arg(long)]
    peer: Option<String>,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Problem> {
    let peer = args.peer.unwrap_or_default();
    let request = ListReplicaDifferencesRequest { region: session.region(), peer };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.replication.list_replica_differences(request).await
        })
        .await?;
    let name = "hansa.admin.v1.ListReplicaDifferencesResponse";
    output::print(session.format, name, &response, rows)?;
    say_silent(&response.silent_nodes);
    for stream in &response.not_compared {
        eprintln!("not compared yet: {} with {}", stream.group & 0xffff, stream.peer);
    }
    let unknown = !response.silent_nodes.is_empty() || !response.not_compared.is_empty();
    Ok(code(!response.differences.is_empty(), unknown))
}

fn rows(response: &ListReplicaDifferencesResponse) -> Rows {
    let header = ["order", "peer", "kind", "home", "copy", "parked", "found"];
    let mut rows = Rows::new(&header, "no differences");
    response.differences.iter().for_each(|difference| rows.add(row(difference)));
    rows
}

fn row(difference: &ReplicaDifference) -> [String; 7] {
    let version = |version: u64| if version == 0 { "-".to_owned() } else { version.to_string() };
    [
        difference.order.clone(),
        difference.peer.clone(),
        short(difference.kind().as_str_name(), "REPLICA_DIFFERENCE_KIND_").to_lowercase(),
        version(difference.home_version),
        version(difference.copy_version),
        if difference.parked { "yes" } else { "-" }.to_owned(),
        time(difference.found_time.as_ref()),
    ]
}
