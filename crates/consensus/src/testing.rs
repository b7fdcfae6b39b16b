//! A small real cluster in one process, for the tests of this crate and of those above it.
//!
//! Real openraft, real log, checkpoints and archives in temporary folders. The wires between the
//! nodes are in memory and can be cut, or gRPC over mTLS on loopback.

pub mod backup;
mod board;
pub mod counter;
pub mod forger;
pub mod pair;
mod wires;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hansa_node::env::test::{RecordedExit, seeded};
use hansa_node::env::{Clock, Env, SystemClock, SystemEntropy, ThreadLoops};
use hansa_node::listen::Serving;
use hansa_node::tasks::Tasks;
use hansa_types::id::{GroupId, GroupKind, NodeId};
use hansa_types::time::WallTime;
use hansa_wal::fs::{Fs, RealFs, SimFs};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

pub use self::board::Board;
use self::wires::Wires;
use crate::group::Group;
use crate::host::{GroupSpec, Host, HostConfig, OpenError};
use crate::machine::Machine;
use crate::membership::Wanted;
use crate::outcome::SubmitError;
use crate::timing::Timing;
use crate::version::Versions;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(60);
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Between two looks: paused time passes in no other way.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until `done` says so, or panics with `what` after [`PATIENCE`].
pub async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        sleep(PAUSE).await;
    }
}

/// A deadline that a healthy cluster never meets.
pub fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// Whether as much is tried as the published counts say: `HANSA_FAULTS=full`.
pub fn full() -> bool {
    std::env::var("HANSA_FAULTS").is_ok_and(|scale| scale == "full")
}

/// The group that a one-group test uses.
pub fn group_id() -> GroupId {
    GroupId::new(GroupKind::Orders, 0)
}

/// A clock whose wall part can be set apart from the machine's.
pub struct SkewedClock {
    inner: Arc<dyn Clock>,
    ahead_ms: AtomicI64,
}

impl SkewedClock {
    /// Steps the wall clock to so far ahead of the true one, or behind.
    pub fn set_ahead_ms(&self, ahead: i64) {
        self.ahead_ms.store(ahead, Ordering::Relaxed);
    }
}

impl Clock for SkewedClock {
    fn monotonic(&self) -> Duration {
        self.inner.monotonic()
    }

    fn wall(&self) -> WallTime {
        let ahead = self.ahead_ms.load(Ordering::Relaxed);
        WallTime(self.inner.wall().ms().saturating_add_signed(ahead))
    }
}

/// A world whose end is recorded rather than real.
pub fn env(name: &str) -> (Env, Arc<RecordedExit>) {
    let tasks = Tasks::new(name);
    let exit = Arc::new(RecordedExit::new(tasks.clone()));
    let env = Env {
        clock: Arc::new(SystemClock::new()),
        entropy: Arc::new(SystemEntropy::new()),
        loops: Arc::new(ThreadLoops::new(name, exit.clone())),
        exit: exit.clone(),
        tasks,
    };
    (env, exit)
}

/// Settings of a test cluster.
#[derive(Debug, Clone)]
pub struct Settings {
    pub nodes: u64,
    pub groups: Vec<GroupId>,
    pub timing: Timing,
    pub wal: hansa_wal::Config,
    pub archive_entries: bool,
    /// Whether the nodes talk gRPC over mTLS; the board's cuts have no effect then.
    pub grpc: bool,
    /// Seed of a simulated disk for each node; on the real disk without.
    pub disks: Option<u64>,
    /// Whether the nodes' clocks follow tokio's, and their loops are tasks: for paused time.
    pub simulated_time: bool,
    /// The last version that the binaries apply at the beginning; all that there are without.
    pub first_release: Option<u32>,
    /// On whose disk the temporary folder lies; the system's choice without.
    pub folder: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        let wal = hansa_wal::Config {
            segment_bytes: 16 << 20,
            disk_bytes_max: 256 << 20,
            ..hansa_wal::Config::default()
        };
        let (timing, groups) = (Timing::quick(), vec![group_id()]);
        Self {
            nodes: 3,
            groups,
            timing,
            wal,
            archive_entries: true,
            grpc: false,
            disks: None,
            simulated_time: false,
            first_release: None,
            folder: None,
        }
    }
}

