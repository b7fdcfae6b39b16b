//! A network of our own: each node in a namespace, around a router that cuts and delays.
//!
//! ```text
//!   test process ── router ──┬── node 1
//!                            ├── node 2      nft drops, NFQUEUE holds back
//!                            └── node 3
//! ```

mod delay;

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use crate::suite;

pub use self::delay::Delay;

/// Addresses set aside for tests of networks (RFC 2544), so that nobody misses them.
const NET: [u8; 2] = [198, 18];
const ROUTER: &str = "hansa-router";
/// The test's own place, and the way to the others.
const TEST_SIDE: &str = "198.18.0.1/30";
const ROUTER_SIDE: &str = "198.18.0.2/30";

/// A laid network; taken down when dropped.
pub struct Network {
    nodes: BTreeMap<String, Spot>,
    /// One network a machine: tests take turns.
    _turn: File,
}

struct Spot {
    netns: String,
    region: u8,
    address: Ipv4Addr,
}

/// Why no network can be laid here; `None`: it can.
#[must_use]
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("namespaces need root".to_owned());
    }
    for (tool, args) in [("ip", vec!["-V"]), ("nft", vec!["--version"])] {
        let there = Command::new(tool).args(args).output();
        if !there.is_ok_and(|output| output.status.success()) {
            return Some(format!("`{tool}` is not installed"));
        }
    }
    let turn = turn();
    let probe = "hansa-probe";
    drop(run("ip", &["netns", "del", probe]));
    let works = run("ip", &["netns", "add", probe])
        .and_then(|()| inside(probe, &["nft", "add", "table", "ip", "probe"]));
    drop(run("ip", &["netns", "del", probe]));
    drop(turn);
    works.err().map(|why| format!("no namespaces or no nft here: {why}"))
}

/// Nodes are named after their regions.
fn is_in(node: &str, region: &str) -> bool {
    node.strip_prefix(region).is_some_and(|rest| rest.starts_with('-'))
}

fn turn() -> File {
    let path = std::env::temp_dir().join("hansa-tests-network.lock");
    let file = File::create(path).expect("a lock file");
    file.lock().expect("a turn");
    file
}

fn run(tool: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(tool).args(args).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(format!("{tool} {}: {why}", args.join(" ")))
        }
    }
}

fn inside(netns: &str, command: &[&str]) -> Result<(), String> {
    run("ip", &[&["netns", "exec", netns], command].concat())
}

