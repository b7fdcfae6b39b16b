//! The orders role of a node: what it starts, and its handle.

mod copies;
mod custody;
mod keeper;
mod movers;
mod opens;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::pb::admin::key_service_server::KeyServiceServer;
use hansa_api::pb::customer::customer_service_server::CustomerServiceServer;
use hansa_api::pb::inventory::inventory_service_server::InventoryServiceServer;
use hansa_api::pb::node::node_intake_service_server::NodeIntakeServiceServer;
use hansa_api::pb::node::node_replication_service_server::NodeReplicationServiceServer;
use hansa_api::pb::node::node_takeover_service_server::NodeTakeoverServiceServer;
use hansa_api::pb::order::order_service_server::OrderServiceServer;
use hansa_api::pb::payment::payment_service_server::PaymentServiceServer;
use hansa_api::pb::replication::home_service_server::HomeServiceServer;
use hansa_api::pb::replication::replication_service_server::ReplicationServiceServer;
use hansa_api::status::Failure;
use hansa_consensus::{GroupSpec, Host, Mark};
use hansa_node::env::{Entropy, Env};
use hansa_node::net::Net;
use hansa_node::peers::Peers;
use hansa_node::tasks::OnError;
use hansa_region_router::book::Book;
use hansa_region_router::core::directory::Snapshot;
use hansa_types::id::{GroupId, GroupKind, OrderId};
use hansa_types::limits::{MESSAGE_BYTES_MAX, PEER_MESSAGE_BYTES_MAX};
use hansa_types::region::RegionName;
use hansa_wal::fs::Fs;
use thiserror::Error;
use tokio::sync::watch::Sender;
use tokio::time::Instant;
use tonic::service::Routes;

use crate::config::{self, BadConfig, Config, Sandbox};
use crate::core::command::{Command, Outcome};
use crate::core::invariants::{self, Violation};
use crate::core::settings::Settings;
use crate::crosscheck::{self, Finding};
use crate::map::Map;
use crate::provider::{Provider, SandboxProvider};
use crate::replicate::status::NodeReplication;
use crate::replicate::{Freshness, Heard, Lag, Lags, Receiver, purge, wants};
use crate::saga::{Desk, Hold, Reconciler, Repairer, Runner};
use crate::service::Service;
use crate::shell::intake::Intake;
use crate::shell::lease::{Gate, Lease, Renewer};
use crate::shell::room::Room;
use crate::shell::waiters::Waiters;
use crate::shell::{Hosted, Shell, Trust};
use crate::takeover::{self, NodeTakeover};
use crate::vault::{FileVault, HashicorpVault, KeyInfo, Keyring, Vault, VaultError};
pub use copies::RestoreStatus;
use custody::{Custody, First};
use keeper::Keeper;
pub(crate) use keeper::{alive_again, destroy_after_ms};
use movers::Movers;
pub use opens::Opens;

