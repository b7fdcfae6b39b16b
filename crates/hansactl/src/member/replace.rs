use hansa_api::pb::admin::ReplaceMemberRequest;

use super::{group, wait};
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output;
use crate::show;
use crate::values;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node that leaves: its name or id.
    node: String,
    /// The node that takes its place.
    replacement: String,
    /// The groups, such as orders-0; every group that the leaving node is in when none is given.
    #[arg(value_parser = group)]
    groups: Vec<u32>,
    /// At once, before the replacement has caught up, and where no leader answers. Nobody leaves
    /// without a living majority of what remains.
    #[arg(long)]
    force: bool,
    /// Repeat an earlier command safely; a new one is made and printed when not given.
    #[arg(long)]
    request_id: Option<String>,
    #[command(flatten)]
    wait: wait::Patience,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let request = ReplaceMemberRequest {
        request_id: values::request_id(args.request_id),
        region: session.region(),
        node: args.node,
        replacement: args.replacement,
        groups: args.groups,
        force: args.force,
    };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.membership.replace_member(request).await
        })
        .await?;
    wait::settled(session, &response.changed_groups, &args.wait).await?;
    let name = "hansa.admin.v1.ReplaceMemberResponse";
    output::print(session.format, name, &response, |response| {
        show::changed(response.version, &response.changed_groups)
    })
}
