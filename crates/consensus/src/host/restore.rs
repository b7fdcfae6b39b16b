//! Groups from a backup, into a host that has none: archive, checkpoint with the new members, then
//! a log that goes on behind it. What comes up is what a replica is after it installed a snapshot.
//!
//! The commands that make the past a present (a new epoch, new members) are one entry more, applied
//! here on every node alike and part of the audit chain. So no replica ever serves, or ships, the
//! state as it was in the backup.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use hansa_backup::manifest::{Group, hex};
use hansa_backup::part::{Bad, Reader, StateBytes};
use hansa_backup::{PartKind, Shelf};
use hansa_types::id::{GroupId, NodeId};
use hansa_wal::fs::Fs;
use openraft::EntryPayload;
use openraft::impls::leader_id_std::LeaderId;
use openraft::storage::RaftLogStorage as _;
use thiserror::Error;

use super::Host;
use crate::archive::{Archive, ArchiveError, End, unpack_entries, unpack_records};
use crate::batch::Batch;
use crate::checkpoints::{CheckpointError, Checkpoints, end_of, thaw_copy};
use crate::machine::Machine;
use crate::pending::Pending;
use crate::raft::log_store::LogStore;
use crate::raft::{Entry, Membership, StoredMembership, Vote, log_id, term_of};
use crate::replica::{BEGUN, Cell, FrozenReplica, Position, Replica as _};

/// Bytes that go into the archive at once: each append syncs, and writes a grown chunk anew.
const APPEND_BYTES: usize = 32 << 20;

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
    #[error("{0} refuses what the restore begins with: {1}")]
    Refused(GroupId, String),
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
    /// Commands that are applied behind the backup, before anything else; the same on every node.
    pub first: Vec<Bytes>,
}

/// A backup's files, wherever they are.
pub type Files = Arc<dyn Shelf + Send + Sync>;

/// What a machine's answers to the first commands must be: `Err` says why not.
pub type Judge<M> = fn(&<M as Machine>::Outcome) -> Result<(), String>;

/// Reads a group's state through its machine, compares its digest and tries what the plan applies;
/// changes nothing but `scratch`, a folder that may be thrown away.
///
/// # Errors
/// Damage, a state that is not the one that the manifest names, or commands that it refuses.
pub fn check_state<M: Machine>(
    fs: &Arc<dyn Fs>,
    scratch: &Path,
    files: &dyn Shelf,
    group: &Group,
    plan: Option<(&RestoredGroup, Judge<M>)>,
) -> Result<(), RestoreError> {
    let cell = thaw::<M>(fs, scratch, files, group)?;
    match plan {
        Some((plan, judge)) => begin(&cell, plan, judge).map(drop),
        None => Ok(()),
    }
}

fn thaw<M: Machine>(
    fs: &Arc<dyn Fs>,
    scratch: &Path,
    files: &dyn Shelf,
    group: &Group,
) -> Result<Cell<M>, RestoreError> {
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
    let applied = position.applied.map(|at| (at.index(), term_of(&at)));
    match () {
        () if applied != Some((group.index, group.term)) => other("index or term"),
        () if position.digest.to_string() != group.state_hash => other("digest"),
        () if hex(&position.chain) != group.chain_head => other("head of the audit chain"),
        () if position.records != group.records => other("records"),
        () => Ok(Cell::at(id, machine, position, Pending::new(true))),
    }
}

/// Applies the first commands as the entry behind the backup, in the next term.
fn begin<M: Machine>(
    cell: &Cell<M>,
    plan: &RestoredGroup,
    judge: Judge<M>,
) -> Result<Position, RestoreError> {
    let before = cell.position();
    let Some(applied) = before.applied.filter(|_| !plan.first.is_empty()) else {
        return Ok(before);
    };
    // A group that had not begun when it was copied has begun by this: nothing else may replace
    // what is applied here.
    let batch = Batch::encode(before.time.max(BEGUN), plan.first.iter());
    let log_id = log_id(term_of(&applied) + 1, applied.index() + 1);
    let applied = cell.apply(Entry { log_id, payload: EntryPayload::Normal(batch) });
    let outcomes =
        applied.ok().and_then(|reply| reply.take::<Vec<M::Outcome>>()).unwrap_or_default();
    for outcome in &outcomes {
        judge(outcome).map_err(|why| RestoreError::Refused(plan.id, why))?;
    }
    Ok(cell.position())
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
        judge: Judge<M>,
    ) -> Result<(), RestoreError> {
        let (fs, id) = (self.inner.fs.clone(), plan.id);
        let dir = self.inner.config.data_dir.join("groups").join(id.to_string());
        if self.inner.wal.groups().contains(&id) || fs.exists(&dir).unwrap_or(true) {
            return Err(RestoreError::NotEmpty);
        }
        let lowest = plan.members.iter().min().map_or(0, |node| node.0);
        let job = move || install::<M>(&fs, &dir, files.as_ref(), &group, &plan, judge);
        let installed = self.inner.writer.run(job).await.map_err(|_| RestoreError::Stopping)?;
        self.begin_log(id, installed?, lowest).await
    }

    /// The log behind the checkpoint: nothing before it, and a vote that no term before it can
    /// match: entries must never go back in term, and a fresh log would begin with term 1.
    async fn begin_log(
        &self,
        id: GroupId,
        position: Position,
        voted_for: u64,
    ) -> Result<(), RestoreError> {
        let failed = |source| RestoreError::Io { file: format!("the log of {id}"), source };
        let Some(applied) = position.applied else {
            return Err(RestoreError::OtherState(id, "nothing was applied"));
        };
        let mut log = LogStore::new(self.inner.wal.clone(), id);
        let leader_id = LeaderId { term: term_of(&applied) + 1, voted_for };
        log.purge(applied).await.map_err(failed)?;
        log.save_vote(&Vote { leader_id, committed: false }).await.map_err(failed)?;
        log.synced().await.map_err(failed)
    }
}

