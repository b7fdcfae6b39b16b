//! Copies of groups for whoever keeps a backup: a state frozen at one index, and the archive up to
//! it, in chunks from any place on.
//!
//! Freezing costs what a checkpoint costs and holds up apply no longer. The frozen state is written
//! to a file beside the checkpoints, so neither new checkpoints nor a purge take it away.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use hansa_backup::PartKind;
use hansa_node::tasks::OnError;
use hansa_types::hash::StateHash;
use hansa_types::id::{GroupId, NodeId};
use hansa_types::time::LogTime;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Host;
use crate::archive::{pack_entries, pack_records};
use crate::checkpoints::{Checkpoint, end_of};
use crate::pending::{ArchivedEntry, ArchivedRecord};
use crate::raft::term_of;
use crate::reads;
use crate::replica::{FrozenReplica, Position};
use crate::running::Running;

/// Bytes of one chunk, about; one large entry is one chunk.
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes read at once: the archive is read by its own chunks, which may be much larger than ours.
const AHEAD_BYTES: usize = 16 << 20;
/// Cuts that a node keeps at once.
const OPEN_MAX: usize = 128;
/// A cut that nobody reads is let go after this.
const IDLE_MAX: Duration = Duration::from_secs(600);
const NAME_BYTES_MAX: usize = 64;

/// Why there is no copy.
#[derive(Debug, Error)]
pub enum ExportError {
    #[error("this node does not host {0}")]
    NotHosted(GroupId),
    #[error("{0} has stopped here: {1}")]
    Stopped(GroupId, String),
    #[error("{0} did not reach the index in time")]
    Late(GroupId),
    #[error("{0} has applied nothing yet, or keeps no entries")]
    Empty(GroupId),
    #[error("this node does not lead {0}")]
    NotLeader(GroupId),
    #[error("too many cuts are open on this node")]
    TooMany,
    #[error("a cut's name is of letters, digits and hyphens, and of one cut only")]
    Name,
    #[error("this node keeps no such cut: it was let go, or the node was restarted")]
    NoSuchCut,
}

/// One group at one index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    pub group: GroupId,
    pub node: NodeId,
    pub index: u64,
    pub term: u64,
    pub time: LogTime,
    pub state_hash: StateHash,
    pub chain_head: [u8; 32],
    pub records: u64,
}

/// Where the next chunk begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    pub state_offset: u64,
    pub record: u64,
    pub entry: u64,
}

/// One frame of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub part: PartKind,
    pub position: u64,
    pub data: Bytes,
    pub next: Cursor,
    /// Bytes of the whole state part's content.
    pub state_bytes: u64,
}

/// The cuts that this node keeps.
pub struct Exports {
    host: Host,
    open: Cuts,
}

type Cuts = Arc<Mutex<BTreeMap<(String, GroupId), Arc<Open>>>>;

struct Open {
    running: Arc<Running>,
    cut: Cut,
    position: Position,
    written: watch::Sender<Option<Result<Checkpoint, String>>>,
    used: Mutex<Instant>,
    /// Nobody wants it any more.
    ended: CancellationToken,
}

impl Exports {
    pub fn new(host: Host) -> Self {
        Self { host, open: Cuts::default() }
    }

    fn running(&self, group: GroupId) -> Result<Arc<Running>, ExportError> {
        let running = self.host.inner.inbound.group(group);
        let running = running.ok_or(ExportError::NotHosted(group))?;
        match running.stopped() {
            Some(why) => Err(ExportError::Stopped(group, why)),
            None => Ok(running),
        }
    }

    /// An index that shows everything acknowledged before this call; on the group's leader.
    pub async fn read_index(&self, group: GroupId, due: Instant) -> Result<u64, ExportError> {
        let running = self.running(group)?;
        match timeout_at(due, reads::read_index(&running)).await {
            Err(_) => Err(ExportError::Late(group)),
            Ok(Err(_)) => Err(ExportError::NotLeader(group)),
            Ok(Ok(index)) => Ok(index),
        }
    }

