//! The handle: appends and reads, from any thread, without waiting for the disk.

mod contents;
pub(crate) mod fetch;
mod read;

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use hansa_node::env::Env;
use hansa_types::id::GroupId;
use hansa_types::seeded::{self, Bug};

pub use self::contents::{Cut, Done, Entry, GroupState, Purged, Recovery, Stats};
use crate::config::Config;
use crate::error::{OpenError, ReadError};
use crate::fs::{self, Fs};
use crate::index::{Key, Slot};
use crate::log_loop::LogLoop;
use crate::prepare::PrepareLoop;
use crate::record::{HEAD_BYTES_MAX, Kind};
use crate::recover;
use crate::segment;
use crate::shared::{Core, Shared, Task};

/// The log of a process. Clones are one log; dropping the last one lets the loops end on their own,
/// [`Wal::close`] also waits for them.
///
/// # Invariant
/// What is enqueued by one call after another reaches the disk in that order, and so do the
/// callbacks; what a callback has confirmed survives a power cut.
#[derive(Clone)]
pub struct Wal {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.begin_close();
    }
}

impl Wal {
    /// Recovers the log in `dir`, or begins one in an empty folder, and starts the loops `wal-log`
    /// and `wal-prealloc`. The first sync that fails ends the node, see [`fs::end_unsynced`].
    ///
    /// # Errors
    /// [`OpenError::Damaged`] names file and offset: refuse to serve and rebuild this node.
    pub fn open(
        fs: Arc<dyn Fs>,
        dir: &Path,
        config: Config,
        env: &Env,
    ) -> Result<(Self, Recovery), OpenError> {
        config.check()?;
        let (fs, env) = fs::end_unsynced(fs, env);
        let env = &env;
        let (found, recovery, lock) = recover::open(fs.as_ref(), dir, &config, env)?;
        let position = found.position;
        let shared = Arc::new(Shared::new(fs, dir, config, env, found, lock));
        let log = LogLoop::new(shared.clone(), position);
        let prepare = PrepareLoop::new(shared.clone(), position.segment + 1);
        env.loops.start("wal-log".to_owned(), Box::pin(log.run()));
        env.loops.start("wal-prealloc".to_owned(), Box::pin(prepare.run()));
        Ok((Self { handle: Arc::new(Handle { shared }) }, recovery))
    }

    /// Waits until the queue has room.
    ///
    /// This is the back-pressure: who appends on behalf of clients waits here first, and so at most
    /// one append per waiting caller is above `queue_bytes_max`. Ends at once when the log failed.
    pub async fn admit(&self) {
        self.shared().admit().await;
    }

    /// Appends entries to a group: readable on return, durable when `done` is called with `Ok`.
    ///
    /// `done` is called from the log loop, in the order of the calls; it must not block.
    /// Entries at an index that the group already has replace it and all after it.
    ///
    /// # Outcomes
    /// `done` gets `InvalidInput` when the entries do not join the group's last one, begin neither
    /// at 0 or 1 nor after the purged one, or do not fit a segment; `WouldBlock` when the queue
    /// holds four times `queue_bytes_max`, for callers that do not [`Wal::admit`]. Nothing is
    /// appended then. Any other error: the log failed, and so will every later call.
    pub fn append(&self, group: GroupId, entries: Vec<Entry>, done: Done) {
        let shared = self.shared();
        let mut core = match shared.enter() {
            Ok(core) => core,
            Err(ended) => return done(Err(ended)),
        };
        if let Err(refused) = check(&core, shared.record_bytes_max(), &entries) {
            return shared.push(core, Task::barrier(Some(refused), done));
        }
        let Some(first) = entries.first().map(|entry| entry.index) else {
            return shared.push(core, Task::barrier(None, done));
        };
        let found = core.index.group(group);
        if found.is_some_and(|g| g.would_replace(first)) {
            truncate(&mut core, group, first);
        } else if !found.map_or(first <= 1, |g| g.may_append(first)) {
            let refused = invalid(format!("entry {first} does not join group {group}"));
            return shared.push(core, Task::barrier(Some(refused), done));
        }
        let ticket = core.tickets(entries.len());
        core.index.append(group, &entries, ticket);
        let mut done = Some(done);
        let last = entries.len() - 1;
        for ((n, entry), ticket) in entries.into_iter().enumerate().zip(ticket..) {
            core.enqueue(Task {
                kind: Some(Kind::Entry),
                group: Some(group),
                index: entry.index,
                head: entry.head,
                body: entry.payload,
                moves: Some((Key::Entry(group, entry.index), Slot::waiting(ticket))),
                refused: None,
                done: if n == last { done.take() } else { None },
            });
        }
        shared.wake(core);
    }

