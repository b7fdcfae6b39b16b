//! openraft's calls to one replica on another node.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use hansa_api::pb::raft::{PeerMessageKind, SnapshotHeader};
use hansa_types::id::{GroupId, NodeId};
use openraft::alias::SnapshotOf;
use openraft::base::BoxFuture;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory, v2::RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, entry::RaftEntry as _};
use tokio::time::Instant;

use super::acks::{Acks, Append};
use super::codec::BadBytes;
use super::{Types, Vote, news, wire};
use crate::archive::Archive;
use crate::checkpoints::{Checkpoint, Checkpoints};
use crate::link::{Ask, Link, LinkError};
use crate::outgoing;
use crate::room::Reports;
use crate::writer::Writer;

/// Appends of one follower on their way at once.
const APPENDS_IN_FLIGHT: usize = 4;

/// Between two questions for a pre-vote to a peer out of reach.
const ASK_AGAIN: Duration = Duration::from_millis(40);

/// Makes the clients of one group.
#[derive(Clone)]
pub(crate) struct Network {
    pub node: NodeId,
    pub group: GroupId,
    pub link: Arc<dyn Link>,
    pub archive: Arc<Archive>,
    pub checkpoints: Arc<Checkpoints>,
    /// Reads of a snapshot's bytes wait for the disk there, never on the runtime.
    pub writer: Writer,
    /// A follower whose disk stalls is slow, not gone: an append waits this long for its answer.
    pub append_max: Duration,
    /// What members say of their disks.
    pub reports: Arc<Reports>,
    /// What members answered.
    pub acks: Arc<Acks>,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, _node: &()) -> Client {
        Client { network: self.clone(), target: NodeId(target) }
    }
}

/// The client for one replica.
pub(crate) struct Client {
    network: Network,
    target: NodeId,
}

impl Client {
    fn ask(&self, kind: PeerMessageKind, body: Bytes, within: Duration) -> Ask {
        Ask { group: self.network.group, kind, body, entries: Vec::new(), within }
    }

    async fn call<T>(
        &self,
        ask: Ask,
        action: RPCTypes,
        decode: impl FnOnce(Bytes) -> Result<T, BadBytes>,
    ) -> Result<T, RPCError<Types>> {
        let answer = self.network.link.call(self.target, ask).await;
        self.answered(answer, action, decode)
    }

    fn answered<T>(
        &self,
        answer: Result<Bytes, LinkError>,
        action: RPCTypes,
        decode: impl FnOnce(Bytes) -> Result<T, BadBytes>,
    ) -> Result<T, RPCError<Types>> {
        let answer = answer.map_err(|e| self.failed(e, action))?;
        decode(answer).map_err(|e| RPCError::Unreachable(Unreachable::new(&e)))
    }

    fn failed(&self, error: LinkError, action: RPCTypes) -> RPCError<Types> {
        match error {
            LinkError::Timeout(timeout) => {
                let (id, target) = (self.network.node.0, self.target.0);
                RPCError::Timeout(Timeout { action, id, target, timeout })
            }
            // Also what the peer refuses: it may host the group later, so back off.
            LinkError::Unreachable(_) | LinkError::Denied(_) | LinkError::Refused { .. } => {
                RPCError::Unreachable(Unreachable::new(&error))
            }
        }
    }

    /// Sends one append; the request leaves now, in order, the future waits for its answer.
    fn send_append(
        &self,
        request: &AppendEntriesRequest<Types>,
        option: &RPCOption,
    ) -> impl Future<Output = Result<AppendEntriesResponse<Types>, RPCError<Types>>> + Send + use<>
    {
        let (body, entries) = wire::append(request);
        let within = option.soft_ttl().max(self.network.append_max);
        let append =
            Append { term: request.vote.leader_id.term, number: self.network.acks.number() };
        let ask = Ask { entries, ..self.ask(PeerMessageKind::AppendEntries, body, within) };
        let answer = self.network.link.call(self.target, ask);
        let client = Self { network: self.network.clone(), target: self.target };
        async move {
            let answer = answer.await.map_err(|e| client.failed(e, RPCTypes::AppendEntries))?;
            let (answer, short) = wire::appended_of(answer)
                .map_err(|e| RPCError::Unreachable(Unreachable::new(&e)))?;
            client.network.reports.note(client.target, short);
            if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
                client.network.acks.note(client.target, append);
            }
            Ok(answer)
        }
    }
}

