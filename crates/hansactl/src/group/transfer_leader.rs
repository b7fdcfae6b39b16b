use hansa_api::pb::admin::{TransferLeaderRequest, TransferLeaderResponse};

use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::member::group;
use crate::output::{self, Rows};
use crate::values;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The group, such as orders-0.
    #[arg(value_parser = group)]
    group: u32,
    /// The node that is to lead: its name or id.
    node: String,
    /// Repeat an earlier command safely; a new one is made and printed when not given.
    #[arg(long)]
    request_id: Option<String>,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let request = TransferLeaderRequest {
        request_id: values::request_id(args.request_id),
        region: session.region(),
        node: args.node,
        group: args.group,
    };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.membership.transfer_leader(request).await
        })
        .await?;
    output::print(session.format, "hansa.admin.v1.TransferLeaderResponse", &response, rows)
}

fn rows(response: &TransferLeaderResponse) -> Rows {
    let mut rows = Rows::new(&["leader", "led before"], "");
    rows.add([response.leader_node.to_string(), response.former_leader_node.to_string()]);
    rows
}
