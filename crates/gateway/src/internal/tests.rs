use bytes::Bytes;

mod over_tls;

use super::*;
use crate::nodes;
use crate::testing::*;

struct Nothing;

#[tonic::async_trait]
impl nodes::Local for Nothing {
    fn replicas(&self) -> Vec<hansa_api::pb::node::Replica> {
        Vec::new()
    }

    async fn check_invariants(&self) -> Vec<hansa_api::pb::admin::InvariantReport> {
        Vec::new()
    }
}

const OURS: &str = "spiffe://hansa/region/eu-west/node/eu-west-2";
const THEIRS: &str = "spiffe://hansa/region/us-east/node/us-east-1";
const SHOP: &str = "spiffe://hansa/client/storefront";
const NODE: &str = "hansa.node.v1.NodeService/ListReplicas";
const FORWARDED: [(&str, &str); 4] = [
    ("hansa-forwarded", "us-east"),
    ("hansa-principal", SHOP),
    ("hansa-roles", "storefront"),
    ("hansa-entry", "us-east"),
];

fn internal(gateway: bool) -> Internal<Fake> {
    let door = gateway.then(|| crate::testing::gateway(&Fake::default()).forwarded());
    let routes = Routes::new(nodes::service(std::sync::Arc::new(Nothing)));
    Internal::new(OURS.parse().unwrap(), "eu-west".parse().unwrap(), door, routes)
}

async fn ask(peer: &str, method: &str, headers: &[(&'static str, &str)]) -> Option<Reason> {
    let request = call(peer, method, headers, Bytes::from_static(b"\0\0\0\0\0"));
    let answer = internal(true).oneshot(request).await.unwrap();
    failure(&answer).map(|failure| failure.reason())
}

#[tokio::test]
async fn a_node_of_this_region_reaches_the_services() {
    assert_eq!(ask(OURS, NODE, &[]).await, None);
}

#[tokio::test]
async fn clients_and_strangers_reach_nothing_whatever_they_claim() {
    let claims = &FORWARDED[1..];
    for peer in [SHOP, "spiffe://lubeck/region/eu-west/node/n", "spiffe://hansa/other/path"] {
        for headers in [&[][..], claims, &FORWARDED] {
            assert_eq!(ask(peer, NODE, headers).await, Some(Reason::PermissionDenied), "{peer}");
        }
    }
}

#[tokio::test]
async fn a_node_of_another_region_may_forward_and_replicate_only() {
    for closed in
        [NODE, "hansa.raft.v1.RaftPeerService/Exchange", "hansa.order.v1.OrderService/GetOrder"]
    {
        assert_eq!(ask(THEIRS, closed, &FORWARDED[1..]).await, Some(Reason::PermissionDenied));
    }
    // Not served by these routes, but let through to them.
    let replicate = "hansa.replication.v1.ReplicationService/Replicate";
    assert_eq!(ask(THEIRS, replicate, &[]).await, Some(Reason::Unimplemented));
    let place = "hansa.order.v1.OrderService/PlaceOrder";
    assert_eq!(ask(THEIRS, place, &FORWARDED).await, Some(Reason::RequestIdMissing), "at the door");
    assert_eq!(ask(THEIRS, NODE, &FORWARDED).await, Some(Reason::Unimplemented), "not public");
}

#[tokio::test]
async fn a_node_without_a_gateway_forwards_nothing() {
    let request = call(THEIRS, NODE, &FORWARDED, Bytes::new());
    let answer = internal(false).oneshot(request).await.unwrap();
    assert_eq!(failure(&answer).map(|f| f.reason()), Some(Reason::Unimplemented));
}

#[tokio::test]
async fn the_principal_comes_from_our_own_nodes_headers() {
    let headers = &FORWARDED[1..];
    let request = call(OURS, NODE, headers, Bytes::new());
    let Ok(Way::Services(Some(principal))) = internal(true).way(&request) else {
        panic!("no principal")
    };
    assert_eq!(principal.id.as_str(), SHOP);
    let twice = [headers, &[("hansa-roles", "operator")]].concat();
    assert_eq!(ask(OURS, NODE, &twice).await, Some(Reason::Unauthenticated));
    let request = call(OURS, NODE, &[], Bytes::new());
    assert!(matches!(internal(true).way(&request), Ok(Way::Services(None))));
}