    /// Freezes this replica at `min_index` or later. Returns once it is frozen; the file is written
    /// meanwhile.
    pub async fn freeze(
        &self,
        cut: &str,
        group: GroupId,
        min_index: u64,
        due: Instant,
    ) -> Result<Cut, ExportError> {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if cut.is_empty() || cut.len() > NAME_BYTES_MAX || !cut.chars().all(good) {
            return Err(ExportError::Name);
        }
        if self.open.lock().len() >= OPEN_MAX {
            return Err(ExportError::TooMany);
        }
        let running = self.running(group)?;
        let mut applied = running.replica.applied();
        let reached = timeout_at(due, applied.wait_for(|at| *at >= min_index)).await;
        reached.map_err(|_| ExportError::Late(group))?.map_err(|_| ExportError::Late(group))?;
        let frozen = running.replica.freeze();
        let position = frozen.position.clone();
        let known = position.applied.filter(|_| running.replica.pending().keeps_entries());
        let applied = known.ok_or(ExportError::Empty(group))?;
        let cut_of = Cut {
            group,
            node: running.node,
            index: applied.index(),
            term: term_of(&applied),
            time: position.time,
            state_hash: position.digest,
            chain_head: position.chain,
            records: position.records,
        };
        let open = Arc::new(Open {
            running: running.clone(),
            cut: cut_of.clone(),
            position,
            written: watch::Sender::new(None),
            used: Mutex::new(Instant::now()),
            ended: CancellationToken::new(),
        });
        let (cuts, key) = (self.open.clone(), (cut.to_owned(), group));
        // A name is one cut's as long as it is kept: nothing changes under who reads it.
        match cuts.lock().entry(key.clone()) {
            Entry::Occupied(before) if before.get().cut.index < min_index => {
                return Err(ExportError::Name);
            }
            Entry::Occupied(before) => return Ok(before.get().cut.clone()),
            Entry::Vacant(free) => free.insert(open.clone()),
        };
        let (task, stop) = (format!("cut {group}"), running.stop.clone());
        running.env.tasks.spawn(task, OnError::Log, async move {
            stop.run_until_cancelled(open.live(&cuts, &key, frozen)).await;
        });
        Ok(cut_of)
    }

    /// The chunks of a cut's group from `from` on; the last one's `next` is the end.
    pub fn read(
        &self,
        cut: &str,
        group: GroupId,
        from: Cursor,
    ) -> Result<BoxStream<'static, Result<Chunk, String>>, ExportError> {
        let open = self.open.lock().get(&(cut.to_owned(), group)).cloned();
        let open = open.ok_or(ExportError::NoSuchCut)?;
        let (records, entries) = Default::default();
        let reader = Reader { open, at: from, records, entries };
        let next = |reader: Option<Reader>| async move {
            let mut reader = reader?;
            match reader.next().await {
                Ok(chunk) => chunk.map(|chunk| (Ok(chunk), Some(reader))),
                Err(error) => Some((Err(error), None)),
            }
        };
        Ok(stream::unfold(Some(reader), next).boxed())
    }

    /// Lets go of a cut.
    pub fn end(&self, cut: &str) {
        let mut open = self.open.lock();
        let ended = open.extract_if(.., |(name, _), _| name == cut);
        ended.for_each(|(_, open)| open.ended.cancel());
    }
}

