//! One replica of one group: the machine, what was applied to it, and what must travel with it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hansa_types::hash::StateHash;
use hansa_types::id::GroupId;
use hansa_types::seeded::{self, Bug};
use hansa_types::time::LogTime;
use openraft::EntryPayload;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::batch::Batch;
use crate::chain::{self, Head, Link};
use crate::digests::Digests;
use crate::machine::{Frozen, Machine, Records, ThawError};
use crate::pending::{Applied, Pending};
use crate::raft::codec::Kind;
use crate::raft::{Entry, LogId, Reply, StoredMembership, codec, term_of};
use crate::version::{GENESIS, Unread, Unsupported, Versions};

/// No timer is due.
const NEVER: u64 = u64::MAX;

/// What a replica knows of itself as of its last applied entry: all of it goes into checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    pub applied: Option<LogId>,
    pub membership: StoredMembership,
    pub chain: Head,
    pub time: LogTime,
    /// Records emitted to the archive since genesis.
    pub records: u64,
    pub digest: StateHash,
    /// By which version of behaviour the next entry is applied.
    pub version: u32,
}

impl Default for Position {
    fn default() -> Self {
        Self {
            applied: None,
            membership: StoredMembership::default(),
            chain: chain::GENESIS,
            time: LogTime::default(),
            records: 0,
            digest: StateHash::default(),
            version: GENESIS,
        }
    }
}

/// A replica with its machine's type erased, for the adapter.
pub(crate) trait Replica: Send + Sync + 'static {
    fn position(&self) -> Position;
    /// The versions of behaviour that this binary applies.
    fn versions(&self) -> Versions;
    /// Whether this binary applies a version.
    fn check(&self, needs: u32) -> Result<(), Unsupported>;
    /// Applies one committed entry and answers its outcomes.
    ///
    /// # Errors
    /// The entry raises the group to a version that this binary does not know, or begins it in a
    /// form that it does not: nothing changed.
    fn apply(&self, entry: Entry) -> Result<Reply, Unread>;
    /// What of an entry's payload lasts: archive and chain have this.
    fn lasting(&self, kind: Kind, payload: &Bytes) -> Bytes;
    /// A view as of the last applied entry.
    fn freeze(&self) -> FrozenReplica;
    /// Reads a state, checks its digest against `position`, and puts it in place of the present
    /// one.
    fn thaw(&self, position: &Position, from: &mut dyn io::Read) -> Result<(), ThawError>;
    /// Entries that were applied and wait for the archive.
    fn pending(&self) -> &Pending;
    fn digests(&self) -> &Digests;
    /// Index of the last applied entry, as it grows.
    fn applied(&self) -> watch::Receiver<u64>;
    /// The term of the last applied entry.
    fn applied_term(&self) -> u64;
    /// Index of the last applied entry, and bytes applied since the start.
    fn applied_sum(&self) -> (u64, u64);
}

/// As of where a state was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadAt {
    /// The last entry that was applied.
    pub index: u64,
    pub time: LogTime,
    pub state_hash: StateHash,
}

/// A frozen machine and its position.
pub(crate) struct FrozenReplica {
    pub position: Position,
    pub state: Box<dyn Frozen>,
}

/// The digest that replicas compare: of the state, and of how it will change.
fn told(state: StateHash, version: u32) -> StateHash {
    let mut sum = state;
    sum.add(StateHash::of_record("version", &0_u8, &version));
    sum
}

/// The entry's time moved by this node's own clock: what apply must never look at.
fn own_time(stamped: LogTime) -> LogTime {
    thread_local!(static BEGAN: tokio::time::Instant = tokio::time::Instant::now());
    let now = BEGAN.with(tokio::time::Instant::elapsed).as_millis();
    stamped.plus_ms(now as u64 % 1_000)
}

/// A machine under its lock.
pub(crate) struct Cell<M: Machine> {
    group: GroupId,
    state: RwLock<State<M>>,
    /// Index of the last applied entry, 0 before the first.
    applied: watch::Sender<u64>,
    applied_term: AtomicU64,
    applied_bytes: AtomicU64,
    next_due: AtomicU64,
    pending: Pending,
    digests: Digests,
    versions: Versions,
    /// Machines of this kind begin with what the log says.
    begins: bool,
}

struct State<M> {
    machine: M,
    position: Position,
}

/// The first time of a group whose machine has begun; before that it has none.
pub(crate) const BEGUN: LogTime = LogTime(1);

