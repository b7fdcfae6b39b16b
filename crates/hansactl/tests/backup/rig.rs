//! Two regions in this process, and the operator's tool as a process of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hansa::config::Config;
use hansa::league::layout::Layout;
use hansa::league::prepare;
use hansa::node::Node;
use hansa::profile::Profile;
use hansa_api::client::{
    Expect, Files, Identity, League, Options, Policy, Services, Timing, connect,
};
use hansa_api::first_sent;
use hansa_api::pb::Money;
use hansa_api::pb::admin::{CheckInvariantsRequest, Verdict};
use hansa_api::pb::inventory::ReceiveStockRequest;
use hansa_api::pb::node::restore_service_client::RestoreServiceClient;
use hansa_api::pb::order::{
    GetOrderRequest, LineKind, Order, OrderState, PlaceOrderLine, PlaceOrderRequest,
    PlaceOrderResponse,
};
use hansa_api::status::{Failure, Reason};
use hansa_types::id::NodeId;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

pub const HOME: &str = "eu-west";
pub const PEER: &str = "us-east";
const PATIENCE: Duration = Duration::from_secs(90);
const SKU: &str = "THING";
const WORKERS: u64 = 12;
/// Of a load, however slow the machine is.
const ORDERS_MIN: u64 = 24;

/// An order that was acknowledged, and how it was asked for.
#[derive(Clone, Debug)]
pub struct Placed {
    pub request: PlaceOrderRequest,
    pub name: String,
    pub version: u64,
}

pub struct Rig {
    pub data: PathBuf,
    profile: Profile,
    configs: Vec<Config>,
    nodes: BTreeMap<String, Node>,
    count: AtomicU64,
}

pub type Restoring = Vec<JoinHandle<anyhow::Result<Node>>>;

