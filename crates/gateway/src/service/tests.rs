use std::sync::Arc;
use std::time::Duration;

use hansa_api::pb::admin::{GroupReplica, InvariantReport, ReplicaRole, Verdict};
use hansa_api::pb::node::Replica;
use hansa_api::pb::region::ExplainRouteRequest;
use hansa_region_router::core::directory::{Command, MemberChange};
use hansa_types::id::{GroupId, GroupKind, NodeId};
use tonic::service::Routes;

use super::*;
use crate::nodes;
use crate::testing::*;

/// A node whose groups are all at one index, in one state.
struct Replicas {
    index: u64,
    hash: &'static str,
}

#[tonic::async_trait]
impl nodes::Local for Replicas {
    fn replicas(&self) -> Vec<Replica> {
        let replica = GroupReplica {
            applied_index: self.index,
            state_hash: self.hash.into(),
            term: 3,
            ..GroupReplica::default()
        };
        let group = |kind| GroupId::new(kind, 0).number();
        GroupKind::ALL
            .map(|kind| Replica { group: group(kind), replica: Some(replica.clone()) })
            .into()
    }

    async fn check_invariants(&self) -> Vec<InvariantReport> {
        let verdict = Verdict::Held.into();
        vec![InvariantReport { number: 1, verdict, ..InvariantReport::default() }]
    }
}

fn node(index: u64, hash: &'static str) -> Does {
    Does::Serves(Routes::new(nodes::service(Arc::new(Replicas { index, hash }))))
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(2))
}

