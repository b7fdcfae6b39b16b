//! Groups from a backup, into a host that has none: archive, checkpoint with the new members, then
//! a log that goes on behind it. What comes up is what a replica is after it installed a snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hansa_backup::manifest::{Group, hex};
use hansa_backup::part::{Bad, Reader, StateBytes};
use hansa_backup::{PartKind, Shelf};
use hansa_types::id::{GroupId, NodeId};
use hansa_wal::Entry as Record;
use hansa_wal::fs::Fs;
use openraft::impls::leader_id_std::LeaderId;
use openraft::storage::RaftLogStorage as _;
use thiserror::Error;
use tokio::sync::oneshot;

use super::Host;
use crate::archive::{Archive, ArchiveError, End, unpack_entries, unpack_records};
use crate::batch::Batch;
use crate::checkpoints::{CheckpointError, Checkpoints, end_of, thaw_copy};
use crate::machine::Machine;
use crate::pending::Pending;
use crate::raft::codec::{self, Kind};
use crate::raft::log_store::LogStore;
use crate::raft::{Membership, StoredMembership, Vote, log_id};
use crate::replica::{Cell, FrozenReplica, Position};

/// Why a group was not restored.
#[derive(Debug, Error)]
pub enum RestoreError {
    #[error("this node holds groups already: a restore goes into an empty folder")]
    NotEmpty,
    #[error("{file}: damaged at byte {offset}: {what}")]
    Damaged { file: String, offset: u64, what: String },
    #[error("{file}: {source}")]
    Io { file: String, source: io::Error },
    #[error("{0}: {1}")]
    State(GroupId, CheckpointError),
    #[error("{0}: {1}")]
    Archive(GroupId, ArchiveError),
    #[error("{0}: the state is not the one that the manifest names: {1}")]
    OtherState(GroupId, &'static str),
    #[error("the node stops")]
    Stopping,
}

/// What a group becomes on its way back.
#[derive(Debug, Clone)]
pub struct RestoredGroup {
    pub id: GroupId,
    /// The new members, this node among them: all of them restore the same backup.
    pub members: Vec<NodeId>,
    /// Commands that stand in the log behind the backup, and so are applied before anything else.
    pub first: Vec<Bytes>,
}

/// A backup's files, wherever they are.
pub type Files = Arc<dyn Shelf + Send + Sync>;

/// Reads a group's state through its machine and compares its digest; changes nothing but
/// `scratch`, a folder that may be thrown away.
///
/// # Errors
/// Damage, or a state that is not the one that the manifest names.
pub fn check_state<M: Machine>(
    fs: &Arc<dyn Fs>,
    scratch: &Path,
    files: &dyn Shelf,
    group: &Group,
) -> Result<(), RestoreError> {
    thaw::<M>(fs, scratch, files, group).map(drop)
}

fn thaw<M: Machine>(
    fs: &Arc<dyn Fs>,
    scratch: &Path,
    files: &dyn Shelf,
    group: &Group,
) -> Result<(GroupId, Position, M), RestoreError> {
    let unknown = || damaged(group, PartKind::State, 0, "a group that is unknown here");
    let id = group.id().ok_or_else(unknown)?;
    let scratch = scratch.join(format!("{id}.thaw"));
    let mut state = StateBytes::new(open(files, group, PartKind::State)?);
    let thawed = thaw_copy::<M>(fs, &scratch, id, &mut state);
    let removed = fs.remove(&scratch);
    let (position, machine) = thawed.map_err(|e| RestoreError::State(id, e))?;
    if let Err(error) = removed {
        tracing::debug!(file = %scratch.display(), %error, "scratch file stays");
    }
    let other = |what| Err(RestoreError::OtherState(id, what));
    let applied = position.applied.map(|at| (at.index(), crate::raft::term_of(&at)));
    match () {
        () if applied != Some((group.index, group.term)) => other("index or term"),
        () if position.digest.to_string() != group.state_hash => other("digest"),
        () if hex(&position.chain) != group.chain_head => other("head of the audit chain"),
        () if position.records != group.records => other("records"),
        () => Ok((id, position, machine)),
    }
}

fn open(
    files: &dyn Shelf,
    group: &Group,
    kind: PartKind,
) -> Result<Reader<Box<dyn io::Read + Send>>, RestoreError> {
    let file = group.path(kind);
    let opened = files.open(&file).map_err(|source| RestoreError::Io { file, source })?;
    Reader::open(opened, kind).map_err(|bad| bad_part(group, kind, bad))
}

fn bad_part(group: &Group, kind: PartKind, bad: Bad) -> RestoreError {
    match bad {
        Bad::At(offset, what) => damaged(group, kind, offset, what),
        Bad::Io(source) => RestoreError::Io { file: group.path(kind), source },
    }
}

fn damaged(group: &Group, kind: PartKind, offset: u64, what: impl ToString) -> RestoreError {
    RestoreError::Damaged { file: group.path(kind), offset, what: what.to_string() }
}

impl Host {
    /// Whether this host has never hosted a group.
    pub fn is_empty(&self) -> bool {
        let dir = self.inner.config.data_dir.join("groups");
        self.inner.wal.groups().is_empty() && !self.inner.fs.exists(&dir).unwrap_or(true)
    }

