//! The peer protocol over gRPC: one stream per ordered pair of nodes, carrying frames of all
//! groups.
//!
//! Both ends say who they are in the stream's metadata: the protocols that they speak, node id and
//! incarnation, and the incarnation that the caller knows the other by. A stream whose ends do not
//! know each other so, or have no protocol in common, is never opened.

mod line;
mod protocol;
mod serve;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::BoxStream;
use hansa_api::pb::raft::raft_peer_service_client::RaftPeerServiceClient;
use hansa_api::pb::raft::{
    InstallSnapshotRequest, PeerErrorKind, SnapshotChunk, SnapshotHeader, install_snapshot_request,
};
use hansa_api::status::{Failure, Reason};
use hansa_node::env::Env;
use hansa_node::peers::{PeerService, Peers};
use hansa_node::tasks::OnError;
use hansa_types::id::NodeId;
use hansa_types::limits::PEER_MESSAGE_BYTES_MAX;
use hansa_types::seeded::{self, Bug};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Status};

pub(crate) use self::protocol::{Protocol, SPOKEN};
pub(crate) use self::serve::{Names, Served};
use crate::identity::{Identity, Incarnation, MeetError};
use crate::inbound::Inbound;
use crate::link::{Ask, Link, LinkError};

/// Requests to one peer that wait to be sent.
const WAITING_MAX: usize = 4_096;
/// Chunks of a snapshot that wait for the connection.
const CHUNKS_MAX: usize = 4;
const SNAPSHOT_MAX: Duration = Duration::from_secs(1_800);

/// Who speaks.
const NODE: &str = "hansa-node";
/// Who is meant.
const TO: &str = "hansa-to";
const INCARNATION: &str = "hansa-incarnation";
const EXPECTS: &str = "hansa-expects";
/// `ErrorInfo.metadata` key of the refusal of a node that lost its log: the node's id.
const STRANGER: &str = "stranger";

/// A request on its way to the peer's line.
struct Outgoing {
    ask: Ask,
    reply: oneshot::Sender<Result<Bytes, LinkError>>,
}

/// The link to all peers.
pub(crate) struct Lines {
    shared: Arc<Shared>,
    lines: Mutex<BTreeMap<NodeId, mpsc::Sender<Outgoing>>>,
}

struct Shared {
    peers: Peers,
    identity: Arc<Identity>,
    protocol: Arc<Protocol>,
    env: Env,
}

impl Lines {
    pub fn new(peers: Peers, inbound: &Inbound, env: Env) -> Self {
        let (identity, protocol) = (inbound.identity.clone(), inbound.protocol.clone());
        let shared = Arc::new(Shared { peers, identity, protocol, env });
        Self { shared, lines: Mutex::default() }
    }

    /// The line to a peer; its task starts at first use and lives as long as the node.
    fn line(&self, to: NodeId) -> mpsc::Sender<Outgoing> {
        let start = || {
            let (tx, rx) = mpsc::channel(WAITING_MAX);
            let line = line::Line::new(self.shared.clone(), to, rx);
            let tasks = &self.shared.env.tasks;
            tasks.spawn(format!("peer line {to}"), OnError::StopNode, line.run());
            tx
        };
        self.lines.lock().entry(to).or_insert_with(start).clone()
    }
}

impl Link for Lines {
    fn call(&self, to: NodeId, ask: Ask) -> BoxFuture<'static, Result<Bytes, LinkError>> {
        let (reply, answer) = oneshot::channel();
        let within = ask.within;
        // Queued now, not when the future is polled: requests leave in the order of the calls.
        let queued = self.line(to).try_send(Outgoing { ask, reply });
        async move {
            let busy = |_| LinkError::Refused {
                kind: PeerErrorKind::Overloaded,
                detail: format!("the line to node {to} is full"),
            };
            queued.map_err(busy)?;
            match tokio::time::timeout(within, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(LinkError::Unreachable(format!("lost the stream to {to}"))),
                Err(_) => Err(LinkError::Timeout(within)),
            }
        }
        .boxed()
    }

    fn snapshot(
        &self,
        to: NodeId,
        header: SnapshotHeader,
        chunks: BoxStream<'static, SnapshotChunk>,
    ) -> BoxFuture<'static, Result<Bytes, LinkError>> {
        let shared = self.shared.clone();
        async move {
            let (tx, rx) = mpsc::channel(CHUNKS_MAX);
            let mut request = Request::new(ReceiverStream::new(rx));
            shared.introduce(to, request.metadata_mut());
            let mut client = shared.client(to);
            let call = tokio::time::timeout(SNAPSHOT_MAX, client.install_snapshot(request));
            // A call that ends early drops the receiver, and so ends the pump.
            let (sent, ()) = tokio::join!(call, pump(header, chunks, tx));
            let answer = sent.map_err(|_| LinkError::Timeout(SNAPSHOT_MAX))?;
            let answer = answer.map_err(|status| shared.refused(to, &status))?;
            shared.meet(to, answer.metadata())?;
            Ok(answer.into_inner().body)
        }
        .boxed()
    }
}