impl Settings {
    /// For a runtime with paused time, in one thread, on simulated disks: nothing waits in earnest,
    /// so that what takes many elections takes no time. Without gRPC: sockets are outside of it.
    pub fn paused() -> Self {
        Self { simulated_time: true, disks: Some(1), ..Self::default() }
    }
}

/// One node of a test cluster.
pub struct Node<M: Machine> {
    pub host: Host,
    pub groups: BTreeMap<GroupId, Group<M>>,
    pub env: Env,
    pub exit: Arc<RecordedExit>,
    pub clock: Arc<SkewedClock>,
    _serving: Option<Serving>,
}

type Genesis<M> = Arc<dyn Fn() -> M + Send + Sync>;

/// A cluster whose nodes can be stopped, restarted and cut off.
pub struct Cluster<M: Machine> {
    pub settings: Settings,
    pub board: Board,
    dir: TempDir,
    wires: Option<Wires>,
    disks: BTreeMap<NodeId, SimFs>,
    genesis: Genesis<M>,
    nodes: BTreeMap<NodeId, Node<M>>,
    /// How often any node was started: no two starts draw the same.
    boots: AtomicU64,
    /// Commands that were submitted again although they may have been applied.
    doubted: AtomicU64,
    /// Nodes that came after the beginning.
    joined: BTreeSet<NodeId>,
    /// Whom the groups are to have, told to each node that starts.
    wanted: Option<Wanted>,
    /// Which versions each node's binary applies from its next start on; all of them without.
    pub releases: BTreeMap<NodeId, Versions>,
    /// The same for the peer protocols that it speaks.
    pub protocols: BTreeMap<NodeId, Versions>,
}

impl<M: Machine> Cluster<M> {
    /// Three nodes with one group of `genesis` machines.
    pub async fn start(genesis: impl Fn() -> M + Send + Sync + 'static) -> Self {
        Self::with(Settings::default(), genesis).await
    }

    /// The same in paused time.
    pub async fn paused(genesis: impl Fn() -> M + Send + Sync + 'static) -> Self {
        Self::with(Settings::paused(), genesis).await
    }

    pub async fn with(settings: Settings, genesis: impl Fn() -> M + Send + Sync + 'static) -> Self {
        let dir = match &settings.folder {
            Some(folder) => tempfile::tempdir_in(folder),
            None => tempfile::tempdir(),
        };
        let dir = dir.expect("a temporary folder");
        let (board, nodes) = (Board::default(), BTreeMap::new());
        let ids: Vec<NodeId> = (1..=settings.nodes).map(NodeId).collect();
        // One more has a place on the wires: it may join.
        let placed: Vec<NodeId> = (1..=settings.nodes + 1).map(NodeId).collect();
        let wires = settings.grpc.then(|| Wires::new(dir.path(), &placed));
        let disk = |node: &NodeId| settings.disks.map(|seed| (*node, SimFs::new(seed ^ node.0)));
        let disks = ids.iter().filter_map(disk).collect();
        let genesis = Arc::new(genesis);
        let mut cluster = Self {
            settings,
            board,
            dir,
            wires,
            disks,
            genesis,
            nodes,
            boots: AtomicU64::new(0),
            doubted: AtomicU64::new(0),
            joined: BTreeSet::new(),
            wanted: None,
            releases: BTreeMap::new(),
            protocols: BTreeMap::new(),
        };
        if let Some(last) = cluster.settings.first_release {
            let release = |node| (node, Versions::upto(last));
            cluster.releases = cluster.ids().into_iter().map(release).collect();
        }
        for node in cluster.ids() {
            cluster.boot(node).await;
        }
        cluster
    }

    /// The ids of all nodes, up or down.
    pub fn ids(&self) -> Vec<NodeId> {
        (1..=self.settings.nodes).map(NodeId).collect()
    }

