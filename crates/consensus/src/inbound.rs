//! What other nodes ask of this one's groups. The transport has checked who asks; here, what for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use hansa_api::pb::raft::{
    PeerError, PeerErrorKind, PeerMessageKind, PeerRequest, PeerResponse, SnapshotChunk,
    SnapshotHeader, peer_response,
};
use hansa_node::tasks::OnError;
use hansa_types::id::{GroupId, NodeId};
use openraft::alias::SnapshotOf;
use openraft::errors::RaftError;
use openraft::storage::Snapshot;
use parking_lot::RwLock;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::archive::{End, unpack_entries, unpack_records};
use crate::checkpoints::{Checkpoint, Checkpoints};
use crate::identity::Identity;
use crate::outgoing;
use crate::raft::codec::{self, BadBytes};
use crate::raft::{Types, Vote, wire};
use crate::running::Running;

/// How long the next chunk of a snapshot may take to come: a stalled sender keeps others out.
const CHUNK_MAX: Duration = Duration::from_secs(60);

/// A refusal of a request.
type Refusal = (PeerErrorKind, String);

/// The groups that this node hosts, for its peers.
pub(crate) struct Inbound {
    pub identity: Arc<Identity>,
    groups: RwLock<BTreeMap<GroupId, Arc<Running>>>,
}

impl Inbound {
    pub fn new(identity: Arc<Identity>) -> Self {
        Self { identity, groups: RwLock::default() }
    }

    pub fn add(&self, running: Arc<Running>) {
        self.groups.write().insert(running.id, running);
    }

    pub fn remove(&self, id: GroupId) {
        self.groups.write().remove(&id);
    }

    pub fn groups(&self) -> Vec<Arc<Running>> {
        self.groups.read().values().cloned().collect()
    }

    pub fn group(&self, id: GroupId) -> Option<Arc<Running>> {
        self.groups.read().get(&id).cloned()
    }

    fn serving(&self, number: u32) -> Result<Arc<Running>, Refusal> {
        let id = GroupId::from_number(number);
        let found = id.and_then(|id| self.groups.read().get(&id).cloned());
        let unknown = || (PeerErrorKind::UnknownGroup, format!("group {number}"));
        let running = found.ok_or_else(unknown)?;
        match running.stopped() {
            Some(why) => Err((PeerErrorKind::Stopped, why)),
            None => Ok(running),
        }
    }

    /// Refuses frames that are meant for another node: an address may have been given away.
    pub fn check_target(&self, to: u64) -> Result<(), Refusal> {
        let node = self.identity.node;
        if to == node.0 {
            return Ok(());
        }
        Err((PeerErrorKind::WrongNode, format!("this is node {node}, not {to}")))
    }

    /// Answers one request.
    pub async fn handle(&self, from: NodeId, request: PeerRequest) -> PeerResponse {
        let (id, group) = (request.id, request.group);
        let result = match self.answer(from, request).await {
            Ok(body) => peer_response::Result::Body(body),
            Err((kind, detail)) => {
                peer_response::Result::Error(PeerError { kind: kind.into(), detail })
            }
        };
        PeerResponse { id, group, result: Some(result) }
    }