#[tokio::test(start_paused = true)]
async fn groups_are_listed_as_every_node_sees_them() {
    let fake = Fake::default()
        .with("node 1", node(5, "a"))
        .with("node 2", node(6, "b"))
        .with("node 3", Does::Unreachable);
    let groups = list_groups::ask(&fake, &directory(1, &[]), soon()).await;
    assert_eq!(groups.len(), 4);
    for group in &groups {
        let told: Vec<_> = group
            .replicas
            .iter()
            .map(|r| (r.node, r.node_name.as_str(), r.reachable, r.applied_index))
            .collect();
        let want =
            [(1, "eu-west-1", true, 5), (2, "eu-west-2", true, 6), (3, "eu-west-3", false, 0)];
        assert_eq!(told, want);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_has_left_a_group_is_listed_as_an_outsider() {
    let (group, node) = (GroupId::new(GroupKind::Orders, 0), NodeId(3));
    let change = MemberChange::Remove { node, force: false };
    let left = [Command::ChangeMembers { group, change }, Command::Left { group, node }];
    let fake =
        Fake::default().with("node 3", self::node(5, "a")).with("node 1", self::node(5, "a"));
    let groups = list_groups::ask(&fake, &directory(1, &left), soon()).await;
    for listed in groups {
        let role = |node| listed.replicas.iter().find(|r| r.node == node).map(|r| r.role());
        let is_out = listed.group == group.number();
        assert_eq!(role(3) == Some(ReplicaRole::Outsider), is_out, "{listed:?}");
        assert_ne!(role(1), Some(ReplicaRole::Outsider));
    }
}

/// A region whose stock lies in its orders group.
fn joint() -> Snapshot {
    directory_with(1, &[], |kind| kind == GroupKind::Inventory)
}

#[tokio::test(start_paused = true)]
async fn a_part_is_listed_with_the_replicas_of_the_group_in_which_it_lies() {
    let fake = Fake::default().with("node 1", node(5, "a")).with("node 2", node(6, "b"));
    let groups = list_groups::ask(&fake, &joint(), soon()).await;
    let of = |kind| groups.iter().find(|g| g.group == GroupId::new(kind, 0).number()).unwrap();
    let (orders, stock) = (of(GroupKind::Orders), of(GroupKind::Inventory));
    assert_eq!((orders.part_of, stock.part_of), (0, orders.group));
    assert!(stock.replicas == orders.replicas && stock.replicas.len() == 3);
    assert_eq!((groups.len(), of(GroupKind::Payments).part_of), (4, 0));
    let reports = check_invariants::ask(&fake, &joint(), soon()).await;
    let compared = reports.iter().filter(|r| r.number == 9).map(|r| r.group);
    let numbers = [GroupKind::Directory, GroupKind::Orders, GroupKind::Payments];
    let numbers = numbers.map(|kind| GroupId::new(kind, 0).number());
    assert_eq!(compared.collect::<Vec<_>>(), numbers, "each log once");
}

#[test]
fn members_and_versions_are_those_of_logs() {
    let now = joint();
    let orders = GroupId::new(GroupKind::Orders, 0);
    assert_eq!(with_log(&now, orders.number()).unwrap(), orders);
    let stock = with_log(&now, GroupId::new(GroupKind::Inventory, 0).number()).unwrap_err();
    assert_eq!(stock.reason(), Reason::MembershipRefused);
    assert!(stock.to_string().contains("orders-0"), "{stock}");
    let unknown = with_log(&now, GroupId::new(GroupKind::Orders, 7).number()).unwrap_err();
    assert_eq!(unknown.reason(), Reason::NotFound);
}

#[tokio::test(start_paused = true)]
async fn invariants_hold_only_when_everybody_said_so() {
    let verdicts = |reports: &[InvariantReport], number| -> Vec<Verdict> {
        reports.iter().filter(|r| r.number == number).map(InvariantReport::verdict).collect()
    };
    let all = |third| {
        Fake::default()
            .with("node 1", node(5, "a"))
            .with("node 2", node(5, "a"))
            .with("node 3", third)
    };
    let directory = directory(1, &[]);
    let well = check_invariants::ask(&all(node(5, "a")), &directory, soon()).await;
    assert!(well.iter().all(|report| report.verdict() == Verdict::Held), "{well:?}");
    assert_eq!((verdicts(&well, 1).len(), verdicts(&well, 9).len()), (3, 4));

    let split = check_invariants::ask(&all(node(5, "z")), &directory, soon()).await;
    assert_eq!(verdicts(&split, 9), [Verdict::Violated; 4]);

    let away = check_invariants::ask(&all(Does::Unreachable), &directory, soon()).await;
    assert_eq!(verdicts(&away, 9), [Verdict::Unknown; 4]);
    assert_eq!(verdicts(&away, 0), [Verdict::Unknown], "the node that was not asked");
}

#[test]
fn a_route_is_explained_without_taking_it() {
    let here = directory(1, &[]);
    let explain = |country: &str, customer: &str| {
        let request = ExplainRouteRequest {
            residence_country: country.into(),
            customer_id: customer.into(),
            ..Default::default()
        };
        explain_route::explain(&request, &here)
    };
    let german = explain("DE", "17850").unwrap();
    assert_eq!((german.home_region.as_str(), german.jurisdiction.as_str()), ("eu-west", "EU"));
    assert!(!german.forwarded && german.group > 0 && german.policy_version == 1);
    let japanese = explain("JP", "").unwrap();
    assert_eq!((japanese.home_region.as_str(), japanese.group), ("ap-south", 0));
    assert!(japanese.forwarded && !japanese.transit_forbidden);
    assert_eq!(japanese.endpoints, ["ap-south:443"]);
    let said = japanese.explanation.join("\n");
    for part in ["any slot", "APAC lists it", "passed on once", "directory version 1"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(explain("UK", "").unwrap_err().reason(), Reason::CountryUnknown);
}

#[test]
fn an_orders_route_is_explained_by_its_name() {
    let here = directory(1, &[]);
    let request = ExplainRouteRequest { order: order("us-east", 2), ..Default::default() };
    let explained = explain_route::explain(&request, &here).unwrap();
    assert_eq!(explained.home_region, "us-east");
    assert!(explained.explanation.iter().any(|step| step.contains("was born in us-east")));
}

#[test]
fn regions_say_whether_they_were_reached() {
    let listed = list_regions::list(&directory(1, &[]), |number| number.get() != 3);
    let told: Vec<_> = listed
        .regions
        .iter()
        .map(|r| (r.name.as_str(), r.number, r.jurisdiction.as_str(), r.here, r.reachable))
        .collect();
    let want = [
        ("eu-west", 1, "EU", true, true),
        ("us-east", 2, "US", false, true),
        ("ap-south", 3, "IN", false, false),
    ];
    assert_eq!(told, want);
}
