//! One node, composed. Start and stop are two lists, one the other reversed: identity first,
//! listeners early, drain last.

mod agrees;
mod bounds;
mod chains;
mod compose;
mod copies;
mod groups;
mod inside;
mod invariants;
mod members;
mod membership_service;
mod opener;
mod port;
mod ready;
mod reconcile_service;
mod residency_service;
mod restore;
mod version_service;
mod whoami;
mod world;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hansa_consensus::{GroupStatus, Host};
use hansa_gateway::Gateway;
use hansa_node::env::Env;
use hansa_node::listen::Serving;
use hansa_node::peers::Peers;
pub use hansa_sweep::findings::ASIDE;

use self::inside::Inside;
pub use self::members::RETIRED;
pub use self::restore::verify_states;
pub use self::world::{Pages, Views, World};
use crate::config::Config;

/// A running node.
pub struct Node {
    config: Config,
    env: Env,
    host: Host,
    peers: Peers,
    gateway: Option<Gateway>,
    inside: Arc<Inside>,
    internal: Serving,
    public: Option<Serving>,
}

impl Node {
    /// The books of this node, for tests that plant what no order knows of.
    #[doc(hidden)]
    pub fn ledger(&self) -> &hansa_ledger::Ledger {
        self.inside.ledger()
    }

    /// The orders of this node, for tests that plant copies that nobody shipped.
    #[doc(hidden)]
    pub fn orders(&self) -> Option<&hansa_orders::Orders> {
        self.inside.orders()
    }

    /// What orders and the books in their log disagree about on this node, for the simulator.
    #[doc(hidden)]
    #[must_use]
    pub fn disagreements(&self, max: usize) -> Vec<String> {
        let shards = self.inside.shards().all();
        let broken = shards.iter().flat_map(|group| group.peek(|shard| shard.agrees(max)));
        broken.map(|of| format!("{} {} {}: {}", of.number, of.name, of.order, of.what)).collect()
    }

    /// Looks at the orders of each group of this node that keeps its books, for the simulator.
    #[doc(hidden)]
    pub fn joint_orders<R>(&self, look: impl Fn(&hansa_orders::core::state::State) -> R) -> Vec<R> {
        let shards = self.inside.shards().all();
        shards.iter().map(|group| group.peek(|shard| look(&shard.orders().state))).collect()
    }

    /// Starts everything that the config gives this node. Serves when it returns; whether its
    /// groups have leaders already is for [`Node::ready`] to say.
    ///
    /// # Errors
    /// The first part that does not start, by name. Tasks that have started are stopped again.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let world = World::real(&config).with_context(|| config.name.clone())?;
        Self::start_in(config, world).await
    }

    /// The same in another world, which must show the config's name to its peers.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub async fn start_in(config: Config, world: World) -> anyhow::Result<Self> {
        let name = config.name.clone();
        let world = world.end_unsynced();
        let tasks = world.env.tasks.clone();
        let drain = Duration::from_millis(config.drain_ms);
        match Box::pin(compose::compose(config, world)).await {
            Ok(node) => Ok(node),
            Err(error) => {
                tasks.drain(drain).await;
                Err(error.context(name))
            }
        }
    }

    /// Waits for a backup in an empty folder, then starts with it.
    ///
    /// # Errors
    /// A folder that is not empty, and as [`Node::start`].
    pub async fn start_restored(config: Config) -> anyhow::Result<Self> {
        let world = World::real(&config).with_context(|| config.name.clone())?;
        Self::start_restored_in(config, world).await
    }

    /// The same in another world.
    ///
    /// # Errors
    /// As [`Node::start_restored`].
    pub async fn start_restored_in(config: Config, world: World) -> anyhow::Result<Self> {
        let world = world.end_unsynced();
        Box::pin(restore::wait(&config, &world)).await.with_context(|| config.name.clone())?;
        Self::start_in(config, world).await
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether this node serves: `Err` says what it waits for.
    ///
    /// # Errors
    /// The first thing that is not there yet.
    pub fn ready(&self) -> Result<(), String> {
        self.inside.ready()
    }

    /// Its replicas, those that did not start included.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupStatus> {
        self.host.statuses()
    }

    /// Why the node has stopped by itself, if it has.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.env.tasks.failure()
    }

    /// Waits until the node has stopped by itself.
    pub async fn failed(&self) {
        self.env.tasks.stop_token().cancelled().await;
    }

    /// Waits until an operator has drained this node: it is to be stopped.
    pub async fn drained(&self) {
        self.inside.drained().cancelled().await;
    }

    /// Whether an operator has drained this node.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.inside.drained().is_cancelled()
    }

    /// Drains and stops, within the config's `drain_ms` and a little.
    pub async fn stop(self) {
        let bound = Duration::from_millis(self.config.drain_ms);
        // Balancers look elsewhere before a call is refused.
        if let Some(gateway) = &self.gateway {
            gateway.set_serving(false).await;
        }
        // A watch never ends by itself: the drain below would wait out its bound.
        self.inside.close_watches();
        // Clients' calls end while there is somebody to answer them.
        if let Some(public) = self.public {
            let cut = tokio::time::timeout(bound, public.drain()).await;
            log_late(&self.config.name, "public calls", cut.is_err());
        }
        // Leaderships go to others, so that nobody waits for an election.
        let handed = tokio::time::timeout(bound, self.host.drain()).await;
        log_late(&self.config.name, "leaderships", handed.is_err());
        // Nodes' calls: nothing new comes in from here on.
        self.internal.drain().await;
        // Groups and log last: what the tasks above committed is synced.
        self.host.stop().await;
        self.peers.clear_local();
        for task in self.env.tasks.drain(bound).await {
            tracing::warn!(node = self.config.name, task, "did not end in time");
        }
    }
}

fn log_late(node: &str, what: &str, late: bool) {
    if late {
        tracing::warn!(node, what, "not drained in time");
    }
}
