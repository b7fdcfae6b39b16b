//! A node's host for its groups: one log, one writer, one reader, one stream per peer, many groups.

mod begin;
mod drain;
mod export;
mod restore;
mod start;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::pb::raft::raft_peer_service_server::{RaftPeerService, RaftPeerServiceServer};
use hansa_api::status::Failure;
use hansa_node::env::Env;
use hansa_node::peers::Peers;
use hansa_node::tasks::OnError;
use hansa_types::id::{GroupId, NodeId};
use hansa_types::identity::SpiffeId;
use hansa_types::limits::PEER_MESSAGE_BYTES_MAX;
use hansa_wal::Wal;
use hansa_wal::fs::{self, Fs};
use parking_lot::{Mutex, RwLock};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::anchors::Anchors;
use crate::archive::ArchiveError;
use crate::audit::AuditError;
use crate::checkpoints::CheckpointError;
use crate::group::Group;
use crate::grpc::{Lines, Names, Protocol, SPOKEN, Served};
use crate::identity::{Identity, IdentityError};
use crate::inbound::Inbound;
use crate::link::Link;
use crate::machine::Machine;
use crate::membership::{Membership, Wanted};
use crate::outcome::{GroupStatus, Role};
use crate::raft;
use crate::raise::RaiseError;
use crate::reader::Reader;
use crate::room::{self, Disk, Room};
use crate::running::Running;
use crate::timing::Timing;
use crate::version::Versions;
use crate::writer::Writer;

pub use export::{Chunk, Cursor, Cut, ExportError, Exports};
pub use restore::{Files, Judge, RestoreError, RestoredGroup, check_state, plan_hash};

/// How a node hosts groups.
#[derive(Debug, Clone)]
pub struct HostConfig {
    pub node: NodeId,
    /// Everything durable lies below: `identity`, `wal/`, `groups/`.
    pub data_dir: PathBuf,
    /// The certificate name of each peer.
    pub names: BTreeMap<NodeId, SpiffeId>,
    pub timing: Timing,
    pub wal: hansa_wal::Config,
    /// Whether committed entries are archived beside the machines' records. The audit chain from
    /// genesis needs them.
    pub archive_entries: bool,
    /// This node came after the region's beginning: its new groups begin with no members, and wait
    /// to be added.
    pub joins: bool,
    /// Pretends to be the binary of a release that applies only these versions.
    #[cfg(any(test, feature = "testing"))]
    pub versions: Option<Versions>,
    /// The same for what it speaks with its peers.
    #[cfg(any(test, feature = "testing"))]
    pub protocols: Option<Versions>,
}

impl HostConfig {
    fn spoken(&self) -> Versions {
        #[cfg(any(test, feature = "testing"))]
        if let Some(protocols) = self.protocols {
            return protocols;
        }
        SPOKEN
    }

    pub fn new(node: NodeId, data_dir: PathBuf) -> Self {
        let (timing, wal) = (Timing::default(), hansa_wal::Config::default());
        Self {
            node,
            data_dir,
            names: BTreeMap::new(),
            timing,
            wal,
            archive_entries: true,
            joins: false,
            #[cfg(any(test, feature = "testing"))]
            versions: None,
            #[cfg(any(test, feature = "testing"))]
            protocols: None,
        }
    }
}

/// A group to host.
#[derive(Debug, Clone)]
pub struct GroupSpec {
    pub id: GroupId,
    /// The first members, this node among them: the group begins with them when its log is empty.
    /// Empty for a node that joins a group later and waits to be added.
    pub members: Vec<NodeId>,
}

/// Why a host did not open.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Wal(#[from] hansa_wal::OpenError),
    /// The log is gone, the rest of the folder is not: what this node promised its peers is lost.
    #[error("{}: the log is missing in a folder that was in use", dir.display())]
    LogMissing { dir: PathBuf },
    #[error("anchors: {source}")]
    Anchors { source: std::io::Error },
    /// The identity is gone, the log is not: peers know this node by another one.
    #[error("{}: the identity is missing beside a log that was in use", file.display())]
    IdentityMissing { file: PathBuf },
}

