//! The peers' streams to this node: who they are is checked before a frame is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hansa_api::pb::raft::raft_peer_service_server::RaftPeerService;
use hansa_api::pb::raft::{
    ExchangeRequest, ExchangeResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    PeerErrorKind, install_snapshot_request,
};
use hansa_api::status::{Failure, Reason};
use hansa_node::env::Env;
use hansa_node::tasks::OnError;
use hansa_node::tls::PeerIdentity;
use hansa_types::id::NodeId;
use hansa_types::identity::SpiffeId;
use parking_lot::RwLock;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Extensions, Request, Response, Status, Streaming};

use super::{EXPECTS, INCARNATION, NODE, STRANGER, TO};
use super::{incarnation_of, node_of, put_incarnation};
use crate::identity::{MeetError, Stranger};
use crate::inbound::Inbound;

/// Requests of one peer that are being answered; beyond them its stream is not read.
const IN_FLIGHT_MAX: usize = 1_024;
const MESSAGES_MAX: usize = 4;
const RESPONSES_PER_MESSAGE: usize = 64;

/// Who may call as which node.
pub(crate) type Names = Arc<RwLock<BTreeMap<NodeId, SpiffeId>>>;

/// The peer service of one node.
#[derive(Clone)]
pub(crate) struct Served {
    pub inbound: Arc<Inbound>,
    pub names: Names,
    pub env: Env,
}

impl Served {
    /// Admits a caller: its certificate must be that of the node it says it is, it must mean this
    /// node, and each must be the one that the other has met before.
    pub fn admit(&self, metadata: &MetadataMap, extensions: &Extensions) -> Result<NodeId, Status> {
        let denied = || Status::from(Reason::PermissionDenied);
        let node = node_of(metadata, NODE).ok_or_else(denied)?;
        let shown = extensions.get::<PeerIdentity>().ok_or_else(denied)?;
        if self.names.read().get(&node) != Some(&shown.0) {
            tracing::warn!(%node, name = %shown.0, "refused: this name is not that node's");
            return Err(denied());
        }
        self.inbound.protocol.agreed(node, metadata).map_err(|foreign| {
            Status::from(Failure::new(Reason::VersionNotSupported, foreign.to_string()))
        })?;
        let identity = &self.inbound.identity;
        let meant = node_of(metadata, TO).ok_or_else(denied)?;
        if meant != identity.node {
            // It has not heard yet that this name has another node: what it expects is that one's.
            let detail = format!("node {} is here, not node {meant}", identity.node);
            return Err(Failure::new(Reason::Unavailable, detail).into());
        }
        let expected = incarnation_of(metadata, EXPECTS);
        if expected.is_some_and(|expected| expected != identity.incarnation) {
            // The peer has met this node with another folder: this one lost its log.
            let stranger = Stranger { node: identity.node };
            self.env.exit.exit(&stranger.to_string());
            return Err(refusal(stranger));
        }
        let incarnation = incarnation_of(metadata, INCARNATION).ok_or_else(denied)?;
        identity.meet(node, incarnation).map_err(|error| {
            tracing::error!(%error, "peer refused");
            match error {
                MeetError::Stranger(stranger) => refusal(stranger),
                MeetError::NotKept { .. } => {
                    Failure::new(Reason::Unavailable, error.to_string()).into()
                }
            }
        })?;
        Ok(node)
    }

    pub(super) fn introduced<T>(&self, body: T) -> Response<T> {
        let mut response = Response::new(body);
        let (node, incarnation) = (self.inbound.identity.node, self.inbound.identity.incarnation);
        self.inbound.protocol.put(response.metadata_mut());
        response.metadata_mut().insert(NODE, MetadataValue::from(node.0));
        put_incarnation(response.metadata_mut(), INCARNATION, incarnation);
        response
    }
}

fn refusal(stranger: Stranger) -> Status {
    let failure = Failure::new(Reason::PermissionDenied, stranger.to_string());
    failure.with(STRANGER, stranger.node.to_string()).into()
}

