//! A node's seat: what stays when its process ends, and the process that sits in it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use futures::FutureExt as _;
use hansa::config::Config;
use hansa::node::{Node, Pages, Views, World};
use hansa_consensus::GroupStatus;
use hansa_node::env::test::{SeededEntropy, TaskLoops};
use hansa_node::env::{Env, Exit};
use hansa_node::tasks::Tasks;
use hansa_orders::core::state::State;
use hansa_types::identity::SpiffeId;
use hansa_wal::fs::SimFs;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::LocalSet;

use crate::clock::HostClock;
use crate::gate::Gate;
use crate::net::{Alive, SimNet};
use crate::provider::ThirdParty;
use crate::trace;

/// Disagreements that are worth reading.
const WRONG_MAX: usize = 4;

/// A machine and its place in the league.
pub struct Seat {
    pub config: Config,
    pub disk: SimFs,
    pub clock: HostClock,
    shared: SimFs,
    provider: Arc<ThirdParty>,
    seed: u64,
    damaged: AtomicBool,
    lives: AtomicU64,
    now: Mutex<Now>,
    /// Rung to have the node stop as an operator stops it.
    pub stop: Notify,
    /// Shut while the process stands still.
    pub gate: Gate,
}

/// The process that sits there, if one does.
#[derive(Default)]
struct Now {
    alive: Alive,
    node: Weak<Node>,
    ended: Option<End>,
}

/// How a process ended by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// It did not start.
    NotStarted(String),
    /// It ended itself, or a task without which it cannot go on failed.
    Exited(String),
    /// It was asked to stop, and did.
    Stopped,
}

impl Seat {
    #[must_use]
    pub fn new(
        config: Config,
        disk: SimFs,
        shared: SimFs,
        clock: HostClock,
        provider: Arc<ThirdParty>,
        seed: u64,
    ) -> Self {
        Self {
            config,
            disk,
            clock,
            shared,
            provider,
            seed,
            damaged: AtomicBool::new(false),
            lives: AtomicU64::new(0),
            now: Mutex::default(),
            stop: Notify::new(),
            gate: Gate::default(),
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// How its process has ended by itself, if it has; asked once.
    pub fn take_end(&self) -> Option<End> {
        self.now.lock().ended.take()
    }

    /// Its groups as they are now; nothing while no node runs.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupStatus> {
        let node = self.now.lock().node.upgrade();
        node.map_or_else(Vec::new, |node| node.groups())
    }

    /// What its orders and the books in their log disagree about; nothing while no node runs.
    #[must_use]
    pub fn disagreements(&self) -> Vec<String> {
        let node = self.now.lock().node.upgrade();
        node.map_or_else(Vec::new, |node| node.disagreements(WRONG_MAX))
    }

    /// Looks at its groups of orders that keep their books.
    pub fn joint_orders<R>(&self, look: impl Fn(&State) -> R) -> Vec<R> {
        let node = self.now.lock().node.upgrade();
        node.map_or_else(Vec::new, |node| node.joint_orders(look))
    }

    /// # Errors
    /// What it waits for.
    pub fn ready(&self) -> Result<(), String> {
        match self.now.lock().node.upgrade() {
            Some(node) => node.ready(),
            None => Err("not started".to_owned()),
        }
    }

    /// From now on the process does nothing that anybody sees.
    pub fn silence(&self) {
        let mut now = self.now.lock();
        now.alive.store(false, Ordering::Relaxed);
        now.node = Weak::new();
    }

    /// Its disk was damaged on purpose.
    pub fn damage(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }

    /// It was given a new place, and begins empty.
    pub fn mended(&self) {
        self.damaged.store(false, Ordering::Relaxed);
    }

    #[must_use]
    pub fn damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// A group of it refuses its damaged disk: that replica never catches up.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.damaged() && self.groups().iter().any(|status| status.stopped.is_some())
    }

