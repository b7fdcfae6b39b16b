//! Nodes with the orders role, in one process, and calls to them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::pb::Money;
use hansa_api::pb::ledger::ledger_command_service_server::LedgerCommandServiceServer;
use hansa_api::pb::order as wire;
use hansa_api::pb::order::order_service_server::OrderService;
use hansa_api::principal::{Principal, Role};
use hansa_api::status::{Failure, Reason};
use hansa_consensus::testing::{Cluster, PATIENCE, Settings, eventually, soon};
use hansa_consensus::{Group, GroupSpec, Host, Profile, Timing};
use hansa_node::devca::DevCa;
use hansa_node::layers::{self, Deadline};
use hansa_node::net::TlsNet;
use hansa_node::peers::{Address, Peers};
use hansa_node::tls::Identity;
use hansa_region_router::book::Book;
use hansa_region_router::core::directory as dir;
use hansa_region_router::core::policy::Policy;
use hansa_types::id::{GroupId, GroupKind, NodeId};
use hansa_types::region::{RegionName, RegionNumber};
use hansa_wal::fs::RealFs;
use tempfile::TempDir;
use tonic::Request;
use tonic::service::Routes;

use super::books::Books;
use crate::config::{Config, Keys, Vault};
use crate::core::settings;
use crate::crosscheck::Verdict;
use crate::machine::OrdersMachine;
use crate::service::Service;
use crate::shell::Hosted;
use crate::start::{Around, Opens, Orders, StartError};

pub const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];
pub const POLICY: &str = include_str!("../../../../deploy/policy/residency.toml");

/// Opens a group whose machine is that of orders and nothing more.
struct Alone;

#[tonic::async_trait]
impl Opens for Alone {
    async fn open(
        &self,
        host: &Host,
        _now: &dir::Snapshot,
        spec: GroupSpec,
        rules: settings::Settings,
    ) -> Result<Group<OrdersMachine>, StartError> {
        Ok(host.start_group(spec, move || OrdersMachine::new(rules)).await?)
    }
}

pub struct Node {
    pub orders: Orders,
    pub peers: Peers,
    pub service: Service,
    pub book: Book,
}

/// One region of orders nodes that share a ledger.
pub struct Rig {
    pub cluster: Cluster<OrdersMachine>,
    pub nodes: BTreeMap<NodeId, Node>,
    pub books: Books,
    pub dir: Arc<TempDir>,
    pub here: u16,
    /// Groups of each kind.
    pub groups: u16,
    /// Groups of the region that none of its nodes here hosts.
    pub elsewhere: Vec<GroupId>,
    /// Gateways of other regions that a node knows before it starts.
    pub others: BTreeMap<RegionName, Vec<Address>>,
    /// How long it asks those then.
    pub ask_first_ms: u64,
    pub ca: Arc<DevCa>,
}

pub fn ca(dir: &TempDir) -> Arc<DevCa> {
    Arc::new(DevCa::open(&dir.path().join("ca"), "hansa").unwrap())
}

