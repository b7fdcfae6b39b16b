//! What a Raft group replicates: a deterministic machine behind one trait.

use std::io;

use hansa_types::hash::StateHash;
use hansa_types::time::LogTime;
use thiserror::Error;

use crate::version::{Unsupported, Versions};

/// A replicated state machine: pure, deterministic, never failing on input.
///
/// # Invariant
/// Two replicas that began alike and were given the same calls of `set_version`, `advance` and
/// `apply` have the same `digest`, answered the same outcomes and emitted the same records.
pub trait Machine: Send + Sync + Sized + 'static {
    /// What a command came to; a refusal is an outcome, never an error.
    type Outcome: Send + 'static;
    /// An immutable view of the state, cheap to take.
    type Frozen: Frozen;

    /// The versions of behaviour that this code applies. A release adds one when it changes what
    /// any command or timer does, and drops one when no group is at it any more.
    const VERSIONS: Versions = Versions::upto(1);

    /// By which version to apply from here on: before the first entry, after a thaw, and between
    /// two entries when a committed one raised it. Changes no state, and is one of
    /// [`Machine::VERSIONS`].
    fn set_version(&mut self, _version: u32) {}

    /// What of this machine its maker decided, while nothing was applied to it: the rules that a
    /// node's config gave it. The group's first leader commits that before any command, and every
    /// replica begins with it, whatever its own maker would have decided, then or later. `None`
    /// where all machines of this kind begin alike.
    fn beginning(&self) -> Option<Vec<u8>> {
        None
    }

    /// The machine that has begun so; `None` for bytes of a release that this one does not know.
    fn begin(_beginning: &[u8]) -> Option<Self> {
        None
    }

    /// Whether this machine has the parts that `other` has ([`crate::Holds`]). One that was begun
    /// or thawed and has not never takes this one's place: handles on parts rely on it.
    fn same_parts(&self, _other: &Self) -> bool {
        true
    }

    /// Moves the group's time to `at`: expires what is due. Called once per entry, before its
    /// commands.
    fn advance(&mut self, at: LogTime, out: &mut Records);

    /// Applies one command.
    ///
    /// # Outcomes
    /// A command that does not decode has an outcome too: an `Err` or a panic here would stop every
    /// replica at the same entry for ever.
    fn apply(&mut self, at: LogTime, command: &[u8], out: &mut Records) -> Self::Outcome;

    /// What of a command lasts, where that is not all of it: archive, backups and audit chain have
    /// this in its place; the log alone has the command itself, until it is purged. What may have
    /// to be forgotten must not last; a hash over the command that tells nothing of it may. A pure
    /// function of the bytes, whatever the version of behaviour: what was once chained is hashed
    /// anew for ever.
    fn lasting(_command: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// When the next timer is due; the leader then submits an empty entry (a tick).
    fn next_due(&self) -> Option<LogTime>;

    /// A view that later commands do not change. Called between two entries; must not copy the
    /// state.
    fn freeze(&self) -> Self::Frozen;

    /// The state that a frozen view wrote.
    fn thaw(from: &mut dyn io::Read) -> Result<Self, ThawError>;

    /// The running digest of the state, O(1).
    fn digest(&self) -> StateHash;

    /// The digest computed anew from every record; equals `digest` unless memory or code is broken.
    fn digest_full(&self) -> StateHash;
}

/// An immutable view of a machine that is written into a checkpoint.
pub trait Frozen: Send + Sync + 'static {
    /// Writes the view so that [`Machine::thaw`] reads it.
    fn write(&self, to: &mut dyn io::Write) -> io::Result<()>;

    /// The view's digest computed anew from every record. Compared with the machine's running
    /// digest before a checkpoint counts.
    fn digest_full(&self) -> StateHash;
}

/// Why a frozen state could not be read back.
#[derive(Debug, Error)]
pub enum ThawError {
    #[error("cannot read the state")]
    Io(#[from] io::Error),
    #[error("the state is damaged: {0}")]
    Damaged(String),
    #[error("the state has format {0}, which this version does not read")]
    Version(u32),
    #[error("the state has other parts than this node was started with")]
    Parts,
    #[error(transparent)]
    Behaviour(#[from] Unsupported),
}

/// One record that leaves hot state for the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub table: u8,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// What an apply sends to the archive, in order.
///
/// A record stays readable through `Group::archive_get` from the apply that emitted it on: until
/// the archive that holds it is durable, it is kept in memory.
#[derive(Debug, Default)]
pub struct Records {
    list: Vec<Record>,
}

impl Records {
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends a record to the archive. The latest version of a (table, key) is the one that is read.
    pub fn archive(&mut self, table: u8, key: &[u8], value: Vec<u8>) {
        self.list.push(Record { table, key: key.to_vec(), value });
    }

    /// What `emit` sends goes to tables whose numbers are raised by `tables`: a part's own.
    pub fn of_part<R>(&mut self, tables: u8, emit: impl FnOnce(&mut Self) -> R) -> R {
        let before = self.list.len();
        let emitted = emit(self);
        self.list[before..].iter_mut().for_each(|record| record.table += tables);
        emitted
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.list.iter()
    }

    /// Takes what was sent so far.
    pub fn take(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.list)
    }
}
