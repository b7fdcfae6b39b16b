//! Two regions: events arrive as the lawful view, once, and nothing personal comes along.

use std::sync::Arc;
use std::time::Duration;

use hansa_api::pb::order as wire;
use hansa_api::pb::order::order_service_server::OrderService;
use hansa_consensus::testing::{eventually, soon};
use hansa_node::layers::{self, Stack};
use hansa_node::listen::{Limits, Listener};
use hansa_node::net::TlsNet;
use hansa_node::peers::Address;
use hansa_node::tls::Identity;
use hansa_types::id::NodeId;
use tokio::time::Instant;
use tonic::service::Routes;

use super::rig::{Node, Rig, ca, call, order};

/// Serves a node on a real mTLS port, as its region's gateways are.
pub async fn serve(rig: &Rig, id: NodeId) -> Address {
    serve_routes(rig, id, rig.nodes[&id].orders.routes(Routes::default())).await
}

/// Serves these in a node's name.
pub async fn serve_routes(rig: &Rig, id: NodeId, routes: Routes) -> Address {
    let name = format!("{}-{id}", rig.name());
    let files = rig.ca.node(&rig.name().parse().unwrap(), &name).unwrap();
    let identity = Identity::load(files).unwrap();
    let spiffe = identity.id().clone();
    let net = TlsNet::new(identity, rig.cluster.node(id).env.clock.clone());
    let at = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = Listener::bind("test", at, &net, Limits::default()).await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let settings = layers::Settings {
        listener: "test",
        in_flight_max: 1_000,
        timeout_max: std::time::Duration::from_secs(30),
        exempt: layers::Exempt::NOTHING,
    };
    let stack: Stack = layers::stack(&settings, routes);
    listener.start(&rig.cluster.node(id).env.tasks, stack);
    Address { id: spiffe, addr }
}

pub fn copies(node: &Node) -> usize {
    let shell = node.orders.shell();
    shell.groups[&0].group.peek(|machine| machine.state.remote.copies.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_abroad_holds_what_the_law_allows_and_says_how_stale_it_is() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let ca = ca(&dir);
    let home = Rig::region(1, 1, 1, dir.clone(), ca.clone()).await;
    let abroad = Rig::region(2, 1, 1, dir.clone(), ca).await;
    let address = serve(&abroad, NodeId(1)).await;
    let node = home.leader().await;
    abroad.leader().await;
    node.peers.set_gateways("us-east".parse().unwrap(), vec![address]);

    let name = home.place(&order("r-1")).await.unwrap().order.unwrap().name;
    let away = abroad.nodes.values().next().unwrap();
    let shell = away.orders.shell();
    eventually("the copy arrives", || copies(away) == 1).await;
    let get = wire::GetOrderRequest { order: name.clone(), read: wire::ReadMode::LocalCopy.into() };
    let confirmed = i32::from(wire::OrderState::Confirmed);
    eventually("nothing lags", || {
        let lags = node.orders.lags();
        lags.iter().any(|(peer, _, lag)| {
            peer.as_str() == "us-east" && lag.connected && lag.events == 0 && lag.acknowledged > 0
        })
    })
    .await;
    // What did not lag then may have been followed by more.
    let end = soon();
    let (got, order) = loop {
        let got = away.service.get_order(call(get.clone())).await.unwrap().into_inner();
        let order = got.order.clone().unwrap();
        if order.state == confirmed {
            break (got, order);
        }
        assert!(Instant::now() < end, "its copy stays {}", order.state);
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(order.name, name);
    assert_eq!(order.lines[0].sku, "A");
    assert!(order.customer_id.is_empty() && order.customer_pseudonym.starts_with("cp-"));
    assert_eq!((order.personal, order.payment), (None, None));
    let staleness = got.staleness.unwrap();
    assert_eq!(staleness.region, "us-east");
    assert!(staleness.lag_ms < 60_000, "{staleness:?}");
    let view = shell.groups[&0]
        .group
        .peek(|m| m.state.remote.copies.iter().next().unwrap().1.view.clone());
    for secret in ["Secretname", "c-1", "sbx-", "tok_approve"] {
        assert!(!view.windows(secret.len()).any(|w| w == secret.as_bytes()), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_find_the_leader_abroad_through_any_of_its_nodes() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let ca = ca(&dir);
    let home = Rig::region(1, 1, 1, dir.clone(), ca.clone()).await;
    let mut abroad = Rig::region(2, 3, 1, dir.clone(), ca).await;
    let mut addresses = Vec::new();
    for id in abroad.cluster.ids() {
        addresses.push((id, serve(&abroad, id).await));
    }
    for node in abroad.nodes.values() {
        for (id, address) in &addresses {
            node.peers.set_node(*id, address.clone());
        }
    }
    abroad.leader().await;
    let leader = abroad.leading().await;
    // Only followers are known as gateways: they pass the stream on.
    let gateways = addresses.iter().filter(|(id, _)| *id != leader);
    let gateways: Vec<_> = gateways.map(|(_, address)| address.clone()).collect();
    home.leader().await.peers.set_gateways("us-east".parse().unwrap(), gateways);
    home.place(&order("r-1")).await.unwrap();
    eventually("a copy on every node", || abroad.nodes.values().all(|n| copies(n) == 1)).await;
    // The leader falls; what is placed meanwhile arrives all the same, once.
    abroad.kill(leader).await;
    for n in 2..5 {
        home.place(&order(&format!("r-{n}"))).await.unwrap();
    }
    eventually("copies with another leader", || abroad.nodes.values().all(|n| copies(n) == 4))
        .await;
    let parked = abroad.nodes.values().next().unwrap().orders.shell();
    assert!(parked.groups[&0].group.peek(|m| m.state.remote.parked.is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_lost_its_followers_does_not_call_a_copy_fresh() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let ca = ca(&dir);
    let mut home = Rig::region(1, 3, 1, dir.clone(), ca.clone()).await;
    let abroad = Rig::region(2, 1, 1, dir.clone(), ca).await;
    let address = serve(&abroad, NodeId(1)).await;
    abroad.leader().await;
    for node in home.nodes.values() {
        node.peers.set_gateways("us-east".parse().unwrap(), vec![address.clone()]);
    }
    let name = home.place(&order("r-1")).await.unwrap().order.unwrap().name;
    let away = abroad.nodes.values().next().unwrap();
    let shell = away.orders.shell();
    let as_of = || {
        let origin = shell.groups[&0].group.peek(|machine| {
            let cursors = &machine.state.remote.cursors;
            cursors.iter().next().map(|(origin, cursor)| (*origin, cursor.applied))
        });
        origin.map_or(0, |(origin, applied)| shell.freshness.current_as_of_ms(origin, applied))
    };
    let now = || shell.env.clock.wall().ms();
    let begun = now();
    eventually("bookmarks tell the time", || as_of() > begun).await;

    let leader = home.leading().await;
    for id in home.cluster.ids() {
        if id != leader {
            home.kill(id).await;
        }
    }
    // Whatever is acknowledged from here on, this node would not know.
    let cut_off = now();
    eventually("ten more bookmarks were due", || now() > cut_off + 1_000).await;
    assert!(as_of() <= cut_off, "{} ms too fresh", as_of() - cut_off);
    let get = wire::GetOrderRequest { order: name, read: wire::ReadMode::LocalCopy.into() };
    let got = away.service.get_order(call(get)).await.unwrap().into_inner();
    assert!(got.staleness.unwrap().lag_ms >= 1_000);
}