impl<M: Machine> Cell<M> {
    pub fn new(group: GroupId, mut machine: M, pending: Pending) -> Self {
        machine.set_version(GENESIS);
        let position = Position { digest: machine.digest(), ..Position::default() };
        let (next_due, begins) = (machine.next_due(), machine.beginning().is_some());
        let cell = Self {
            group,
            state: RwLock::new(State { machine, position }),
            applied: watch::Sender::new(0),
            applied_term: AtomicU64::new(0),
            applied_bytes: AtomicU64::new(0),
            next_due: AtomicU64::new(NEVER),
            pending,
            digests: Digests::default(),
            versions: M::VERSIONS,
            begins,
        };
        cell.note_due(next_due);
        cell
    }

    /// What this node would have the group begin with, while that is open.
    pub fn beginning(&self) -> Option<Bytes> {
        let state = self.state.read();
        let open = self.begins && state.position.time < BEGUN;
        open.then(|| state.machine.beginning()).flatten().map(Bytes::from)
    }

    /// Whether all replicas decide alike from here on.
    pub fn begun(&self) -> bool {
        !self.begins || self.time() >= BEGUN
    }

    /// Pretends that the binary applies only these versions.
    #[cfg(any(test, feature = "testing"))]
    pub fn of_release(self, versions: Option<Versions>) -> Self {
        Self { versions: versions.unwrap_or(self.versions), ..self }
    }

    /// A replica at a position that its machine has reached elsewhere.
    pub fn at(group: GroupId, machine: M, position: Position, pending: Pending) -> Self {
        let next_due = machine.next_due();
        let cell = Self::new(group, machine, pending);
        {
            let mut state = cell.state.write();
            state.machine.set_version(position.version);
            state.position = position.clone();
        }
        cell.note_due(next_due);
        cell.note_applied(position.applied.as_ref());
        cell
    }

    pub fn peek<R>(&self, look: impl FnOnce(&M) -> R) -> R {
        look(&self.state.read().machine)
    }

    pub fn peek_at<R>(&self, look: impl FnOnce(&M, ReadAt) -> R) -> R {
        let state = self.state.read();
        let position = &state.position;
        let index = position.applied.map_or(0, |id| id.index());
        let state_hash = state.machine.digest();
        look(&state.machine, ReadAt { index, time: position.time, state_hash })
    }

    /// Changes the machine behind the log's back, as broken memory would.
    #[cfg(test)]
    pub fn corrupt(&self, change: impl FnOnce(&mut M)) {
        change(&mut self.state.write().machine);
    }

    pub fn next_due(&self) -> Option<LogTime> {
        let due = self.next_due.load(Ordering::Acquire);
        (due != NEVER).then_some(LogTime(due))
    }

    pub fn time(&self) -> LogTime {
        self.state.read().position.time
    }

    /// The version that the group is at after `entry`, when that changes it. One at a time: all
    /// replicas pass over any other, whatever their binaries know.
    fn raised(&self, entry: &Entry, now: u32) -> Result<Option<u32>, Unsupported> {
        let EntryPayload::Normal(batch) = &entry.payload else { return Ok(None) };
        let raised = batch.raises_to().filter(|to| *to == now + 1);
        raised.map(|to| self.check(to).map(|()| to)).transpose()
    }

    /// The machine that the group begins with, when `entry` says so and it has not begun.
    fn begins(&self, entry: &Entry, state: &State<M>) -> Result<Option<M>, Unread> {
        let EntryPayload::Normal(batch) = &entry.payload else { return Ok(None) };
        let open = self.begins && state.position.time < BEGUN;
        let Some(beginning) = batch.beginning().filter(|_| open) else { return Ok(None) };
        let begun = M::begin(beginning).ok_or(Unread::Beginning(self.group))?;
        match begun.same_parts(&state.machine) {
            true => Ok(Some(begun)),
            false => Err(Unread::Parts(self.group)),
        }
    }

    fn note_due(&self, due: Option<LogTime>) {
        self.next_due.store(due.map_or(NEVER, LogTime::ms), Ordering::Release);
    }

    fn note_applied(&self, id: Option<&LogId>) {
        self.applied_term.store(id.map_or(0, term_of), Ordering::Release);
        self.applied.send_replace(id.map_or(0, |id| id.index()));
    }
}

impl<M: Machine> Replica for Cell<M> {
    fn position(&self) -> Position {
        let state = self.state.read();
        Position { digest: state.machine.digest(), ..state.position.clone() }
    }

    fn versions(&self) -> Versions {
        self.versions
    }