    /// Puts one group of a checked backup in place; durable on return. Start the group after it.
    ///
    /// # Errors
    /// The group's folder must be emptied before another attempt.
    pub async fn restore_group<M: Machine>(
        &self,
        files: Files,
        group: Group,
        plan: RestoredGroup,
    ) -> Result<(), RestoreError> {
        let (fs, id) = (self.inner.fs.clone(), plan.id);
        let dir = self.inner.config.data_dir.join("groups").join(id.to_string());
        if self.inner.wal.groups().contains(&id) || fs.exists(&dir).unwrap_or(true) {
            return Err(RestoreError::NotEmpty);
        }
        let members = plan.members.clone();
        let job = move || install::<M>(&fs, &dir, files.as_ref(), &group, &members);
        let installed = self.inner.writer.run(job).await.map_err(|_| RestoreError::Stopping)?;
        self.begin_log(id, installed?, &plan).await
    }

    /// The log behind the checkpoint: nothing before it, a vote that no term before it can match,
    /// and the first commands, the same on every node.
    async fn begin_log(
        &self,
        id: GroupId,
        position: Position,
        plan: &RestoredGroup,
    ) -> Result<(), RestoreError> {
        let failed = |source| RestoreError::Io { file: format!("the log of {id}"), source };
        let Some(applied) = position.applied else {
            return Err(RestoreError::OtherState(id, "nothing was applied"));
        };
        let term = crate::raft::term_of(&applied) + 1;
        let mut log = LogStore::new(self.inner.wal.clone(), id);
        // Entries must never go back in term, and a fresh log would begin with term 1.
        let voted_for = plan.members.iter().min().map_or(0, |node| node.0);
        let vote = Vote { leader_id: LeaderId { term, voted_for }, committed: false };
        log.purge(applied).await.map_err(failed)?;
        log.save_vote(&vote).await.map_err(failed)?;
        let batch = Batch::encode(position.time, plan.first.iter());
        let head = codec::head(Kind::Commands, term);
        let entry = Record { index: applied.index() + 1, head, payload: batch.bytes().clone() };
        let entries = if plan.first.is_empty() { Vec::new() } else { vec![entry] };
        let (tx, rx) = oneshot::channel();
        self.inner.wal.append(id, entries, Box::new(move |done| drop(tx.send(done))));
        rx.await.map_err(|_| RestoreError::Stopping)?.map_err(failed)
    }
}

/// Archive first, then the checkpoint that names it: the order of durability.
fn install<M: Machine>(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    files: &dyn Shelf,
    group: &Group,
    members: &[NodeId],
) -> Result<Position, RestoreError> {
    let at = |source| RestoreError::Io { file: dir.display().to_string(), source };
    fs.create_dir_all(dir).map_err(at)?;
    let (id, position, machine) = thaw::<M>(fs, dir, files, group)?;
    let archive = |e| RestoreError::Archive(id, e);
    let opened = Arc::new(Archive::open(fs, &dir.join("archive.redb")).map_err(archive)?);
    let frozen = machine.freeze();
    let replica = Arc::new(Cell::new(id, machine, Pending::new(true)));
    let checkpoints = Checkpoints::load(fs.clone(), dir.to_owned(), id, replica, opened.clone());
    let checkpoints = checkpoints.map_err(|e| RestoreError::State(id, e))?;
    fill_archive(&opened, files, group, id)?;
    if opened.end() != end_of(&position) {
        return Err(RestoreError::OtherState(id, "the archive ends elsewhere"));
    }
    let voters: BTreeSet<u64> = members.iter().map(|node| node.0).collect();
    let nodes: BTreeMap<u64, ()> = voters.iter().map(|node| (*node, ())).collect();
    let membership = Membership::new(vec![voters], nodes);
    let membership = membership.map_err(|_| RestoreError::OtherState(id, "no members"))?;
    let applied = position.applied.map(|at| log_id(crate::raft::term_of(&at), at.index()));
    let membership = StoredMembership::new(applied, membership);
    let position = Position { membership, ..position };
    let frozen = FrozenReplica { position: position.clone(), state: Box::new(frozen) };
    checkpoints.write(frozen).map_err(|e| RestoreError::State(id, e))?;
    Ok(position)
}

fn fill_archive(
    archive: &Archive,
    files: &dyn Shelf,
    group: &Group,
    id: GroupId,
) -> Result<(), RestoreError> {
    let failed = |e| RestoreError::Archive(id, e);
    let (kind, mut reader) = (PartKind::Records, open(files, group, PartKind::Records)?);
    while let Some(frame) = reader.next_frame().map_err(|bad| bad_part(group, kind, bad))? {
        let records = unpack_records(frame.bytes, frame.position);
        let records = records.map_err(|e| damaged(group, kind, frame.offset, e))?;
        let end = records.last().map_or(0, |last| last.number + 1);
        archive.append(&[], &records, End { records: end, ..archive.end() }).map_err(failed)?;
    }
    let (kind, mut reader) = (PartKind::Entries, open(files, group, PartKind::Entries)?);
    while let Some(frame) = reader.next_frame().map_err(|bad| bad_part(group, kind, bad))? {
        let entries = unpack_entries(frame.bytes);
        let entries = entries.map_err(|e| damaged(group, kind, frame.offset, e))?;
        let Some(last) = entries.last() else { continue };
        let end = End { next_index: last.index + 1, chain: last.heads.1, ..archive.end() };
        archive.append(&entries, &[], end).map_err(failed)?;
    }
    Ok(())
}

impl RestoreError {
    /// The codec's own refusals, too, are of the backup's bytes.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::OtherState(..) => true,
            Self::State(_, error) => error.is_damage(),
            Self::Archive(..) | Self::Io { .. } | Self::NotEmpty | Self::Stopping => false,
        }
    }
}

/// Bytes of the plan that all nodes must share: who the members are and what the log begins with.
pub fn plan_hash(plans: &[RestoredGroup]) -> String {
    let mut out = BytesMut::new();
    for plan in plans {
        out.extend_from_slice(&plan.id.number().to_le_bytes());
        for node in &plan.members {
            out.extend_from_slice(&node.0.to_le_bytes());
        }
        for command in &plan.first {
            out.extend_from_slice(&(command.len() as u64).to_le_bytes());
            out.extend_from_slice(command);
        }
    }
    blake3::hash(&out).to_hex().to_string()
}
