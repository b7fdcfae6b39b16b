//! A region of three nodes in one thread: disks, net, clocks and lots in memory, time paused. What
//! a node reaches for besides its world would fail here, or make two runs of a seed differ.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hansa::config::Config;
use hansa::league::layout::Layout;
use hansa::node::{Node, Pages, Views, World};
use hansa_api::client::reach::{Dialling, Stream};
use hansa_api::client::{Expect, League, Options, Reach};
use hansa_api::pb::admin::{CheckInvariantsRequest, InvariantReport, Verdict};
use hansa_api::pb::inventory::{GetStockRequest, ReceiveStockRequest};
use hansa_api::pb::ledger::ListHoldsRequest;
use hansa_api::pb::ledger::ledger_command_service_client::LedgerCommandServiceClient;
use hansa_api::pb::order::{
    GetOrderRequest, Order, OrderState, PlaceOrderLine, PlaceOrderRequest, ReadMode,
};
use hansa_api::pb::{Money, order};
use hansa_api::status::{Failure, Reason};
use hansa_node::env::test::{RecordedExit, SeededEntropy, TaskLoops, TokioClock};
use hansa_node::env::{Entropy, Env};
use hansa_node::net::memory::{MemoryNet, Wires};
use hansa_node::tasks::Tasks;
use hansa_orders::provider::SandboxProvider;
use hansa_region_router::core::directory::NodeRole;
use hansa_types::id::{GroupId, GroupKind};
use hansa_types::identity::SpiffeId;
use hansa_types::time::WallTime;
use hansa_wal::fs::{Fs, SimFs};

const RESIDENCY: &str = include_str!("../../../deploy/policy/residency.toml");
const AUTHZ: &str = include_str!("../../../deploy/policy/authz.toml");
const BEGAN: WallTime = WallTime(1_800_000_000_000);
const CALL_MAX: Duration = Duration::from_secs(30);
/// domain.md §7.
const REPLICAS_AGREE: u32 = 9;

/// A client on the same wires.
struct Client {
    net: MemoryNet,
    tasks: Tasks,
    lots: Arc<dyn Entropy>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("client")
    }
}

impl Reach for Client {
    fn dial(&self, host: &str, port: u16, expect: &Expect) -> Dialling {
        let dialled = self.net.dial(&format!("{host}:{port}"), expect);
        let stream = dialled.map(|connection| Box::new(connection.stream) as Box<dyn Stream>);
        Box::pin(std::future::ready(stream.map_err(io::Error::other)))
    }