#[tonic::async_trait]
impl RaftPeerService for Served {
    type ExchangeStream = ReceiverStream<Result<ExchangeResponse, Status>>;

    async fn exchange(
        &self,
        request: Request<Streaming<ExchangeRequest>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let from = self.admit(request.metadata(), request.extensions())?;
        let (out, answers) = mpsc::channel(MESSAGES_MAX);
        let (inbound, stop) = (self.inbound.clone(), self.env.tasks.stop_token());
        let talk = converse(inbound, self.names.clone(), from, request.into_inner(), out);
        self.env.tasks.spawn(format!("peer {from}"), OnError::Log, async move {
            stop.run_until_cancelled(talk).await;
        });
        Ok(self.introduced(ReceiverStream::new(answers)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<InstallSnapshotRequest>>,
    ) -> Result<Response<InstallSnapshotResponse>, Status> {
        use install_snapshot_request::Item;
        let from = self.admit(request.metadata(), request.extensions())?;
        let mut messages = request.into_inner();
        let first = messages.message().await?.and_then(|first| first.item);
        let Some(Item::Header(header)) = first else {
            return Err(Reason::MessageMalformed.into());
        };
        if header.from_node != from.0 {
            return Err(Reason::PermissionDenied.into());
        }
        // A stream that breaks ends early: the receiver then misses bytes and refuses the whole.
        let chunks = messages.filter_map(|message| async move {
            match message.ok()?.item? {
                Item::Chunk(chunk) => Some(chunk),
                Item::Header(_) => None,
            }
        });
        let installed = self.inbound.install(header, Box::pin(chunks)).await;
        let body = installed.map_err(|(kind, detail)| {
            tracing::warn!(%from, ?kind, detail, "snapshot not installed");
            Status::from(Failure::of(reason(kind)))
        })?;
        Ok(self.introduced(InstallSnapshotResponse { body }))
    }
}

fn reason(kind: PeerErrorKind) -> Reason {
    match kind {
        PeerErrorKind::Overloaded => Reason::Overloaded,
        PeerErrorKind::Malformed => Reason::MessageMalformed,
        PeerErrorKind::Unspecified
        | PeerErrorKind::UnknownGroup
        | PeerErrorKind::WrongNode
        | PeerErrorKind::Stopped => Reason::Unavailable,
    }
}

/// Answers one peer's requests until its stream ends.
///
/// Each request is handed to its group before the next is looked at, so appends keep their order;
/// the answers leave as they come. Never waits to send without also working on answers.
async fn converse(
    inbound: Arc<Inbound>,
    names: Names,
    from: NodeId,
    mut messages: Streaming<ExchangeRequest>,
    out: mpsc::Sender<Result<ExchangeResponse, Status>>,
) {
    let mut working = FuturesUnordered::new();
    let mut done = Vec::new();
    loop {
        let may_read = working.len() + done.len() < IN_FLIGHT_MAX;
        tokio::select! {
            biased;
            Some(response) = working.next(), if !working.is_empty() => done.push(response),
            room = out.reserve(), if !done.is_empty() => {
                let Ok(room) = room else { return };
                let responses = done.drain(..done.len().min(RESPONSES_PER_MESSAGE)).collect();
                room.send(Ok(ExchangeResponse { responses }));
            }
            message = messages.message(), if may_read => {
                let Ok(Some(message)) = message else { return };
                let meant = inbound.check_target(message.to_node).is_ok();
                // A node that was retired meanwhile is heard no more.
                let known = names.read().contains_key(&from);
                if message.from_node != from.0 || !meant || !known {
                    let _ = out.send(Err(Reason::PermissionDenied.into())).await;
                    return;
                }
                for request in message.requests {
                    let inbound = inbound.clone();
                    working.push(async move { inbound.handle(from, request).await });
                }
            }
        }
    }
}
