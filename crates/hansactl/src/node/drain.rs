use hansa_api::pb::admin::{DrainNodeRequest, DrainNodeResponse};

use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::member::group_name;
use crate::output::{self, Rows};
use crate::values;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's name or id.
    node: String,
    /// Repeat an earlier command safely; a new one is made and printed when not given.
    #[arg(long)]
    request_id: Option<String>,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let request = DrainNodeRequest {
        request_id: values::request_id(args.request_id),
        region: session.region(),
        node: args.node,
    };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.membership.drain_node(request).await
        })
        .await?;
    output::print(session.format, "hansa.admin.v1.DrainNodeResponse", &response, rows)
}

fn rows(response: &DrainNodeResponse) -> Rows {
    let mut rows = Rows::new(&["group", "leadership"], "it led no group; it stops now");
    let handed = response.handed_over_groups.iter().map(|group| (group, "handed over"));
    let kept = response.kept_groups.iter().map(|group| (group, "elected anew when it stops"));
    for (group, what) in handed.chain(kept) {
        rows.add([group_name(*group), what.to_owned()]);
    }
    rows
}