/// Archive first, then the checkpoint that names it: the order of durability.
fn install<M: Machine>(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    files: &dyn Shelf,
    group: &Group,
    plan: &RestoredGroup,
    judge: Judge<M>,
) -> Result<Position, RestoreError> {
    let id = plan.id;
    let at = |source| RestoreError::Io { file: dir.display().to_string(), source };
    fs.create_dir_all(dir).map_err(at)?;
    let archive = |e| RestoreError::Archive(id, e);
    let opened = Arc::new(Archive::open(fs, &dir.join("archive.redb")).map_err(archive)?);
    fill_archive(&opened, files, group, id)?;
    let cell = Arc::new(thaw::<M>(fs, dir, files, group)?);
    if opened.end() != end_of(&cell.position()) {
        return Err(RestoreError::OtherState(id, "the archive ends elsewhere"));
    }
    let state = |e| RestoreError::State(id, e);
    let checkpoints = Checkpoints::load(fs.clone(), dir.to_owned(), id, cell.clone(), opened);
    let checkpoints = checkpoints.map_err(state)?;
    begin(&cell, plan, judge)?;
    let frozen = cell.freeze();
    let voters: BTreeSet<u64> = plan.members.iter().map(|node| node.0).collect();
    let nodes: BTreeMap<u64, ()> = voters.iter().map(|node| (*node, ())).collect();
    let membership = Membership::new(vec![voters], nodes);
    let membership = membership.map_err(|_| RestoreError::OtherState(id, "no members"))?;
    let membership = StoredMembership::new(frozen.position.applied, membership);
    let position = Position { membership, ..frozen.position };
    let frozen = FrozenReplica { position: position.clone(), state: frozen.state };
    checkpoints.write(frozen).map_err(state)?;
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
    let (mut records, mut bytes) = (Vec::new(), 0);
    loop {
        let frame = reader.next_frame().map_err(|bad| bad_part(group, kind, bad))?;
        let ended = frame.is_none();
        if let Some(frame) = frame {
            bytes += frame.bytes.len();
            let more = unpack_records(frame.bytes, frame.position);
            records.extend(more.map_err(|e| damaged(group, kind, frame.offset, e))?);
        }
        if ended || bytes > APPEND_BYTES {
            let end = records.last().map_or(archive.end().records, |last| last.number + 1);
            archive.append(&[], &records, End { records: end, ..archive.end() }).map_err(failed)?;
            (records, bytes) = (Vec::new(), 0);
        }
        if ended {
            break;
        }
    }
    let (kind, mut reader) = (PartKind::Entries, open(files, group, PartKind::Entries)?);
    let mut entries = Vec::new();
    loop {
        let frame = reader.next_frame().map_err(|bad| bad_part(group, kind, bad))?;
        let ended = frame.is_none();
        if let Some(frame) = frame {
            bytes += frame.bytes.len();
            let more = unpack_entries(frame.bytes);
            entries.extend(more.map_err(|e| damaged(group, kind, frame.offset, e))?);
        }
        if let Some(last) = entries.last().filter(|_| ended || bytes > APPEND_BYTES) {
            let end = End { next_index: last.index + 1, chain: last.heads.1, ..archive.end() };
            archive.append(&entries, &[], end).map_err(failed)?;
            (entries, bytes) = (Vec::new(), 0);
        }
        if ended {
            return Ok(());
        }
    }
}

impl RestoreError {
    /// The codec's own refusals, too, are of the backup's bytes.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::OtherState(..) => true,
            Self::State(_, error) => error.is_damage(),
            Self::Archive(..)
            | Self::Io { .. }
            | Self::Refused(..)
            | Self::NotEmpty
            | Self::Stopping => false,
        }
    }
}

/// Bytes of the plan that all nodes must share: who the members are and what the log begins with.
pub fn plan_hash(plans: &[RestoredGroup]) -> String {
    let mut out = BytesMut::new();
    for plan in plans {
        out.put_u32_le(plan.id.number());
        for node in &plan.members {
            out.put_u64_le(node.0);
        }
        for command in &plan.first {
            out.put_u64_le(command.len() as u64);
            out.put_slice(command);
        }
    }
    blake3::hash(&out).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::counter::Counters;
    use crate::testing::group_id;

    #[test]
    fn a_group_that_had_not_begun_when_it_was_copied_begins_with_what_the_restore_says() {
        // Only its members are in it yet.
        let position = Position { applied: Some(log_id(1, 1)), ..Position::default() };
        let cell = Cell::at(group_id(), Counters::upto(3), position, Pending::new(true));
        assert!(!cell.begun());
        let plan = RestoredGroup {
            id: group_id(),
            members: vec![NodeId(1)],
            first: vec![Bytes::from_static(b"add epoch 2")],
        };
        begin(&cell, &plan, |_| Ok(())).unwrap();
        assert!(cell.begun() && cell.beginning().is_none(), "no leader proposes another beginning");
        let late =
            Batch::begin(hansa_types::time::LogTime(9), &Bytes::from(9_i64.to_le_bytes().to_vec()));
        let entry = Entry { log_id: log_id(3, 3), payload: EntryPayload::Normal(late) };
        cell.apply(entry).unwrap();
        assert_eq!(cell.peek(|state| (state.value("epoch"), state.max())), (2, Some(3)));
    }
}