    /// The ids of the nodes that are up.
    pub fn up(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    pub fn node(&self, node: NodeId) -> &Node<M> {
        self.nodes.get(&node).expect("the node is up")
    }

    /// The first group on `node`.
    pub fn group(&self, node: NodeId) -> &Group<M> {
        self.node(node).groups.values().next().expect("the node hosts a group")
    }

    pub fn dir(&self, node: NodeId) -> PathBuf {
        self.dir.path().join(format!("node-{node}"))
    }

    /// Starts or restarts a node on its folder.
    pub async fn boot(&mut self, node: NodeId) {
        let booted = self.try_boot(node).await.expect("the node starts");
        self.nodes.insert(node, booted);
    }

    /// Starts a node that was not there at the beginning: it waits to be added.
    pub async fn join(&mut self, node: NodeId) {
        self.joined.insert(node);
        if let Some(seed) = self.settings.disks {
            self.disks.entry(node).or_insert_with(|| SimFs::new(seed ^ node.0));
        }
        self.boot(node).await;
    }

    /// Says whom the groups are to have as voters, on every node, now and after a restart.
    pub fn want(&mut self, voters: &[u64]) {
        self.want_so(voters, false);
    }

    /// The same, forced.
    pub fn force(&mut self, voters: &[u64]) {
        self.want_so(voters, true);
    }

    fn want_so(&mut self, voters: &[u64], forced: bool) {
        let voters = voters.iter().copied().map(NodeId).collect();
        let wanted = Wanted { voters, forced, ..Wanted::default() };
        for node in self.nodes.values() {
            node.groups.keys().for_each(|group| node.host.want_members(*group, wanted.clone()));
        }
        self.wanted = Some(wanted);
    }

    /// Waits until the first group has these voters and no others, and no learners.
    pub async fn members_are(&self, voters: &[u64]) {
        let voters: Vec<NodeId> = voters.iter().copied().map(NodeId).collect();
        eventually("the members as wanted", || {
            let leader = self.leader_now();
            let held = leader.map(|leader| self.group(leader).membership());
            held.is_some_and(|held| {
                held.voters == voters && held.learners.is_empty() && !held.joint
            })
        })
        .await;
    }

    /// Takes a started node into the cluster.
    pub fn plug_in(&mut self, node: NodeId, booted: Node<M>) {
        self.nodes.insert(node, booted);
    }

    /// Starts a node's host and groups without taking it into the cluster.
    pub async fn try_boot(&self, node: NodeId) -> Result<Node<M>, OpenError> {
        let name = format!("node-{node}");
        let (env, exit) = match self.settings.simulated_time {
            true => seeded(&name, self.next_seed(), WallTime(1_700_000_000_000)),
            false => env(&name),
        };
        let clock = SkewedClock { inner: env.clock.clone(), ahead_ms: AtomicI64::new(0) };
        let clock = Arc::new(clock);
        let env = Env { clock: clock.clone(), ..env };
        let host = self.open(node, &self.dir(node), env.clone())?;
        let mut serving = None;
        if let Some(wires) = &self.wires {
            serving = Some(wires.serve(&host, &env).await);
        }
        let mut groups = BTreeMap::new();
        for id in &self.settings.groups {
            let spec = GroupSpec { id: *id, members: self.ids() };
            let genesis = self.genesis.clone();
            if let Some(wanted) = &self.wanted {
                host.want_members(*id, wanted.clone());
            }
            if let Ok(group) = host.start_group(spec, move || genesis()).await {
                groups.insert(*id, group);
            }
        }
        Ok(Node { host, groups, env, exit, clock, _serving: serving })
    }

    fn next_seed(&self) -> u64 {
        1 + self.boots.fetch_add(1, Ordering::Relaxed)
    }

    fn fs(&self, node: NodeId) -> Arc<dyn Fs> {
        match self.disks.get(&node) {
            Some(disk) => Arc::new(disk.clone()),
            None => Arc::new(RealFs),
        }
    }

    /// The simulated disk of a node.
    pub fn disk(&self, node: NodeId) -> &SimFs {
        self.disks.get(&node).expect("a cluster on simulated disks")
    }

    /// The power of all nodes fails after `ops` more changes to each disk; returns with them down.
    pub async fn power_cut(&mut self, ops: u64) {
        for disk in self.disks.values() {
            disk.cut_power_after(ops);
        }
        // Nothing reaches a disk any more, so taking the processes down leaves no trace.
        self.kill_all().await;
        for disk in self.disks.values() {
            disk.crash();
        }
    }

    fn open(&self, node: NodeId, dir: &Path, env: Env) -> Result<Host, OpenError> {
        let config = HostConfig {
            timing: self.settings.timing.clone(),
            wal: self.settings.wal.clone(),
            archive_entries: self.settings.archive_entries,
            joins: self.joined.contains(&node),
            versions: self.releases.get(&node).copied(),
            protocols: self.protocols.get(&node).copied(),
            ..HostConfig::new(node, dir.to_owned())
        };
        if let Some(wires) = &self.wires {
            let peers = wires.peers(node, &env);
            let config = HostConfig { names: wires.names(), ..config };
            return Host::open(config, self.fs(node), env, peers);
        }
        let exit = env.exit.clone();
        Host::open_with(config, self.fs(node), env, |inbound| self.board.plug(node, inbound, exit))
    }

    /// Takes a node down without handing anything over: its peers hear nothing more of it.
    pub async fn kill(&mut self, node: NodeId) {
        let Some(killed) = self.nodes.remove(&node) else { return };
        self.board.unplug(node);
        killed.host.stop().await;
        drop(killed.groups);
        killed.env.tasks.drain(DRAIN_MAX).await;
    }

    pub async fn kill_all(&mut self) {
        for node in self.up() {
            self.board.unplug(node);
        }
        for node in self.up() {
            self.kill(node).await;
        }
    }

    /// Waits for a leader of the first group among the nodes that are up.
    pub async fn leader(&self) -> NodeId {
        let mut found = None;
        eventually("a leader", || {
            found = self.leader_now();
            found.is_some()
        })
        .await;
        found.expect("just found")
    }

    pub fn leader_now(&self) -> Option<NodeId> {
        let of = |node: &NodeId| *self.group(*node).leadership().borrow();
        let leading = self.up().into_iter().map(|node| (of(&node), node));
        let leading = leading.filter(|(leadership, _)| leadership.mine);
        leading.max_by_key(|(leadership, _)| leadership.term).map(|(_, node)| node)
    }

    /// Submits to whoever leads, again until it is accepted; a command must bear a repeat, which
    /// counts as [`doubted`](Self::doubted) where a leader may have taken it before it fell.
    pub async fn submit(&self, command: impl Into<Bytes>) -> M::Outcome {
        let command = command.into();
        let end = soon();
        loop {
            let leader = self.leader().await;
            let answer = self.group(leader).submit(command.clone(), end).await;
            match answer {
                Ok(outcome) => {
                    if self.settings.simulated_time {
                        sleep(PAUSE).await;
                    }
                    return outcome;
                }
                Err(SubmitError::TooLarge) => panic!("too large"),
                Err(SubmitError::Unknown) => _ = self.doubted.fetch_add(1, Ordering::Relaxed),
                Err(_) => {}
            }
            assert!(Instant::now() < end, "not accepted in time");
            sleep(PAUSE).await;
        }
    }

    /// How many commands may have been applied once more than they were asked for: none in paused
    /// time, where no leader falls of itself.
    pub fn doubted(&self) -> u64 {
        self.doubted.load(Ordering::Relaxed)
    }

    /// Reads from whoever leads, again until a quorum has answered.
    pub async fn read<T>(&self, look: impl Fn(&M) -> T) -> T {
        let end = soon();
        loop {
            let leader = self.leader().await;
            match self.group(leader).read(end, &look).await {
                Ok(found) => return found,
                Err(why) => assert!(Instant::now() < end, "not read in time: {why}"),
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits until all nodes that are up have applied the same entries and have the same state and
    /// chain.
    pub async fn settled(&self) {
        eventually("all replicas at one state", || {
            let all = self.up().into_iter().map(|node| {
                let status = self.group(node).status();
                (status.applied, status.state_hash, status.chain_head)
            });
            let all: Vec<_> = all.collect();
            all.windows(2).all(|pair| pair[0] == pair[1])
        })
        .await;
    }
}