impl RaftNetworkV2<Types> for Client {
    type SnapshotData = Checkpoint;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.send_append(&request, &option).await
    }

    /// Sends appends without waiting for each answer; the link keeps their order, and the first
    /// answer that is not a full success ends the stream.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<
            openraft::base::BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>,
            RPCError<Types>,
        >,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        let client = &*self;
        let sent = news::with_entries(input).map(move |request| {
            let prev = request.prev_log_id;
            let last = request.entries.last().map(|entry| entry.log_id()).or(prev);
            let answer = client.send_append(&request, &option);
            async move { (prev, last, answer.await) }
        });
        let answers =
            sent.buffered(APPENDS_IN_FLIGHT).scan(false, |ended, (prev, last, answer)| {
                let item = (!*ended).then(|| match answer {
                    Ok(answer) => {
                        let partial = matches!(&answer,
                        AppendEntriesResponse::PartialSuccess(upto) if *upto != last);
                        let result = answer.into_stream_result(prev, last);
                        *ended = partial || result.is_err();
                        Ok(result)
                    }
                    Err(error) => {
                        *ended = true;
                        Err(error)
                    }
                });
                futures::future::ready(item)
            });
        Box::pin(async move { Ok(Box::pin(answers) as BoxStream<'s, _>) })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let ask = self.ask(PeerMessageKind::Vote, wire::vote(&request), option.soft_ttl());
        self.call(ask, RPCTypes::Vote, wire::voted_of).await
    }

    /// Asked for as long as it counts: a peer that comes back within reach answers at once, and
    /// not when the next election timeout has passed. What a living peer refuses is not repeated.
    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let until = Instant::now() + option.soft_ttl();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let ask = self.ask(PeerMessageKind::PreVote, wire::vote(&request), left);
            match self.network.link.call(self.target, ask).await {
                Err(LinkError::Unreachable(_)) if left > ASK_AGAIN => {
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                answer => return self.answered(answer, RPCTypes::Vote, wire::voted_of),
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let body = wire::transfer(&request);
        let ask = self.ask(PeerMessageKind::TransferLeader, body, option.soft_ttl());
        self.call(ask, RPCTypes::TransferLeader, wire::transferred_of).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<Types, Checkpoint>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let send = self.send_snapshot(vote, snapshot.snapshot, option.soft_ttl());
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = send => sent.map_err(|e| StreamingError::Unreachable(Unreachable::new(&e))),
        }
    }
}

impl Client {
    /// Sends hot state and the archive range that the peer lacks; waits until it is installed.
    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Checkpoint,
        within: Duration,
    ) -> Result<SnapshotResponse<Types>, LinkError> {
        let Network { node, group, link, archive, checkpoints, writer, .. } = &self.network;
        let id = outgoing::id(*node, &snapshot);
        let ask = self.ask(PeerMessageKind::SnapshotOffer, id.clone(), self.network.append_max);
        let bad = |e: BadBytes| LinkError::Unreachable(e.to_string());
        let held = wire::offer_answer_of(link.call(self.target, ask).await?).map_err(bad)?;
        let sound = outgoing::read_back(writer, checkpoints, &snapshot).await;
        sound.map_err(LinkError::Unreachable)?;
        let header = SnapshotHeader {
            from_node: node.0,
            to_node: self.target.0,
            group: group.number(),
            body: wire::snapshot_vote(&vote),
            total_bytes: snapshot.bytes,
            snapshot_id: id,
        };
        let (bytes, from_byte, from_entry) =
            (snapshot.bytes, held.state_bytes, held.archived_index);
        tracing::info!(%group, to = %self.target, bytes, from_byte, from_entry,
            "sending a snapshot");
        let chunks = outgoing::chunks(writer.clone(), archive.clone(), snapshot, held);
        let sent = link.snapshot(self.target, header, chunks);
        // The transfer as a whole may take long; the link gives up when the peer takes no more.
        let installed = tokio::time::timeout(within.max(outgoing::WHOLE_MAX), sent).await;
        let installed = installed.map_err(|_| LinkError::Timeout(within))??;
        wire::installed_of(installed).map_err(bad)
    }
}

#[cfg(test)]
mod tests;