    fn check(&self, needs: u32) -> Result<(), Unsupported> {
        match self.versions.contains(needs) {
            true => Ok(()),
            false => Err(Unsupported { group: self.group, needs, has: self.versions }),
        }
    }

    fn apply(&self, entry: Entry) -> Result<Reply, Unread> {
        let (kind, payload) = codec::payload(&entry);
        let id = entry.log_id;
        let (term, index) = (term_of(&id), id.index());
        let lasting = self.lasting(kind, &payload);
        let mut state = self.state.write();
        let begun = self.begins(&entry, &state)?;
        let State { machine, position } = &mut *state;
        let raised = self.raised(&entry, position.version)?;
        let before_it = self.applied_bytes.fetch_add(payload.len() as u64, Ordering::Relaxed);
        let link = Link { group: self.group, term, index, kind: kind as u8, payload: &lasting };
        let before = position.chain;
        // The first entry behind a loaded checkpoint.
        let joint = before_it == 0 && position.applied.is_some();
        if !(seeded::on(Bug::HashChainSkip) && joint) {
            position.chain = chain::extend(&before, link);
        }
        position.applied = Some(id);
        let mut records = Records::new();
        let reply = match entry.payload {
            EntryPayload::Blank => Reply::default(),
            EntryPayload::Membership(membership) => {
                position.membership = StoredMembership::new(Some(id), membership);
                Reply::default()
            }
            EntryPayload::Normal(batch) => {
                // A stamp never goes back within an office; between two offices this keeps it so.
                let mut at = batch.at().max(position.time);
                if seeded::on(Bug::ClockInApply) {
                    at = position.time.max(own_time(batch.at()));
                }
                if let Some(mut begun) = begun {
                    begun.set_version(position.version);
                    *machine = begun;
                    at = at.max(BEGUN);
                }
                position.time = at;
                machine.advance(at, &mut records);
                if let Some(version) = raised {
                    position.version = version;
                    machine.set_version(version);
                }
                let outcomes: Vec<M::Outcome> =
                    batch.commands().map(|c| machine.apply(at, c, &mut records)).collect();
                Reply::new(outcomes)
            }
        };
        let heads = (before, position.chain);
        let applied = Applied { id, kind, payload: lasting, heads };
        position.records = self.pending.push(applied, records, position.records);
        // Until the log says what all of them begin with, replicas need not be alike.
        if !self.begins || position.time >= BEGUN {
            self.digests.note(index, told(machine.digest(), position.version));
        }
        self.note_due(machine.next_due());
        drop(state);
        self.note_applied(Some(&id));
        Ok(reply)
    }

    fn lasting(&self, kind: Kind, payload: &Bytes) -> Bytes {
        let batch = match kind {
            Kind::Commands => Batch::decode(payload.clone()).ok(),
            Kind::Blank | Kind::Membership | Kind::Raise | Kind::Begin => None,
        };
        let lasting = batch.and_then(|batch| batch.lasting(M::lasting));
        lasting.map_or_else(|| payload.clone(), |batch| batch.bytes().clone())
    }

    fn freeze(&self) -> FrozenReplica {
        let state = self.state.read();
        let position = Position { digest: state.machine.digest(), ..state.position.clone() };
        FrozenReplica { position, state: Box::new(state.machine.freeze()) }
    }

    fn thaw(&self, position: &Position, from: &mut dyn io::Read) -> Result<(), ThawError> {
        self.check(position.version)?;
        let mut machine = M::thaw(from)?;
        if !machine.same_parts(&self.state.read().machine) {
            return Err(ThawError::Parts);
        }
        let (running, full) = (machine.digest(), machine.digest_full());
        if running != position.digest || full != position.digest {
            let named = position.digest;
            let what = format!("digest {named} was written, {full} was read (running {running})");
            return Err(ThawError::Damaged(what));
        }
        machine.set_version(position.version);
        let next_due = machine.next_due();
        *self.state.write() = State { machine, position: position.clone() };
        self.pending.clear();
        self.digests.clear();
        self.note_due(next_due);
        self.note_applied(position.applied.as_ref());
        Ok(())
    }

    fn pending(&self) -> &Pending {
        &self.pending
    }

    fn digests(&self) -> &Digests {
        &self.digests
    }

    fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    fn applied_term(&self) -> u64 {
        self.applied_term.load(Ordering::Acquire)
    }

    fn applied_sum(&self) -> (u64, u64) {
        (*self.applied.borrow(), self.applied_bytes.load(Ordering::Relaxed))
    }
}
