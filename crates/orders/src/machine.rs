//! The order machine as consensus runs it: codec, checkpoint form, digests.

use std::io::{self, Read, Write};

use hansa_consensus::{Frozen, Machine, Records, ThawError};
use hansa_pages::{FrozenTable, ReadError, Table};
use hansa_types::hash::StateHash;
use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::core::command::{Command, Outcome, Refused};
use crate::core::contents::Contents;
use crate::core::keys::{KeyRow, Keys, Scope};
use crate::core::lasting;
use crate::core::moves::{CalledOff, Carry, Kept, MoveRow, Moves};
use crate::core::near::Near;
use crate::core::order::Order;
use crate::core::remote::{Copy, Cursor, Origin, ParkedEvent, Remote, Views};
use crate::core::repair::{EntryId, PlanId, PlanRow, RepairRow, Repairs};
use crate::core::restored::Restored;
use crate::core::settings::Settings;
use crate::core::shelf::{Archived, FrozenShelf, OrderShelf};
use crate::core::state::{Meta, State, restored_digest};
use crate::core::subjects::{Owed, SubjectId, SubjectRow};
use crate::core::takeover::{Birth, Births, NotAdopted, TailRow};

/// Format of a checkpoint; with what a restore left to settle, if there was one. 1 and 2 had
/// customers by their names and one key for all of them; 3 and 4 did not say whose births they own,
/// 5 and 6 not who had moved, 7 and 8 not whose books have a movement of goods,
/// 9 and 10 not what former homes knew whom by, 11 and 12 no moves that are under way, 13 and 14
/// not whom they owe to forget, 15 and 16 not which moves were called off, 17 and 18 not how often
/// the law took something, 19 and 20 not what a lost owner alone may know, 21 and 22 not what an
/// owner before had gone on with, 23 and 24 not what had been handed over to him, 25 and 26 only
/// the newest version from which an order had been gone on with, 27 and 28 not from which one after
/// a restore, 29 and 30 not which copies count beyond their writer's backup, nor what a skipped
/// epoch may hide, 31 and 32 not why a key was dropped; by 33 and 34 a wish that was owed took
/// nothing where what was ordered since lay under the same key; 35 and 36 kept all orders for ever.
const FORMAT: u32 = 37;
const FORMAT_RESTORED: u32 = 38;
/// Longer than any encoded [`Meta`]; bounds what a bad length can allocate.
const META_BYTES_MAX: u32 = 1 << 16;
const RESTORED_BYTES_MAX: u32 = 16 << 20;

/// One orders group's replicated state.
pub struct OrdersMachine {
    pub state: State,
    /// By which version of behaviour commands are applied: the group's, set by consensus.
    #[cfg(feature = "version-2-test")]
    version: u32,
}

impl OrdersMachine {
    pub fn new(settings: Settings) -> Self {
        Self::of(State::new(settings))
    }

    /// Applies a command to the orders and, as they decide, to books in the same log.
    pub fn apply_with(
        &mut self,
        at: LogTime,
        command: &[u8],
        near: Near<'_>,
        out: &mut Records,
    ) -> Outcome {
        let command = Command::decode(command);
        #[cfg(feature = "version-2-test")]
        let command = command.map(|command| crate::next_version::meant(self.version, command));
        let outcome = match command {
            Some(command) => self.state.apply_with(at, command, near),
            None => Outcome::Refused(Refused::Malformed),
        };
        self.archive(out);
        outcome
    }

    fn archive(&mut self, out: &mut Records) {
        for Archived { table, key, value } in self.state.shelf.take_out() {
            out.archive(table, &key, value);
        }
    }

    pub(crate) fn of(state: State) -> Self {
        Self {
            state,
            #[cfg(feature = "version-2-test")]
            version: 1,
        }
    }
}

