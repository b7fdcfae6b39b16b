//! What is measured: a region of three real nodes that is started here, or one that runs already.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use hansa::config::Groups;
use hansa::profile::Profile;
use hansa_api::client::{Expect, Files, Identity, Services, Timing, connect};
use hansa_api::pb::admin::GroupKind;
use hansa_tests::processes::{HOME, Processes, Shape};
use hansa_tests::request;
use tonic::transport::Channel;

use crate::cli::Common;
use crate::watch::Watched;

/// Calls under way while stock is put in.
const STOCKING: usize = 256;
/// Tries of each: a region that has just begun may change its mind about who leads.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(250);
/// More than any run can sell.
const STOCK: i64 = 1_000_000_000;

/// How large a region is that is started here.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub replicas: usize,
    /// Of each kind.
    pub groups: u16,
}

impl Default for Size {
    fn default() -> Self {
        Self { replicas: 3, groups: 1 }
    }
}

/// A region under measurement.
pub struct Region {
    /// What we started and will stop.
    processes: Option<Processes>,
    profile: Profile,
    pub name: String,
    endpoints: Vec<String>,
    pub watched: Vec<Watched>,
}

impl Region {
    /// Three nodes in a folder, or the running ones that the command line names.
    ///
    /// # Errors
    /// A profile that does not read.
    pub async fn open(common: &Common, folder: &Path) -> anyhow::Result<Self> {
        match &common.profile {
            None => Self::start(common, folder, Size::default()).await,
            Some(file) => {
                let profile = Profile::read(file)?;
                let home = profile.regions.get(&profile.region);
                let home = home.context("the profile does not list its own region")?;
                let endpoints = match common.target.is_empty() {
                    true => home.endpoints.clone(),
                    false => common.target.clone(),
                };
                let name = profile.region.to_string();
                Ok(Self { processes: None, profile, name, endpoints, watched: Vec::new() })
            }
        }
    }

    /// A fresh region of this size.
    ///
    /// # Errors
    /// A folder that cannot be made, and a build that never syncs.
    pub async fn start(common: &Common, folder: &Path, size: Size) -> anyhow::Result<Self> {
        ensure!(common.target.is_empty(), "--target needs the certificates that --profile names");
        // Without its own syncs a node is fast and worth nothing.
        ensure!(hansa_wal::fs::SYNCS, "this build never syncs: there is nothing to measure");
        let own = || std::env::current_exe().context("our own program");
        let program = common.hansa.clone().map_or_else(own, Ok)?;
        let folder = folder.join("region");
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let joint = common.joint;
        let shape = Shape::below(folder, 1, program).nodes(size.replicas).with(move |config| {
            let groups = size.groups;
            config.groups = Groups { orders: groups, inventory: groups, payments: groups, joint };
            config.telemetry.log_filter = "warn,openraft=error".to_owned();
            // As a node in earnest has it; the small ones are for many nodes on one disk.
            (config.log.segment_mib, config.log.disk_mib) = (64, 8_192);
            // One client is the whole world here.
            config.gateway.rate.per_second = 10_000_000;
            config.gateway.rate.burst = 10_000_000;
            config.gateway.order_streams_per_client_max = 1_024;
            (config.gateway.streams_max, config.gateway.streams_per_client_max) =
                (100_000, 100_000);
        });
        let mut processes = shape.start().await;
        // Whose folder it is decides what becomes of it.
        processes.keep = true;
        let watched = watched(&mut processes);
        let profile = processes.profile.clone();
        let endpoints = profile.regions.values().flat_map(|of| of.endpoints.clone()).collect();
        let (name, processes) = (HOME.to_owned(), Some(processes));
        Ok(Self { processes, profile, name, endpoints, watched })
    }

    /// Connections to every gateway, by turns, as a client of the profile.
    ///
    /// # Errors
    /// A gateway that is not there.
    pub async fn connect(&self, role: &str, each: usize) -> anyhow::Result<Vec<Services>> {
        let files = self.profile.clients.get(role);
        let files = files.with_context(|| format!("the profile has no client `{role}`"))?;
        let (cert, key) = (files.cert.clone(), files.key.clone());
        let identity = Identity::read(&Files { cert, key, ca: self.profile.ca.clone() })?;
        let expect = Expect::NodeOf(self.name.parse()?);
        let mut services = Vec::new();
        for _ in 0..each.max(1) {
            for endpoint in &self.endpoints {
                let channel = connect(&identity, endpoint, &expect, Timing::default()).await?;
                services.push(Services::new(channel));
            }
        }
        Ok(services)
    }

    /// Puts stock of SKUs numbered from 0 into the region.
    ///
    /// # Errors
    /// What was refused again and again.
    pub async fn stock(&self, skus: u64) -> anyhow::Result<()> {
        let warehouses = Arc::new(self.connect("warehouse", 1).await?);
        let received = (0..skus).map(|number| {
            let warehouses = warehouses.clone();
            async move { self.receive(&warehouses, number).await }
        });
        futures::stream::iter(received).buffer_unordered(STOCKING).try_collect::<()>().await
    }

    async fn receive(&self, warehouses: &[Services], number: u64) -> anyhow::Result<()> {
        let receipt = request::receive(&self.name, &sku(number), STOCK);
        let mut tries = 0;
        loop {
            let mut at = warehouses[(number as usize + tries) % warehouses.len()].inventory.clone();
            let mut call = tonic::Request::new(receipt.clone());
            call.set_timeout(Duration::from_secs(10));
            match at.receive_stock(call).await {
                Ok(_) => return Ok(()),
                Err(status) if tries == TRIES => return Err(status).context("stock is refused"),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
            tries += 1;
        }
    }

    /// The internal port of whoever leads the stock, as one of the nodes.
    ///
    /// # Errors
    /// A region that was not started here: its nodes' certificates are its own.
    pub async fn inside_of_stock(&self) -> anyhow::Result<Channel> {
        let processes = self.processes.as_ref();
        let processes = processes.context("only in a region that is started here")?;
        let leader = processes.leader(&self.name, GroupKind::Inventory).await;
        let config = processes.config(&leader);
        let (cert, key, ca) =
            (config.tls.cert.clone(), config.tls.key.clone(), config.tls.ca.clone());
        let identity = Identity::read(&Files { cert, key, ca })?;
        let (at, expect) = (config.listen.internal.to_string(), Expect::NodeOf(self.name.parse()?));
        Ok(connect(&identity, &at, &expect, Timing::default()).await?)
    }

    /// Stops what was started here; each node drains, and keeps its data.
    pub async fn halt(&mut self) {
        if let Some(processes) = &mut self.processes {
            processes.stop_all().await;
        }
    }

    /// Starts it again on its data.
    pub async fn again(&mut self) {
        if let Some(processes) = &mut self.processes {
            processes.start_all();
            processes.ready().await;
            self.watched = watched(processes);
        }
    }

    pub async fn stop(mut self) {
        self.halt().await;
    }
}

fn watched(processes: &mut Processes) -> Vec<Watched> {
    let mut watched = Vec::new();
    for name in processes.names() {
        let metrics = processes.config(&name).listen.metrics;
        watched.push(Watched { pid: processes.pid(&name), metrics, name });
    }
    watched
}

/// The name of SKU `number`.
pub fn sku(number: u64) -> String {
    format!("SKU-{number:06}")
}
