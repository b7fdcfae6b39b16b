//! A node's configuration: one strict file, printable with every default filled in.
//!
//! The league is written once and is the same file part for every node; `region` and `name` say
//! which of its nodes this one is, and its id, roles and groups follow from that.

use std::net::SocketAddr;
use std::path::PathBuf;

use hansa_consensus::Profile;
use hansa_node::config::{Checked, Problems};
use hansa_node::telemetry;
use hansa_region_router::core::directory::NodeRole;
use hansa_types::id::{GroupId, GroupKind, NodeId};
use hansa_types::identity::SpiffeId;
use hansa_types::region::{RegionName, RegionNumber};
use serde::{Deserialize, Serialize};

/// Everything that one node is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This node's region and name: one of the league's nodes below.
    pub region: RegionName,
    pub name: String,
    #[serde(default = "default_trust_domain")]
    pub trust_domain: String,
    /// Everything durable lies below.
    pub data_dir: PathBuf,
    /// This node comes after the region's beginning: it has the directory take it in, hosts its
    /// groups with no members and waits until `hansactl member add` names it. Its id in the league
    /// may be 0: the directory then gives it one.
    #[serde(default)]
    pub join: bool,
    /// The residency policy: a newer version is loaded by the running region.
    pub residency_file: PathBuf,
    /// Longest time that a stop may take.
    #[serde(default = "default_drain_ms")]
    pub drain_ms: u64,
    pub tls: Tls,
    pub listen: Listen,
    #[serde(default)]
    pub groups: Groups,
    #[serde(default)]
    pub log: Log,
    #[serde(default)]
    pub telemetry: telemetry::Config,
    #[serde(default)]
    pub orders: hansa_orders::config::Config,
    #[serde(default)]
    pub gateway: hansa_gateway::config::Config,
    pub league: Vec<Region>,
}

fn default_trust_domain() -> String {
    "hansa".to_owned()
}

fn default_drain_ms() -> u64 {
    15_000
}

/// Our certificate; files are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub ca: PathBuf,
    #[serde(default = "default_reload_ms")]
    pub reload_ms: u64,
}

fn default_reload_ms() -> u64 {
    10_000
}

/// Where this node listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Clients, mTLS; only with the role gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public: Option<SocketAddr>,
    /// Nodes, mTLS.
    pub internal: SocketAddr,
    /// `/metrics`, `/healthz`, `/readyz`: plain HTTP, so loopback or a private network only.
    pub metrics: SocketAddr,
}

/// How many groups of each kind the region has. Fixed when its directory is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Groups {
    pub orders: u16,
    pub inventory: u16,
    pub payments: u16,
    /// The stock and money books of an orders group's index lie in its own log, rather than each in
    /// a log of theirs. Only with one orders group.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub joint: bool,
}

impl Default for Groups {
    fn default() -> Self {
        Self { orders: 1, inventory: 1, payments: 1, joint: false }
    }
}

impl Groups {
    /// Groups of each kind of books that lie in orders groups: those with the first indexes.
    #[must_use]
    pub fn parts(&self) -> u16 {
        if self.joint { self.orders } else { 0 }
    }
}

/// The replicated log of this node's groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// standard: fails over within 3 s; noisy-disk: for disks that stall; quick: for tests.
    pub profile: Profile,
    /// Size of a segment file, allocated in full before it is used.
    pub segment_mib: u32,
    /// Above this size the log is made smaller (docs/disk.md); at least four segments.
    pub disk_mib: u32,
    /// A checkpoint is due after this many entries.
    pub checkpoint_entries: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            profile: Profile::Standard,
            segment_mib: 64,
            disk_mib: 1_024,
            checkpoint_entries: 200_000,
        }
    }
}

/// A region of the league, as every node must know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    pub name: RegionName,
    /// Given once, never reused: it is part of every order id.
    pub number: RegionNumber,
    /// What clients dial, `host:port`.
    pub public: Vec<String>,
    pub nodes: Vec<Node>,
}

/// A process of a region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Given once, never reused with an empty log.
    pub id: NodeId,
    /// The last part of its SPIFFE id.
    pub name: String,
    /// `host:port` of its internal listener.
    pub internal: String,
    pub roles: Vec<NodeRole>,
}

impl Config {
    /// This region, as the league lists it. `check` has seen to it that it does.
    #[must_use]
    pub fn own_region(&self) -> Option<&Region> {
        self.league.iter().find(|region| region.name == self.region)
    }

    /// This node, as the league lists it.
    #[must_use]
    pub fn own_node(&self) -> Option<&Node> {
        self.own_region()?.nodes.iter().find(|node| node.name == self.name)
    }

    #[must_use]
    pub fn has(&self, role: NodeRole) -> bool {
        self.own_node().is_some_and(|node| node.roles.contains(&role))
    }

    /// The same config with another id for this node: the one that the directory gave it.
    #[must_use]
    pub fn with_own_id(mut self, id: NodeId) -> Self {
        let (region, name) = (self.region.clone(), self.name.clone());
        let own = self.league.iter_mut().filter(|known| known.name == region);
        own.flat_map(|region| &mut region.nodes)
            .filter(|node| node.name == name)
            .for_each(|node| node.id = id);
        self
    }

