//! Which nodes a development league has, and where. Pure but for asking the system for free ports.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context;
use hansa_consensus::Profile as Timing;
use hansa_node::env::test::own_address;
use hansa_node::telemetry;
use hansa_orders::config::Vault;
use hansa_region_router::core::directory::NodeRole;
use hansa_types::id::NodeId;
use hansa_types::region::RegionName;

use crate::config::{self, Config, Groups, Listen, Log, Tls};
use crate::profile::{self, Profile};

/// Name and number; the shipped residency policy names the same four. New ones come last: a test
/// takes as many as it needs, in this order.
const REGIONS: [(&str, u16); 4] =
    [("eu-west", 1), ("us-east", 2), ("ap-south", 3), ("eu-central", 4)];
const NODES: usize = 3;

/// Clients of the shipped authorization policy: one for each role.
pub const CLIENTS: [&str; 6] =
    ["storefront", "warehouse", "finance", "operator", "auditor", "approver"];

/// Ports of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ports {
    public: u16,
    internal: u16,
    metrics: u16,
}

/// The shape of a development league.
#[derive(Clone, Debug)]
pub struct Layout {
    host: Ipv4Addr,
    ports: Vec<Ports>,
    pub groups: Groups,
    pub timing: Timing,
    pub telemetry: telemetry::Config,
}

impl Layout {
    /// Ports from `base` on: public `base + 11…43` (region, then node), internal 100 and metrics
    /// 200 above.
    ///
    /// # Errors
    /// When they do not fit below 65536.
    pub fn at(base: u16) -> anyhow::Result<Self> {
        let port = |offset: usize| {
            let port = usize::from(base) + offset;
            u16::try_from(port).context("--base-port is too high: 244 ports follow it")
        };
        let mut ports = Vec::new();
        for region in 1..=REGIONS.len() {
            for node in 1..=NODES {
                let offset = region * 10 + node;
                let (public, internal) = (port(offset)?, port(100 + offset)?);
                ports.push(Ports { public, internal, metrics: port(200 + offset)? });
            }
        }
        Ok(Self::with(ports))
    }

    /// Ports that are free now.
    ///
    /// # Errors
    /// What the system says.
    pub fn anywhere() -> anyhow::Result<Self> {
        // All are held until the last one is known, so that none is given twice.
        let held: Vec<TcpListener> = (0..REGIONS.len() * NODES * 3)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .collect::<Result<_, _>>()
            .context("no free port")?;
        let mut free = Vec::with_capacity(held.len());
        for listener in &held {
            free.push(listener.local_addr()?.port());
        }
        let ports = free.chunks_exact(3).map(|three| Ports {
            public: three[0],
            internal: three[1],
            metrics: three[2],
        });
        Ok(Self::with(ports.collect()))
    }

    /// For a test whose nodes go down and come up again: at an address of its own, where no port is
    /// taken meanwhile.
    ///
    /// # Errors
    /// What the system says.
    pub fn apart() -> anyhow::Result<Self> {
        let (host, free) = (own_address(), Self::anywhere()?);
        Ok(Self { host, ..free })
    }

    /// The same league with its first regions only.
    #[must_use]
    pub fn first(mut self, regions: usize) -> Self {
        self.ports.truncate(regions * NODES);
        self
    }

    fn with(ports: Vec<Ports>) -> Self {
        let (host, telemetry) = (Ipv4Addr::LOCALHOST, telemetry::Config::default());
        Self { host, ports, groups: Groups::default(), timing: Timing::Standard, telemetry }
    }

    /// Region, number, and its nodes' 1-based number with their ports.
    fn regions(&self) -> impl Iterator<Item = (&'static str, u16, Vec<(usize, Ports)>)> {
        REGIONS.into_iter().zip(self.ports.chunks(NODES)).map(|((name, number), ports)| {
            (name, number, (1..).zip(ports.iter().copied()).collect())
        })
    }