#[derive(Debug, Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] BadConfig),
    #[error("vault {path}: {source}")]
    Vault { path: String, source: VaultError },
    #[error(transparent)]
    Custody(#[from] custody::Error),
    #[error("sandbox journal {path}: {source}")]
    Journal { path: String, source: std::io::Error },
    #[error(transparent)]
    Group(#[from] hansa_consensus::StartError),
    #[error("the books in group {group}: {source}")]
    Books { group: GroupId, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the directory does not list its own region")]
    Directory,
}

/// What the role reaches for besides its groups and peers.
pub struct Around {
    pub vault: Arc<dyn Vault>,
    pub provider: Arc<dyn Provider>,
    pub opens: Arc<dyn Opens>,
}

impl Around {
    /// The vault that the config names, files on `fs`, the sandbox with its journal on this
    /// machine's disk.
    ///
    /// # Errors
    /// A key or a journal that cannot be used.
    pub fn of_config(
        env: &Env,
        cfg: &Config,
        fs: Arc<dyn Fs>,
        net: Arc<dyn Net>,
        opens: Arc<dyn Opens>,
    ) -> Result<Self, StartError> {
        let vault = Self::vault(env, cfg, fs, net)?;
        let Sandbox { journal, late_ms, remember_all, settlement, .. } = &cfg.provider;
        let provider = SandboxProvider::open(journal, *late_ms, env.clock.clone());
        let path = || journal.display().to_string();
        let provider = provider.map_err(|source| StartError::Journal { path: path(), source })?;
        let provider = provider.remembering(*remember_all).settling(settlement.as_deref());
        let provider = Arc::new(provider.map_err(|source| {
            let path = settlement.as_ref().map(|path| path.display().to_string());
            StartError::Journal { path: path.unwrap_or_default(), source }
        })?);
        Ok(Self { vault, provider, opens })
    }

    /// The vault that the config names: a file on `fs`, or a server that is reached over `net`.
    ///
    /// # Errors
    /// A file that cannot be used. A server is asked later.
    pub fn vault(
        env: &Env,
        cfg: &Config,
        fs: Arc<dyn Fs>,
        net: Arc<dyn Net>,
    ) -> Result<Arc<dyn Vault>, StartError> {
        let path = match &cfg.vault {
            config::Vault::File { path } => path,
            config::Vault::Hashicorp(cfg) => {
                return Ok(Arc::new(HashicorpVault::new(cfg, env, fs, net)));
            }
        };
        match FileVault::open(fs, path, env) {
            Ok(vault) => Ok(Arc::new(vault.looped(env.loops.as_ref()))),
            Err(source) => Err(StartError::Vault { path: path.display().to_string(), source }),
        }
    }
}

/// The orders role, running. Clones are one role.
#[derive(Clone)]
pub struct Orders {
    shell: Arc<Shell>,
    lags: Lags,
}

impl Orders {
    /// Starts the orders groups that the directory gives this node, with all that goes with them.
    ///
    /// Waits for the first directory snapshot. Tasks run until the node's stop token.
    pub async fn start(
        host: &Host,
        env: Env,
        peers: Peers,
        cfg: Config,
        book: Book,
        around: Around,
    ) -> Result<Self, StartError> {
        let Around { vault, provider, opens } = around;
        cfg.check()?;
        let now = book.ready().await;
        let region = now.own_region().ok_or(StartError::Directory)?.name.clone();
        let mut groups = BTreeMap::new();
        let lease = Lease::new(env.clock.clone());
        lease.follow(Gate::of(&now), &now.owned().collect());
        // All of them: a group that does not count on this node waits for the day it does.
        for id in now.groups.keys().filter(|id| id.kind() == GroupKind::Orders) {
            let with = (&lease, &env.entropy);
            let hosted = match start_group(host, &cfg, &now, (*id, opens.as_ref()), with).await {
                // Damage of one group: it is listed as stopped, the others go on.
                Err(StartError::Group(error)) if error.stops_group_only() => continue,
                started => started?,
            };
            // As early as this disk knows; what it does not know yet is watched for below.
            match custody::check(&hosted, vault.as_ref()).await {
                Err(error) if !error.passes() => return Err(error.into()),
                _ => {}
            }
            groups.insert(id.index(), Arc::new(hosted));
        }
        let shell = Arc::new(Shell {
            number: now.here,
            map: Map::new(book.clone()),
            keyring: Keyring::new(vault.clone(), env.entropy.clone()),
            vault,
            region,
            groups,
            freshness: Freshness::default(),
            heard: Heard::default(),
            closed: Default::default(),
            host: host.clone(),
            keys_changed: Arc::default(),
            closing: env.tasks.stop_token().child_token(),
            room: Room::default(),
            cfg,
            env,
            peers,
        });
        let first = now.groups.keys().find(|group| group.kind() == GroupKind::Orders);
        shell.groups.values().for_each(|hosted| guard(&shell, hosted, first));
        let desk = Desk::new(provider, &shell.cfg.provider, shell.env.clock.clone());
        let orders = Self { shell, lags: Lags::default() };
        let (env, peers) = (orders.shell.env.clone(), orders.shell.peers.clone());
        let first = Duration::from_millis(orders.shell.cfg.ask_first_ms);
        lease.ask_first(first);
        let renewer = Renewer { env, peers, book: book.clone(), lease, first };
        orders.shell.env.tasks.spawn("orders-lease", OnError::StopNode, renewer.run());
        orders.spawn(&Arc::new(desk), book);
        Ok(orders)
    }

    fn spawn(&self, desk: &Arc<Desk>, book: Book) {
        let env = &self.shell.env;
        let stop = env.tasks.stop_token();
        for hosted in self.shell.groups.values() {
            let id = hosted.group.id();
            let waker = watch::wake(hosted.clone(), stop.clone());
            env.tasks.spawn(format!("{id}-waker"), OnError::StopNode, waker);
            let runner = Runner::new(self.shell.clone(), hosted.clone(), desk.clone());
            env.tasks.spawn(format!("{id}-saga"), OnError::StopNode, runner.run());
            let (shell, provider) = (self.shell.clone(), desk.provider());
            let reconciler = Reconciler { shell, hosted: hosted.clone(), provider };
            env.tasks.spawn(format!("{id}-restored"), OnError::StopNode, reconciler.run());
            let (shell, provider) = (self.shell.clone(), desk.provider());
            let repairer = Repairer { shell, hosted: hosted.clone(), provider };
            env.tasks.spawn(format!("{id}-repairs"), OnError::StopNode, repairer.run());
            let auditor = watch::audit(hosted.clone(), stop.clone());
            env.tasks.spawn(format!("{id}-auditor"), OnError::Log, auditor);
            purge::start(&env.tasks, self.shell.clone(), hosted.clone(), book.clone());
            wants::start(&env.tasks, self.shell.clone(), hosted.clone());
            let (shell, provider) = (self.shell.clone(), desk.provider());
            let tail = takeover::Compensator { shell, hosted: hosted.clone(), provider };
            env.tasks.spawn(format!("{id}-tail"), OnError::StopNode, tail.run());
            let (shell, hosted, book) = (self.shell.clone(), hosted.clone(), book.clone());
            let births = takeover::Keeper { shell, hosted, book };
            env.tasks.spawn(format!("{id}-births"), OnError::StopNode, births.run());
        }
        let first = self.shell.map.first_orders_group().ok();
        for hosted in self.shell.groups.values() {
            let id = hosted.group.id();
            let (shell, hosted) = (self.shell.clone(), hosted.clone());
            let movers = Movers { shell: shell.clone(), hosted: hosted.clone() };
            env.tasks.spawn(format!("{id}-movers"), OnError::StopNode, movers.run());
            let keeper = Keeper { shell, hosted, first: first == Some(id) };
            env.tasks.spawn(format!("{id}-keys"), OnError::StopNode, keeper.run());
        }
        let shipping = watch::ship(self.shell.clone(), self.lags.clone(), book, stop);
        env.tasks.spawn("orders-shipping", OnError::StopNode, shipping);
    }

    /// OrderService, PaymentService and the internal ReplicationService.
    pub fn routes(&self, routes: Routes) -> Routes {
        let service = self.service();
        let orders =
            OrderServiceServer::new(service.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let payments =
            PaymentServiceServer::new(service).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let customers =
            CustomerServiceServer::new(self.service()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let keys = KeyServiceServer::new(self.service());
        let homes = HomeServiceServer::new(self.service());
        let homes = homes.max_decoding_message_size(PEER_MESSAGE_BYTES_MAX);
        let routes = routes.add_service(customers).add_service(keys).add_service(homes);
        let receiver = Receiver { shell: self.shell.clone() };
        let status = NodeReplicationServiceServer::new(self.replication());
        let replication = ReplicationServiceServer::new(receiver)
            .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX);
        let routes = routes.add_service(orders).add_service(payments);
        let births = NodeTakeoverServiceServer::new(NodeTakeover { shell: self.shell.clone() });
        let intake = NodeIntakeServiceServer::new(self.service());
        let routes = routes.add_service(intake.max_decoding_message_size(PEER_MESSAGE_BYTES_MAX));
        routes.add_service(replication).add_service(status).add_service(births)
    }

    /// InventoryService with `RecordShipment` alone: the one verb of it that is about an order.
    ///
    /// Mount it for the path [`Self::SHIPMENT_PATH`] only; the ledger serves the other verbs.
    pub fn shipments(&self) -> InventoryServiceServer<impl InventoryShipments> {
        InventoryServiceServer::new(self.service()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub const SHIPMENT_PATH: &str = "/hansa.inventory.v1.InventoryService/RecordShipment";

    pub(crate) fn shell(&self) -> Arc<Shell> {
        self.shell.clone()
    }

    /// The region's keys, as its vault has them now.
    ///
    /// # Errors
    /// The vault does not answer.
    pub async fn region_keys(&self) -> Result<Vec<KeyInfo>, Failure> {
        let keys = self.shell.vault.keys().await;
        keys.map_err(|error| crate::shell::keys::vault_failed(&error))
    }

    /// The heads that this node keeps of the groups of `region`.
    pub fn anchors(&self, region: &str) -> Vec<hansa_api::pb::admin::Anchor> {
        let kept = self.shell.host.kept_anchors(region);
        let anchor = |(group, epoch, mark): (u32, u64, Mark)| hansa_api::pb::admin::Anchor {
            group,
            epoch,
            index: mark.index,
            head: bytes::Bytes::copy_from_slice(&mark.head),
        };
        kept.into_iter().map(anchor).collect()
    }

    pub(crate) fn replication(&self) -> NodeReplication {
        NodeReplication { shell: self.shell.clone(), lags: self.lags.clone() }
    }

    fn service(&self) -> Service {
        Service { shell: self.shell.clone() }
    }

    /// The groups of which this node has a replica.
    pub fn groups(&self) -> Vec<GroupId> {
        self.shell.groups.values().map(|hosted| hosted.group.id()).collect()
    }

    /// How far each other region lags behind the groups that this node leads.
    pub fn lags(&self) -> Vec<(RegionName, u16, Lag)> {
        self.lags.all()
    }

    #[cfg(test)]
    pub(crate) fn streams(&self) -> Vec<(RegionName, u16, Lag, crate::replicate::Stream)> {
        self.lags.streams()
    }

    /// What does not hold of the invariants that lie with orders, per group, on this node's state.
    pub fn invariants(&self, max: usize) -> Vec<(GroupId, Vec<Violation>)> {
        let check = |hosted: &Arc<Hosted>| {
            let broken = hosted.group.peek(|machine| invariants::check(&machine.state, max));
            (hosted.group.id(), broken)
        };
        self.shell.groups.values().map(check).collect()
    }

    /// Every invariant that [`Self::invariants`] checks: number in domain.md §7 and name.
    pub fn invariant_names() -> Vec<(u32, &'static str)> {
        invariants::all().collect()
    }

    /// Checks what lies between orders and the ledger, for the groups that this node leads.
    pub async fn cross_check(&self, deadline: Instant) -> Vec<Finding> {
        crosscheck::run(&self.shell, deadline).await
    }

    /// Orders that need an operator, at most `max` per group.
    pub fn parked(&self, max: usize) -> Vec<String> {
        let hosted = self.shell.groups.values();
        let parked = hosted.flat_map(|hosted| {
            hosted.group.peek(|m| m.state.parked().take(max).copied().collect::<Vec<_>>())
        });
        parked.map(|id| self.shell.map.name_of(id)).collect()
    }

    /// # Errors
    /// The first group here that does not serve yet, because its vault is not known to be ours.
    pub fn ready(&self) -> Result<(), String> {
        let now = self.shell.map.now().ok();
        let counts_on_us = |hosted: &&Arc<Hosted>| {
            let members = now.as_ref().and_then(|now| now.groups.get(&hosted.group.id()));
            members.is_none_or(|members| members.contains(&hosted.group.node()))
        };
        let mut groups = self.shell.groups.values().filter(counts_on_us);
        match groups.find(|hosted| !hosted.trusts()) {
            Some(hosted) => Err(match &*hosted.trusted.borrow() {
                Trust::Lacks(why) => format!("{}: {why}", hosted.group.id()),
                Trust::Unbound | Trust::Ours => {
                    format!("{} has no vault bound yet", hosted.group.id())
                }
            }),
            None => Ok(()),
        }
    }

    /// Ends the watch streams of this node, each with the cursor to go on from elsewhere.
    ///
    /// For a drain: calls in flight may end by themselves, a watch never does.
    pub fn close_watches(&self) {
        self.shell.closing.cancel();
    }

    /// Lets a parked order try again.
    ///
    /// # Errors
    /// As the verbs: not the leader, no such order, not parked.
    pub async fn resume(&self, order: OrderId, deadline: Instant) -> Result<(), Failure> {
        let hosted = self.shell.home_of(order)?;
        match hosted.submit(&Command::Resume { order }, deadline).await? {
            Outcome::Noted => Ok(()),
            Outcome::Refused(why) => Err(crate::shell::refusal(why)),
            _ => Err(Failure::of(hansa_api::status::Reason::Internal)),
        }
    }
}

/// What [`Orders::shipments`] serves.
pub trait InventoryShipments:
    hansa_api::pb::inventory::inventory_service_server::InventoryService
{
}

impl InventoryShipments for Service {}

/// Watches that the group is served with its own vault only.
fn guard(shell: &Arc<Shell>, hosted: &Arc<Hosted>, first: Option<&GroupId>) {
    let id = hosted.group.id();
    let first = match first {
        Some(first) if *first == id => First::This,
        Some(first) => {
            shell.groups.get(&first.index()).cloned().map_or(First::Elsewhere, First::Here)
        }
        None => First::Elsewhere,
    };
    let (hosted, vault, env) = (hosted.clone(), shell.vault.clone(), shell.env.clone());
    let tasks = env.tasks.clone();
    let custody = Custody { hosted, first, vault, env };
    tasks.spawn(format!("{id}-vault"), OnError::StopNode, custody.run());
}

async fn start_group(
    host: &Host,
    cfg: &Config,
    now: &Snapshot,
    (id, opens): (GroupId, &dyn Opens),
    (lease, entropy): (&Lease, &Arc<dyn Entropy>),
) -> Result<Hosted, StartError> {
    let first = now.groups.get(&id).filter(|members| members.contains(&host.node()));
    let members = first.cloned().unwrap_or_default();
    let groups = now.groups.keys().filter(|group| group.kind() == GroupKind::Orders).count();
    let settings = settings(cfg, now, id.index(), u16::try_from(groups).unwrap_or(u16::MAX));
    let spec = GroupSpec { id, members };
    let group = opens.open(host, now, spec, settings).await?;
    let (waiters, trusted, hold) =
        (Waiters::default(), Sender::new(Trust::Unbound), Hold::default());
    let (lease, entropy) = (lease.clone(), entropy.clone());
    let intake = Intake::new(id, cfg.intake);
    Ok(Hosted { group, waiters, trusted, hold, intake, lease, entropy })
}

/// The epoch in which a region begins, by its directory. A group's log begins in it for good: a
/// replica that reads the log from its beginning must decide what was decided then, whoever owns
/// the births by now.
const FIRST_EPOCH: u64 = 1;

fn settings(cfg: &Config, now: &Snapshot, index: u16, groups: u16) -> Settings {
    let saga = &cfg.saga;
    Settings {
        region: now.here,
        index,
        groups,
        epoch: FIRST_EPOCH,
        hold_ttl_ms: saga.hold_ttl_ms,
        hold_cap_ms: saga.hold_cap_ms,
        settle_ms: cfg.provider.settle_ms,
        funds_ttl_ms: saga.funds_ttl_ms,
        park_after_ms: saga.park_after_ms,
        key_ttl_ms: saga.key_ttl_ms,
        history_max: saga.history_max,
        // Not before all that asks for an order looks where they go.
        evict_after_ms: 0,
    }
}