/// The state's tables at one moment.
pub struct FrozenOrders {
    meta: Meta,
    restored: Option<Restored>,
    contents: FrozenTable<OrderId, Contents>,
    orders: FrozenTable<OrderId, Order>,
    keys: FrozenTable<Scope, KeyRow>,
    cursors: FrozenTable<Origin, Cursor>,
    copies: FrozenTable<OrderId, Copy>,
    subjects: FrozenTable<SubjectId, SubjectRow>,
    views: FrozenTable<Origin, Views>,
    parked: FrozenTable<OrderId, Vec<ParkedEvent>>,
    plans: FrozenTable<PlanId, PlanRow>,
    repairs: FrozenTable<EntryId, RepairRow>,
    births: FrozenTable<RegionNumber, Birth>,
    failed: FrozenTable<OrderId, NotAdopted>,
    tail: FrozenTable<OrderId, TailRow>,
    moves: FrozenTable<SubjectId, MoveRow>,
    kept: FrozenTable<OrderId, Kept>,
    carries: FrozenTable<SubjectId, Carry>,
    called_off: FrozenTable<SubjectId, Vec<CalledOff>>,
    owed: FrozenTable<SubjectId, Owed>,
    shelf: FrozenShelf,
}

impl Frozen for FrozenOrders {
    fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let format = if self.restored.is_some() { FORMAT_RESTORED } else { FORMAT };
        to.write_all(&format.to_le_bytes())?;
        write_sized(to, &self.meta)?;
        if let Some(restored) = &self.restored {
            write_sized(to, restored)?;
        }
        self.contents.write(to)?;
        self.orders.write(to)?;
        self.keys.write(to)?;
        self.cursors.write(to)?;
        self.copies.write(to)?;
        self.subjects.write(to)?;
        self.views.write(to)?;
        self.parked.write(to)?;
        self.plans.write(to)?;
        self.repairs.write(to)?;
        self.births.write(to)?;
        self.failed.write(to)?;
        self.tail.write(to)?;
        self.moves.write(to)?;
        self.kept.write(to)?;
        self.carries.write(to)?;
        self.called_off.write(to)?;
        self.owed.write(to)?;
        self.shelf.write(to)
    }

    fn digest_full(&self) -> StateHash {
        let mut sum = StateHash::of_record("meta", &0_u8, &self.meta);
        sum.add(self.contents.recompute_digest());
        sum.add(self.orders.recompute_digest());
        sum.add(self.keys.recompute_digest());
        sum.add(self.cursors.recompute_digest());
        sum.add(self.copies.recompute_digest());
        sum.add(self.subjects.recompute_digest());
        sum.add(self.views.recompute_digest());
        sum.add(self.parked.recompute_digest());
        sum.add(self.plans.recompute_digest());
        sum.add(self.repairs.recompute_digest());
        sum.add(self.births.recompute_digest());
        sum.add(self.failed.recompute_digest());
        sum.add(self.tail.recompute_digest());
        sum.add(self.moves.recompute_digest());
        sum.add(self.kept.recompute_digest());
        sum.add(self.carries.recompute_digest());
        sum.add(self.called_off.recompute_digest());
        sum.add(self.owed.recompute_digest());
        sum.add(self.shelf.recompute_digest());
        sum.add(restored_digest(self.restored.as_ref()));
        sum
    }
}

impl Machine for OrdersMachine {
    type Outcome = Outcome;
    type Frozen = FrozenOrders;

    #[cfg(feature = "version-2-test")]
    const VERSIONS: hansa_consensus::Versions = crate::next_version::VERSIONS;

    #[cfg(feature = "version-2-test")]
    fn set_version(&mut self, version: u32) {
        self.version = version;
    }

    fn beginning(&self) -> Option<Vec<u8>> {
        postcard::to_stdvec(&self.state.meta.settings).ok()
    }

    fn begin(beginning: &[u8]) -> Option<Self> {
        match postcard::take_from_bytes(beginning) {
            Ok((settings, [])) => Some(Self::new(settings)),
            _ => None,
        }
    }

    fn advance(&mut self, at: LogTime, out: &mut Records) {
        self.state.advance(at);
        self.archive(out);
    }

    fn apply(&mut self, at: LogTime, command: &[u8], out: &mut Records) -> Outcome {
        self.apply_with(at, command, Near::none(), out)
    }

    fn lasting(command: &[u8]) -> Option<Vec<u8>> {
        lasting::lasting(command)
    }

    fn next_due(&self) -> Option<LogTime> {
        self.state.next_due()
    }

