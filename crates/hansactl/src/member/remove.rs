use hansa_api::pb::admin::RemoveMemberRequest;

use super::{group, wait};
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output;
use crate::show;
use crate::values;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's name or id.
    node: String,
    /// The groups, such as orders-0; every group that it is in when none is given.
    #[arg(value_parser = group)]
    groups: Vec<u32>,
    /// Also where no leader answers, or it knows too little of who lives. Nobody leaves without a
    /// living majority of what remains.
    #[arg(long)]
    force: bool,
    /// Repeat an earlier command safely; a new one is made and printed when not given.
    #[arg(long)]
    request_id: Option<String>,
    #[command(flatten)]
    wait: wait::Patience,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let request = RemoveMemberRequest {
        request_id: values::request_id(args.request_id),
        region: session.region(),
        node: args.node,
        groups: args.groups,
        force: args.force,
    };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.membership.remove_member(request).await
        })
        .await?;
    wait::settled(session, &response.changed_groups, &args.wait).await?;
    let name = "hansa.admin.v1.RemoveMemberResponse";
    output::print(session.format, name, &response, |response| {
        show::changed(response.version, &response.changed_groups)
    })
}