impl Open {
    /// Writes the cut, keeps it until nobody wants it or nobody has read it for long, and removes
    /// its file. A restart removes what the group's stop has left.
    async fn live(self: Arc<Self>, cuts: &Cuts, key: &(String, GroupId), frozen: FrozenReplica) {
        let Running { id, checkpoints, writer, .. } = &*self.running;
        let (writing, name) = (checkpoints.clone(), key.0.clone());
        let done = match writer.run(move || writing.write_aside(&name, frozen)).await {
            Ok(done) => done.map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = &done {
            tracing::error!(group = %id, error, "cut not written");
        }
        *self.used.lock() = Instant::now();
        self.written.send_replace(Some(done.clone()));
        loop {
            let until = *self.used.lock() + IDLE_MAX;
            if done.is_err() || self.ended.is_cancelled() || Instant::now() >= until {
                break;
            }
            self.ended.run_until_cancelled(sleep_until(until)).await;
        }
        {
            let mut cuts = cuts.lock();
            if cuts.get(key).is_some_and(|open| Arc::ptr_eq(open, &self)) {
                cuts.remove(key);
            }
        }
        let Ok(aside) = done else { return };
        let removing = checkpoints.clone();
        // A reader that still has the file open reads on.
        if let Ok(Err(error)) = writer.run(move || removing.remove_aside(&aside)).await {
            tracing::warn!(group = %id, %error, "file of a cut not removed");
        }
    }

    async fn written(&self) -> Result<Checkpoint, String> {
        let mut written = self.written.subscribe();
        let done = written.wait_for(Option::is_some).await;
        let done = done.map_err(|_| "this node stops".to_owned())?;
        done.clone().unwrap_or_else(|| Err("not written".to_owned()))
    }
}

/// Where one reader is.
struct Reader {
    open: Arc<Open>,
    at: Cursor,
    /// Read and not yet sent.
    records: VecDeque<ArchivedRecord>,
    entries: VecDeque<ArchivedEntry>,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Chunk>, String> {
        let state = self.open.written().await?;
        *self.open.used.lock() = Instant::now();
        let read = self.state(&state)?;
        let read = match read {
            None => self.records()?,
            some => some,
        };
        let read = match read {
            None => self.entries()?,
            some => some,
        };
        Ok(read.map(|(part, position, data)| Chunk {
            part,
            position,
            data,
            next: self.at,
            state_bytes: state.bytes,
        }))
    }

    fn state(&mut self, state: &Checkpoint) -> Result<Option<(PartKind, u64, Bytes)>, String> {
        let from = self.at.state_offset;
        if from >= state.bytes {
            return Ok(None);
        }
        let mut buffer = vec![0; CHUNK_BYTES];
        let read = state.file.read_at(&mut buffer, from).map_err(|e| e.to_string())?;
        if read == 0 {
            return Err("the state's file is shorter than it was".to_owned());
        }
        buffer.truncate(read);
        self.at.state_offset += read as u64;
        Ok(Some((PartKind::State, from, buffer.into())))
    }

    fn records(&mut self) -> Result<Option<(PartKind, u64, Bytes)>, String> {
        let (from, end) = (self.at.record, end_of(&self.open.position).records);
        if from >= end {
            return Ok(None);
        }
        if self.records.front().is_none_or(|next| next.number != from) {
            let records = self.open.running.archive.read_records(from, end, AHEAD_BYTES);
            self.records = records.map_err(|e| e.to_string())?.into();
        }
        let size = |record: &ArchivedRecord| record.key.len() + record.value.len();
        let records = take_some(&mut self.records, size);
        let last = records.last().ok_or("the archive lacks records")?;
        self.at.record = last.number + 1;
        Ok(Some((PartKind::Records, from, pack_records(&records))))
    }

    fn entries(&mut self) -> Result<Option<(PartKind, u64, Bytes)>, String> {
        let (from, end) = (self.at.entry, end_of(&self.open.position).next_index);
        if from >= end {
            return Ok(None);
        }
        if self.entries.front().is_none_or(|next| next.index != from) {
            let entries = self.open.running.archive.read_entries(from, end, AHEAD_BYTES);
            self.entries = entries.map_err(|e| e.to_string())?.into();
        }
        let entries = take_some(&mut self.entries, |entry| entry.payload.len());
        let last = entries.last().ok_or("the archive lacks entries")?;
        self.at.entry = last.index + 1;
        Ok(Some((PartKind::Entries, from, pack_entries(&entries))))
    }
}

/// As many as fill a frame, at least one if there is any.
fn take_some<T>(from: &mut VecDeque<T>, size: impl Fn(&T) -> usize) -> Vec<T> {
    let (mut out, mut bytes) = (Vec::new(), 0);
    while bytes < CHUNK_BYTES {
        let Some(item) = from.pop_front() else { break };
        bytes += size(&item);
        out.push(item);
    }
    out
}