    /// Keeps the group's vote; `done` as for [`Wal::append`].
    pub fn save_vote(&self, group: GroupId, vote: Bytes, done: Done) {
        let shared = self.shared();
        let mut core = match shared.enter() {
            Ok(core) => core,
            Err(ended) => return done(Err(ended)),
        };
        let ticket = core.tickets(1);
        core.index.vote(group, vote.clone(), Slot::waiting(ticket));
        let moves = (Key::Vote(group), Slot::waiting(ticket));
        let task = Task::keep(Kind::Vote, group, 0, vote, moves);
        shared.push(core, Task { done: Some(done), ..task });
    }

    /// Keeps the group's committed id. It rides the next batch, at the latest the idle watermark.
    pub fn save_committed(&self, group: GroupId, log_id: Bytes) {
        let shared = self.shared();
        let Ok(mut core) = shared.enter() else { return };
        let ticket = core.tickets(1);
        core.index.committed(group, log_id.clone(), Slot::waiting(ticket));
        let moves = (Key::Committed(group), Slot::waiting(ticket));
        shared.push(core, Task::keep(Kind::Committed, group, 0, log_id, moves));
    }

    /// Drops the group's entries after `after`, or all. It rides the next batch, before what
    /// follows.
    pub fn truncate_after(&self, group: GroupId, after: Option<u64>) {
        let shared = self.shared();
        let Ok(mut core) = shared.enter() else { return };
        truncate(&mut core, group, after.map_or(0, |after| after.saturating_add(1)));
        shared.wake(core);
    }

    /// Drops the group's entries up to and with `upto`, whose log id is kept. It rides the next
    /// batch; the disk space comes back after that.
    pub fn purge(&self, group: GroupId, upto: u64, log_id: Bytes) {
        let shared = self.shared();
        let Ok(mut core) = shared.enter() else { return };
        let purged = core.index.group(group).and_then(|g| g.purged.as_ref());
        if purged.is_some_and(|(before, _)| *before >= upto) {
            return;
        }
        let ticket = core.tickets(1);
        core.index.purge(group, upto, log_id.clone(), Slot::waiting(ticket));
        let moves = (Key::Purged(group), Slot::waiting(ticket));
        shared.push(core, Task::keep(Kind::Purge, group, upto, log_id, moves));
    }

    /// Has what is dead by now leave the disk soon, however little it is: behind what is queued the
    /// log goes on in a new segment as soon as one is ready, and what lives in older ones is copied
    /// there, however much that is. On a full disk it waits for room. Not kept through a restart.
    pub fn roll(&self) {
        let shared = self.shared();
        let Ok(mut core) = shared.enter() else { return };
        (core.roll, core.urgent) = (Some(core.queue.len()), true);
        shared.wake(core);
    }

    /// Waits until nothing is left on the disk of what was dead when a roll was last asked for; at
    /// once if none was since the start.
    ///
    /// # Errors
    /// The log has ended before.
    pub async fn rolled(&self) -> io::Result<()> {
        self.shared().rolled().await
    }

    /// Drops all there is of a group that has left this node, its vote too. It rides the next
    /// batch.
    ///
    /// A node that might be asked again to vote in the group must not forget it.
    pub fn forget(&self, group: GroupId) {
        let shared = self.shared();
        let Ok(mut core) = shared.enter() else { return };
        if core.index.group(group).is_none() {
            return;
        }
        core.index.remove(group);
        let kind = Some(Kind::Forget);
        shared.push(core, Task { kind, group: Some(group), ..Task::default() });
    }