impl Network {
    /// A place for each node, by name; the number of its region is the third part of its address.
    ///
    /// # Panics
    /// When the system refuses: ask [`missing`] first.
    pub fn lay<'a>(nodes: impl IntoIterator<Item = (&'a str, u8)>) -> Self {
        let turn = turn();
        let mut spots = BTreeMap::new();
        for (name, region) in nodes {
            let number = 10 + spots.len() as u8;
            let address = Ipv4Addr::new(NET[0], NET[1], region, number);
            spots.insert(name.to_owned(), Spot { netns: format!("hansa-{name}"), region, address });
        }
        let network = Self { nodes: spots, _turn: turn };
        network.take_down(); // What a killed run has left.
        network.build().expect("a network can be laid");
        network
    }

    fn build(&self) -> Result<(), String> {
        run("ip", &["netns", "add", ROUTER])?;
        inside(ROUTER, &["sysctl", "-qw", "net.ipv4.ip_forward=1"])?;
        let pair = ["link", "add", "hansa-test", "type", "veth", "peer", "name", "test", "netns"];
        run("ip", &[&pair[..], &[ROUTER]].concat())?;
        run("ip", &["addr", "add", TEST_SIDE, "dev", "hansa-test"])?;
        run("ip", &["link", "set", "hansa-test", "up"])?;
        inside(ROUTER, &["ip", "addr", "add", ROUTER_SIDE, "dev", "test"])?;
        inside(ROUTER, &["ip", "link", "set", "test", "up"])?;
        let router = ROUTER_SIDE.trim_end_matches("/30");
        run("ip", &["route", "add", "198.18.0.0/16", "via", router])?;
        for (number, spot) in self.nodes.values().enumerate() {
            let (netns, port) = (spot.netns.as_str(), format!("node{number}"));
            let address = spot.address.to_string();
            run("ip", &["netns", "add", netns])?;
            let pair = ["link", "add", &port, "netns", ROUTER, "type", "veth"];
            run("ip", &[&pair[..], &["peer", "name", "eth0", "netns", netns]].concat())?;
            inside(netns, &["ip", "link", "set", "lo", "up"])?;
            inside(netns, &["ip", "addr", "add", &format!("{address}/32"), "dev", "eth0"])?;
            inside(netns, &["ip", "link", "set", "eth0", "up"])?;
            inside(netns, &["ip", "route", "add", "169.254.0.1", "dev", "eth0"])?;
            inside(netns, &["ip", "route", "add", "default", "via", "169.254.0.1", "dev", "eth0"])?;
            inside(ROUTER, &["ip", "addr", "add", "169.254.0.1/32", "dev", &port])?;
            inside(ROUTER, &["ip", "link", "set", &port, "up"])?;
            inside(ROUTER, &["ip", "route", "add", &address, "dev", &port])?;
        }
        let chain = "{ type filter hook forward priority 0 ; }";
        inside(ROUTER, &["nft", "add", "table", "ip", "cuts"])?;
        inside(ROUTER, &["nft", "add", "chain", "ip", "cuts", "forward", chain])
    }

    fn take_down(&self) {
        for spot in self.nodes.values() {
            drop(run("ip", &["netns", "del", &spot.netns]));
        }
        drop(run("ip", &["netns", "del", ROUTER]));
        drop(run("ip", &["link", "del", "hansa-test"]));
    }

    #[must_use]
    pub fn address(&self, node: &str) -> IpAddr {
        self.nodes[node].address.into()
    }

    /// The namespace of each node.
    #[must_use]
    pub fn namespaces(&self) -> BTreeMap<String, String> {
        self.nodes.iter().map(|(name, spot)| (name.clone(), spot.netns.clone())).collect()
    }

    /// Nothing from one node reaches the other any more; what goes back does.
    pub fn cut_one_way(&self, from: &str, to: &str) {
        suite::fault("one-way cut between two nodes");
        self.drop_packets(from, to);
    }

    fn drop_packets(&self, from: &str, to: &str) {
        let (from, to) = (self.address(from).to_string(), self.address(to).to_string());
        let rule = ["nft", "add", "rule", "ip", "cuts", "forward", "ip", "saddr", &from];
        inside(ROUTER, &[&rule[..], &["ip", "daddr", &to, "drop"]].concat()).expect("a rule");
    }

    /// Nothing passes between two regions; clients still reach both.
    pub fn cut_regions(&self, one: &str, other: &str) {
        suite::fault("cut between two regions");
        self.drop_between(one, other);
        self.drop_between(other, one);
    }

    /// Nothing from one region reaches the other any more; what goes back does.
    pub fn cut_regions_one_way(&self, from: &str, to: &str) {
        suite::fault("one-way cut between two regions");
        self.drop_between(from, to);
    }

    fn drop_between(&self, from: &str, to: &str) {
        for one in self.nodes.keys().filter(|node| is_in(node, from)) {
            for other in self.nodes.keys().filter(|node| is_in(node, to)) {
                self.drop_packets(one, other);
            }
        }
    }

    /// Cuts a node off from all other nodes; clients still reach it.
    pub fn isolate(&self, node: &str) {
        suite::fault("node cut off");
        for other in self.nodes.keys().filter(|other| *other != node) {
            self.drop_packets(node, other);
            self.drop_packets(other, node);
        }
    }

    /// Mends all cuts.
    pub fn heal(&self) {
        inside(ROUTER, &["nft", "flush", "chain", "ip", "cuts", "forward"]).expect("a flush");
    }

    /// Holds back every packet between two regions by `one_way`, in both directions.
    ///
    /// # Errors
    /// Why packets cannot be held back here.
    pub fn delay(&self, one_way: std::time::Duration) -> Result<Delay, String> {
        const QUEUE: u16 = 7;
        let regions: std::collections::BTreeSet<u8> =
            self.nodes.values().map(|spot| spot.region).collect();
        let delay = Delay::start(ROUTER, QUEUE, one_way)?;
        let tool = match run("iptables-legacy", &["-V"]) {
            Ok(()) => "iptables-legacy",
            Err(_) => "iptables",
        };
        for from in &regions {
            for to in regions.iter().filter(|to| *to != from) {
                let net = |region: &u8| format!("{}.{}.{region}.0/24", NET[0], NET[1]);
                let (from, to, queue) = (net(from), net(to), QUEUE.to_string());
                let rule = [tool, "-A", "FORWARD", "-s", &from, "-d", &to, "-j", "NFQUEUE"];
                inside(ROUTER, &[&rule[..], &["--queue-num", &queue]].concat())?;
            }
        }
        Ok(delay)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.take_down();
    }
}