    /// One config per node; certificates are filled in by whoever makes them.
    ///
    /// # Errors
    /// None with the regions above.
    pub fn configs(&self, data: &Path, trust_domain: &str) -> anyhow::Result<Vec<Config>> {
        let mut league = Vec::with_capacity(REGIONS.len());
        for (name, number, nodes) in self.regions() {
            league.push(region(name, number, self.host, &nodes)?);
        }
        let mut configs = Vec::new();
        for (name, _, nodes) in self.regions() {
            let shared = data.join(name);
            for (node, ports) in nodes {
                let at = |port| SocketAddr::from((self.host, port));
                let data_dir = shared.join(format!("{name}-{node}"));
                let defaults = hansa_orders::config::Config::default();
                // One account at the provider for all regions that may take each other over: it is
                // a third party, and remembers a charge whichever of them made it.
                let account = name.split('-').next().unwrap_or(name);
                let journal = data.join(format!("sandbox-{account}.journal"));
                let orders = hansa_orders::config::Config {
                    vault: Vault::File { path: shared.join("vault.key") },
                    provider: hansa_orders::config::Sandbox { journal, ..defaults.provider },
                    ..defaults
                };
                configs.push(Config {
                    region: name.parse()?,
                    name: format!("{name}-{node}"),
                    trust_domain: trust_domain.to_owned(),
                    tls: Tls {
                        cert: PathBuf::new(),
                        key: PathBuf::new(),
                        ca: PathBuf::new(),
                        reload_ms: 10_000,
                    },
                    listen: Listen {
                        public: Some(at(ports.public)),
                        internal: at(ports.internal),
                        metrics: at(ports.metrics),
                    },
                    residency_file: data.join("policy/residency.toml"),
                    join: false,
                    groups: self.groups,
                    // Twelve logs on one disk: small segments, each allocated in full.
                    log: Log { profile: self.timing, segment_mib: 16, ..Log::default() },
                    telemetry: self.telemetry.clone(),
                    orders,
                    gateway: hansa_gateway::config::Config {
                        authz_file: Some(data.join("policy/authz.toml")),
                        ..Default::default()
                    },
                    drain_ms: 10_000,
                    league: league.clone(),
                    data_dir,
                });
            }
        }
        Ok(configs)
    }

    /// What clients need to know.
    ///
    /// # Errors
    /// None with the regions above.
    pub fn profile(
        &self,
        ca: PathBuf,
        clients: BTreeMap<String, profile::Client>,
    ) -> anyhow::Result<Profile> {
        let mut regions = BTreeMap::new();
        for (name, _, nodes) in self.regions() {
            let endpoints =
                nodes.iter().map(|(_, ports)| endpoint(self.host, ports.public)).collect();
            regions.insert(name.parse::<RegionName>()?, profile::Region { endpoints });
        }
        Ok(Profile { region: REGIONS[0].0.parse()?, ca, regions, clients })
    }
}

fn region(
    name: &str,
    number: u16,
    host: Ipv4Addr,
    nodes: &[(usize, Ports)],
) -> anyhow::Result<config::Region> {
    let node = |(node, ports): &(usize, Ports)| config::Node {
        id: NodeId(u64::from(number) * 10 + *node as u64),
        name: format!("{name}-{node}"),
        internal: endpoint(host, ports.internal),
        roles: NodeRole::ALL.to_vec(),
    };
    Ok(config::Region {
        name: name.parse()?,
        number: number.try_into()?,
        public: nodes.iter().map(|(_, ports)| endpoint(host, ports.public)).collect(),
        nodes: nodes.iter().map(node).collect(),
    })
}

fn endpoint(host: Ipv4Addr, port: u16) -> String {
    format!("{host}:{port}")
}

#[cfg(test)]
mod tests {
    use hansa_node::config::{self as strict};

    use super::*;

    #[test]
    fn every_config_of_the_league_is_a_good_one() {
        let layout = Layout::at(7_400).expect("ports");
        let configs = layout.configs(Path::new("/data"), "hansa").expect("configs");
        assert_eq!(configs.len(), 12);
        for config in configs {
            let text = strict::print(&config).expect("prints");
            let again: Config = strict::parse(Path::new("x"), &text).expect("strict");
            assert_eq!(again, config);
            assert_eq!(config.region_groups().len(), 4);
        }
    }

    #[test]
    fn no_two_nodes_share_a_port_or_a_folder() {
        let mut seen = std::collections::BTreeSet::new();
        for config in Layout::at(7_400).expect("ports").configs(Path::new("/d"), "h").expect("ok") {
            let Listen { public, internal, metrics } = config.listen;
            for port in [public.expect("a gateway"), internal, metrics] {
                assert!(seen.insert(port.to_string()), "{port}");
            }
            assert!(seen.insert(config.data_dir.display().to_string()));
        }
    }

    #[test]
    fn a_smaller_league_is_the_beginning_of_the_whole_one() {
        let two = Layout::at(7_400).expect("ports").first(2);
        let configs = two.configs(Path::new("/data"), "hansa").expect("configs");
        assert_eq!(configs.len(), 6);
        assert!(configs.iter().all(|config| config.league.len() == 2));
        let clients = BTreeMap::new();
        assert_eq!(two.profile(PathBuf::new(), clients).expect("a profile").regions.len(), 2);
    }

    #[test]
    fn a_base_that_is_too_high_is_refused() {
        assert!(Layout::at(65_400).is_err());
    }
}
