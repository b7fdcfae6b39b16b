use hansa_api::pb::admin::{RaiseVersionRequest, RaiseVersionResponse};

use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::member::{group, group_name};
use crate::output::{self, Rows};
use crate::values;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A group such as orders-0, or `all` of the kinds that have this version.
    #[arg(long, default_value = "all", value_parser = which)]
    group: Which,
    /// The version, as `version list` shows it.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    to: u32,
    /// Repeat an earlier command safely; a new one is made and printed when not given.
    #[arg(long)]
    request_id: Option<String>,
}

#[derive(Clone, Copy, Debug)]
enum Which {
    All,
    One(u32),
}

fn which(text: &str) -> Result<Which, String> {
    if text == "all" { Ok(Which::All) } else { group(text).map(Which::One) }
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let groups = match args.group {
        Which::All => Vec::new(),
        Which::One(group) => vec![group],
    };
    let request = RaiseVersionRequest {
        request_id: values::request_id(args.request_id),
        region: session.region(),
        groups,
        version: args.to,
    };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.versions.raise_version(request).await
        })
        .await?;
    output::print(session.format, "hansa.admin.v1.RaiseVersionResponse", &response, rows)
}

fn rows(response: &RaiseVersionResponse) -> Rows {
    let mut rows = Rows::new(&["group", "version", "before"], "no groups");
    for raised in &response.groups {
        let (version, before) = (raised.version.to_string(), raised.former_version.to_string());
        rows.add([group_name(raised.group), version, before]);
    }
    rows
}