    async fn answer(&self, from: NodeId, request: PeerRequest) -> Result<Bytes, Refusal> {
        let running = self.serving(request.group)?;
        let raft = &running.raft;
        match request.kind() {
            PeerMessageKind::AppendEntries => {
                let append = wire::append_of(request.body, request.entries).map_err(malformed)?;
                check_speaker(from, &append.vote)?;
                let answer = raft.append_entries(append).await.map_err(stopped)?;
                Ok(wire::appended(&answer))
            }
            PeerMessageKind::Vote => {
                let vote = wire::vote_request_of(request.body).map_err(malformed)?;
                check_speaker(from, &vote.vote)?;
                Ok(wire::voted(&raft.vote(vote).await.map_err(stopped)?))
            }
            PeerMessageKind::PreVote => {
                let vote = wire::vote_request_of(request.body).map_err(malformed)?;
                check_speaker(from, &vote.vote)?;
                Ok(wire::voted(&raft.pre_vote(vote).await.map_err(stopped)?))
            }
            PeerMessageKind::TransferLeader => {
                let transfer = wire::transfer_of(request.body).map_err(malformed)?;
                check_speaker(from, transfer.from_leader())?;
                let answer = raft.handle_transfer_leader(transfer).await;
                let answer = answer.map_err(|e| (PeerErrorKind::Stopped, e.to_string()))?;
                Ok(wire::transferred(&answer))
            }
            PeerMessageKind::Digest => {
                let digest = wire::digest_of(request.body).map_err(malformed)?;
                Ok(wire::digest_answer(&compare(&running, from, &digest).await))
            }
            PeerMessageKind::SnapshotOffer | PeerMessageKind::Unspecified => {
                Err((PeerErrorKind::Malformed, "unknown kind of message".to_owned()))
            }
        }
    }

    /// Receives a snapshot and installs it.
    pub async fn install(
        &self,
        header: SnapshotHeader,
        mut chunks: impl Stream<Item = SnapshotChunk> + Unpin + Send,
    ) -> Result<Bytes, Refusal> {
        self.check_target(header.to_node)?;
        let running = self.serving(header.group)?;
        let busy = || (PeerErrorKind::Overloaded, "another snapshot arrives".to_owned());
        let one_at_a_time = running.receiving.clone().try_lock_owned().map_err(|_| busy())?;
        let vote = codec::vote_of(&mut header.body.clone()).map_err(malformed)?;
        check_speaker(NodeId(header.from_node), &vote)?;
        let mut receiver = Receiver::new(&running, header.total_bytes)?;
        let stalled = |_| (PeerErrorKind::Malformed, "the chunks stopped coming".to_owned());
        while let Some(chunk) = timeout(CHUNK_MAX, chunks.next()).await.map_err(stalled)? {
            receiver.take(chunk).await?;
        }
        let from = NodeId(header.from_node);
        tracing::info!(group = %running.id, %from, bytes = header.total_bytes, "snapshot arrived");
        let snapshot = receiver.finish().await?;
        let snapshot: SnapshotOf<Types, Checkpoint> = Snapshot { meta: snapshot.meta(), snapshot };
        // A task of its own: a sender that goes away drops this call but not the installation, and
        // nobody may write to the file before that has ended.
        let (done, answer) = oneshot::channel();
        let (raft, name) = (running.raft.clone(), format!("install snapshot {}", running.id));
        running.env.tasks.spawn(name, OnError::Log, async move {
            let installed = raft.install_full_snapshot(vote, snapshot).await;
            drop(one_at_a_time);
            let _ = done.send(installed);
        });
        let gone = |_| (PeerErrorKind::Stopped, "this node stops".to_owned());
        let answer = answer.await.map_err(gone)?;
        let answer = answer.map_err(|e| (PeerErrorKind::Stopped, e.to_string()))?;
        Ok(wire::installed(&answer))
    }
}

/// Compares a peer's digest with ours at the same index. One that its leader tells that it alone
/// differs, and still does, stops serving.
async fn compare(running: &Running, from: NodeId, theirs: &wire::Digest) -> wire::DigestAnswer {
    let ours = running.replica.digests().at(theirs.index);
    let equal = ours.map(|ours| ours == theirs.state);
    // Nobody but the leader has compared a majority: another node's word stops no replica.
    let from_leader = running.leadership.borrow().leader == Some(from);
    if theirs.alone && from_leader && equal == Some(false) {
        let what = format!("state differs from the other replicas at entry {}", theirs.index);
        running.trouble.note(what, true);
        running.give_up().await;
    }
    let end = running.archive.end();
    wire::DigestAnswer {
        equal,
        archived_index: end.next_index,
        archived_records: end.records,
        wall_ms: running.env.clock.wall().ms(),
    }
}