    fn chance(&self) -> f64 {
        (self.lots.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn spawn(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.tasks.spawn_untracked(work);
    }
}

/// Three nodes' disks, the region's shared one, and what connects them.
struct Region {
    seed: u64,
    configs: Vec<Config>,
    disks: Vec<SimFs>,
    shared: SimFs,
    wires: Wires,
    provider: Arc<SandboxProvider>,
}

fn write(fs: &SimFs, path: &std::path::Path, text: &str) {
    let folder = path.parent().expect("a folder");
    fs.create_dir_all(folder).expect("a folder");
    let file = fs.create(path).expect("a file");
    file.write_at(text.as_bytes(), 0).expect("written");
    file.sync_data().expect("synced");
    fs.sync_dir(folder).expect("synced");
}

impl Region {
    fn new(seed: u64) -> Self {
        let mut layout = Layout::at(7_400).expect("ports");
        layout.timing = hansa_consensus::Profile::Quick;
        let mut configs = layout.configs("/data".as_ref(), "hansa").expect("configs");
        configs.truncate(3);
        let shared = SimFs::new(seed);
        for config in &mut configs {
            config.league.truncate(1);
            config.log.segment_mib = 8;
            config.telemetry.log_filter = "off".to_owned();
        }
        write(&shared, &configs[0].residency_file, RESIDENCY);
        let authz = configs[0].gateway.authz_file.clone().expect("a policy");
        write(&shared, &authz, AUTHZ);
        let clock = Arc::new(TokioClock::starting_at(BEGAN));
        let provider = &configs[0].orders.provider;
        Self {
            seed,
            disks: (0..3).map(|n| SimFs::new(seed + n)).collect(),
            shared,
            wires: Wires::default(),
            provider: Arc::new(SandboxProvider::apart(provider.late_ms, clock)),
            configs,
        }
    }

    /// A region whose orders group keeps its books.
    fn joint(seed: u64) -> Self {
        let mut region = Self::new(seed);
        region.configs.iter_mut().for_each(|config| config.groups.joint = true);
        region
    }

    /// The same, and its third node does not keep the directory.
    fn joint_kept_by_two(seed: u64) -> Self {
        let mut region = Self::joint(seed);
        for config in &mut region.configs {
            let roles = &mut config.league[0].nodes[2].roles;
            roles.retain(|role| *role != NodeRole::Directory);
        }
        region
    }

    async fn start(&self, n: usize) -> Node {
        self.try_start(n).await.expect("a node starts")
    }

    async fn try_start(&self, n: usize) -> anyhow::Result<Node> {
        let config = self.configs[n].clone();
        let id = SpiffeId::node(&config.trust_domain, &config.region, &config.name).expect("id");
        let tasks = Tasks::local(&config.name);
        let env = Env {
            clock: Arc::new(TokioClock::starting_at(BEGAN)),
            entropy: Arc::new(SeededEntropy::new(self.seed ^ n as u64)),
            loops: Arc::new(TaskLoops::new(tasks.clone())),
            exit: Arc::new(RecordedExit::new(tasks.clone())),
            tasks,
        };
        let world = World {
            env,
            fs: Arc::new(self.disks[n].clone()),
            shared: Arc::new(self.shared.clone()),
            net: Arc::new(self.wires.of(id)),
            provider: Some(self.provider.clone()),
            views: Views::Memory,
            pages: Pages::Absent,
        };
        Node::start_in(config, world).await
    }

    async fn start_all(&self) -> Vec<Node> {
        self.start_first(3).await
    }

    async fn start_first(&self, count: usize) -> Vec<Node> {
        let nodes = futures::future::join_all((0..count).map(|n| self.start(n))).await;
        for node in &nodes {
            for _ in 0..6_000 {
                match node.ready() {
                    Ok(()) => break,
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
            node.ready().expect("ready within a minute");
        }
        nodes
    }

    async fn client(&self, name: &str) -> League {
        let id = format!("spiffe://hansa/client/{name}").parse().expect("a SPIFFE id");
        let reach = Client {
            net: self.wires.of(id),
            tasks: Tasks::local(name),
            lots: Arc::new(SeededEntropy::new(self.seed)),
        };
        let doors = self.configs[0].league[0].public.clone();
        let connected =
            League::connect_over(Arc::new(reach), doors, Expect::AnyNode, Options::default());
        connected.await.expect("a gateway")
    }
}

fn place(request_id: &str) -> PlaceOrderRequest {
    PlaceOrderRequest {
        residence_country: "DE".into(),
        customer_id: "c-1".into(),
        request_id: request_id.into(),
        payment_token: "tok_timeout_after_charge".into(),
        lines: vec![PlaceOrderLine {
            kind: order::LineKind::Stock.into(),
            sku: "85123A".into(),
            description: "a lantern".into(),
            quantity: 2,
            unit_price: Some(Money { currency_code: "EUR".into(), units: 2, nanos: 550_000_000 }),
        }],
        ..Default::default()
    }
}

async fn stock(region: &Region) {
    let request = ReceiveStockRequest {
        request_id: "in-1".into(),
        sku: "85123A".into(),
        quantity: 10,
        ..Default::default()
    };
    let warehouse = region.client("warehouse").await;
    let received = warehouse.call(CALL_MAX, |mut services, call| {
        let request = call.request(request.clone());
        async move { services.inventory.receive_stock(request).await }
    });
    received.await.expect("received");
}

async fn get(league: &League, name: &str) -> Result<Order, Failure> {
    let request = GetOrderRequest { order: name.into(), read: ReadMode::Linearizable.into() };
    let got = league.call(CALL_MAX, |mut services, call| {
        let request = call.request(request.clone());
        async move { services.orders.get_order(request).await }
    });
    Ok(got.await?.order.unwrap_or_default())
}

async fn buy(shop: &League, request_id: &str) -> Order {
    let placed = shop.call(CALL_MAX, |mut services, call| {
        let request = call.request(place(request_id));
        async move { services.orders.place_order(request).await }
    });
    let placed = placed.await.expect("placed").order.expect("an order");
    assert_eq!(placed.state(), OrderState::Confirmed);
    placed
}

/// What can be sold of the one article.
async fn available(region: &Region) -> i64 {
    let request = GetStockRequest { sku: "85123A".into(), ..Default::default() };
    let asked = region.client("warehouse").await;
    let answer = asked.call(CALL_MAX, |mut services, call| {
        let request = call.request(request.clone());
        async move { services.inventory.get_stock(request).await }
    });
    let stocks = answer.await.expect("an answer").stocks;
    stocks.iter().map(|stock| stock.available_quantity).sum()
}

/// Places an order and reads it back, stops all nodes and reads it again from their disks; stock
/// is as it was, and can be sold.
async fn life(region: &Region) {
    let nodes = region.start_all().await;
    stock(region).await;
    let shop = region.client("storefront").await;
    let placed = buy(&shop, "r-1").await;
    assert_eq!(get(&shop, &placed.name).await.expect("read").name, placed.name);
    futures::future::join_all(nodes.into_iter().map(Node::stop)).await;

    region.disks.iter().for_each(SimFs::crash);
    let nodes = region.start_all().await;
    let shop = region.client("storefront").await;
    let again = get(&shop, &placed.name).await.expect("read again");
    assert_eq!((again.name, again.state), (placed.name.clone(), placed.state));
    assert_eq!(available(region).await, 8);
    buy(&shop, "r-2").await;
    assert_eq!(available(region).await, 6);
    futures::future::join_all(nodes.into_iter().map(Node::stop)).await;
}

async fn alone<T>(work: impl Future<Output = T>) -> T {
    tokio::task::LocalSet::new().run_until(work).await
}

#[tokio::test(start_paused = true)]
async fn a_region_in_one_thread_takes_an_order_and_has_it_after_a_restart() {
    Box::pin(alone(life(&Region::new(7)))).await;
}

#[tokio::test(start_paused = true)]
async fn a_joint_region_takes_an_order_and_has_it_after_a_restart() {
    Box::pin(alone(life(&Region::joint(9)))).await;
}

/// What the region says of its invariants, once nothing is open.
async fn invariants(region: &Region) -> Vec<InvariantReport> {
    let operator = region.client("operator").await;
    let mut reports = Vec::new();
    for _ in 0..120 {
        let asked = operator.call(CALL_MAX, |mut services, call| {
            let request = CheckInvariantsRequest { region: "eu-west".into() };
            let request = call.request(request);
            async move { services.admin.check_invariants(request).await }
        });
        reports = asked.await.expect("an answer").reports;
        let held = |report: &InvariantReport| report.verdict() == Verdict::Held;
        if !reports.is_empty() && reports.iter().all(held) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    reports
}

/// A region in which an order was placed; what is checked in it, by number, name and kind of group.
/// That replicas agree is checked of logs.
async fn checked(region: &Region) -> (Vec<Node>, BTreeSet<(u32, String, GroupKind)>) {
    let nodes = region.start_all().await;
    stock(region).await;
    buy(&region.client("storefront").await, "r-1").await;
    let reports = invariants(region).await;
    let held = |report: &InvariantReport| report.verdict() == Verdict::Held;
    assert!(reports.iter().all(held), "{reports:?}");
    let kind = |number| GroupId::from_number(number).expect("a group").kind();
    let of = reports.iter().filter(|report| report.number != REPLICAS_AGREE);
    let of = of.map(|report| (report.number, report.name.clone(), kind(report.group))).collect();
    (nodes, of)
}

/// Books lie in the orders group's log, and every invariant that a region with more logs checks is
/// checked, and that the two agree.
async fn all_checked(seed: u64) {
    let (plain, joint) = (Region::new(seed), Region::joint(seed));
    let (nodes, in_plain) = checked(&plain).await;
    futures::future::join_all(nodes.into_iter().map(Node::stop)).await;
    let (nodes, in_joint) = checked(&joint).await;
    let agree = hansa_shard::invariants::ALL.map(|(number, name)| {
        let kind = GroupKind::Orders;
        (number, name.to_owned(), kind)
    });
    assert_eq!(in_joint, in_plain.into_iter().chain(agree).collect());
    let logs: Vec<_> = nodes[0].groups().into_iter().map(|status| status.group).collect();
    assert_eq!(logs, [GroupKind::Directory, GroupKind::Orders].map(|kind| GroupId::new(kind, 0)));
    futures::future::join_all(nodes.into_iter().map(Node::stop)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_checked_in_a_joint_region_is_what_is_checked_in_another_and_more() {
    Box::pin(alone(all_checked(12))).await;
}

/// A node whose config says otherwise than the directory where books lie does not start; the others
/// go on, and with its config set right it starts.
async fn one_config_wrong(mut region: Region, power_lost: bool, expected: &str) {
    let nodes = region.start_all().await;
    stock(&region).await;
    buy(&region.client("storefront").await, "r-1").await;
    futures::future::join_all(nodes.into_iter().map(Node::stop)).await;
    if power_lost {
        region.disks.iter().for_each(SimFs::crash);
    }

    let right = region.configs[2].groups.joint;
    let mut nodes = region.start_first(2).await;
    region.configs[2].groups.joint = !right;
    let why = region.try_start(2).await.err().expect("it does not start");
    assert!(format!("{why:#}").contains(expected), "{why:#}");
    let own = region.configs[2].data_dir.join("groups/inventory-0");
    assert_eq!(region.disks[2].exists(&own).expect("a disk"), !right, "nothing of its own began");
    buy(&region.client("storefront").await, "r-2").await;
    region.configs[2].groups.joint = right;
    nodes.push(region.start(2).await);
    futures::future::join_all(nodes.into_iter().map(Node::stop)).await;

    let nodes = region.start_all().await;
    assert_eq!(available(&region).await, 6);
    buy(&region.client("storefront").await, "r-3").await;
    futures::future::join_all(nodes.into_iter().map(Node::stop)).await;
}

const LOST: &str = "groups.joint = false, but the directory was made with inventory-0 in orders-0";
const GAINED: &str = "groups.joint = true, but the directory was made with a log of its own";

#[tokio::test(start_paused = true)]
async fn a_node_whose_config_has_lost_that_books_are_joint_does_not_start() {
    Box::pin(alone(one_config_wrong(Region::joint(10), false, LOST))).await;
}

#[tokio::test(start_paused = true)]
async fn nor_does_it_after_a_loss_of_power() {
    Box::pin(alone(one_config_wrong(Region::joint(13), true, LOST))).await;
}

#[tokio::test(start_paused = true)]
async fn nor_does_one_that_does_not_keep_the_directory_and_it_begins_nothing() {
    Box::pin(alone(one_config_wrong(Region::joint_kept_by_two(15), false, LOST))).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_config_says_joint_where_books_have_logs_does_not_start() {
    Box::pin(alone(one_config_wrong(Region::new(14), false, GAINED))).await;
}

/// What stops the orders group on one node stops its books there; the others go on.
async fn stopped_on_one(seed: u64) {
    let region = Region::joint(seed);
    let nodes = region.start_all().await;
    futures::future::join_all(nodes.into_iter().map(Node::stop)).await;
    let mark = region.configs[2].data_dir.join("groups/orders-0/STOPPED");
    write(&region.disks[2], &mark, "for a test");
    let (mut nodes, hurt) = futures::future::join(region.start_first(2), region.start(2)).await;
    stock(&region).await;
    buy(&region.client("storefront").await, "r-1").await;
    let mut ledger = LedgerCommandServiceClient::new(hurt.ledger().routes());
    for kind in [GroupKind::Inventory, GroupKind::Payments] {
        let group = GroupId::new(kind, 0).number();
        let asked = ListHoldsRequest { group, ..Default::default() };
        let refused = ledger.list_holds(asked).await.expect_err("nothing serves here");
        assert_eq!(Failure::from(&refused).reason(), Reason::GroupStopped);
    }
    nodes.push(hurt);
    futures::future::join_all(nodes.into_iter().map(Node::stop)).await;
}

#[tokio::test(start_paused = true)]
async fn books_stop_with_the_orders_group_in_which_they_lie() {
    Box::pin(alone(stopped_on_one(11))).await;
}

/// Two of three nodes have lost their disks, and the third is not there to say so.
async fn two_lost(seed: u64) {
    let mut region = Region::new(seed);
    let nodes = region.start_all().await;
    stock(&region).await;
    futures::future::join_all(nodes.into_iter().map(Node::stop)).await;
    for n in 0..2 {
        region.disks[n] = SimFs::new(seed + 100 + n as u64);
    }
    let begun = futures::future::join(region.start(0), region.start(1));
    let begun = tokio::time::timeout(Duration::from_secs(120), begun).await;
    assert!(begun.is_err(), "a quorum that knows nothing has begun");
}

#[tokio::test(start_paused = true)]
async fn two_nodes_that_lost_their_disks_wait_for_the_third_before_they_begin_a_region() {
    Box::pin(alone(two_lost(8))).await;
}