/// Looks until `done` says so.
pub async fn eventually<Fut: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> Fut) {
    let end = Instant::now() + PATIENCE;
    while !done().await {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The answer, once it is another than that nobody leads: asked again, a request has one effect.
pub async fn settled<T, Fut>(ask: impl Fn() -> Fut) -> Result<T, Failure>
where
    Fut: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
{
    let end = Instant::now() + PATIENCE;
    loop {
        match ask().await.map_err(|status| Failure::from(&status)) {
            Err(failure)
                if matches!(failure.reason(), Reason::NotLeader | Reason::Unavailable)
                    && Instant::now() < end => {}
            answer => return answer.map(tonic::Response::into_inner),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// Flips a bit somewhere in one of the files; the same seed flips it back.
pub fn flip_a_byte(folder: &Path, seed: u64) -> String {
    let mut files = Vec::new();
    for group in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match group.is_dir() {
            true => files.extend(std::fs::read_dir(&group).unwrap().map(|e| e.unwrap().path())),
            false => files.push(group),
        }
    }
    files.sort();
    let dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1);
    let file = &files[(dice >> 8) as usize % files.len()];
    let mut bytes = std::fs::read(file).unwrap();
    let at = (dice >> 20) as usize % bytes.len();
    bytes[at] ^= 1 << (dice & 3);
    std::fs::write(file, bytes).unwrap();
    format!("{} at {at}", file.display())
}

fn is_checkpoint(file: &Path) -> bool {
    file.extension().is_some_and(|end| end == "ckpt")
}

fn flip_the_middle(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(file, bytes).unwrap();
}

impl Rig {
    pub async fn start(name: &str) -> Self {
        Self::start_with(name, |_| {}).await
    }

    pub async fn start_with(name: &str, change: impl Fn(&mut Config)) -> Self {
        let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&data);
        let mut layout = Layout::apart().unwrap().first(2);
        // None of this is about elections: a leader goes on however slow the disk is.
        layout.timing = hansa_consensus::Profile::NoisyDisk;
        let (mut configs, profile) = prepare(&data, &layout).unwrap();
        for config in &mut configs {
            config.orders.provider.remember_all = true;
            change(config);
        }
        let count = AtomicU64::new(0);
        let mut rig = Self { data, profile, configs, nodes: BTreeMap::new(), count };
        let starting = rig.configs.iter().cloned().map(Node::start);
        for node in futures::future::join_all(starting).await {
            let node = node.unwrap();
            rig.nodes.insert(node.name().to_owned(), node);
        }
        rig.ready().await;
        rig.stock().await;
        rig
    }

    async fn ready(&self) {
        eventually("every node serves", || async {
            self.nodes.values().all(|node| node.ready().is_ok())
        })
        .await;
    }

    pub async fn as_client(&self, client: &str, region: &str) -> Services {
        let endpoint = self.endpoints(region).remove(0);
        let expect = Expect::NodeOf(region.parse().unwrap());
        let identity = self.identity(client);
        let channel = connect(&identity, &endpoint, &expect, Timing::default()).await;
        Services::new(channel.unwrap())
    }

    fn identity(&self, client: &str) -> Identity {
        let files = &self.profile.clients[client];
        let (cert, key, ca) = (files.cert.clone(), files.key.clone(), self.profile.ca.clone());
        Identity::read(&Files { cert, key, ca }).unwrap()
    }

    fn endpoints(&self, region: &str) -> Vec<String> {
        self.profile.regions[&region.parse().unwrap()].endpoints.clone()
    }

    async fn league(&self) -> League {
        let expect = Expect::NodeOf(HOME.parse().unwrap());
        let options = Options { policy: Policy::persistent(), ..Options::default() };
        League::connect(self.identity("storefront"), self.endpoints(HOME), expect, options)
            .await
            .unwrap()
    }

    async fn stock(&self) {
        let warehouse = self.as_client("warehouse", HOME).await.inventory;
        let request = ReceiveStockRequest {
            request_id: uuid::Uuid::new_v4().to_string(),
            region: HOME.to_owned(),
            sku: SKU.to_owned(),
            quantity: 1_000_000,
            document: "test".to_owned(),
            ..Default::default()
        };
        let receive = || {
            let (mut warehouse, request) = (warehouse.clone(), request.clone());
            async move { warehouse.receive_stock(request).await }
        };
        settled(receive).await.unwrap();
    }

    fn request(&self) -> PlaceOrderRequest {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        // Some are in doubt for a while: their sagas are under way in the backup.
        let token = if number % 23 == 3 { "tok_timeout_after_charge" } else { "tok_approve" };
        let line = PlaceOrderLine {
            kind: LineKind::Stock.into(),
            sku: SKU.to_owned(),
            description: "a thing".to_owned(),
            quantity: 1,
            unit_price: Some(Money { currency_code: "EUR".into(), units: 3, nanos: 0 }),
        };
        PlaceOrderRequest {
            residence_country: "DE".to_owned(),
            customer_id: format!("customer-{}", number % 50),
            request_id: uuid::Uuid::new_v4().to_string(),
            lines: vec![line],
            payment_token: token.to_owned(),
            ..Default::default()
        }
    }

    /// The nodes of a region.
    pub fn nodes_of(&self, region: &str) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(move |node| node.config().region.as_str() == region)
    }

    /// Orders that were acknowledged within a time, or some more where that is short.
    pub async fn load(&self, length: Duration) -> Vec<Placed> {
        let (end, league) = (Instant::now() + length, Arc::new(self.league().await));
        let count = Arc::new(AtomicU64::new(0));
        let workers = (0..WORKERS).map(|_| {
            let (league, count) = (league.clone(), count.clone());
            async move {
                let mut placed = Vec::new();
                while Instant::now() < end || count.load(Ordering::Relaxed) < ORDERS_MIN {
                    let request = self.request();
                    let answer = league.call(PATIENCE, |mut services, call| {
                        let request = call.request(request.clone());
                        async move { services.orders.place_order(request).await }
                    });
                    let order = answer.await.expect("placed").order.expect("an order");
                    count.fetch_add(1, Ordering::Relaxed);
                    placed.push(Placed { request, name: order.name, version: order.version });
                }
                placed
            }
        });
        futures::future::join_all(workers).await.concat()
    }

    /// The same request again, said to be as old as it is: its order, and whether it was known.
    pub async fn replay(&self, placed: &Placed) -> Result<(String, bool), Reason> {
        let answer = self.sent(&placed.request, 1).await;
        let known = |answer: PlaceOrderResponse| (answer.order.unwrap().name, answer.replayed);
        answer.map(known).map_err(|failure| failure.reason())
    }

    async fn sent(
        &self,
        request: &PlaceOrderRequest,
        first_sent_ms: u64,
    ) -> Result<PlaceOrderResponse, Failure> {
        let orders = self.as_client("storefront", HOME).await.orders;
        let place = || {
            let (mut orders, mut request) = (orders.clone(), tonic::Request::new(request.clone()));
            first_sent::put(request.metadata_mut(), first_sent_ms);
            async move { orders.place_order(request).await }
        };
        settled(place).await
    }

    pub async fn place_new(&self) -> Result<Order, Failure> {
        self.place_units(1).await
    }

    pub async fn place_units(&self, units: i32) -> Result<Order, Failure> {
        let mut request =
            PlaceOrderRequest { payment_token: "tok_approve".to_owned(), ..self.request() };
        request.lines[0].quantity = units;
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        // Surely new, as far as the restored region can tell.
        let answer = self.sent(&request, wall.as_millis() as u64 + 60_000).await?;
        Ok(answer.order.unwrap())
    }

    /// An order that says more than it needs to.
    #[allow(dead_code, reason = "the backup's test alone plants what is not to be there")]
    pub async fn place_with_reference(&self, reference: &str) {
        let client_reference = reference.to_owned();
        let request = PlaceOrderRequest { client_reference, ..self.request() };
        self.sent(&request, 1).await.expect("placed");
    }

    /// An order at home.
    pub async fn get(&self, name: &str) -> Order {
        let orders = self.as_client("storefront", HOME).await.orders;
        let get = || {
            let mut orders = orders.clone();
            let request = GetOrderRequest { order: name.to_owned(), ..Default::default() };
            async move { orders.get_order(request).await }
        };
        settled(get).await.expect("found").order.expect("an order")
    }

    /// Waits until the peer has copies of all of them.
    pub async fn replicated(&self, placed: &[Placed]) {
        for order in placed {
            eventually("a copy at the peer", || async {
                let mut orders = self.as_client("storefront", PEER).await.orders;
                let request = GetOrderRequest {
                    order: order.name.clone(),
                    read: hansa_api::pb::order::ReadMode::LocalCopy.into(),
                };
                orders.get_order(request).await.is_ok()
            })
            .await;
        }
    }

    pub async fn all_decided(&self, placed: &[Placed]) {
        for order in placed {
            eventually(&format!("a decision on {}", order.name), || async {
                let found = self.get(&order.name).await;
                assert_ne!(found.state(), OrderState::Parked, "{found:?}");
                found.state() == OrderState::Confirmed
            })
            .await;
        }
    }

    pub async fn invariants_hold(&self) {
        eventually("every invariant", || async {
            let mut admin = self.as_client("operator", HOME).await.admin;
            let asked = CheckInvariantsRequest { region: HOME.to_owned() };
            let told = admin.check_invariants(asked).await;
            let told = told.map(|answer| answer.into_inner().reports).unwrap_or_default();
            let bad: Vec<_> = told.iter().filter(|r| r.verdict() != Verdict::Held).collect();
            if !bad.is_empty() {
                eprintln!("{bad:?}");
            }
            !told.is_empty() && bad.is_empty()
        })
        .await;
    }

    /// The tool, in the league's folder, at the home region.
    pub async fn ctl(&self, words: &[&str]) -> Output {
        self.ctl_at(HOME, words).await
    }

    pub async fn ctl_at(&self, region: &str, words: &[&str]) -> Output {
        tokio::process::Command::new(env!("CARGO_BIN_EXE_hansactl"))
            .current_dir(&self.data)
            .env("HANSA_TIMEOUT", "60s")
            .args(["--profile", "profile.toml", "--region", region])
            .args(words)
            .output()
            .await
            .unwrap()
    }

    pub fn copy_folder(&self, from: &str, to: &str) {
        let (from, to) = (self.data.join(from), self.data.join(to));
        std::fs::create_dir_all(&to).unwrap();
        for entry in std::fs::read_dir(&from).unwrap().map(|entry| entry.unwrap()) {
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                std::fs::create_dir_all(&target).unwrap();
                for file in std::fs::read_dir(entry.path()).unwrap().map(|file| file.unwrap()) {
                    std::fs::copy(file.path(), target.join(file.file_name())).unwrap();
                }
            } else {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }

    fn home(&self) -> Vec<Config> {
        self.configs.iter().filter(|config| config.region.as_str() == HOME).cloned().collect()
    }

    /// Stops a node for as long as `meanwhile` does something to its data folder.
    #[allow(dead_code, reason = "the audit's test alone edits a node")]
    pub async fn without<R>(&mut self, name: &str, meanwhile: impl FnOnce(&Path) -> R) -> R {
        self.nodes.remove(name).expect("it runs").stop().await;
        let config = self.configs.iter().find(|config| config.name == name).expect("known");
        let done = meanwhile(&config.data_dir);
        let node = Node::start(config.clone()).await.expect("it starts");
        self.nodes.insert(name.to_owned(), node);
        done
    }

    pub async fn stop_home(&mut self) {
        self.stop_region(HOME).await;
    }

    pub async fn stop_region(&mut self, region: &str) {
        let names: Vec<String> = self.nodes_of(region).map(|node| node.name().to_owned()).collect();
        let stopping = names.iter().filter_map(|name| self.nodes.remove(name));
        futures::future::join_all(stopping.map(Node::stop)).await;
    }

    /// Damages the payment books of two of the home's nodes, of the orders' leader first.
    #[allow(dead_code, reason = "the reconciliation's test alone has a group away")]
    pub async fn damage_payments(&mut self) {
        let leads = |node: &Node| {
            let mut groups = node.orders().unwrap().machines();
            groups.any(|group| group.leadership().borrow().mine)
        };
        let mut home: Vec<&Node> = self.nodes_of(HOME).collect();
        home.sort_by_key(|node| !leads(node));
        let victims: Vec<String> = home.iter().take(2).map(|node| node.name().to_owned()).collect();
        for node in home.iter().take(2) {
            for group in node.ledger().payments() {
                group.checkpoint().await;
            }
        }
        for name in victims {
            self.without(&name, |data| {
                let files = std::fs::read_dir(data.join("groups/payments-0")).unwrap();
                let files = files.map(|file| file.unwrap().path());
                let checkpoints: Vec<PathBuf> = files.filter(|file| is_checkpoint(file)).collect();
                assert!(!checkpoints.is_empty());
                checkpoints.iter().for_each(|file| flip_the_middle(file));
            })
            .await;
        }
    }

    /// The home region's whole history written anew, from its first entry on, by all its nodes.
    #[allow(dead_code, reason = "the audit's test alone rewrites a region")]
    pub async fn rewrite_home(&mut self) {
        self.stop_home().await;
        let home = self.home();
        for config in &home {
            std::fs::remove_dir_all(&config.data_dir).unwrap();
        }
        for node in futures::future::join_all(home.into_iter().map(Node::start)).await {
            let node = node.unwrap();
            self.nodes.insert(node.name().to_owned(), node);
        }
        self.ready().await;
        self.stock().await;
    }

    pub async fn start_restored_in_old_folders(&self) -> String {
        match Node::start_restored(self.home().remove(0)).await {
            Ok(_) => panic!("a restore into a folder that was in use"),
            Err(error) => format!("{error:#}"),
        }
    }

    /// The home region's nodes with new ids and empty folders, waiting for a backup.
    pub fn start_restored(&self) -> Restoring {
        let fresh = self.home().into_iter().map(|mut config| {
            for region in &mut config.league {
                if region.name.as_str() == HOME {
                    region.nodes.iter_mut().for_each(|node| node.id = NodeId(node.id.0 + 500));
                }
            }
            config.data_dir = self.data.join("new").join(&config.name);
            config
        });
        // Nodes have tasks of their own; these three only wait for theirs to start.
        #[allow(clippy::disallowed_methods)]
        fresh.map(|config| tokio::spawn(Node::start_restored(config))).collect()
    }

    /// The first new node's own service.
    pub async fn restore_client(&self, client: &str) -> RestoreServiceClient<Channel> {
        let (identity, at) = (self.identity(client), self.new_nodes().remove(0));
        let expect = Expect::NodeOf(HOME.parse().unwrap());
        eventually("the new node listens", || async {
            connect(&identity, &at, &expect, Timing::default()).await.is_ok()
        })
        .await;
        let channel = connect(&identity, &at, &expect, Timing::default()).await.unwrap();
        RestoreServiceClient::new(channel)
    }

    pub fn files_of_first_new_node(&self) -> Vec<String> {
        let dir = self.data.join("new").join(&self.home()[0].name);
        let Ok(names) = std::fs::read_dir(dir) else { return Vec::new() };
        names.map(|name| name.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    pub fn new_nodes(&self) -> Vec<String> {
        let home = self.configs[0].league.iter().find(|region| region.name.as_str() == HOME);
        home.unwrap().nodes.iter().map(|node| node.internal.clone()).collect()
    }

    pub async fn take(&mut self, restoring: Restoring) {
        for node in restoring {
            let node = tokio::time::timeout(PATIENCE, node).await.unwrap().unwrap().unwrap();
            self.nodes.insert(node.name().to_owned(), node);
        }
        self.ready().await;
    }

    pub async fn stop(self) {
        futures::future::join_all(self.nodes.into_values().map(Node::stop)).await;
    }
}
