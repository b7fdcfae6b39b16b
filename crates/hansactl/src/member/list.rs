use hansa_api::pb::admin::{ListMembersRequest, ListMembersResponse, Member, MemberGroup};

use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::member::group_name;
use crate::output::{self, Rows};
use crate::values::{dash, short};

pub async fn run(session: &Session) -> Result<(), Problem> {
    let response = ask(session).await?;
    output::print(session.format, "hansa.admin.v1.ListMembersResponse", &response, rows)
}

/// Nodes and members now.
pub async fn ask(session: &Session) -> Result<ListMembersResponse, Problem> {
    let request = ListMembersRequest { region: session.region() };
    session
        .call(Role::Operator, request, |mut services, request| async move {
            services.membership.list_members(request).await
        })
        .await
}

fn rows(response: &ListMembersResponse) -> Rows {
    let header = ["group", "node", "id", "wanted", "is", "alive", "lag", "next"];
    let mut rows = Rows::new(&header, "no groups");
    for group in &response.groups {
        for (n, member) in group.members.iter().enumerate() {
            rows.add(row(group, member, n == 0));
        }
    }
    rows
}

fn row(group: &MemberGroup, member: &Member, first: bool) -> [String; 8] {
    let place = |name: &'static str| short(name, "MEMBER_PLACE_").to_lowercase();
    let mut is = place(member.actual().as_str_name());
    if member.node == group.leader_node {
        is = "leader".to_owned();
    }
    let next = match (first, group.settled) {
        (true, false) => dash(&group.next),
        _ => "-".to_owned(),
    };
    [
        group_name(group.group),
        member.node_name.clone(),
        member.node.to_string(),
        place(member.wanted().as_str_name()),
        is,
        if member.alive { "yes" } else { "no" }.to_owned(),
        member.lag_entries.to_string(),
        next,
    ]
}