    /// Nodes of this region with a role, in order of their ids.
    #[must_use]
    pub fn members(&self, role: NodeRole) -> Vec<NodeId> {
        let nodes = self.own_region().map_or(&[][..], |region| &region.nodes);
        let mut members: Vec<_> =
            nodes.iter().filter(|node| node.roles.contains(&role)).map(|node| node.id).collect();
        members.sort_unstable();
        members
    }

    /// Every group of this region with its members; those that lie in another's log have none.
    #[must_use]
    pub fn region_groups(&self) -> Vec<(GroupId, Vec<NodeId>)> {
        let parts = self.groups.parts();
        let kinds = [
            (GroupKind::Directory, NodeRole::Directory, 1, 0),
            (GroupKind::Orders, NodeRole::Orders, self.groups.orders, 0),
            (GroupKind::Inventory, NodeRole::Inventory, self.groups.inventory, parts),
            (GroupKind::Payments, NodeRole::Payments, self.groups.payments, parts),
        ];
        let groups = kinds.into_iter().flat_map(|(kind, role, count, parts)| {
            let members = self.members(role);
            let of = move |index| if index < parts { Vec::new() } else { members.clone() };
            (0..count).map(move |index| (GroupId::new(kind, index), of(index)))
        });
        groups.collect()
    }
}

/// Groups of one kind: a few dozen replicas per node is what a host bears when idle.
const GROUPS_MAX: u16 = 16;
const ROLES: [NodeRole; 4] =
    [NodeRole::Directory, NodeRole::Orders, NodeRole::Inventory, NodeRole::Payments];

impl Checked for Config {
    fn check(&self, problems: &mut Problems) {
        problems.must(
            self.own_node().is_some(),
            "name",
            format!("{} in {}", self.name, self.region),
            "a node of its region in [[league]]",
        );
        let gateway = self.has(NodeRole::Gateway);
        problems.must(
            self.listen.public.is_some() == gateway,
            "listen.public",
            if gateway { "missing" } else { "set" },
            "set exactly when the node has the role gateway",
        );
        problems.range("drain_ms", self.drain_ms, 100..=600_000);
        problems.range("tls.reload_ms", self.tls.reload_ms, 100..=3_600_000);
        for (key, count) in [
            ("groups.orders", self.groups.orders),
            ("groups.inventory", self.groups.inventory),
            ("groups.payments", self.groups.payments),
        ] {
            problems.range(key, count, 1..=GROUPS_MAX);
        }
        self.check_joint(problems);
        problems.range("log.segment_mib", self.log.segment_mib, 8..=256);
        let four_segments = self.log.segment_mib.saturating_mul(4);
        problems.range("log.disk_mib", self.log.disk_mib, four_segments..=1 << 20);
        problems.range("log.checkpoint_entries", self.log.checkpoint_entries, 100..=100_000_000);
        let identity = SpiffeId::node(&self.trust_domain, &self.region, &self.name);
        problems.must(
            identity.is_ok(),
            "trust_domain",
            &self.trust_domain,
            "letters, digits and hyphens, and the name too: they form the SPIFFE id",
        );
        if let Err(bad) = self.orders.check() {
            problems.must(false, &format!("orders.{}", bad.key), &bad.value, &bad.range);
        }
        problems.within("gateway", &self.gateway);
        self.check_league(problems);
    }
}

impl Config {
    /// A backup's cut needs orders and their books at one index, so there is one such group; and
    /// whoever keeps it serves all that is in it.
    fn check_joint(&self, problems: &mut Problems) {
        if !self.groups.joint {
            return;
        }
        let only = "1 where groups.joint is set";
        problems.must(self.groups.orders == 1, "groups.orders", self.groups.orders, only);
        let nodes = self.own_region().map_or(&[][..], |region| &region.nodes);
        for node in nodes.iter().filter(|node| node.roles.contains(&NodeRole::Orders)) {
            let books = [NodeRole::Inventory, NodeRole::Payments];
            let all = books.iter().all(|role| node.roles.contains(role));
            let key = format!("league.{}.nodes.{}.roles", self.region, node.name);
            let range = "inventory and payments beside orders, where groups.joint is set";
            problems.must(all, &key, "orders", range);
        }
    }

    fn check_league(&self, problems: &mut Problems) {
        let regions = self.league.iter();
        unique(problems, "league.name", regions.clone().map(|region| region.name.to_string()));
        unique(problems, "league.number", regions.clone().map(|region| region.number.to_string()));
        let nodes = regions.flat_map(|region| &region.nodes);
        unique(problems, "league.nodes.id", nodes.clone().map(|node| node.id.to_string()));
        for node in nodes {
            let fits = node.internal.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
            });
            problems.must(fits, "league.nodes.internal", &node.internal, "host:port");
        }
        for region in &self.league {
            let names = region.nodes.iter().map(|node| node.name.clone());
            unique(problems, &format!("league.{}.nodes.name", region.name), names);
        }
        for role in ROLES {
            let key = format!("league.{}.nodes", self.region);
            let some = !self.members(role).is_empty();
            problems.must(some, &key, role.as_str(), "a role of at least one node of the region");
        }
    }
}

fn unique(problems: &mut Problems, key: &str, values: impl Iterator<Item = String>) {
    let mut seen = std::collections::BTreeSet::new();
    for value in values {
        problems.must(seen.insert(value.clone()), key, &value, "given once");
    }
}

#[cfg(test)]
mod tests;