    fn end(&self, alive: &Alive, end: End) {
        let mut now = self.now.lock();
        // The first word counts, and only of the process that sits there now; one that fell says
        // none while it is cleared away, whatever it finds of its disk.
        if Arc::ptr_eq(&now.alive, alive) && alive.load(Ordering::Relaxed) {
            trace::note(format_args!("{} ends: {end:?}", self.name()));
            alive.store(false, Ordering::Relaxed);
            // What it would still write is not written.
            self.disk.cut_power_after(0);
            now.ended = Some(end);
        }
    }

    /// One process, from its start until the machine ends it. All of its tasks are of one set, so
    /// that all of them can be made to stand still.
    pub async fn live(self: Arc<Self>) -> turmoil::Result {
        let set = process();
        let life = std::pin::pin!(set.run_until(self.clone().life()));
        self.gate.through(life).await
    }

    async fn life(self: Arc<Self>) -> turmoil::Result {
        // Who was told to stop was the one before.
        let _told = self.stop.notified().now_or_never();
        let alive: Alive = Arc::new(AtomicBool::new(true));
        *self.now.lock() = Now { alive: alive.clone(), ..Now::default() };
        let life = self.lives.fetch_add(1, Ordering::Relaxed);
        match Node::start_in(self.config.clone(), self.world(&alive, life)?).await {
            Ok(node) => self.sit(Arc::new(node), &alive).await,
            Err(error) => self.end(&alive, End::NotStarted(format!("{error:#}"))),
        }
        // A finished host cannot be crashed: the director ends it.
        std::future::pending().await
    }

    async fn sit(&self, node: Arc<Node>, alive: &Alive) {
        self.now.lock().node = Arc::downgrade(&node);
        if node.groups().iter().any(|group| group.checkpoint.is_some()) {
            trace::count("checkpoint loaded", 1);
        }
        tokio::select! {
            biased;
            () = node.failed() => {
                let why = node.failure().unwrap_or_else(|| "stopped".to_owned());
                self.end(alive, End::Exited(why));
            }
            () = self.stop.notified() => self.leave(node, alive).await,
            () = node.drained() => self.leave(node, alive).await,
        }
    }

    /// Ends as an operator ends it.
    async fn leave(&self, node: Arc<Node>, alive: &Alive) {
        self.now.lock().node = Weak::new();
        if let Some(node) = Arc::into_inner(node) {
            node.stop().await;
        }
        self.end(alive, End::Stopped);
    }

    fn world(self: &Arc<Self>, alive: &Alive, life: u64) -> turmoil::Result<World> {
        let config = &self.config;
        let id = SpiffeId::node(&config.trust_domain, &config.region, &config.name)?;
        let tasks = Tasks::local(&config.name);
        let exit = Arc::new(SimExit { seat: Arc::downgrade(self), alive: alive.clone() });
        // Its own randomness: a process that repeated its ids would not be a new one.
        let seed = self.seed ^ life.wrapping_mul(0xa076_1d64_78bd_642f);
        let env = Env {
            clock: Arc::new(self.clock.clone()),
            entropy: Arc::new(SeededEntropy::new(seed)),
            loops: Arc::new(TaskLoops::new(tasks.clone())),
            exit,
            tasks,
        };
        Ok(World {
            env,
            fs: Arc::new(self.disk.clone()),
            shared: Arc::new(self.shared.clone()),
            net: Arc::new(SimNet::new(id, alive.clone())),
            provider: Some(self.provider.clone()),
            views: Views::Memory,
            pages: Pages::Absent,
        })
    }
}

/// The tasks of one process: a panic in one ends the simulation, as it would on the host's own set.
fn process() -> LocalSet {
    #[cfg(not(tokio_unstable))]
    let set = LocalSet::new();
    #[cfg(tokio_unstable)]
    let mut set = LocalSet::new();
    #[cfg(tokio_unstable)]
    set.unhandled_panic(tokio::runtime::UnhandledPanic::ShutdownRuntime);
    set
}

/// The end of a process: it falls silent at once, and the director clears it away.
struct SimExit {
    seat: Weak<Seat>,
    alive: Alive,
}

impl Exit for SimExit {
    fn exit(&self, why: &str) {
        if let Some(seat) = self.seat.upgrade() {
            seat.end(&self.alive, End::Exited(why.to_owned()));
        }
    }
}
