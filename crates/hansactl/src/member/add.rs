use hansa_api::pb::admin::AddMemberRequest;

use super::{group, wait};
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output;
use crate::show;
use crate::values;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's name, such as eu-west-4, or its id.
    node: String,
    /// The groups, such as orders-0; every group of its roles when none is given.
    #[arg(value_parser = group)]
    groups: Vec<u32>,
    /// Stay a learner until `member promote`.
    #[arg(long)]
    learner: bool,
    /// Repeat an earlier command safely; a new one is made and printed when not given.
    #[arg(long)]
    request_id: Option<String>,
    #[command(flatten)]
    wait: wait::Patience,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let request = AddMemberRequest {
        request_id: values::request_id(args.request_id),
        region: session.region(),
        node: args.node,
        groups: args.groups,
        hold_as_learner: args.learner,
    };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.membership.add_member(request).await
        })
        .await?;
    wait::settled(session, &response.changed_groups, &args.wait).await?;
    let name = "hansa.admin.v1.AddMemberResponse";
    output::print(session.format, name, &response, |response| {
        show::changed(response.version, &response.changed_groups)
    })
}
