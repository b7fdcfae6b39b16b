use hansa_api::pb::admin::{ListMembersRequest, ListMembersResponse};

use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output::{self, Rows};
use crate::values::dash;

pub async fn run(session: &Session) -> Result<(), Problem> {
    let request = ListMembersRequest { region: session.region() };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.membership.list_members(request).await
        })
        .await?;
    output::print(session.format, "hansa.admin.v1.ListMembersResponse", &response, rows)
}

fn rows(response: &ListMembersResponse) -> Rows {
    let mut rows = Rows::new(&["node", "id", "state", "endpoint", "roles"], "no nodes");
    for node in &response.nodes {
        let state = match (node.retired, node.reachable) {
            (true, _) => "retired",
            (false, true) => "up",
            (false, false) => "unreachable",
        };
        rows.add([
            node.name.clone(),
            node.node.to_string(),
            state.to_owned(),
            dash(&node.internal_endpoint),
            dash(&node.roles.join(" ")),
        ]);
    }
    rows
}
