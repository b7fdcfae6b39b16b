use hansa_api::pb::admin::{RetireNodeRequest, RetireNodeResponse};

use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output::{self, Rows};
use crate::values;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's name or id; it must have left its groups (`member remove`).
    node: String,
    /// Repeat an earlier command safely; a new one is made and printed when not given.
    #[arg(long)]
    request_id: Option<String>,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let request = RetireNodeRequest {
        request_id: values::request_id(args.request_id),
        region: session.region(),
        node: args.node,
    };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.membership.retire_node(request).await
        })
        .await?;
    output::print(session.format, "hansa.admin.v1.RetireNodeResponse", &response, rows)
}

fn rows(response: &RetireNodeResponse) -> Rows {
    let mut rows = Rows::new(&["directory"], "");
    rows.add([format!("version {}", response.version)]);
    rows
}
