use hansa_api::pb::admin::{Group, GroupReplica, ListGroupsRequest, ListGroupsResponse};

use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::member::group_name;
use crate::output::{self, Rows};
use crate::values::{dash, short};

pub async fn run(session: &Session) -> Result<(), Problem> {
    let request = ListGroupsRequest { region: session.region() };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.admin.list_groups(request).await
        })
        .await?;
    output::print(session.format, "hansa.admin.v1.ListGroupsResponse", &response, rows)
}

fn rows(response: &ListGroupsResponse) -> Rows {
    let header = [
        "group",
        "node",
        "role",
        "leader",
        "term",
        "last log",
        "committed",
        "applied",
        "state",
        "why",
    ];
    let mut rows = Rows::new(&header, "no groups");
    for group in &response.groups {
        for replica in &group.replicas {
            rows.add(row(group, replica));
        }
    }
    rows
}

fn row(group: &Group, replica: &GroupReplica) -> [String; 10] {
    let kind = short(group.kind().as_str_name(), "GROUP_KIND_").to_lowercase();
    let role = if replica.reachable {
        short(replica.role().as_str_name(), "REPLICA_ROLE_").to_lowercase()
    } else {
        "unreachable".to_owned()
    };
    let node = if replica.node_name.is_empty() {
        replica.node.to_string()
    } else {
        replica.node_name.clone()
    };
    let leader = match replica.leader_node {
        0 => "-".to_owned(),
        leader => leader_name(group, leader),
    };
    [
        match group.part_of {
            0 => format!("{kind}-{}", group.group & 0xffff),
            host => format!("{kind}-{} in {}", group.group & 0xffff, group_name(host)),
        },
        node,
        role,
        leader,
        replica.term.to_string(),
        replica.last_log_index.to_string(),
        replica.committed_index.to_string(),
        replica.applied_index.to_string(),
        dash(replica.state_hash.get(..12).unwrap_or(&replica.state_hash)),
        dash(&replica.stopped),
    ]
}

fn leader_name(group: &Group, leader: u64) -> String {
    let found = group.replicas.iter().find(|replica| replica.node == leader);
    match found {
        Some(replica) if !replica.node_name.is_empty() => replica.node_name.clone(),
        _ => leader.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use hansa_api::pb::admin::{GroupKind, ReplicaRole};

    use super::*;

    #[test]
    fn an_unreachable_replica_has_no_role() {
        let (number, kind) = (2 << 16 | 1, GroupKind::Orders.into());
        let group = Group { group: number, kind, ..Group::default() };
        let replica = GroupReplica {
            node: 12,
            role: ReplicaRole::Leader.into(),
            reachable: false,
            ..Default::default()
        };
        let row = row(&group, &replica);
        assert_eq!(
            (row[0].as_str(), row[1].as_str(), row[2].as_str()),
            ("orders-1", "12", "unreachable")
        );
    }

    #[test]
    fn a_part_says_in_which_groups_log_it_lies() {
        let (number, kind) = (3 << 16, GroupKind::Inventory.into());
        let group = Group { group: number, kind, part_of: 2 << 16, ..Group::default() };
        assert_eq!(row(&group, &GroupReplica::default())[0], "inventory-0 in orders-0");
    }
}