impl Rig {
    pub async fn start(nodes: u64) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let ca = ca(&dir);
        Self::region(1, nodes, 1, dir, ca).await
    }

    pub async fn sharded(groups: u16) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let ca = ca(&dir);
        Self::region(1, 1, groups, dir, ca).await
    }

    pub async fn region(
        here: u16,
        nodes: u64,
        groups: u16,
        dir: Arc<TempDir>,
        ca: Arc<DevCa>,
    ) -> Self {
        let mut rig = Self::unbooted(here, nodes, groups, dir, ca).await;
        for node in rig.cluster.ids() {
            rig.boot(node).await;
        }
        rig
    }

    /// A region whose nodes are up without the role.
    pub async fn start_unbooted(nodes: u64) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let ca = ca(&dir);
        Self::unbooted(1, nodes, 1, dir, ca).await
    }

    async fn unbooted(
        here: u16,
        nodes: u64,
        groups: u16,
        dir: Arc<TempDir>,
        ca: Arc<DevCa>,
    ) -> Self {
        // One node leads for ever; of several the first goes on however slow the disk is.
        let profile = if nodes == 1 { Profile::Quick } else { Profile::NoisyDisk };
        let timing = Timing { profile, ..Timing::default() };
        let settings = Settings { nodes, groups: Vec::new(), timing, ..Settings::default() };
        let genesis = || unreachable!("the role starts its own groups");
        let cluster = Cluster::with(settings, genesis).await;
        let (books, nodes) = (Books::default(), BTreeMap::new());
        for (sku, units) in [("A", 1_000_000), ("B", 1_000_000), ("RARE", 1)] {
            books.0.lock().stock.insert(sku.into(), units);
        }
        let (elsewhere, others, ask_first_ms) = (Vec::new(), BTreeMap::new(), 1_000);
        Self { cluster, nodes, books, dir, here, groups, elsewhere, others, ask_first_ms, ca }
    }

    pub fn name(&self) -> &'static str {
        REGIONS[usize::from(self.here) - 1]
    }

    /// Starts the role on a node that is up.
    pub async fn boot(&mut self, id: NodeId) {
        let shared = self.dir.path().join(self.name()).join("vault.key");
        self.boot_with(id, shared).await.unwrap();
    }

    /// The same with a vault file of the node's own.
    pub async fn boot_with(&mut self, id: NodeId, path: PathBuf) -> Result<(), StartError> {
        self.boot_on(id, Vault::File { path }).await
    }

    pub async fn boot_on(&mut self, id: NodeId, vault: Vault) -> Result<(), StartError> {
        let node = self.cluster.node(id);
        let name = format!("{}-{id}", self.name());
        let files = self.ca.node(&self.name().parse().unwrap(), &name).unwrap();
        let identity = Identity::load(files).unwrap();
        let net = Arc::new(TlsNet::new(identity, node.env.clock.clone()));
        let peers = Peers::new(id, net.clone(), Default::default(), node.env.tasks.clone());
        for (region, at) in &self.others {
            peers.set_gateways(region.clone(), at.clone());
        }
        let ask_first_ms = self.ask_first_ms;
        let mut cfg = Config { vault, ask_first_ms, ..Config::default() };
        // A third party: it remembers a charge whichever region made it.
        cfg.provider.journal = self.dir.path().join("sandbox");
        cfg.provider.late_ms = 300;
        cfg.provider.settle_ms = 1_000;
        cfg.replicate.bookmark_ms = 100;
        cfg.keys = Keys { window_ms: 200, erase_gap_ms: 0, check_ms: 50 };
        cfg.replicate.compare_ms = 100;
        let book = Book::of(self.directory());
        let around = Around::of_config(&node.env, &cfg, Arc::new(RealFs), net, Arc::new(Alone))?;
        let (host, env) = (&node.host, node.env.clone());
        let orders = Orders::start(host, env, peers.clone(), cfg, book.clone(), around).await?;
        let routes = Routes::new(LedgerCommandServiceServer::new(self.books.clone()));
        let routes = orders.routes(routes);
        let settings = layers::Settings {
            listener: "test",
            in_flight_max: 10_000,
            timeout_max: Duration::from_secs(60),
            exempt: layers::Exempt::NOTHING,
        };
        peers.set_local(layers::stack(&settings, routes));
        let service = Service { shell: orders.shell() };
        self.nodes.insert(id, Node { orders, peers, service, book });
        Ok(())
    }

    /// Every node of the region learns of another policy.
    pub fn legislate(&self, policy: &str) {
        for node in self.nodes.values() {
            let mut now = (*node.book.now().unwrap()).clone();
            now.policy = Arc::new(Policy::parse(policy).unwrap());
            now.policy_text = policy.into();
            now.version += 1;
            node.book.publish(now);
        }
    }

    fn directory(&self) -> dir::Snapshot {
        let members = self.cluster.ids();
        let number = |n: u16| RegionNumber::try_from(n).unwrap();
        let region = |name: &str| dir::Region {
            name: name.parse().unwrap(),
            public: Vec::new(),
            nodes: Vec::new(),
        };
        let kinds = [GroupKind::Orders, GroupKind::Inventory, GroupKind::Payments];
        let genesis = dir::Genesis {
            here: number(self.here),
            policy: POLICY.into(),
            regions: (1..).zip(REGIONS).map(|(n, name)| (number(n), region(name))).collect(),
            groups: kinds
                .iter()
                .flat_map(|kind| (0..self.groups).map(|n| GroupId::new(*kind, n)))
                .map(|group| (group, members.clone()))
                .chain(self.elsewhere.iter().map(|group| (*group, vec![NodeId(99)])))
                .collect(),
        };
        let mut state = dir::State::default();
        let command = dir::Command::Bootstrap(Box::new(genesis));
        state.apply(&command.encode().unwrap());
        state.snapshot().expect("bootstrapped")
    }

    /// Takes a node down as a crash would.
    pub async fn kill(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.remove(&id) {
            node.peers.clear_local();
        }
        self.cluster.kill(id).await;
    }

    pub fn leader_now(&self) -> Option<NodeId> {
        let leads = |node: &Node| {
            let shell = node.orders.shell();
            let leads = |h: &Arc<Hosted>| h.group.leadership().borrow().mine && h.trusts();
            let ours = |h: &&Arc<Hosted>| !self.elsewhere.contains(&h.group.id());
            shell.groups.values().filter(ours).all(leads)
        };
        self.nodes.iter().find(|(_, node)| leads(node)).map(|(id, _)| *id)
    }

    /// Who leads, once somebody does.
    pub async fn leading(&self) -> NodeId {
        let mut found = None;
        eventually("a leader of the orders group", || {
            found = self.leader_now();
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    pub async fn leader(&self) -> &Node {
        &self.nodes[&self.leading().await]
    }

    /// Calls whoever leads, again while nobody does.
    pub async fn place(
        &self,
        request: &wire::PlaceOrderRequest,
    ) -> Result<wire::PlaceOrderResponse, Failure> {
        let end = soon();
        loop {
            let node = self.leader().await;
            let placed = node.service.place_order(call(request.clone())).await;
            match placed.map_err(|status| Failure::from(&status)) {
                Ok(response) => return Ok(response.into_inner()),
                Err(failure)
                    if matches!(failure.reason(), Reason::NotLeader | Reason::Unavailable)
                        && tokio::time::Instant::now() < end =>
                {
                    // A refusal comes at once: without a pause the callers starve the new leader.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// No invariant is broken on any node, and nothing is held.
    pub async fn at_rest(&self) {
        eventually("every order is closed", || {
            self.nodes.values().all(|node| {
                let shell = node.orders.shell();
                let closed = |h: &std::sync::Arc<crate::shell::Hosted>| {
                    h.group.peek(|m| m.state.orders.iter().all(|(_, order)| order.closed()))
                };
                shell.groups.values().all(closed)
            })
        })
        .await;
        for node in self.nodes.values() {
            for (group, broken) in node.orders.invariants(10) {
                assert!(broken.is_empty(), "{group}: {broken:?}");
            }
        }
        assert_eq!(self.books.0.lock().held(), 0);
        for finding in self.leader().await.orders.cross_check(soon()).await {
            assert_eq!(finding.verdict, Verdict::Held, "{finding:?}");
        }
    }
}

/// A request as the internal port hands it over.
pub fn call<T>(message: T) -> Request<T> {
    call_as(message, &Role::ALL, PATIENCE / 3)
}

pub fn call_as<T>(message: T, roles: &[Role], timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    let principal = Principal {
        id: "spiffe://hansa/client/storefront".parse().unwrap(),
        roles: roles.iter().copied().collect(),
        region: "eu-west".parse().unwrap(),
    };
    request.extensions_mut().insert(principal);
    request.extensions_mut().insert(Deadline::after(timeout));
    request
}

pub fn gbp(minor: i64) -> Option<Money> {
    let nanos = (minor % 100) as i32 * 10_000_000;
    Some(Money { currency_code: "GBP".into(), units: minor / 100, nanos })
}

pub fn line(sku: &str, quantity: i32, price: i64) -> wire::PlaceOrderLine {
    wire::PlaceOrderLine {
        kind: wire::LineKind::Stock.into(),
        sku: sku.into(),
        description: "a thing".into(),
        quantity,
        unit_price: gbp(price),
    }
}

/// Two of A at 3.00 and postage of 1.00.
pub fn order(request_id: &str) -> wire::PlaceOrderRequest {
    let postage = wire::PlaceOrderLine {
        kind: wire::LineKind::Fee.into(),
        description: "postage".into(),
        quantity: 1,
        unit_price: gbp(100),
        ..Default::default()
    };
    wire::PlaceOrderRequest {
        residence_country: "GB".into(),
        customer_id: "c-1".into(),
        request_id: request_id.into(),
        lines: vec![line("A", 2, 300), postage],
        payment_token: "tok_approve".into(),
        personal: Some(wire::PersonalDetails {
            name: "Ada Secretname".into(),
            ..Default::default()
        }),
        client_reference: "INV-1".into(),
        placed_time: None,
    }
}