/// Feeds a snapshot's messages to its call, as fast as that takes them.
async fn pump(
    header: SnapshotHeader,
    mut chunks: BoxStream<'static, SnapshotChunk>,
    to: mpsc::Sender<InstallSnapshotRequest>,
) {
    use install_snapshot_request::Item;
    let mut next = Some(Item::Header(header));
    while let Some(item) = next {
        if to.send(InstallSnapshotRequest { item: Some(item) }).await.is_err() {
            return;
        }
        next = chunks.next().await.map(Item::Chunk);
    }
}

impl Shared {
    fn client(&self, to: NodeId) -> RaftPeerServiceClient<PeerService> {
        RaftPeerServiceClient::new(self.peers.to(to))
            .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX)
    }

    /// Says who calls, whom it means, and as whom it knows that one.
    fn introduce(&self, to: NodeId, metadata: &mut MetadataMap) {
        self.protocol.put(metadata);
        metadata.insert(NODE, MetadataValue::from(self.identity.node.0));
        metadata.insert(TO, MetadataValue::from(to.0));
        put_incarnation(metadata, INCARNATION, self.identity.incarnation);
        let expected = self.identity.expects(to);
        if let Some(expected) = expected.filter(|_| !seeded::on(Bug::ReuseNodeId)) {
            put_incarnation(metadata, EXPECTS, expected);
        }
    }

    /// Checks that the one who answered is the one we know.
    fn meet(&self, peer: NodeId, metadata: &MetadataMap) -> Result<(), LinkError> {
        let agreed = self.protocol.agreed(peer, metadata);
        agreed.map_err(|foreign| LinkError::Denied(foreign.to_string()))?;
        check_answerer(peer, metadata)?;
        let incarnation = incarnation_of(metadata, INCARNATION);
        let silent = || LinkError::Unreachable("the peer does not say who it is".to_owned());
        let met = self.identity.meet(peer, incarnation.ok_or_else(silent)?);
        met.map_err(|error| {
            tracing::error!(%error, "peer refused");
            match error {
                MeetError::Stranger(_) => LinkError::Denied(error.to_string()),
                MeetError::NotKept { .. } => LinkError::Unreachable(error.to_string()),
            }
        })
    }

    /// A peer that knows this node by another folder ends this process: its log is not the one that
    /// made the promises its peers rely on.
    fn refused(&self, peer: NodeId, status: &Status) -> LinkError {
        let failure = Failure::from(status);
        if failure.reason() == Reason::VersionNotSupported {
            self.protocol.note(peer, failure.to_string());
        }
        if failure.metadata(STRANGER) == Some(self.identity.node.to_string().as_str()) {
            let node = self.identity.node;
            self.env.exit.exit(&crate::identity::Stranger { node }.to_string());
        }
        match failure.reason() {
            Reason::VersionNotSupported | Reason::PermissionDenied => {
                LinkError::Denied(failure.to_string())
            }
            _ => LinkError::Unreachable(failure.to_string()),
        }
    }
}

/// Refuses an answer of another node than the one that was called: a name whose node is being
/// rebuilt still leads to the old process for a moment, and what that one shows must not be kept as
/// the new one's.
fn check_answerer(peer: NodeId, metadata: &MetadataMap) -> Result<(), LinkError> {
    match node_of(metadata, NODE).filter(|says| *says != peer) {
        Some(says) => Err(LinkError::Unreachable(format!("node {says} answers for node {peer}"))),
        None => Ok(()),
    }
}

fn node_of(metadata: &MetadataMap, key: &str) -> Option<NodeId> {
    metadata.get(key)?.to_str().ok()?.parse().ok().map(NodeId)
}

fn put_incarnation(metadata: &mut MetadataMap, key: &'static str, incarnation: Incarnation) {
    // Hexadecimal digits are always a valid metadata value.
    if let Ok(value) = MetadataValue::try_from(format!("{:032x}", incarnation.0)) {
        metadata.insert(key, value);
    }
}

fn incarnation_of(metadata: &MetadataMap, key: &str) -> Option<Incarnation> {
    let text = metadata.get(key)?.to_str().ok()?;
    u128::from_str_radix(text, 16).ok().map(Incarnation)
}

#[cfg(test)]
mod tests;