/// Leaders and candidates speak for themselves: whoever sends in another's name is refused.
fn check_speaker(from: NodeId, vote: &Vote) -> Result<(), Refusal> {
    if vote.leader_id.voted_for == from.0 {
        return Ok(());
    }
    let named = vote.leader_id.voted_for;
    Err((PeerErrorKind::Malformed, format!("node {from} speaks as node {named}")))
}

fn malformed(error: BadBytes) -> Refusal {
    (PeerErrorKind::Malformed, error.to_string())
}

fn stopped(error: RaftError<Types>) -> Refusal {
    (PeerErrorKind::Stopped, error.to_string())
}

fn disk(error: impl std::fmt::Display) -> Refusal {
    (PeerErrorKind::Stopped, error.to_string())
}

/// Puts a snapshot together from its chunks.
struct Receiver<'a> {
    running: &'a Running,
    incoming: crate::checkpoints::Incoming,
    received: u64,
    total: u64,
}

impl<'a> Receiver<'a> {
    fn new(running: &'a Running, total: u64) -> Result<Self, Refusal> {
        let incoming = running.checkpoints.incoming().map_err(disk)?;
        Ok(Self { running, incoming, received: 0, total })
    }

    async fn take(&mut self, chunk: SnapshotChunk) -> Result<(), Refusal> {
        let bad = |what: &str| (PeerErrorKind::Malformed, format!("chunk: {what}"));
        if crc32c::crc32c(&chunk.data) != chunk.checksum {
            return Err(bad("checksum"));
        }
        let mut data = chunk.data;
        let kind = codec::u8_of(&mut data).map_err(malformed)?;
        match kind {
            outgoing::RECORDS => {
                let records = unpack_records(data, chunk.offset).map_err(malformed)?;
                let end = records.last().map_or(0, |last| last.number + 1);
                self.append(move |archive, held| {
                    archive.append(&[], &records, End { records: end, ..held })
                })
                .await
            }
            outgoing::ENTRIES => {
                let entries = unpack_entries(data).map_err(malformed)?;
                let Some(last) = entries.last() else { return Ok(()) };
                let joined = entries
                    .windows(2)
                    .all(|pair| pair[0].index.checked_add(1) == Some(pair[1].index));
                let next_index = last.index.checked_add(1).filter(|_| joined);
                let next_index = next_index.ok_or_else(|| bad("entries out of order"))?;
                let chain = last.heads.1;
                self.append(move |archive, held| {
                    archive.append(&entries, &[], End { next_index, chain, ..held })
                })
                .await
            }
            outgoing::STATE if data.len() as u64 > self.total - self.received => {
                Err(bad("more bytes than were announced"))
            }
            outgoing::STATE if chunk.offset == self.received => {
                self.incoming.file.write_at(&data, chunk.offset).map_err(disk)?;
                self.received += data.len() as u64;
                Ok(())
            }
            _ => Err(bad("out of order")),
        }
    }

    /// Appends to the archive at once: it is committed history, and a broken transfer resumes
    /// behind it.
    async fn append(
        &self,
        work: impl FnOnce(&crate::archive::Archive, End) -> Result<(), crate::archive::ArchiveError>
        + Send
        + 'static,
    ) -> Result<(), Refusal> {
        let archive = self.running.archive.clone();
        let done = self.running.writer.run(move || work(&archive, archive.end())).await;
        done.map_err(disk)?.map_err(disk)
    }

    async fn finish(self) -> Result<Checkpoint, Refusal> {
        if self.received != self.total {
            let what = format!("{} of {} bytes arrived", self.received, self.total);
            return Err((PeerErrorKind::Malformed, what));
        }
        let checkpoints: Arc<Checkpoints> = self.running.checkpoints.clone();
        let incoming = self.incoming;
        let opened = self.running.writer.run(move || checkpoints.received(incoming)).await;
        opened.map_err(disk)?.map_err(disk)
    }
}
