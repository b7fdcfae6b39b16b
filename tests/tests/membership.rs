//! Nodes of a region are added, replaced, drained, wiped and rebuilt under load, as an operator
//! does it: with `hansactl` and real processes. Needs no root.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use hansa::config::{Config, Node};
use hansa_node::devca::DevCa;
use hansa_tests::after;
use hansa_tests::load::{Load, Shape};
use hansa_tests::local::PATIENCE;
use hansa_tests::processes::Processes;
use hansa_tests::suite;
use hansa_types::id::NodeId;

const BACK_WITHIN: Duration = Duration::from_secs(120);

/// The config of a node that comes later, with its own certificate, ports and folder.
fn fourth(league: &Processes) -> Config {
    let mut config = league.config("eu-west-1").clone();
    let name = "eu-west-4".to_owned();
    let host = config.listen.internal.ip();
    let held: Vec<_> = (0..3).map(|_| TcpListener::bind((host, 0))).collect();
    let ports = held.iter().map(|held| held.as_ref().expect("a port").local_addr());
    let ports: Vec<SocketAddr> = ports.map(|addr| addr.expect("bound")).collect();
    config.listen.public = Some(ports[0]);
    (config.listen.internal, config.listen.metrics) = (ports[1], ports[2]);
    let ca = DevCa::open(&league.data.join("pki"), "hansa").expect("the league's authority");
    let files = ca.node(&config.region, &name).expect("a certificate");
    (config.tls.cert, config.tls.key, config.tls.ca) = (files.cert, files.key, files.ca);
    config.data_dir = config.data_dir.with_file_name(&name);
    std::fs::create_dir_all(&config.data_dir).expect("a folder");
    let roles = config.own_node().expect("listed").roles.clone();
    let internal = config.listen.internal.to_string();
    // The directory chooses the id.
    let own = Node { id: NodeId(0), name: name.clone(), internal, roles };
    config.league[0].nodes.push(own);
    (config.name, config.join) = (name, true);
    config
}

/// A learner that is held back, promoted by command, and removed again.
async fn comes_and_goes(league: &Processes, node: &str) {
    let group = "payments-0";
    let role = async || {
        let members = league.operate(&["member", "list"]).await;
        let of = members.lines().find(|line| line.contains(group) && line.contains(node));
        of.unwrap_or_default().to_owned()
    };
    league.operate(&["member", "add", node, group, "--learner"]).await;
    assert!(role().await.contains("learner"), "{}", role().await);
    league.operate(&["member", "promote", node, group]).await;
    assert!(role().await.contains("voter"), "{}", role().await);
    league.operate(&["member", "remove", node, group]).await;
    let deadline = Instant::now() + BACK_WITHIN;
    while !role().await.is_empty() {
        assert!(Instant::now() < deadline, "{}", role().await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Who leads hands over before it stops. A slow machine may elect another one before that.
async fn drained_as_it_leads(league: &mut Processes, node: &str) {
    for _ in 0..5 {
        league.operate(&["group", "transfer-leader", "orders-0", node]).await;
        let drained = league.operate(&["node", "drain", node]).await;
        assert!(league.exited(node, PATIENCE).await.success());
        league.run(node);
        league.ready().await;
        let orders = drained.lines().find(|line| line.contains("orders-0"));
        if orders.is_some_and(|line| line.contains("handed over")) {
            return;
        }
    }
    panic!("{node} never handed orders-0 over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_replaced_under_load_and_nobody_notices() {
    let mut league = Processes::start_region("replace-node").await;
    let load = Load::start(&league, Shape::default()).await;
    load.progress(10, BACK_WITHIN).await;
    let config = fourth(&league);
    league.add(config);
    league.run("eu-west-4");
    league.ready().await;
    let nodes = league.operate(&["node", "list"]).await;
    assert!(nodes.contains("100001"), "the directory gave it an id");
    comes_and_goes(&league, "eu-west-4").await;
    load.progress(10, BACK_WITHIN).await;
    league.operate(&["member", "replace", "eu-west-3", "eu-west-4", "--wait", "3m"]).await;
    load.progress(10, BACK_WITHIN).await;
    let members = league.operate(&["member", "list"]).await;
    assert!(!members.contains("eu-west-3"), "it has left:\n{members}");
    drained_as_it_leads(&mut league, "eu-west-4").await;
    league.operate(&["node", "drain", "eu-west-3"]).await;
    assert!(league.exited("eu-west-3", PATIENCE).await.success());
    league.operate(&["node", "retire", "eu-west-3"]).await;
    load.progress(10, BACK_WITHIN).await;

    // A retired node does not come back under its old id.
    league.run("eu-west-3");
    let ended = league.exited("eu-west-3", PATIENCE).await;
    assert!(!ended.success(), "it was let in");
    assert!(league.log("eu-west-3").contains("was retired"), "it says why");
    let tally = load.tally.clone();
    let run = load.stop().await;
    after::check(&league, &run).await;
    assert!(tally.failures().is_empty(), "clients saw {:?}", tally.failures());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_node_is_refused_and_rebuilt_from_its_peers() {
    let mut league = Processes::start_region("reseed-node").await;
    let load = Load::start(&league, Shape::default()).await;
    load.progress(10, BACK_WITHIN).await;
    let victim = "eu-west-2";
    league.kill(victim);
    suite::fault("wiped volume");
    let folder = league.config(victim).data_dir.clone();
    for life in ["identity", "wal", "groups", "views"] {
        let path = folder.join(life);
        let gone =
            if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        gone.expect("it was there");
    }
    league.run(victim);
    let ended = league.exited(victim, PATIENCE).await;
    assert!(!ended.success(), "a wiped node was let in");
    assert!(league.log(victim).contains("hansactl node reseed"), "it says what to do");
    load.progress(5, BACK_WITHIN).await;

    let request = ["node", "reseed", victim, "--no-wait", "--request-id", "r-wiped"];
    // What remains has a majority, so nothing is to be forced.
    let first = league.operate(&request).await;
    let forced = [&request[..], &["--force"]].concat();
    assert_eq!(league.operate(&forced).await, first, "one request, one new id, forced or not");
    // While it is under way, another request gets no other id either.
    let other = league.operate(&["node", "reseed", victim, "--no-wait"]).await;
    assert_eq!(other, first, "one reseed, one new id");
    league.run(victim);
    // Asked again, it waits for the same one.
    let wait = ["node", "reseed", victim, "--wait", "3m", "--request-id", "r-wiped"];
    league.operate(&wait).await;
    league.ready().await;
    assert_eq!(league.operate(&forced).await, first, "and when it is done");
    load.progress(10, BACK_WITHIN).await;
    let run = load.stop().await;
    after::check(&league, &run).await;
    drop(run);

    // The same for a damaged one: its folder is put aside, not deleted.
    league.kill(victim);
    suite::fault("damaged identity");
    std::fs::write(folder.join("identity"), b"not an identity").expect("damage");
    league.run(victim);
    assert!(!league.exited(victim, PATIENCE).await.success());
    assert!(league.log(victim).contains("To rebuild the node"), "it says what to do");
    let damaged = ["node", "reseed", victim, "--no-wait", "--request-id", "r-damaged"];
    league.operate(&damaged).await;
    league.run(victim);
    league.ready().await;
    league.operate(&["group", "list"]).await;
    let aside = folder.join("aside-unreadable-1");
    assert!(aside.join("wal").is_dir() && aside.join("identity").is_file(), "kept in {aside:?}");
}
