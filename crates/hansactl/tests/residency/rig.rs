//! Three regions of one node each in this process, and the operator's tool as a process of its own.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use hansa::league::layout::Layout;
use hansa::league::prepare;
use hansa::node::Node;
use hansa::profile::Profile;
use hansa_api::client::{Expect, Files, Identity, League, Options, Services, Timing, connect};
use hansa_api::pb::Money;
use hansa_api::pb::order::{LineKind, PersonalDetails, PlaceOrderLine, PlaceOrderRequest};

pub const PATIENCE: Duration = Duration::from_secs(60);
/// What may be in no log and no refusal.
pub const SECRET: &str = "Ivan Secretov";

pub struct Rig {
    pub data: PathBuf,
    pub profile: Profile,
    nodes: Vec<Node>,
}

/// Looks until `done` says so.
pub async fn eventually<Fut: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> Fut) {
    let end = Instant::now() + PATIENCE;
    while !done().await {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// All that every node of this process logs, down to its traces.
pub fn logged() -> &'static Mutex<Vec<u8>> {
    static LOGGED: OnceLock<Arc<Mutex<Vec<u8>>>> = OnceLock::new();
    LOGGED.get_or_init(|| {
        let log = Arc::new(Mutex::new(Vec::new()));
        let writer = log.clone();
        tracing_subscriber::fmt()
            .with_env_filter("info,hansa=trace,hansa_gateway=trace,hansa_orders=trace")
            .with_writer(move || Writer(writer.clone()))
            .init();
        log
    })
}

struct Writer(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Rig {
    /// `window`: how long a replaced region key opens what it wraps.
    pub async fn start(name: &str, window: Duration) -> Self {
        logged();
        let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&data);
        let mut layout = Layout::apart().unwrap().first(3);
        layout.timing = hansa_consensus::Profile::Quick;
        let (mut configs, mut profile) = prepare(&data, &layout).unwrap();
        // One node is enough of a region: what is asked is between regions.
        configs.retain(|config| config.name.ends_with("-1"));
        for config in &mut configs {
            config.league.iter_mut().for_each(|region| {
                region.nodes.truncate(1);
                region.public.truncate(1);
            });
            let window_ms = u64::try_from(window.as_millis()).unwrap();
            (config.orders.keys.window_ms, config.orders.keys.check_ms) = (window_ms, 200);
            // Each region has its own file: they may differ.
            let own = config.data_dir.join("residency.toml");
            std::fs::copy(&config.residency_file, &own).unwrap();
            config.residency_file = own;
        }
        profile.regions.values_mut().for_each(|region| region.endpoints.truncate(1));
        profile.write(&data.join("profile.toml")).unwrap();
        let starting = configs.into_iter().map(Node::start);
        let nodes = futures::future::try_join_all(starting).await.unwrap();
        let rig = Self { data, profile, nodes };
        eventually("every node serves", || async {
            rig.nodes.iter().all(|node| node.ready().is_ok())
        })
        .await;
        rig
    }

    pub async fn stop(self) {
        futures::future::join_all(self.nodes.into_iter().map(Node::stop)).await;
    }

    fn identity(&self, client: &str) -> Identity {
        let files = &self.profile.clients[client];
        let (cert, key, ca) = (files.cert.clone(), files.key.clone(), self.profile.ca.clone());
        Identity::read(&Files { cert, key, ca }).unwrap()
    }

    pub fn endpoint(&self, region: &str) -> String {
        self.profile.regions[&region.parse().unwrap()].endpoints[0].clone()
    }

    /// A region's gateway as the shop, without any help of the client library.
    pub async fn shop(&self, region: &str) -> Services {
        let expect = Expect::NodeOf(region.parse().unwrap());
        let identity = self.identity("storefront");
        let channel = connect(&identity, &self.endpoint(region), &expect, Timing::default()).await;
        Services::new(channel.unwrap())
    }

    /// The shop with the client library, which knows one region.
    pub async fn league(&self, region: &str, strict: bool) -> League {
        let options = Options { strict, ..Options::default() };
        let endpoints = vec![self.endpoint(region)];
        let league =
            League::connect(self.identity("storefront"), endpoints, Expect::AnyNode, options);
        league.await.unwrap()
    }

    /// The tool, in the league's folder; exit code, output and messages.
    pub async fn ctl(&self, region: &str, words: &[&str]) -> (i32, String, String) {
        let mut tool = tokio::process::Command::new(env!("CARGO_BIN_EXE_hansactl"));
        tool.current_dir(&self.data).args(["--profile", "profile.toml", "--timeout", "30s"]);
        if !region.is_empty() {
            tool.args(["--region", region]);
        }
        let Output { status, stdout, stderr } = tool.args(words).output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (status.code().unwrap_or(-1), text(&stdout), text(&stderr))
    }

    pub fn write(&self, file: &str, text: &str) {
        std::fs::write(self.data.join(file), text).unwrap();
    }
}

/// An order of a resident, of nothing that lies in a warehouse.
pub fn order(country: &str, request_id: &str) -> PlaceOrderRequest {
    let line = PlaceOrderLine {
        kind: LineKind::Fee.into(),
        description: "postage".into(),
        quantity: 1,
        unit_price: Some(Money { currency_code: "EUR".into(), units: 3, nanos: 0 }),
        ..Default::default()
    };
    let personal = PersonalDetails { name: SECRET.into(), ..Default::default() };
    PlaceOrderRequest {
        residence_country: country.into(),
        customer_id: "somebody-1".into(),
        request_id: request_id.into(),
        lines: vec![line],
        payment_token: "tok_approve".into(),
        personal: Some(personal),
        ..Default::default()
    }
}
