use hansa_api::pb::admin::{ReseedNodeRequest, ReseedNodeResponse};

use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::member::{group_name, wait};
use crate::output::{self, Rows};
use crate::values;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's name, such as eu-west-2, or its id.
    node: String,
    /// Also where fewer than a majority answers without it, or while a reseed is under way.
    #[arg(long)]
    force: bool,
    /// Repeat an earlier command safely; a new one is made and printed when not given.
    #[arg(long)]
    request_id: Option<String>,
    #[command(flatten)]
    wait: wait::Patience,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let name = args.node.clone();
    let request = ReseedNodeRequest {
        request_id: values::request_id(args.request_id),
        region: session.region(),
        node: args.node,
        force: args.force,
    };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.membership.reseed_node(request).await
        })
        .await?;
    match response.former_node {
        0 => {
            eprintln!("an earlier reseed of {name} is under way: it becomes node {}", response.node)
        }
        former => eprintln!("node {former} is retired; {name} is node {} now", response.node),
    }
    eprintln!("start its process (again): it puts its old folder aside and begins empty");
    wait::settled(session, &response.groups, &args.wait).await?;
    output::print(session.format, "hansa.admin.v1.ReseedNodeResponse", &response, rows)
}

fn rows(response: &ReseedNodeResponse) -> Rows {
    let mut rows = Rows::new(&["group", "node"], "it was in no group");
    for group in &response.groups {
        rows.add([group_name(*group), response.node.to_string()]);
    }
    rows
}
