//! A whole league in one process, on real ports, logs and certificates: for `dev`, `demo` and
//! tests. The nodes share nothing but the process: each has its folder, its certificate, its
//! listeners, and finds the others by address like any node.

pub mod layout;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use hansa_node::devca::DevCa;

use self::layout::{CLIENTS, Layout};
use crate::config::Config;
use crate::node::{Node, World};
use crate::profile::{self, Profile};

/// The policies as shipped; `dev` copies them into its folder, where they may be edited.
const RESIDENCY: &str = include_str!("../../../deploy/policy/residency.toml");
const AUTHZ: &str = include_str!("../../../deploy/policy/authz.toml");

const TRUST_DOMAIN: &str = "hansa";

/// A running league.
pub struct League {
    nodes: Vec<Node>,
    profile: Profile,
    profile_file: PathBuf,
}

impl League {
    /// Makes what is missing below `data` (authority, certificates, policies, config files), then
    /// starts every node at once.
    ///
    /// # Errors
    /// The first node that does not start; those that did are stopped again.
    pub async fn start(data: &Path, layout: &Layout) -> anyhow::Result<Self> {
        Self::start_in(data, layout, World::real).await
    }

    /// The same, each node in a world of its own.
    ///
    /// # Errors
    /// As [`League::start`].
    pub async fn start_in(
        data: &Path,
        layout: &Layout,
        world: impl Fn(&Config) -> anyhow::Result<World>,
    ) -> anyhow::Result<Self> {
        let (configs, profile) = prepare(data, layout)?;
        let profile_file = data.join("profile.toml");
        let mut nodes = Vec::with_capacity(configs.len());
        for config in configs {
            let world = world(&config).with_context(|| config.name.clone())?;
            nodes.push(Node::start_in(config, world));
        }
        let started = futures::future::join_all(nodes).await;
        let (mut nodes, mut failed) = (Vec::with_capacity(started.len()), None);
        for node in started {
            match node {
                Ok(node) => nodes.push(node),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let league = Self { nodes, profile, profile_file };
        match failed {
            None => Ok(league),
            Some(error) => {
                league.stop().await;
                Err(error)
            }
        }
    }

    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    #[must_use]
    pub fn profile_file(&self) -> &Path {
        &self.profile_file
    }

    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Waits until every node serves: its groups have leaders and its directory is there.
    ///
    /// # Errors
    /// What the last one still waits for when `bound` has passed.
    pub async fn ready(&self, bound: Duration) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + bound;
        for node in &self.nodes {
            while let Err(why) = node.ready() {
                anyhow::ensure!(
                    tokio::time::Instant::now() < deadline,
                    "{} is not ready after {bound:?}: {why}",
                    node.name()
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Why a node has stopped by itself, if one has.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.nodes.iter().find_map(|node| Some(format!("{}: {}", node.name(), node.failure()?)))
    }

    /// Stops the nodes that an operator has drained; the others go on.
    pub async fn stop_drained(&mut self) {
        while let Some(at) = self.nodes.iter().position(Node::is_drained) {
            let node = self.nodes.remove(at);
            tracing::warn!(node = node.name(), "drained, stops");
            node.stop().await;
        }
    }

    /// Drains and stops every node at once, each within its own bound.
    pub async fn stop(self) {
        futures::future::join_all(self.nodes.into_iter().map(Node::stop)).await;
    }
}

/// Writes whatever the nodes need before they start; what is there already is kept.
///
/// # Errors
/// What the disk or the authority says.
pub fn prepare(data: &Path, layout: &Layout) -> anyhow::Result<(Vec<Config>, Profile)> {
    let data = std::path::absolute(data).context("the data folder")?;
    let make = |dir: &Path| std::fs::create_dir_all(dir).with_context(|| dir.display().to_string());
    make(&data.join("policy"))?;
    keep(&data.join("policy/residency.toml"), RESIDENCY)?;
    keep(&data.join("policy/authz.toml"), AUTHZ)?;
    let ca = DevCa::open(&data.join("pki"), TRUST_DOMAIN)?;
    let mut configs = Vec::new();
    for mut config in layout.configs(&data, TRUST_DOMAIN)? {
        let files = ca.node(&config.region, &config.name)?;
        (config.tls.cert, config.tls.key, config.tls.ca) = (files.cert, files.key, files.ca);
        make(&config.data_dir)?;
        let file = config.data_dir.join("node.toml");
        let text = hansa_node::config::print(&config)?;
        std::fs::write(&file, text).with_context(|| file.display().to_string())?;
        configs.push(config);
    }
    let mut clients = std::collections::BTreeMap::new();
    for name in CLIENTS {
        let files = ca.client(name)?;
        let client = profile::Client { cert: files.cert, key: files.key };
        clients.insert(name.to_owned(), client);
    }
    let profile = layout.profile(ca.ca_file(), clients)?;
    profile.write(&data.join("profile.toml"))?;
    Ok((configs, profile))
}

/// Writes a file unless somebody has: an edited policy survives a restart.
fn keep(file: &Path, text: &str) -> anyhow::Result<()> {
    if file.exists() {
        return Ok(());
    }
    std::fs::write(file, text).with_context(|| file.display().to_string())
}