/// Why a group did not start. The host and its other groups go on.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("group {0} is hosted already")]
    Twice(GroupId),
    #[error("group {group}: {cause}")]
    Checkpoint { group: GroupId, cause: CheckpointError },
    #[error("group {group}: {cause}")]
    Archive { group: GroupId, cause: ArchiveError },
    #[error("group {group}: {cause}")]
    Log { group: GroupId, cause: hansa_wal::ReadError },
    #[error("group {group}: {source}")]
    Settings { group: GroupId, source: Box<dyn Error + Send + Sync> },
    #[error("group {group}: {what}")]
    Raft { group: GroupId, what: String },
    /// Found while what is committed was applied again.
    #[error("group {group}: {what}")]
    Damage { group: GroupId, what: String },
    /// Divergence or damage was found earlier: only a rebuilt node serves the group again.
    #[error("group {group} was stopped for good on this node: {why}")]
    ForGood { group: GroupId, why: String },
    #[error("the node stops")]
    Stopping,
}

impl StartError {
    /// Whether damage or divergence keeps this one group from serving here. Its node and the other
    /// groups go on; anything else is the node's disk, memory or release, and it must not serve.
    pub fn stops_group_only(&self) -> bool {
        match self {
            Self::Checkpoint { cause, .. } => cause.is_damage(),
            Self::Archive { cause, .. } => cause.is_damage(),
            Self::Damage { .. } | Self::ForGood { .. } => true,
            Self::Twice(_)
            | Self::Log { .. }
            | Self::Settings { .. }
            | Self::Raft { .. }
            | Self::Stopping => false,
        }
    }
}

/// Hosts Raft groups; clones are one host.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    config: HostConfig,
    fs: Arc<dyn Fs>,
    env: Env,
    wal: Wal,
    writer: Writer,
    reader: Reader,
    room: Arc<Room>,
    link: Arc<dyn Link>,
    inbound: Arc<Inbound>,
    anchors: Arc<Anchors>,
    names: Names,
    /// Groups that did not start, and why: they are shown, not hidden.
    broken: Mutex<BTreeMap<GroupId, String>>,
    /// Groups that are being started.
    starting: Mutex<BTreeSet<GroupId>>,
    /// Whom each group is to have as members, for groups that start later too.
    wanted: Mutex<BTreeMap<GroupId, watch::Sender<Option<Wanted>>>>,
}

impl Host {
    /// Opens the log in the data folder and makes a host on it that reaches its peers through
    /// `peers`.
    ///
    /// # Errors
    /// A damaged log, a folder of another node, or one that lost its log: this node must not serve.
    pub fn open(
        config: HostConfig,
        fs: Arc<dyn Fs>,
        env: Env,
        peers: Peers,
    ) -> Result<Self, OpenError> {
        let lines_env = env.clone();
        Self::open_with(config, fs, env, |inbound| Arc::new(Lines::new(peers, inbound, lines_env)))
    }

