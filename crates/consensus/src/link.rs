//! How frames reach another node, whatever carries them.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use hansa_api::pb::raft::{
    PeerErrorKind, PeerMessageKind, PeerRequest, PeerResponse, SnapshotChunk, SnapshotHeader,
    peer_response,
};
use hansa_types::id::{GroupId, NodeId};
use thiserror::Error;

/// Why a peer did not answer, as far as the caller must know.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum LinkError {
    /// Back off: the node is away.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// One of the two ends does not talk with the other: no common protocol, or not the node meant.
    #[error("not admitted: {0}")]
    Denied(String),
    /// The peer answered that it cannot serve this; `kind` says why.
    #[error("refused ({kind:?}): {detail}")]
    Refused { kind: PeerErrorKind, detail: String },
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// A request to one group on another node.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub group: GroupId,
    pub kind: PeerMessageKind,
    pub body: Bytes,
    pub entries: Vec<Bytes>,
    pub within: Duration,
}

/// What carries requests to other nodes.
pub(crate) trait Link: Send + Sync + 'static {
    /// Sends a request and waits for its answer. Two requests to one node arrive in the order of
    /// the calls, though their answers may not.
    fn call(&self, to: NodeId, ask: Ask) -> BoxFuture<'static, Result<Bytes, LinkError>>;

    /// Sends a snapshot: a header, then its chunks in order.
    fn snapshot(
        &self,
        to: NodeId,
        header: SnapshotHeader,
        chunks: BoxStream<'static, SnapshotChunk>,
    ) -> BoxFuture<'static, Result<Bytes, LinkError>>;
}

/// The answer in a response frame.
pub(crate) fn answer(response: PeerResponse) -> Result<Bytes, LinkError> {
    match response.result {
        Some(peer_response::Result::Body(body)) => Ok(body),
        Some(peer_response::Result::Error(error)) => {
            Err(LinkError::Refused { kind: error.kind(), detail: error.detail })
        }
        None => Err(LinkError::Unreachable("an answer without a result".to_owned())),
    }
}

/// The frame of a request.
pub(crate) fn frame(id: u64, ask: Ask) -> PeerRequest {
    let Ask { group, kind, body, entries, within: _ } = ask;
    PeerRequest { id, group: group.number(), kind: kind.into(), body, entries }
}
