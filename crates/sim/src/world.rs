//! The league of a plan: configs, disks, clocks, and what the nodes of a region share.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use hansa::config::{Config, Node};
use hansa::league::layout::Layout;
use hansa_orders::provider::SandboxProvider;
use hansa_types::id::NodeId;
use hansa_types::region::RegionName;
use hansa_wal::fs::{Fs as _, SimFs};

use crate::clock::{HostClock, TrueClock};
use crate::dice::Dice;
use crate::host::Seat;
use crate::plan::Plan;
use crate::provider::ThirdParty;

pub const TRUST_DOMAIN: &str = "hansa";
/// Machines of a region, without its spare.
pub const SEATS: usize = 3;
/// How long stock is held unless the hold is extended.
pub const HOLD_MS: u64 = 10_000;
const PUBLIC: u16 = 7_000;
const INTERNAL: u16 = 7_100;
const RESIDENCY: &str = include_str!("../../../deploy/policy/residency.toml");
const AUTHZ: &str = include_str!("../../../deploy/policy/authz.toml");
/// Nobody reads a certificate here, but a sweep of what lies beside the nodes.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
const WORLD: u64 = 3;

/// One region of a simulated league.
pub struct Region {
    pub name: RegionName,
    /// A country whose customers are at home here.
    pub country: &'static str,
    pub currency: &'static str,
    /// Three, and the spare if there is one.
    pub seats: Vec<Arc<Seat>>,
    pub provider: Arc<ThirdParty>,
    /// `host:port` of its gateways.
    pub doors: Vec<String>,
}

/// Everything that outlives a process.
pub struct League {
    pub regions: Vec<Region>,
}

/// Country and currency of each region's customers.
const CUSTOMERS: [(&str, &str); 3] = [("DE", "EUR"), ("US", "USD"), ("IN", "INR")];
/// The region that may own what is born in the first, by the shipped policy.
const HEIR: &str = "eu-central";
const FIRST: &str = "eu-west";

/// The policy of a version, the same for every region: what it takes from the copies of American
/// orders in Europe, the next one gives them.
///
/// # Panics
/// When the shipped policy has no such lines any more.
#[must_use]
pub fn law(version: u64) -> String {
    let text = RESIDENCY.replacen("version = 1", &format!("version = {version}"), 1);
    if version % 2 == 1 {
        return text;
    }
    let mut wide = text.clone();
    for class in ["PERSONAL", "FINANCIAL"] {
        let narrow = format!("{class} = {{ store = [\"US\"], transit = true }}");
        let rule = format!(
            "{class} = {{ store = [\"US\", \"EU\"], transit = true, failover = [\"eu-west\"] }}"
        );
        wide = wide.replacen(&narrow, &rule, 1);
    }
    assert_ne!(wide, text, "the shipped policy has changed");
    wide
}

impl League {
    /// # Errors
    /// A layout that does not make configs.
    pub fn build(plan: &Plan) -> anyhow::Result<Self> {
        let mut dice = Dice::of(plan.seed, WORLD);
        let configs = configs(plan)?;
        let mut regions: Vec<Region> = Vec::new();
        for (number, configs) in configs.chunks(SEATS).enumerate() {
            let first = configs.first().context("a region without nodes")?;
            let shared = shared(first, &mut dice).context("the shared disk")?;
            let late_ms = first.orders.provider.late_ms;
            let provider = match regions.first() {
                // One account for who may take each other over: it remembers what either charged.
                Some(first) if plan.shape.heir && number == 1 => first.provider.clone(),
                _ => {
                    let clock = Arc::new(TrueClock::default());
                    ThirdParty::new(SandboxProvider::apart(late_ms, clock))
                }
            };
            let mut seat = |config: &Config| {
                let skew = plan.shape.skew_ms;
                let ahead = dice.within(0, 2 * skew) as i64 - skew as i64;
                Arc::new(Seat::new(
                    config.clone(),
                    SimFs::new(dice.number()),
                    shared.clone(),
                    HostClock::new(ahead),
                    provider.clone(),
                    dice.number(),
                ))
            };
            let mut seats: Vec<Arc<Seat>> = configs.iter().map(&mut seat).collect();
            if plan.shape.spare && number == 0 {
                seats.push(seat(&spare(first)?));
            }
            let (country, currency) = CUSTOMERS[match number {
                // The customers whom an heir serves are those of the first region.
                1.. if plan.shape.heir => number - 1,
                number => number,
            }];
            let doors = configs.iter().map(|config| format!("{}:{PUBLIC}", config.name)).collect();
            regions.push(Region {
                name: first.region.clone(),
                country,
                currency,
                seats,
                provider,
                doors,
            });
        }
        Ok(Self { regions })
    }

