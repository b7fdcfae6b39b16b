//! The wires between the nodes of a test cluster, which can be cut one way or both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::BoxStream;
use hansa_api::pb::raft::{PeerErrorKind, SnapshotChunk, SnapshotHeader};
use hansa_node::env::Exit;
use hansa_types::id::NodeId;
use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::identity::MeetError;
use crate::inbound::Inbound;
use crate::link::{self, Ask, Link, LinkError};

/// Who is plugged in, and which wires are cut.
#[derive(Clone, Default)]
pub struct Board {
    inner: Arc<RwLock<Wires>>,
    /// Rung when a node wakes, or answers are let go.
    woken: Arc<Notify>,
}

#[derive(Default)]
struct Wires {
    nodes: BTreeMap<NodeId, Weak<Inbound>>,
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Nodes that stand still, as a stopped process does.
    frozen: BTreeSet<NodeId>,
    /// Answers that are on their way for as long as it is in here, from whom and to whom.
    held: BTreeSet<(NodeId, NodeId)>,
    /// How long each answer is on its way.
    answers_late: Duration,
    /// A snapshot's connection breaks after this many chunks.
    chunks_max: Option<usize>,
    /// Bytes of snapshots that were carried.
    carried: u64,
    /// Connections of snapshots that broke.
    broken: u64,
}

impl Board {
    pub(crate) fn plug(
        &self,
        node: NodeId,
        inbound: &Arc<Inbound>,
        exit: Arc<dyn Exit>,
    ) -> Arc<dyn Link> {
        self.inner.write().nodes.insert(node, Arc::downgrade(inbound));
        let me = Arc::downgrade(inbound);
        Arc::new(Wire { board: self.clone(), node, me, exit })
    }

    pub(crate) fn unplug(&self, node: NodeId) {
        self.inner.write().nodes.remove(&node);
    }

    /// Cuts the wire from one node to another, that way only.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.inner.write().cut.insert((from, to));
    }

    /// Cuts a node off from all others, both ways.
    pub fn isolate(&self, node: NodeId) {
        let mut wires = self.inner.write();
        let others: Vec<NodeId> = wires.nodes.keys().copied().collect();
        for other in others {
            wires.cut.insert((node, other));
            wires.cut.insert((other, node));
        }
    }

    /// What is sent arrives at once; each answer takes this long.
    pub fn answers_late(&self, by: Duration) {
        self.inner.write().answers_late = by;
    }

    /// Breaks each snapshot's connection after `chunks` chunks, or none any more.
    pub fn break_snapshots(&self, chunks: Option<usize>) {
        self.inner.write().chunks_max = chunks;
    }

    /// Bytes of snapshots carried so far, and connections broken.
    pub fn snapshots(&self) -> (u64, u64) {
        let wires = self.inner.read();
        (wires.carried, wires.broken)
    }

    /// Counts a chunk; whether it arrives.
    fn carry(&self, chunk: &SnapshotChunk, number: usize) -> bool {
        let mut wires = self.inner.write();
        if wires.chunks_max.is_some_and(|max| number >= max) {
            wires.broken += 1;
            return false;
        }
        wires.carried += chunk.data.len() as u64;
        true
    }

    /// Stops a node as a debugger stops a process: what is sent to it waits, and so do the answers
    /// to what it had sent. They arrive when it wakes, however late.
    pub fn freeze(&self, node: NodeId) {
        self.inner.write().frozen.insert(node);
    }

    pub fn wake(&self, node: NodeId) {
        self.inner.write().frozen.remove(&node);
        self.woken.notify_waiters();
    }

    /// What `from` answers `to` arrives in time, and is not read before it is let go.
    pub fn hold_answers(&self, from: NodeId, to: NodeId) {
        self.inner.write().held.insert((from, to));
    }

    pub fn let_go(&self, from: NodeId, to: NodeId) {
        self.inner.write().held.remove(&(from, to));
        self.woken.notify_waiters();
    }

    async fn awake(&self, node: NodeId) {
        self.until(|wires| !wires.frozen.contains(&node)).await;
    }

    async fn until(&self, free: impl Fn(&Wires) -> bool) {
        loop {
            let woken = self.woken.notified();
            if free(&self.inner.read()) {
                return;
            }
            woken.await;
        }
    }

    /// Mends every wire.
    pub fn heal(&self) {
        self.inner.write().cut.clear();
    }

    fn reach(&self, from: NodeId, to: NodeId) -> Result<Arc<Inbound>, LinkError> {
        let wires = self.inner.read();
        let away = || LinkError::Unreachable(format!("node {to} is away"));
        if wires.cut.contains(&(from, to)) {
            return Err(away());
        }
        wires.nodes.get(&to).and_then(Weak::upgrade).ok_or_else(away)
    }
}

