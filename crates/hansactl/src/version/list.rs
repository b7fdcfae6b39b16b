use hansa_api::pb::admin::{
    AppliedVersions, GroupVersion, ListVersionsRequest, ListVersionsResponse, NodeRelease,
};

use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::member::group_name;
use crate::output::{self, Rows};
use crate::values::{dash, short};

pub async fn run(session: &Session) -> Result<(), Problem> {
    let request = ListVersionsRequest { region: session.region() };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.versions.list_versions(request).await
        })
        .await?;
    output::print(session.format, "hansa.admin.v1.ListVersionsResponse", &response, rows)
}

fn rows(response: &ListVersionsResponse) -> Rows {
    let header = ["node or group", "release", "version", "raisable to", "notes"];
    let mut rows = Rows::new(&header, "no nodes");
    response.nodes.iter().for_each(|node| rows.add(of_node(node)));
    response.groups.iter().for_each(|group| rows.add(of_group(group)));
    rows
}

fn of_node(node: &NodeRelease) -> [String; 5] {
    let applies = |versions: &AppliedVersions| {
        let kind = short(versions.kind().as_str_name(), "GROUP_KIND_").to_lowercase();
        format!("{kind} {}-{}", versions.first, versions.last)
    };
    let applies: Vec<_> = node.applies.iter().map(applies).collect();
    let mut notes = match node.release.is_empty() {
        true => "did not answer".to_owned(),
        false => format!("applies {}", applies.join(", ")),
    };
    for peer in &node.foreign_peers {
        notes += &format!("; no stream with {peer}");
    }
    [node.node_name.clone(), dash(&node.release), "-".to_owned(), "-".to_owned(), notes]
}

fn of_group(group: &GroupVersion) -> [String; 5] {
    let notes = match (group.silent_nodes.is_empty(), group.version) {
        (false, _) => format!("silent: {}", group.silent_nodes.join(" ")),
        (true, 0) => "no leader answered".to_owned(),
        (true, _) => "-".to_owned(),
    };
    let raisable = match group.raisable_to > group.version {
        true => group.raisable_to.to_string(),
        false => "-".to_owned(),
    };
    [group_name(group.group), "-".to_owned(), group.version.to_string(), raisable, notes]
}