    /// Opens the log in the data folder and makes a host on it, with the link that `link` makes.
    /// The node ends over the first sync below the folder that fails.
    pub(crate) fn open_with(
        config: HostConfig,
        fs: Arc<dyn Fs>,
        env: Env,
        link: impl FnOnce(&Arc<Inbound>) -> Arc<dyn Link>,
    ) -> Result<Self, OpenError> {
        let (fs, env) = fs::end_unsynced(fs, &env);
        let wal_dir = config.data_dir.join("wal");
        let used = fs.exists(&config.data_dir.join("identity")).unwrap_or(false);
        let had_log = fs.exists(&wal_dir).unwrap_or(false);
        if used && !had_log {
            return Err(OpenError::LogMissing { dir: config.data_dir.clone() });
        }
        // The log first: an identity without a log would look like a node that lost one.
        let (wal, recovery) = Wal::open(fs.clone(), &wal_dir, config.wal.clone(), &env)?;
        if used && recovery.fresh {
            return Err(OpenError::LogMissing { dir: config.data_dir.clone() });
        }
        if !used && recovery.records > 0 {
            let file = config.data_dir.join("identity");
            return Err(OpenError::IdentityMissing { file });
        }
        let identity =
            Identity::open(fs.clone(), &config.data_dir, config.node, env.entropy.as_ref())?;
        if let Some(cut) = &recovery.cut {
            let (file, offset) = (cut.file.display(), cut.offset);
            tracing::warn!(node = %config.node, %file, offset, bytes = cut.bytes, "torn tail cut");
        }
        let anchors = Anchors::open(fs.clone(), &config.data_dir);
        let anchors = Arc::new(anchors.map_err(|source| OpenError::Anchors { source })?);
        let protocol = Arc::new(Protocol::new(config.spoken()));
        let inbound = Arc::new(Inbound::new(Arc::new(identity), protocol));
        let link = link(&inbound);
        let (writer, reader) = (Writer::start(&env), Reader::start(&env));
        let room = Room::new(fs.clone(), config.data_dir.clone(), wal.clone(), &config.wal);
        let room = Arc::new(room);
        let watched = room::run(room.clone(), inbound.clone(), env.clone());
        env.tasks.spawn("disk room".to_owned(), OnError::StopNode, watched);
        let names = Arc::new(RwLock::new(config.names.clone()));
        let (broken, starting, wanted) = Default::default();
        let inner = Inner {
            config,
            fs,
            env,
            wal,
            writer,
            reader,
            room,
            link,
            inbound,
            anchors,
            names,
            broken,
            starting,
            wanted,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Starts a group: from its newest good checkpoint and the log behind it, or from `genesis`.
    ///
    /// # Errors
    /// Damage stops this group only; it is listed in [`Host::statuses`] as stopped.
    pub async fn start_group<M: Machine>(
        &self,
        spec: GroupSpec,
        genesis: impl FnOnce() -> M,
    ) -> Result<Group<M>, StartError> {
        let id = spec.id;
        let entropy = self.inner.env.entropy.clone();
        let started = raft::seeded(entropy.as_ref(), self.start(spec, genesis)).await;
        match &started {
            Ok(_) => {
                self.inner.broken.lock().remove(&id);
                crate::metrics::serves(id);
            }
            Err(StartError::Twice(_)) => {}
            Err(error) => {
                tracing::error!(group = %id, %error, "group not started");
                crate::metrics::stopped(id);
                self.inner.broken.lock().insert(id, error.to_string());
            }
        }
        started
    }

    pub fn node(&self) -> NodeId {
        self.inner.config.node
    }

    /// The peer service, for this node's internal port. It needs the caller's
    /// [`hansa_node::tls::PeerIdentity`] in the request's extensions, as the node's listener puts
    /// it.
    pub fn service(&self) -> RaftPeerServiceServer<impl RaftPeerService> {
        RaftPeerServiceServer::new(self.served())
            .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX)
    }

    pub(crate) fn served(&self) -> Served {
        let Inner { inbound, env, names, .. } = &*self.inner;
        Served { inbound: inbound.clone(), names: names.clone(), env: env.clone() }
    }

    /// Learns the name by which a node's certificate knows it: frames of that node are accepted
    /// from no other.
    pub fn set_name(&self, node: NodeId, name: SpiffeId) {
        self.inner.names.write().insert(node, name);
    }

    /// Forgets a node's name: its streams are refused and those that are open end.
    pub fn remove_name(&self, node: NodeId) {
        self.inner.names.write().remove(&node);
        self.inner.inbound.protocol.forget(node);
    }

    /// Peers that this node does not understand, or that do not understand it, and what was said:
    /// none of their streams is open.
    pub fn foreign_peers(&self) -> BTreeMap<NodeId, String> {
        self.inner.inbound.protocol.refused()
    }

    /// Says whom a group is to have as members; whichever node leads the group leads it there, one
    /// step at a time. The last word counts, also for a group that starts later.
    pub fn want_members(&self, group: GroupId, wanted: Wanted) {
        let changed = |held: &mut Option<Wanted>| {
            let changed = held.as_ref() != Some(&wanted);
            *held = Some(wanted.clone());
            changed
        };
        self.wanted_of(group).send_if_modified(changed);
    }

    fn wanted_of(&self, group: GroupId) -> watch::Sender<Option<Wanted>> {
        let mut all = self.inner.wanted.lock();
        all.entry(group).or_insert_with(|| watch::Sender::new(None)).clone()
    }

    /// The members of every running group as this node sees them.
    pub fn memberships(&self) -> BTreeMap<GroupId, Membership> {
        let groups = self.inner.inbound.groups();
        groups.iter().map(|running| running.membership()).collect()
    }

    /// Hands the leadership of `group` from this node to `to`, and waits until that leads.
    ///
    /// # Errors
    /// Why it does not, as [`Running::hand_over_now`] says it.
    pub async fn transfer_leadership(&self, group: GroupId, to: NodeId) -> Result<(), Failure> {
        let running = self.inner.inbound.group(group);
        let running = running.ok_or_else(|| Failure::not_leader(None))?;
        let within = running.timing.election_max() * 2;
        running.hand_over_now(to, within).await
    }

    /// Raises the version of behaviour of `group`, which this node must lead, to `to`; the version
    /// then, which is `to` or more.
    ///
    /// # Errors
    /// A member does not apply that version, or does not answer; else as for every command.
    pub async fn raise_version(
        &self,
        group: GroupId,
        to: u32,
        due: Instant,
    ) -> Result<u32, RaiseError> {
        let running = self.inner.inbound.group(group);
        running.ok_or(RaiseError::NotLeader { leader: None })?.raise_version(to, due).await
    }

    /// Whether this node has met `peer`, and would refuse it with another data folder.
    pub fn has_met(&self, peer: NodeId) -> bool {
        self.inner.inbound.identity.expects(peer).is_some()
    }

    pub(crate) fn anchors(&self) -> &Arc<Anchors> {
        &self.inner.anchors
    }

    pub(crate) fn env(&self) -> &Env {
        &self.inner.env
    }

    /// Does a short piece of work on the loop of the slow disk work: while it runs, nothing is
    /// written to any group's archive or checkpoint.
    ///
    /// # Errors
    /// The node stops.
    pub async fn slowly<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::io::Result<T> {
        self.inner.writer.run(work).await
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.inner.writer
    }

    /// A group that can be audited: here, and serving.
    pub(crate) fn audited(&self, id: GroupId) -> Result<Arc<Running>, AuditError> {
        let unreadable = |what: String| AuditError::Unreadable(what);
        if let Some(why) = self.stopped(id) {
            return Err(unreadable(format!("{id} does not serve: {why}")));
        }
        let running = self.inner.inbound.group(id);
        running.ok_or_else(|| unreadable(format!("{id} is not on this node")))
    }

    /// Why a group that should be on this node does not serve here, if so.
    pub fn stopped(&self, id: GroupId) -> Option<String> {
        let broken = self.inner.broken.lock().get(&id).cloned();
        broken.or_else(|| self.inner.inbound.group(id).and_then(|running| running.stopped()))
    }

    /// Every group on this node, those that did not start included.
    pub fn statuses(&self) -> Vec<GroupStatus> {
        let hosted = self.inner.inbound.groups();
        let mut all: Vec<_> = hosted.iter().map(|running| running.status()).collect();
        let broken = self.inner.broken.lock();
        all.extend(broken.iter().map(|(id, why)| broken_status(self.node(), *id, why)));
        all.sort_by_key(|status| status.group);
        all
    }

    /// The room on this node's disk.
    pub fn disk(&self) -> Disk {
        self.inner.room.disk()
    }

    /// What the log counts.
    pub fn log_stats(&self) -> hansa_wal::Stats {
        self.inner.wal.stats()
    }

    /// Stops every group, then closes the log. Bounded; call [`Host::drain`] first to spare clients
    /// an election.
    pub async fn stop(self) {
        const CLOSE_MAX: Duration = Duration::from_secs(5);
        let groups = self.inner.inbound.groups();
        futures::future::join_all(groups.iter().map(|running| running.shut_down())).await;
        self.inner.writer.close();
        self.inner.reader.close();
        let closed = tokio::time::timeout(CLOSE_MAX, self.inner.wal.clone().close()).await;
        match closed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(node = %self.node(), %error, "log closed badly"),
            Err(_) => tracing::warn!(node = %self.node(), "log did not close in time"),
        }
    }
}

fn broken_status(node: NodeId, group: GroupId, why: &str) -> GroupStatus {
    GroupStatus {
        group,
        node,
        role: Role::Stopped,
        term: 0,
        leader: None,
        voters: Vec::new(),
        learners: Vec::new(),
        last_index: 0,
        applied: 0,
        state_hash: Default::default(),
        chain_head: [0; 32],
        log_time: Default::default(),
        version: 0,
        versions: Versions { first: 0, last: 0 },
        checkpoint: None,
        purged: None,
        stopped: Some(why.to_owned()),
    }
}
