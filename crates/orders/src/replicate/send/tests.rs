//! A sender whose peer is away, silent or slow.

use hansa_api::pb::inventory as stock;
use hansa_api::pb::inventory::inventory_service_server::InventoryService;
use hansa_consensus::testing::eventually;
use metrics_exporter_prometheus::PrometheusBuilder;

use super::*;
use crate::tests::rig::{Node, Rig, call, order};

fn seq(node: &Node) -> u64 {
    node.orders.shell().groups[&0].group.peek(|machine| machine.state.meta.seq)
}

fn lag(node: &Node) -> Option<Lag> {
    let lags = node.orders.lags().into_iter();
    lags.filter(|(peer, ..)| peer.as_str() == "us-east").map(|(.., lag)| lag).next()
}

/// Nobody answers for the other regions. Its leader says at least how far they lag since it leads,
/// by the first event and not by the last of the order that goes on changing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_was_never_heard_lags_by_the_first_event_since_this_node_leads() {
    let home = Rig::start(1).await;
    let node = home.leader().await;
    let wall = || node.orders.shell().env.clock.wall().ms();
    let before = wall();
    let name = home.place(&order("r-1")).await.unwrap().order.unwrap().name;
    let after = wall();
    eventually("two seconds", || wall() > after + 2_000).await;
    let ship = stock::RecordShipmentRequest {
        order: name,
        request_id: "s-1".into(),
        ..Default::default()
    };
    node.service.record_shipment(call(ship)).await.unwrap();
    let mut last = None;
    eventually("all that is known is said", || {
        last = lag(node);
        last.is_some_and(|lag| lag.events == seq(node) && lag.ms > 0)
    })
    .await;
    let (lag, now) = (last.unwrap(), wall());
    assert!(!lag.heard && !lag.connected, "{lag:?}");
    assert!(lag.ms >= 2_000 && lag.ms <= now - before + 1_000, "{lag:?} of {}", now - before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leads_no_more_shows_no_lag() {
    let home = Rig::start(1).await;
    let node = home.leader().await;
    let (shell, lags) = (node.orders.shell(), Lags::default());
    let hosted = shell.groups[&0].clone();
    let sender = Sender::new(shell, hosted, "us-east".parse().unwrap(), lags.clone());
    let recorder = PrometheusBuilder::new().build_recorder();
    let page = recorder.handle();
    let shown = || {
        let page = page.render();
        let values = page.lines().filter(|line| line.starts_with("hansa_orders_replication_"));
        values.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    ::metrics::with_local_recorder(&recorder, || {
        sender.lead_no_more();
        assert_eq!(shown(), [""; 0], "a follower never had any");
        sender.begin_to_lead();
        sender.level_again();
        assert_eq!(shown(), ["0", "0"]);
        sender.lead_no_more();
        assert_eq!(shown(), ["NaN", "NaN", "NaN"]);
    });
    assert_eq!(lags.all(), []);
}
