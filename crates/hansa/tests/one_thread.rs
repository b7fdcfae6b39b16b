//! A region of three nodes in one thread: disks, net, clocks and lots in memory, time paused. What
//! a node reaches for besides its world would fail here, or make two runs of a seed differ.

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
use hansa_api::pb::inventory::ReceiveStockRequest;
use hansa_api::pb::order::{
    GetOrderRequest, Order, OrderState, PlaceOrderLine, PlaceOrderRequest, ReadMode,
};
use hansa_api::pb::{Money, order};
use hansa_api::status::Failure;
use hansa_node::env::test::{RecordedExit, SeededEntropy, TaskLoops, TokioClock};
use hansa_node::env::{Entropy, Env};
use hansa_node::net::memory::{MemoryNet, Wires};
use hansa_node::tasks::Tasks;
use hansa_orders::provider::SandboxProvider;
use hansa_types::identity::SpiffeId;
use hansa_types::time::WallTime;
use hansa_wal::fs::{Fs, SimFs};

const RESIDENCY: &str = include_str!("../../../deploy/policy/residency.toml");
const AUTHZ: &str = include_str!("../../../deploy/policy/authz.toml");
const BEGAN: WallTime = WallTime(1_800_000_000_000);
const CALL_MAX: Duration = Duration::from_secs(30);

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

    async fn start(&self, n: usize) -> Node {
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
        Node::start_in(config, world).await.expect("a node starts")
    }

    async fn start_all(&self) -> Vec<Node> {
        let nodes = futures::future::join_all((0..3).map(|n| self.start(n))).await;
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

/// Places an order and reads it back, stops all nodes and reads it again from their disks.
async fn life(seed: u64) -> String {
    let region = Region::new(seed);
    let nodes = region.start_all().await;
    stock(&region).await;
    let shop = region.client("storefront").await;
    let placed = shop.call(CALL_MAX, |mut services, call| {
        let request = call.request(place("r-1"));
        async move { services.orders.place_order(request).await }
    });
    let placed = placed.await.expect("placed").order.expect("an order");
    assert_eq!(placed.state(), OrderState::Confirmed);
    assert_eq!(get(&shop, &placed.name).await.expect("read").name, placed.name);
    futures::future::join_all(nodes.into_iter().map(Node::stop)).await;

    region.disks.iter().for_each(SimFs::crash);
    let nodes = region.start_all().await;
    let again = get(&region.client("storefront").await, &placed.name).await.expect("read again");
    assert_eq!((again.name, again.state), (placed.name.clone(), placed.state));
    futures::future::join_all(nodes.into_iter().map(Node::stop)).await;
    placed.name
}

async fn alone<T>(work: impl Future<Output = T>) -> T {
    tokio::task::LocalSet::new().run_until(work).await
}

#[tokio::test(start_paused = true)]
async fn a_region_in_one_thread_takes_an_order_and_has_it_after_a_restart() {
    Box::pin(alone(life(7))).await;
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