    /// Entries from `from` up to but without `to`, as many as fit `max_bytes`, at least one if any.
    ///
    /// # Errors
    /// [`ReadError::Purged`] when `from` is below the group's first entry.
    pub fn read(
        &self,
        group: GroupId,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        read::entries(self.shared(), group, from, to, max_bytes)
    }

    /// What the log knows of the group; a group never heard of has the empty state.
    ///
    /// # Errors
    /// The last entry may have to be read from disk.
    pub fn state(&self, group: GroupId) -> Result<GroupState, ReadError> {
        read::state(self.shared(), group)
    }

    /// First and last index of the group's entries, when it has any. Never touches the disk.
    pub fn span(&self, group: GroupId) -> Option<(u64, u64)> {
        self.shared().core.lock().index.group(group).and_then(|g| g.span())
    }

    /// Index from which on the group has entries, or will have: what is below was purged, or never
    /// was. Never touches the disk.
    pub fn begins(&self, group: GroupId) -> u64 {
        let core = self.shared().core.lock();
        core.index.group(group).map_or(0, |g| g.begins())
    }

    /// Up to where the group's entries were purged, if any were. Never touches the disk.
    pub fn purged(&self, group: GroupId) -> Option<Purged> {
        let shared = self.shared();
        let core = shared.core.lock();
        let (upto, kept) = core.index.group(group)?.purged.as_ref()?;
        let (file, offset) = match kept.slot.place() {
            Some(place) => (segment::path(&shared.dir, place.segment), u64::from(place.offset)),
            None => (shared.dir.clone(), 0),
        };
        Some(Purged { upto: *upto, file, offset })
    }

    /// The group's vote. Never touches the disk.
    pub fn vote(&self, group: GroupId) -> Option<Bytes> {
        let core = self.shared().core.lock();
        core.index.group(group).and_then(|g| g.vote.as_ref()).map(|kept| kept.value.clone())
    }

    /// The group's committed id. Never touches the disk.
    pub fn committed(&self, group: GroupId) -> Option<Bytes> {
        let core = self.shared().core.lock();
        core.index.group(group).and_then(|g| g.committed.as_ref()).map(|kept| kept.value.clone())
    }

    /// Groups that ever saved something here.
    pub fn groups(&self) -> Vec<GroupId> {
        self.shared().core.lock().index.groups().map(|(id, _)| id).collect()
    }

    pub fn stats(&self) -> Stats {
        self.shared().stats()
    }

    /// Live bytes of each group in the log: whose snapshot would free most, when the disk is short.
    pub fn live_bytes(&self) -> Vec<(GroupId, u64)> {
        self.shared().core.lock().index.live().by_group().into_iter().collect()
    }

    /// Writes what is queued and a last watermark, then ends both loops and lets go of the folder.
    /// Appends that come later fail.
    ///
    /// # Errors
    /// The log failed earlier, or while closing.
    pub async fn close(self) -> io::Result<()> {
        self.shared().begin_close();
        self.shared().closed().await
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

fn truncate(core: &mut Core, group: GroupId, from: u64) {
    let span = core.index.group(group).and_then(|g| g.span());
    if span.is_none_or(|(_, last)| from > last) {
        return;
    }
    core.index.truncate(group, from);
    if seeded::on(Bug::TruncateIgnored) {
        return;
    }
    let task = Task { kind: Some(Kind::Truncate), group: Some(group), ..Task::default() };
    core.enqueue(Task { index: from, ..task });
}

fn check(core: &Core, record_bytes_max: usize, entries: &[Entry]) -> Result<(), io::Error> {
    if core.queue_bytes >= core.queue_bytes_hard {
        let why = format!("{} bytes wait for the disk", core.queue_bytes);
        return Err(io::Error::new(io::ErrorKind::WouldBlock, why));
    }
    for (n, entry) in entries.iter().enumerate() {
        if entry.index != entries[0].index + n as u64 {
            return Err(invalid(format!("entry {} after {n} others", entry.index)));
        }
        if entry.head.len() > HEAD_BYTES_MAX || entry.record_bytes() > record_bytes_max {
            return Err(invalid(format!("entry {}: {} bytes", entry.index, entry.record_bytes())));
        }
    }
    Ok(())
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