    /// Every machine, region by region.
    pub fn seats(&self) -> impl Iterator<Item = &Arc<Seat>> {
        self.regions.iter().flat_map(|region| &region.seats)
    }
}

/// The config of a fourth machine: the directory takes its node in when it starts.
fn spare(first: &Config) -> anyhow::Result<Config> {
    let mut config = first.clone();
    config.name = format!("{}-{}", first.region, SEATS + 1);
    config.join = true;
    config.data_dir.set_file_name(&config.name);
    let own = first.own_node().context("a config that does not name its own node")?;
    let roles = own.roles.clone();
    let internal = format!("{}:{INTERNAL}", config.name);
    let own = Node { id: NodeId(0), name: config.name.clone(), internal, roles };
    let region = config.league.first_mut().context("a league without regions")?;
    region.nodes.push(own);
    Ok(config)
}

fn configs(plan: &Plan) -> anyhow::Result<Vec<Config>> {
    let layout = Layout::at(PUBLIC)?;
    let mut configs = layout.configs(Path::new("/data"), TRUST_DOMAIN)?;
    if plan.shape.heir {
        let place = |config: &Config| match config.region.as_str() {
            FIRST => 0,
            HEIR => 1,
            _ => 2,
        };
        configs.sort_by_key(place);
    }
    configs.truncate(plan.shape.regions * SEATS);
    let kept: Vec<RegionName> = configs.iter().map(|config| config.region.clone()).collect();
    for (nth, config) in configs.iter_mut().enumerate() {
        config.league.retain(|region| kept.contains(&region.name));
        for region in &mut config.league {
            for node in &mut region.nodes {
                node.internal = format!("{}:{INTERNAL}", node.name);
            }
            region.public =
                region.nodes.iter().map(|node| format!("{}:{PUBLIC}", node.name)).collect();
        }
        let any = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        config.listen.public = Some(any(PUBLIC));
        config.listen.internal = any(INTERNAL);
        small(config, plan);
        config.groups.joint = plan.shape.joint[nth / SEATS];
    }
    Ok(configs)
}

/// A stop waits this long for what does not end by itself: connections to who is cut off. The
/// default is a third of a run's whole time.
const DRAIN_MS: u64 = 2_000;

/// Small thresholds and short lives, so that in half a minute happens what takes days.
fn small(config: &mut Config, plan: &Plan) {
    let [orders, inventory, payments] = plan.shape.groups;
    (config.groups.orders, config.groups.inventory) = (orders, inventory);
    config.groups.payments = payments;
    config.log.segment_mib = 1;
    config.drain_ms = DRAIN_MS;
    let file = |name: &str| PathBuf::from("/data/tls").join(name);
    let tls = &mut config.tls;
    (tls.cert, tls.key, tls.ca) = (file("node.crt"), file("node.key"), file("ca.crt"));
    config.log.checkpoint_entries = plan.shape.checkpoint_entries;
    config.log.profile = match plan.shape.quick {
        true => hansa_consensus::Profile::Quick,
        false => hansa_consensus::Profile::Standard,
    };
    let saga = &mut config.orders.saga;
    (saga.hold_ttl_ms, saga.hold_cap_ms, saga.park_after_ms) = (HOLD_MS, 20_000, 60_000);
    let provider = &mut config.orders.provider;
    (provider.late_ms, provider.settle_ms, provider.timeout_ms) = (1_500, 3_000, 500);
}

/// The disk that a region's nodes share: its policies, and the vault's key once made; what charges
/// the provider made, and certificates, are elsewhere.
fn shared(config: &Config, dice: &mut Dice) -> anyhow::Result<SimFs> {
    let fs = SimFs::new(dice.number());
    let authz = config.gateway.authz_file.clone().unwrap_or_else(|| PathBuf::from("/authz.toml"));
    let tls = &config.tls;
    let files = [
        (&config.residency_file, RESIDENCY),
        (&authz, AUTHZ),
        (&tls.cert, CERTIFICATE),
        (&tls.key, CERTIFICATE),
        (&tls.ca, CERTIFICATE),
        (&config.orders.provider.journal, ""),
    ];
    for (path, text) in files {
        let folder = path.parent().context("a policy without a folder")?;
        fs.create_dir_all(folder)?;
        let file = fs.create(path)?;
        file.write_at(text.as_bytes(), 0)?;
        file.sync_data()?;
        fs.sync_dir(folder)?;
    }
    let vault = config.orders.vault.file().and_then(Path::parent);
    let vault = vault.context("a vault without a folder")?;
    fs.create_dir_all(vault)?;
    Ok(fs)
}
