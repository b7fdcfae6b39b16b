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
use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio::time::timeout;

use crate::checkpoints::Checkpoint;
use crate::grpc::Protocol;
use crate::identity::Identity;
use crate::incoming::{self, Partial, Receiver};
use crate::raft::codec::{self, BadBytes};
use crate::raft::{Types, Vote, wire};
use crate::running::Running;

/// How long the next chunk of a snapshot may take to come: a stalled sender keeps others out.
const CHUNK_MAX: Duration = Duration::from_secs(60);

/// A refusal of a request.
pub(crate) type Refusal = (PeerErrorKind, String);

/// The groups that this node hosts, for its peers.
pub(crate) struct Inbound {
    pub identity: Arc<Identity>,
    pub protocol: Arc<Protocol>,
    groups: RwLock<BTreeMap<GroupId, Arc<Running>>>,
}

impl Inbound {
    pub fn new(identity: Arc<Identity>, protocol: Arc<Protocol>) -> Self {
        Self { identity, protocol, groups: RwLock::default() }
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
                Ok(wire::appended(&answer, running.room.is_short()))
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
            PeerMessageKind::SnapshotOffer => {
                let arriving = one_at_a_time(&running)?;
                Ok(wire::offer_answer(&incoming::held(&running, &arriving, &request.body)))
            }
            PeerMessageKind::Unspecified => {
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
        let mut arriving = one_at_a_time(&running)?;
        let no_room = |_| (PeerErrorKind::Overloaded, "no room for a snapshot".to_owned());
        running.room.admit(2 * header.total_bytes).map_err(no_room)?;
        let vote = codec::vote_of(&mut header.body.clone()).map_err(malformed)?;
        check_speaker(NodeId(header.from_node), &vote)?;
        let mut receiver = Receiver::new(&running, &mut arriving, &header)?;
        let stalled = |_| (PeerErrorKind::Malformed, "the chunks stopped coming".to_owned());
        while let Some(chunk) = timeout(CHUNK_MAX, chunks.next()).await.map_err(stalled)? {
            receiver.take(chunk).await?;
        }
        let from = NodeId(header.from_node);
        let snapshot = receiver.finish().await?;
        if let Err(unsupported) = running.replica.check(snapshot.position.version) {
            // Entries behind it will not be applied either: stop by name, before it is installed.
            let why = unsupported.to_string();
            running.trouble.note_version(why.clone());
            running.give_up().await;
            return Err((PeerErrorKind::Stopped, why));
        }
        tracing::info!(group = %running.id, %from, bytes = header.total_bytes, "snapshot arrived");
        let snapshot: SnapshotOf<Types, Checkpoint> = Snapshot { meta: snapshot.meta(), snapshot };
        // A task of its own: a sender that goes away drops this call but not the installation, and
        // nobody may write to the file before that has ended.
        let (done, answer) = oneshot::channel();
        let (there, name) = (running.clone(), format!("install snapshot {}", running.id));
        running.env.tasks.spawn(name, OnError::Log, async move {
            let installed = there.raft.install_full_snapshot(vote, snapshot).await;
            // One that came too late for this replica has not got a name.
            there.drop_incoming(arriving).await;
            let _ = done.send(installed);
        });
        let gone = |_| (PeerErrorKind::Stopped, "this node stops".to_owned());
        let answer = answer.await.map_err(gone)?;
        let answer = answer.map_err(|e| (PeerErrorKind::Stopped, e.to_string()))?;
        Ok(wire::installed(&answer))
    }
}

/// One snapshot arrives at a time; what a broken transfer brought is kept for the next.
fn one_at_a_time(running: &Running) -> Result<OwnedMutexGuard<Option<Partial>>, Refusal> {
    let busy = |_| (PeerErrorKind::Overloaded, "another snapshot arrives".to_owned());
    running.receiving.clone().try_lock_owned().map_err(busy)
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
        versions: running.replica.versions(),
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

pub(crate) fn malformed(error: BadBytes) -> Refusal {
    (PeerErrorKind::Malformed, error.to_string())
}

fn stopped(error: RaftError<Types>) -> Refusal {
    (PeerErrorKind::Stopped, error.to_string())
}

pub(crate) fn disk(error: impl std::fmt::Display) -> Refusal {
    (PeerErrorKind::Stopped, error.to_string())
}
