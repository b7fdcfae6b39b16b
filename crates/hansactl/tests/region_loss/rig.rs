//! Four regions of one node each, in this process, and the operator's tool as one of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hansa::config::Config;
use hansa::league::layout::Layout;
use hansa::league::prepare;
use hansa::node::Node;
use hansa::profile::Profile;
use hansa_api::client::{Expect, Files, Identity, Services, Timing, connect};
use hansa_api::first_sent;
use hansa_api::pb::Money;
use hansa_api::pb::admin::GetRegionLossRequest;
use hansa_api::pb::inventory::ReceiveStockRequest;
use hansa_api::pb::order::{
    CancelOrderRequest, GetOrderRequest, LineKind, Order, OrderState, PlaceOrderLine,
    PlaceOrderRequest, ReadMode,
};
use hansa_api::status::Failure;

pub const LOST: &str = "eu-west";
pub const SURVIVOR: &str = "eu-central";
const PATIENCE: Duration = Duration::from_secs(60);
const SKU: &str = "THING";

/// An order that was acknowledged, and how it was asked for.
pub struct Placed {
    request: PlaceOrderRequest,
    pub name: String,
}

pub struct Rig {
    data: PathBuf,
    profile: Profile,
    configs: BTreeMap<String, Config>,
    nodes: BTreeMap<String, Node>,
    count: AtomicU64,
}

/// Looks until `done` says so.
pub async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done().await {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// Later than any record: nobody can have carried it out before.
pub fn surely_new() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("before the year 584 million") + 60_000
}

impl Rig {
    pub async fn start(name: &str) -> Self {
        Self::start_by(name, None).await
    }