/// One node's end of the wires.
#[derive(Clone)]
struct Wire {
    board: Board,
    node: NodeId,
    me: Weak<Inbound>,
    exit: Arc<dyn Exit>,
}

impl Wire {
    /// Reaches a peer and shakes hands as the real transport does.
    fn shake(&self, to: NodeId) -> Result<Arc<Inbound>, LinkError> {
        let peer = self.board.reach(self.node, to)?;
        let gone = || LinkError::Unreachable("this node stops".to_owned());
        let me = self.me.upgrade().ok_or_else(gone)?;
        let (ours, theirs) = (&me.identity, &peer.identity);
        let refused = |e: MeetError| match e {
            MeetError::Stranger(_) => LinkError::Denied(e.to_string()),
            MeetError::NotKept { .. } => LinkError::Unreachable(e.to_string()),
        };
        theirs.meet(self.node, ours.incarnation).map_err(|error| {
            if let MeetError::Stranger(stranger) = &error {
                self.exit.exit(&stranger.to_string());
            }
            refused(error)
        })?;
        ours.meet(to, theirs.incarnation).map_err(refused)?;
        Ok(peer)
    }
}

impl Link for Wire {
    fn call(&self, to: NodeId, ask: Ask) -> BoxFuture<'static, Result<Bytes, LinkError>> {
        let wire = self.clone();
        async move {
            let peer = wire.shake(to)?;
            let within = ask.within;
            let answered = async {
                // A frozen node sends nothing, and hears nothing.
                wire.board.awake(wire.node).await;
                wire.board.awake(to).await;
                let answer = peer.handle(wire.node, link::frame(0, ask)).await;
                let late = wire.board.inner.read().answers_late;
                tokio::time::sleep(late).await;
                answer
            };
            let asked = tokio::time::timeout(within, answered).await;
            // The way back may be cut meanwhile; what is there already is only not read yet.
            let back = wire.board.reach(to, wire.node);
            wire.board.until(|wires| !wires.held.contains(&(to, wire.node))).await;
            wire.board.awake(wire.node).await;
            let answer = asked.map_err(|_| LinkError::Timeout(within))?;
            back?;
            link::answer(answer)
        }
        .boxed()
    }

    fn snapshot(
        &self,
        to: NodeId,
        header: SnapshotHeader,
        chunks: BoxStream<'static, SnapshotChunk>,
    ) -> BoxFuture<'static, Result<Bytes, LinkError>> {
        let wire = self.clone();
        async move {
            let peer = wire.shake(to)?;
            let board = wire.board.clone();
            let arrives = move |(number, chunk): &(usize, SnapshotChunk)| {
                futures::future::ready(board.carry(chunk, *number))
            };
            let chunks = chunks.enumerate().take_while(arrives).map(|(_, chunk)| chunk);
            let installed = tokio::time::timeout(WHOLE_MAX, peer.install(header, chunks)).await;
            let installed = installed.map_err(|_| LinkError::Timeout(WHOLE_MAX))?;
            let refused =
                |(kind, detail): (PeerErrorKind, String)| LinkError::Refused { kind, detail };
            installed.map_err(refused)
        }
        .boxed()
    }
}

const WHOLE_MAX: Duration = Duration::from_secs(60);
