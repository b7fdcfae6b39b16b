//! One league of nine nodes in this process, shared by all tests of a test binary.

use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hansa::config::Config;
use hansa::league::League;
use hansa::league::layout::Layout;
use hansa::node::World;
use hansa::profile::Profile;
use hansa_api::client::{Expect, Files, Identity, Services, Timing, connect};
use hansa_region_router::core::policy::Policy;
use hansa_sweep::{Findings, Law};

use crate::tap::Tap;

/// Longest that any wait of a test takes: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What tests know of the league: where it is and who they are.
pub struct Local {
    pub data: PathBuf,
    pub profile: Profile,
    /// Every byte that leaves a region.
    pub tap: Tap,
}

/// The shipped policy, but that nothing of the Swiss may pass through another region.
fn policy() -> String {
    const SHIPPED: &str = include_str!("../../deploy/policy/residency.toml");
    let open = "{ store = [\"CH\", \"EU\"], transit = true";
    assert_eq!(SHIPPED.matches(open).count(), 2, "the policy says it in other words");
    SHIPPED.replace(open, &open.replace("true", "false"))
}

/// The league, started by the first test that asks. Its threads end with the process.
pub fn league(name: &'static str) -> &'static Local {
    static LEAGUE: OnceLock<Local> = OnceLock::new();
    LEAGUE.get_or_init(|| {
        let data = super::folder::fresh(name);
        let (ready, started) = mpsc::sync_channel(1);
        let (folder, tap) = (data.clone(), Tap::default());
        let tapped = tap.clone();
        std::thread::spawn(move || run(folder, &tapped, &ready));
        let profile = started.recv().expect("the league starts");
        Local { data, profile, tap }
    })
}

fn run(data: PathBuf, tap: &Tap, ready: &mpsc::SyncSender<Profile>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut layout = Layout::anywhere().expect("free ports").first(3);
        // Nine nodes share this process: a leader goes on however busy the machine is.
        layout.timing = hansa_consensus::Profile::NoisyDisk;
        std::fs::create_dir_all(data.join("policy")).expect("a folder");
        std::fs::write(data.join("policy/residency.toml"), policy()).expect("a policy");
        let world = |config: &Config| {
            let world = World::real(config)?;
            Ok(World { net: tap.on(world.net.clone()), ..world })
        };
        let league = League::start_in(&data, &layout, world).await.expect("nine nodes start");
        league.ready(2 * PATIENCE).await.expect("nine nodes serve");
        ready.send(league.profile().clone()).expect("the test waits");
        std::future::pending::<()>().await;
    });
}

impl Local {
    /// A region's first gateway, as a client of the shipped policy.
    pub async fn as_client(&self, client: &str, region: &str) -> Services {
        let files = &self.profile.clients[client];
        let identity = self.identity(files.cert.clone(), files.key.clone());
        let expect = Expect::NodeOf(region.parse().expect("a region name"));
        let endpoint = self.endpoint(region);
        let channel = connect(&identity, &endpoint, &expect, Timing::default()).await;
        Services::new(channel.expect("the gateway answers"))
    }

    pub fn identity(&self, cert: PathBuf, key: PathBuf) -> Identity {
        let ca = self.profile.ca.clone();
        Identity::read(&Files { cert, key, ca }).expect("good files")
    }

    pub fn endpoint(&self, region: &str) -> String {
        let region = region.parse().expect("a region name");
        self.profile.regions[&region].endpoints[0].clone()
    }

    /// What may be found at a region, by the league's own law.
    pub fn findings(&self, region: &str, number: u16) -> Findings {
        let policy = Policy::parse(&policy()).expect("a good policy");
        let (here, number) =
            (region.parse().expect("a name"), number.try_into().expect("a number"));
        Findings::new(Law::new(here, number, Arc::new(policy)))
    }

    /// Puts stock of a SKU into a region.
    pub async fn stock(&self, region: &str, sku: &str, quantity: i64) {
        let warehouse = self.as_client("warehouse", region).await.inventory;
        let request = super::request::receive(region, sku, quantity);
        let receive = || {
            let (mut warehouse, request) = (warehouse.clone(), request.clone());
            async move { warehouse.receive_stock(request).await }
        };
        super::request::asked(receive).await.expect("stock is received");
    }

    pub async fn available(&self, region: &str, sku: &str) -> i64 {
        let warehouse = self.as_client("warehouse", region).await.inventory;
        let request = hansa_api::pb::inventory::GetStockRequest {
            region: region.to_owned(),
            sku: sku.to_owned(),
            ..Default::default()
        };
        let read = || {
            let (mut warehouse, request) = (warehouse.clone(), request.clone());
            async move { warehouse.get_stock(request).await }
        };
        let stocks = super::request::asked(read).await.expect("stock is read").stocks;
        stocks.iter().map(|stock| stock.available_quantity - stock.reserved_quantity).sum()
    }
}
