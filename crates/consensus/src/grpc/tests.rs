use std::time::Duration;

use hansa_api::status::{Failure, Reason};
use hansa_node::tls::PeerIdentity;
use hansa_types::id::NodeId;
use hansa_types::identity::SpiffeId;
use tokio::time::Instant;
use tonic::Extensions;
use tonic::metadata::{MetadataMap, MetadataValue};

use super::{EXPECTS, INCARNATION, NODE, Protocol, SPOKEN, TO, check_answerer, put_incarnation};
use crate::identity::Incarnation;

use crate::testing::counter::{CLOSED, Counters};
use crate::testing::{Cluster, Settings, eventually, soon};
use crate::timing::Timing;
use crate::version::Versions;

async fn cluster(timing: Timing) -> Cluster<Counters> {
    let settings = Settings { grpc: true, timing, ..Settings::default() };
    Cluster::with(settings, Counters::default).await
}

/// On a busy machine a leader falls, and whoever waited for it asks again.
fn most(cluster: &Cluster<Counters>, asked: i64) -> i64 {
    asked + cluster.doubted() as i64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_agree_over_mtls_and_fail_over() {
    let mut cluster = cluster(Timing::quick()).await;
    for n in 1..=20 {
        let added = cluster.submit("add a 1").await;
        assert!((n..=most(&cluster, n)).contains(&added), "{added} of {n}");
    }
    let leader = cluster.leader().await;
    cluster.kill(leader).await;
    cluster.submit("add a 1").await;
    cluster.boot(leader).await;
    cluster.settled().await;
    let found = cluster.group(leader).peek(|m| m.value("a"));
    assert!((21..=most(&cluster, 21)).contains(&found), "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_travels_over_grpc() {
    let timing = Timing { checkpoint_entries: 20, ..Timing::quick() };
    let mut cluster = cluster(timing).await;
    cluster.submit("add gone 7").await;
    cluster.submit("close gone").await;
    let leader = cluster.leader().await;
    let follower = cluster.up().into_iter().find(|node| *node != leader).unwrap();
    cluster.settled().await;
    let seen = cluster.group(follower).status().applied;
    cluster.kill(follower).await;
    let behind = |node: &NodeId| cluster.group(*node).status().purged.is_none_or(|at| at <= seen);
    while cluster.up().iter().any(behind) {
        for _ in 0..10 {
            cluster.submit("add b 1").await;
        }
        for node in cluster.up() {
            cluster.group(node).checkpoint().await;
        }
    }
    cluster.boot(follower).await;
    cluster.settled().await;
    let archived = cluster.group(follower).archive_get(CLOSED, b"gone").unwrap();
    assert_eq!(archived.unwrap(), 7i64.to_le_bytes()[..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_ends_itself_when_its_peers_know_better() {
    let mut cluster = cluster(Timing::quick()).await;
    cluster.submit("add a 1").await;
    cluster.settled().await;
    let leader = cluster.leader().await;
    let victim = cluster.up().into_iter().find(|node| *node != leader).unwrap();
    cluster.kill(victim).await;
    std::fs::remove_dir_all(cluster.dir(victim)).unwrap();
    cluster.boot(victim).await;
    eventually("the wiped node ends", || !cluster.node(victim).exit.whys().is_empty()).await;
    assert_eq!(cluster.group(victim).peek(|m| m.value("a")), 0, "it was sent nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_speaks_only_for_itself_and_only_to_whom_it_means() {
    let cluster = cluster(Timing::quick()).await;
    let host = &cluster.node(NodeId(1)).host;
    let served = host.served();
    let name = |node: u64| format!("spiffe://hansa/region/eu-west/node/n{node}").parse().unwrap();
    let call = |says: u64, shows: SpiffeId, means: u64, expects: Option<u128>| {
        let mut metadata = MetadataMap::new();
        Protocol::new(SPOKEN).put(&mut metadata);
        metadata.insert(NODE, MetadataValue::from(says));
        metadata.insert(TO, MetadataValue::from(means));
        let incarnation = cluster.node(NodeId(2)).host.served().inbound.identity.incarnation;
        put_incarnation(&mut metadata, INCARNATION, incarnation);
        if let Some(expects) = expects {
            put_incarnation(&mut metadata, EXPECTS, Incarnation(expects));
        }
        let mut extensions = Extensions::default();
        extensions.insert(PeerIdentity(shows));
        served.admit(&metadata, &extensions).map_err(|status| Failure::from(status).reason())
    };
    let admit = |says, shows, expects| call(says, shows, 1, expects);
    assert_eq!(admit(2, name(2), None), Ok(NodeId(2)));
    assert_eq!(admit(2, name(3), None), Err(Reason::PermissionDenied), "another's certificate");
    assert_eq!(admit(9, name(9), None), Err(Reason::PermissionDenied), "not of this region");
    let client = "spiffe://hansa/client/storefront".parse().unwrap();
    assert_eq!(admit(2, client, None), Err(Reason::PermissionDenied), "not a node");
    let elsewhere = call(2, name(2), 100_001, Some(1));
    assert_eq!(elsewhere, Err(Reason::Unavailable), "it has not heard who has this name by now");
    assert!(cluster.node(NodeId(1)).exit.whys().is_empty());
    assert_eq!(admit(2, name(2), Some(1)), Err(Reason::PermissionDenied));
    assert_eq!(cluster.node(NodeId(1)).exit.whys().len(), 1, "known by another folder: it ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_process_of_a_name_is_not_met_as_its_new_node() {
    let cluster = cluster(Timing::quick()).await;
    let old = cluster.node(NodeId(2)).host.served().introduced(());
    assert!(check_answerer(NodeId(2), old.metadata()).is_ok());
    assert!(check_answerer(NodeId(100_001), old.metadata()).is_err());
}

/// Over real streams: what a node of a release too far away says, and what is said to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_without_a_common_protocol_refuse_each_other_by_name_and_are_listed() {
    let mut cluster = cluster(Timing::quick()).await;
    cluster.submit("add a 1").await;
    cluster.settled().await;
    let leader = cluster.leader().await;
    let foreign = cluster.up().into_iter().find(|node| *node != leader).unwrap();
    cluster.kill(foreign).await;
    cluster.protocols.insert(foreign, Versions { first: 4, last: 5 });
    cluster.boot(foreign).await;
    let others: Vec<_> = cluster.up().into_iter().filter(|node| *node != foreign).collect();
    let says = |of: NodeId, about: NodeId| {
        let said = cluster.node(of).host.foreign_peers().remove(&about).unwrap_or_default();
        let named = said.contains("speaks protocol") && said.contains("this node");
        named && said.contains("upgrade one release at a time")
    };
    for other in others {
        eventually("they list it", || says(other, foreign)).await;
        eventually("it lists them", || says(foreign, other)).await;
        let mut foreigners = cluster.node(other).host.foreign_peers().into_keys();
        assert!(foreigners.all(|node| node == foreign), "nobody else");
    }
    let running = &cluster.group(leader).running;
    let mut told = String::new();
    let end = soon();
    while Instant::now() < end {
        // Until the connection is there, it is only away.
        let asked = running.ask_digest(foreign, Default::default(), Duration::from_secs(5)).await;
        told = asked.unwrap_err().to_string();
        if told.contains("speaks protocol") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(told.starts_with("not admitted"), "it lives, and is not asked again at once: {told}");
    assert!(told.contains("VERSION_NOT_SUPPORTED: the peer speaks protocol 3-3"), "{told}");
    assert!(cluster.submit("add a 1").await >= 2, "the others go on");
    assert!(cluster.group(foreign).peek(|m| m.value("a")) < 2, "it was sent nothing");

    cluster.kill(foreign).await;
    cluster.protocols.insert(foreign, Versions { first: 1, last: 3 });
    cluster.boot(foreign).await;
    cluster.settled().await;
    assert!(cluster.group(foreign).peek(|m| m.value("a")) >= 2);
    let open = |node: &NodeId| cluster.node(*node).host.foreign_peers().is_empty();
    eventually("nobody is foreign", || cluster.up().iter().all(open)).await;
}
