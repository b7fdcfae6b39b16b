use hansa_api::pb::admin::PromoteMemberRequest;

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
    /// The groups, such as orders-0; every group that holds it as a learner when none is given.
    #[arg(value_parser = group)]
    groups: Vec<u32>,
    /// Repeat an earlier command safely; a new one is made and printed when not given.
    #[arg(long)]
    request_id: Option<String>,
    #[command(flatten)]
    wait: wait::Patience,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let request = PromoteMemberRequest {
        request_id: values::request_id(args.request_id),
        region: session.region(),
        node: args.node,
        groups: args.groups,
    };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.membership.promote_member(request).await
        })
        .await?;
    wait::settled(session, &response.changed_groups, &args.wait).await?;
    let name = "hansa.admin.v1.PromoteMemberResponse";
    output::print(session.format, name, &response, |response| {
        show::changed(response.version, &response.changed_groups)
    })
}