    fn freeze(&self) -> FrozenOrders {
        let State { meta, contents, orders, keys, remote, subjects, repairs, restored, .. } =
            &self.state;
        let births = &self.state.births;
        FrozenOrders {
            meta: meta.clone(),
            restored: restored.clone(),
            contents: contents.freeze(),
            orders: orders.freeze(),
            keys: keys.table.freeze(),
            cursors: remote.cursors.freeze(),
            copies: remote.copies.freeze(),
            subjects: subjects.table.freeze(),
            views: remote.views.freeze(),
            parked: remote.parked.freeze(),
            plans: repairs.plans.freeze(),
            repairs: repairs.rows.freeze(),
            births: births.rows.freeze(),
            failed: births.failed.freeze(),
            tail: births.tail.freeze(),
            moves: self.state.moves.rows.freeze(),
            kept: self.state.moves.kept.freeze(),
            carries: self.state.moves.carries.freeze(),
            called_off: self.state.moves.called_off.freeze(),
            owed: self.state.owed.freeze(),
            shelf: self.state.shelf.freeze(),
        }
    }

    fn thaw(mut from: &mut dyn Read) -> Result<Self, ThawError> {
        let format = read_u32(from)?;
        if ![FORMAT, FORMAT_RESTORED].contains(&format) {
            return Err(ThawError::Version(format));
        }
        let meta = read_sized(from, META_BYTES_MAX)?;
        let restored = match format {
            FORMAT_RESTORED => Some(read_sized(from, RESTORED_BYTES_MAX)?),
            _ => None,
        };
        let from = &mut from;
        let contents = Table::read("contents", from).map_err(damaged)?;
        let orders = Table::read("orders", from).map_err(damaged)?;
        let keys = Keys::rebuild(Table::read("keys", from).map_err(damaged)?);
        let cursors = Table::read("cursors", from).map_err(damaged)?;
        let copies = Table::read("copies", from).map_err(damaged)?;
        let subjects = Table::read("subjects", from).map_err(damaged)?;
        let views = Table::read("views", from).map_err(damaged)?;
        let parked = Table::read("parked", from).map_err(damaged)?;
        let remote = Remote::rebuild(cursors, copies, views, parked);
        let mut state = State::rebuild(meta, contents, orders, keys, remote, subjects);
        state.restored = restored;
        let plans = Table::read("plans", from).map_err(damaged)?;
        state.repairs = Repairs::rebuild(plans, Table::read("repairs", from).map_err(damaged)?);
        let births = Table::read("births", from).map_err(damaged)?;
        let failed = Table::read("not-adopted", from).map_err(damaged)?;
        let tail = Table::read("tail", from).map_err(damaged)?;
        let mut state = state.with_births(Births::rebuild(births, failed, tail));
        let moves = Table::read("moves", from).map_err(damaged)?;
        let kept = Table::read("kept", from).map_err(damaged)?;
        let carries = Table::read("carries", from).map_err(damaged)?;
        let called_off = Table::read("called-off", from).map_err(damaged)?;
        state.moves = Moves::rebuild(moves, kept, (carries, called_off));
        state.owed = Table::read("owed", from).map_err(damaged)?;
        state.shelf = OrderShelf::read(from).map_err(damaged)?;
        // The other half of the pair: what was written by a sound machine reads back as one.
        match state.indexes_agree() {
            true => Ok(Self::of(state)),
            false => Err(ThawError::Damaged("indexes disagree with the tables".to_owned())),
        }
    }

    fn digest(&self) -> StateHash {
        self.state.digest()
    }

    fn digest_full(&self) -> StateHash {
        self.state.digest_full()
    }
}

fn write_sized<T: Serialize>(to: &mut dyn Write, value: &T) -> io::Result<()> {
    let bytes = postcard::to_stdvec(value).map_err(io::Error::other)?;
    to.write_all(&(bytes.len() as u32).to_le_bytes())?;
    to.write_all(&bytes)
}

fn read_sized<T: DeserializeOwned>(from: &mut dyn Read, max: u32) -> Result<T, ThawError> {
    let len = read_u32(from)?;
    if len > max {
        return Err(ThawError::Damaged(format!("{len} bytes of counters")));
    }
    let mut bytes = vec![0; len as usize];
    from.read_exact(&mut bytes)?;
    postcard::from_bytes(&bytes).map_err(|e| ThawError::Damaged(e.to_string()))
}

fn read_u32(from: &mut dyn Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn damaged(error: ReadError) -> ThawError {
    match error {
        ReadError::Io(error) => ThawError::Io(error),
        other => ThawError::Damaged(other.to_string()),
    }
}