    /// By another policy than the shipped one.
    pub async fn start_by(name: &str, policy: Option<&str>) -> Self {
        let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&data);
        if let Some(policy) = policy {
            std::fs::create_dir_all(data.join("policy")).expect("a folder");
            std::fs::write(data.join("policy/residency.toml"), policy).expect("a policy");
        }
        let mut layout = Layout::apart().expect("free ports");
        layout.timing = hansa_consensus::Profile::Quick;
        let (configs, profile) = prepare(&data, &layout).expect("a league on disk");
        let mut first = BTreeMap::new();
        for mut config in configs {
            for region in &mut config.league {
                region.nodes.truncate(1);
                region.public.truncate(1);
            }
            if config.own_node().is_some() {
                first.insert(config.region.to_string(), config);
            }
        }
        let (nodes, count) = (BTreeMap::new(), AtomicU64::new(0));
        let mut rig = Self { data, profile, configs: first, nodes, count };
        let regions: Vec<String> = rig.configs.keys().cloned().collect();
        for region in &regions {
            rig.begin(region).await;
        }
        for region in [LOST, SURVIVOR] {
            rig.stock(region).await;
        }
        rig
    }

    pub async fn begin(&mut self, region: &str) {
        let node = Node::start(self.configs[region].clone()).await.expect("a node starts");
        self.nodes.insert(region.to_owned(), node);
        eventually("it serves", || async { self.nodes[region].ready().is_ok() }).await;
    }

    pub async fn stop(&mut self, region: &str) {
        self.nodes.remove(region).expect("it runs").stop().await;
    }

    /// Waits until an operator has drained the region, and stops it then, as `hansa serve` does.
    pub async fn stop_once_drained(&mut self, region: &str) {
        let drained = tokio::time::timeout(PATIENCE, self.nodes[region].drained()).await;
        assert!(drained.is_ok(), "nobody drained {region}");
        self.stop(region).await;
    }

    pub async fn end(self) {
        futures::future::join_all(self.nodes.into_values().map(Node::stop)).await;
    }

    /// Leaves only `one` running, or all but it.
    pub async fn cut(&mut self, one: &str, alone: bool) {
        let regions: Vec<String> = self.configs.keys().cloned().collect();
        let others: Vec<String> = regions.into_iter().filter(|region| region != one).collect();
        if alone {
            let nodes = others.iter().map(|other| self.nodes.remove(other).expect("it runs"));
            futures::future::join_all(nodes.map(Node::stop)).await;
            return;
        }
        self.stop(one).await;
        for other in &others {
            self.begin(other).await;
        }
    }

    async fn as_client(&self, client: &str, region: &str) -> Services {
        let files = &self.profile.clients[client];
        let (cert, key, ca) = (files.cert.clone(), files.key.clone(), self.profile.ca.clone());
        let identity = Identity::read(&Files { cert, key, ca }).expect("good files");
        let endpoint = &self.profile.regions[&region.parse().expect("a region name")].endpoints[0];
        let expect = Expect::NodeOf(region.parse().expect("a region name"));
        let channel = connect(&identity, endpoint, &expect, Timing::default()).await;
        Services::new(channel.expect("a channel"))
    }

    async fn stock(&self, region: &str) {
        let request = ReceiveStockRequest {
            request_id: uuid::Uuid::new_v4().to_string(),
            region: region.to_owned(),
            sku: SKU.to_owned(),
            quantity: 1_000_000,
            document: "test".to_owned(),
            ..Default::default()
        };
        let mut warehouse = self.as_client("warehouse", region).await.inventory;
        warehouse.receive_stock(request).await.expect("stock");
    }

    /// Of a German customer.
    pub fn request(&self) -> PlaceOrderRequest {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let line = PlaceOrderLine {
            kind: LineKind::Stock.into(),
            sku: SKU.to_owned(),
            description: "a thing".to_owned(),
            quantity: 1,
            unit_price: Some(Money { currency_code: "EUR".into(), units: 3, nanos: 0 }),
        };
        PlaceOrderRequest {
            residence_country: "DE".to_owned(),
            customer_id: format!("customer-{}", number % 5),
            request_id: uuid::Uuid::new_v4().to_string(),
            lines: vec![line],
            payment_token: "tok_approve".to_owned(),
            ..Default::default()
        }
    }

    /// Asks once; the order, and whether the request was known.
    pub async fn ask(
        &self,
        region: &str,
        request: &PlaceOrderRequest,
        first_sent_ms: u64,
    ) -> Result<(Order, bool), Failure> {
        let mut orders = self.as_client("storefront", region).await.orders;
        let mut request = tonic::Request::new(request.clone());
        request.set_timeout(Duration::from_secs(10));
        first_sent::put(request.metadata_mut(), first_sent_ms.min(surely_new()));
        let answer = orders.place_order(request).await.map_err(|s| Failure::from(&s))?;
        let answer = answer.into_inner();
        Ok((answer.order.expect("an order"), answer.replayed))
    }

    /// Confirmed orders that were asked for in a region.
    pub async fn place(&self, region: &str, count: usize) -> Vec<Placed> {
        let mut placed = Vec::new();
        for _ in 0..count {
            let request = self.request();
            let end = Instant::now() + PATIENCE;
            let name = loop {
                match self.ask(region, &request, surely_new()).await {
                    Ok((order, _)) if order.state() == OrderState::Confirmed => break order.name,
                    other => assert!(Instant::now() < end, "{other:?}"),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            };
            placed.push(Placed { request, name });
        }
        placed
    }

    /// The same request again, said to be as old as it is.
    pub async fn replay(&self, region: &str, placed: &Placed) -> Result<(String, bool), Failure> {
        let (order, replayed) = self.ask(region, &placed.request, 1).await?;
        Ok((order.name, replayed))
    }

    pub async fn get(&self, region: &str, order: &str) -> Result<Order, Failure> {
        self.read(region, order, ReadMode::Unspecified).await
    }

    pub async fn read(&self, region: &str, order: &str, read: ReadMode) -> Result<Order, Failure> {
        let mut orders = self.as_client("storefront", region).await.orders;
        let order = order.to_owned();
        let request = GetOrderRequest { order, read: read.into() };
        let answer = orders.get_order(request).await.map_err(|s| Failure::from(&s))?;
        Ok(answer.into_inner().order.expect("an order"))
    }

    /// Waits until the survivor has copies of all of them as they are.
    pub async fn copied(&self, placed: &[Placed]) {
        for order in placed {
            eventually("a copy at the survivor", || async {
                let copy = self.read(SURVIVOR, &order.name, ReadMode::LocalCopy).await;
                let done = [OrderState::Confirmed, OrderState::Completed];
                copy.is_ok_and(|copy| done.contains(&copy.state()))
            })
            .await;
        }
    }

    pub async fn cancelled(&self, region: &str, order: &str) {
        let request = CancelOrderRequest {
            order: order.to_owned(),
            request_id: uuid::Uuid::new_v4().to_string(),
            ..Default::default()
        };
        eventually("it is cancelled", || async {
            let mut orders = self.as_client("storefront", region).await.orders;
            let mut request = tonic::Request::new(request.clone());
            first_sent::put(request.metadata_mut(), surely_new());
            if let Err(status) = orders.cancel_order(request).await {
                eprintln!("not cancelled yet: {}", Failure::from(&status));
            }
            let now = self.get(region, order).await;
            now.is_ok_and(|now| now.state() == OrderState::Cancelled)
        })
        .await;
    }

    /// Who owns what was born in the lost region, as one region tells.
    pub async fn owner_as_told_by(&self, region: &str) -> Option<(String, u64)> {
        let mut admin = self.as_client("operator", region).await.region_loss;
        let request = GetRegionLossRequest { region: region.to_owned() };
        let told = admin.get_region_loss(request).await.ok()?.into_inner();
        let of = told.births.into_iter().find(|of| of.birth_region == LOST)?;
        Some((of.owner_region, of.epoch))
    }

    /// The tool, in the league's folder.
    pub async fn ctl(&self, region: &str, words: &[&str]) -> Output {
        self.tool(region, words).output().await.expect("hansactl runs")
    }

    pub fn tool(&self, region: &str, words: &[&str]) -> tokio::process::Command {
        let mut tool = tokio::process::Command::new(env!("CARGO_BIN_EXE_hansactl"));
        tool.current_dir(&self.data).env("HANSA_TIMEOUT", "60s");
        tool.args(["--profile", "profile.toml", "--region", region]).args(words);
        tool
    }
}
