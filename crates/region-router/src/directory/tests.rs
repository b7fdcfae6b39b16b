use std::path::PathBuf;
use std::sync::Arc;

use hansa_consensus::testing::{Cluster, PATIENCE, Settings, eventually, soon};
use hansa_node::config::Text;
use hansa_node::devca::DevCa;
use hansa_node::env::Env;
use hansa_node::layers;
use hansa_node::net::TlsNet;
use hansa_node::peers::{Peers, Timing};
use hansa_node::tls::Identity;
use hansa_types::region::Slot;
use tonic::service::Routes;

use super::*;
use crate::core::directory::Refusal;
use crate::testing::{POLICY, genesis, number};
use crate::{follow, service};

/// A cluster whose hosts keep no group yet.
async fn hosts(nodes: u64) -> Cluster<State> {
    let settings = Settings { nodes, groups: Vec::new(), ..Settings::default() };
    Cluster::with(settings, State::default).await
}

fn config(members: u64, policy_file: Option<PathBuf>) -> Config {
    Config {
        members: (1..=members).map(NodeId).collect(),
        genesis: genesis(2),
        policy_file: policy_file.map(Text::file),
        reload_every: Duration::from_millis(20),
        vouch: Vouch::nobody(),
    }
}

async fn start(cluster: &Cluster<State>, node: u64, config: Config) -> Directory {
    let node = cluster.node(NodeId(node));
    Directory::start(&node.host, &node.env, config).await.unwrap()
}

/// Submits on whichever node leads.
async fn submit(nodes: &[Directory], command: &Command) -> Outcome {
    let end = soon();
    loop {
        assert!(Instant::now() < end, "nobody took {command:?}");
        for node in nodes {
            if let Ok(outcome) = node.submit(command, end).await {
                return outcome;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn own(epoch: u64) -> Command {
    Command::Own { birth: number(1), slot: None, owner: number(2), epoch }
}

fn owner(book: &Book) -> Option<u16> {
    Some(book.now()?.owner(number(1), Slot::of(b"x"))?.owner.get())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_reads_what_the_leader_was_told_also_after_it_is_gone() {
    let mut cluster = hosts(3).await;
    let mut nodes = Vec::new();
    for n in 1..=3 {
        nodes.push(start(&cluster, n, config(3, None)).await);
    }
    for node in &nodes {
        tokio::time::timeout(PATIENCE, node.book().ready()).await.expect("a directory");
        assert_eq!(owner(&node.book()), Some(1));
    }
    let changed = submit(&nodes, &own(2)).await;
    assert!(matches!(changed, Outcome::Changed { .. }), "{changed:?}");
    eventually("every book says so", || nodes.iter().all(|n| owner(&n.book()) == Some(2))).await;

    let mut leadership = nodes[0].group.leadership();
    let led = tokio::time::timeout(PATIENCE, leadership.wait_for(|now| now.leader.is_some()));
    let leader = led.await.unwrap().unwrap().leader.unwrap();
    cluster.kill(leader).await;
    nodes.retain(|node| node.group.node() != leader);
    let stale =
        submit(&nodes, &Command::Own { birth: number(1), slot: None, owner: number(3), epoch: 2 })
            .await;
    assert_eq!(stale, Outcome::Refused(Refusal::EpochNotNewer { have: 2 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_policy_file_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("residency.toml");
    let cluster = hosts(1).await;
    std::fs::write(&file, POLICY).unwrap();
    let node = start(&cluster, 1, config(1, Some(file.clone()))).await;
    let version = || node.book().now().map_or(0, |now| now.policy.version());
    eventually("the first policy", || version() == 1).await;
    std::fs::write(&file, POLICY.replace("\nversion = 1", "\nversion = 3")).unwrap();
    eventually("the newer policy", || version() == 3).await;
    // Refused for its version; what comes after it is taken all the same.
    std::fs::write(&file, format!("{POLICY}\n# older")).unwrap();
    std::fs::write(&file, POLICY.replace("\nversion = 1", "\nversion = 4")).unwrap();
    eventually("the newest policy", || version() == 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_endpoints_in_the_config_are_taken_and_the_owners_stay() {
    let mut cluster = hosts(1).await;
    let node = start(&cluster, 1, config(1, None)).await;
    tokio::time::timeout(PATIENCE, node.book().ready()).await.expect("a directory");
    submit(std::slice::from_ref(&node), &own(7)).await;
    drop(node);
    cluster.kill(NodeId(1)).await;
    cluster.boot(NodeId(1)).await;
    let mut moved = config(1, None);
    moved.genesis.regions[1].1.public = vec!["elsewhere:1".into()];
    moved.genesis.groups.clear();
    let node = start(&cluster, 1, moved).await;
    let public = || Some(node.book().now()?.region(number(2))?.public.clone());
    eventually("the new endpoint", || public() == Some(vec!["elsewhere:1".into()])).await;
    assert_eq!(owner(&node.book()), Some(2));
    assert_eq!(node.book().now().unwrap().groups.len(), 7);
}

/// Peers of a node that serves `book` to itself.
fn peers_serving(book: Book, env: &Env, folder: &std::path::Path) -> Peers {
    let ca = DevCa::open(folder, "hansa").unwrap();
    let files = ca.node(&"eu-west".parse().unwrap(), "eu-west-1").unwrap();
    let identity = Identity::load(files).unwrap();
    let net = Arc::new(TlsNet::new(identity, env.clock.clone()));
    let peers = Peers::new(NodeId(1), net, Timing::default(), env.tasks.clone());
    let settings = layers::Settings {
        listener: "internal",
        in_flight_max: 8,
        timeout_max: PATIENCE,
        exempt: layers::Exempt::NOTHING,
    };
    peers.set_local(layers::stack(&settings, Routes::new(service::service(book))));
    peers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_reads_what_its_keeper_reads() {
    let folder = tempfile::tempdir().unwrap();
    let (env, _exit) = hansa_consensus::testing::env("follower");
    let kept = Book::empty();
    let peers = peers_serving(kept.clone(), &env, folder.path());
    // The first keeper is nobody that anybody knows.
    let book = follow::start(&env, peers, vec![NodeId(9), NodeId(1)]);
    assert!(book.now().is_none());
    kept.publish(crate::testing::snapshot(1, 2, &[]));
    eventually("the first snapshot", || owner(&book) == Some(1)).await;
    kept.publish(crate::testing::snapshot(1, 2, &[own(2)]));
    eventually("the next snapshot", || owner(&book) == Some(2)).await;
    let (a, b) = (kept.now().unwrap(), book.now().unwrap());
    assert_eq!((a.version, &a.regions, &a.groups), (b.version, &b.regions, &b.groups));
    assert!(env.tasks.drain(PATIENCE).await.is_empty());
    drop(Arc::new(folder));
}
