//! Customers who moved: where they live, what they took along, and what they left (ADR 0018).
//!
//! Orders stay where they were written. What moves is the person: from the move on his new orders
//! go elsewhere, the blocks of his old ones lie there under his key there, and his key here is
//! dropped once nobody needs it any more. A region knows only what became of its own pseudonym.

mod apply;
mod carry;

use std::collections::BTreeSet;

use hansa_pages::Table;
use hansa_types::country::Country;
use hansa_types::hash::StateHash;
use hansa_types::id::OrderId;
use hansa_types::limits::CALL_DEADLINE_MS_MAX;
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use super::contents::Sealed;
use super::keys::Scope;
use super::subjects::{KeyOf, SubjectId, Wrapped};

/// Blocks in one command: what apply costs stays small.
pub const BLOCKS_MAX: usize = 256;
/// How long what came counts as on its way, and what is here stays once some of it was brought
/// back: longer than any call that moves him takes to its end.
const HOLD_MS: u64 = 600_000;
const _: () = assert!(HOLD_MS > 4 * CALL_DEADLINE_MS_MAX);
/// Moves that one word of another region may be ahead of what is known here.
pub const EPOCHS_MAX: u64 = 1_024;
/// Generations of which it is known that they were left, and requests that moved him, newest last.
const GONE_MAX: usize = 16;
/// Requests of one customer that are known to be called off: somebody who repeats himself more
/// often within their lifetime is not moved by accident.
const CALLED_OFF_MAX: usize = 256;

/// A customer who has moved, here or away.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct MoveRow {
    /// Counts his moves: what a later one says goes before what an earlier one did.
    pub epoch: u64,
    /// Where his new orders go.
    pub lives: RegionNumber,
    /// Where they went before: it may know a request that nobody here does.
    pub former: RegionNumber,
    /// Wall clock ms.
    pub since_ms: u64,
    /// What he left here.
    pub left: Option<Left>,
    /// Generations of his key here that were dropped because he had left, oldest first.
    pub gone: Vec<u32>,
    /// Requests by which he left, oldest first: each moves him once.
    pub asked: Vec<Scope>,
    /// Every region of which it is known here that he lived there, by number.
    pub lived: Vec<RegionNumber>,
    /// The former one did not let him go, and is to hear that he lives here.
    pub untold: bool,
}

/// A move under way, at either side: what is his is being brought, and nothing is decided.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Carry {
    /// To there. He leaves by this request or by none; `before`: those that it took over from,
    /// oldest first.
    Going { to: RegionNumber, request: Scope, before: Vec<Scope>, since_ms: u64 },
    /// From there; what came is his only if he arrives. From `until` on who sent it is asked.
    Coming { from: RegionNumber, until: LogTime },
}

impl Carry {
    /// The other side.
    pub fn region(&self) -> RegionNumber {
        match self {
            Self::Going { to: region, .. } | Self::Coming { from: region, .. } => *region,
        }
    }
}

/// A request that moves nobody any more; after `until` nobody repeats it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct CalledOff {
    pub request: Scope,
    pub until: LogTime,
}

/// What a customer left, to be deleted.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Left {
    pub generation: u32,
    /// The request that asked for the move: the tombstone names it, too.
    pub request: Scope,
    /// Blocks that he took along, and what they add up to.
    pub orders: u32,
    pub digest: StateHash,
    /// Wall clock ms.
    pub delete_after_ms: u64,
    pub deleted: bool,
    /// Until then it is not: what is brought back counts on what is here still.
    pub held: LogTime,
}

/// The block of an order that another region keeps, under its customer's key here.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Kept {
    pub of: KeyOf,
    pub residence: Country,
    pub personal: Sealed,
}

/// A sealed block, and whose law binds it.
pub type Block = (OrderId, Country, Sealed);

/// What a block adds to the sum that both sides of a move must have alike.
pub fn print_of(order: OrderId, residence: Country, personal: &Sealed) -> StateHash {
    StateHash::of_record("block", &order, &(residence, personal))
}

/// What a block adds to the answer to a challenge, by what it holds: who has lost it, or never had
/// it, can say no such thing.
pub fn shown_of(challenge: &[u8; 32], order: OrderId, plain: &[u8]) -> StateHash {
    let mut hasher = blake3::Hasher::new_keyed(challenge);
    hasher.update(&order.to_bytes());
    hasher.update(plain);
    let mut first = [0; 16];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    StateHash(u128::from_be_bytes(first))
}

/// What happens to those who move; commands of the shell.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Step {
    /// Blocks of somebody who is to live here, sealed anew under his key here.
    Keep(Box<Keep>),
    /// He lives elsewhere from now on: the one step that decides.
    Leave(Box<Leave>),
    /// He has left `from`, to live here. `untold`: that region is lost, and does not know.
    Arrive { subject: SubjectId, from: RegionNumber, epoch: u64, at_ms: u64, untold: bool },
    /// Where he went from here he has gone on.
    Follow { subject: SubjectId, to: RegionNumber, epoch: u64, at_ms: u64 },
    /// What he left goes. Who and why stand in the log for the audit chain; nobody for what is due.
    Delete { subject: SubjectId, asked_ms: u64, destroy_after_ms: u64, by: String, reason: String },
    /// What is his is brought to another region from now on, by this request.
    Begin { subject: SubjectId, to: RegionNumber, request: Scope, at_ms: u64 },
    /// He stays: no request that is under way moves him any more. Who and why are for the chain.
    Cancel { subject: SubjectId, by: String, reason: String },
    /// What came goes: by the word of where it came from, or once it is known not to be his here.
    Abandon { subject: SubjectId, by: Option<RegionNumber>, asked_ms: u64, destroy_after_ms: u64 },
    /// He lives here again, for where he went cannot be asked. Who and why are for the chain.
    Recall { subject: SubjectId, epoch: u64, at_ms: u64, by: String, reason: String },
    /// The former region knows of this move.
    Heard { subject: SubjectId, epoch: u64 },
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Keep {
    pub of: KeyOf,
    pub mint: Option<Wrapped>,
    pub blocks: Vec<Block>,
    pub from: RegionNumber,
    /// The last generation of his key here that was dead when this carry began: who was erased
    /// since does not come back with a late page.
    pub dead: u32,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Leave {
    pub subject: SubjectId,
    pub to: RegionNumber,
    pub epoch: u64,
    /// What was found there, all of it under this key of his.
    pub generation: u32,
    pub orders: u32,
    pub digest: StateHash,
    pub request: Scope,
    pub asked_ms: u64,
    pub delete_after_ms: u64,
    pub by: String,
    pub reason: String,
    pub ticket: String,
}

pub struct Moves {
    pub rows: Table<SubjectId, MoveRow>,
    pub kept: Table<OrderId, Kept>,
    /// At most one of a customer.
    pub carries: Table<SubjectId, Carry>,
    /// Oldest first; never none.
    pub called_off: Table<SubjectId, Vec<CalledOff>>,
    /// Whose blocks are kept, in order of time.
    of: BTreeSet<(SubjectId, [u8; 16])>,
    /// What is to be deleted, and when.
    due: BTreeSet<(u64, SubjectId)>,
}

impl Moves {
    pub fn new() -> Self {
        let carries = (Table::new("carries"), Table::new("called-off"));
        Self::rebuild(Table::new("moves"), Table::new("kept"), carries)
    }

    pub fn rebuild(
        rows: Table<SubjectId, MoveRow>,
        kept: Table<OrderId, Kept>,
        (carries, called_off): (Table<SubjectId, Carry>, Table<SubjectId, Vec<CalledOff>>),
    ) -> Self {
        let of = kept.iter().map(|(id, kept)| (kept.of.subject, id.to_bytes())).collect();
        let due = rows.iter().filter_map(|(subject, row)| Some((row.due()?, *subject))).collect();
        Self { rows, kept, carries, called_off, of, due }
    }

    pub fn get(&self, subject: SubjectId) -> Option<&MoveRow> {
        self.rows.get(&subject)
    }

    /// Orders of other regions whose blocks of this subject are kept.
    pub fn kept_of(&self, subject: SubjectId) -> impl Iterator<Item = OrderId> {
        let range = self.of.range((subject, [0; 16])..=(subject, [u8::MAX; 16]));
        range.filter_map(|(_, order)| OrderId::from_bytes(*order).ok())
    }

    /// Whom to delete by `now_ms`, the longest due first.
    pub fn due(&self, now_ms: u64) -> impl Iterator<Item = SubjectId> {
        let due = self.due.iter().take_while(move |(at, _)| *at <= now_ms);
        due.map(|(_, subject)| *subject)
    }

    /// Whether this key was dropped because its customer had left.
    pub fn is_gone(&self, of: KeyOf) -> bool {
        self.get(of.subject).is_some_and(|row| row.gone.contains(&of.generation))
    }

    pub fn digest(&self) -> StateHash {
        let mut sum = self.rows.digest();
        sum.add(self.kept.digest());
        sum.add(self.carries.digest());
        sum.add(self.called_off.digest());
        sum
    }

    pub fn digest_full(&self) -> StateHash {
        let mut sum = self.rows.recompute_digest();
        sum.add(self.kept.recompute_digest());
        sum.add(self.carries.recompute_digest());
        sum.add(self.called_off.recompute_digest());
        sum
    }

    /// Whether the indexes say what the tables say.
    pub fn consistent(&self) -> bool {
        let kept =
            self.kept.iter().all(|(id, kept)| self.of.contains(&(kept.of.subject, id.to_bytes())));
        let due = self.rows.iter().filter_map(|(subject, row)| Some((row.due()?, *subject)));
        kept && self.of.len() == self.kept.len() && due.collect::<BTreeSet<_>>() == self.due
    }

    fn put(&mut self, subject: SubjectId, row: MoveRow) {
        let due = row.due();
        let old = self.rows.insert(subject, row).and_then(|old| old.due());
        old.map(|at| self.due.remove(&(at, subject)));
        due.map(|at| self.due.insert((at, subject)));
    }

    fn keep(&mut self, order: OrderId, kept: Kept) {
        let subject = kept.of.subject;
        if let Some(old) = self.kept.insert(order, kept) {
            self.of.remove(&(old.of.subject, order.to_bytes()));
        }
        self.of.insert((subject, order.to_bytes()));
    }

    /// What this key opened, or one before it, opens no more.
    pub(in crate::core) fn drop_kept(&mut self, of: KeyOf) {
        let opened = |id: &OrderId| {
            self.kept.get(id).is_some_and(|kept| kept.of.generation <= of.generation)
        };
        let dead: Vec<OrderId> = self.kept_of(of.subject).filter(opened).collect();
        dead.into_iter().for_each(|id| self.unkeep(of.subject, id));
    }

    fn unkeep(&mut self, subject: SubjectId, id: OrderId) {
        self.kept.remove(&id);
        self.of.remove(&(subject, id.to_bytes()));
    }

    /// He asked to be forgotten: nobody is told where he went, and what brings him along comes to
    /// nothing.
    pub(in crate::core) fn erased(&mut self, subject: SubjectId) {
        self.carries.remove(&subject);
        if let Some(mut row) = self.rows.get(&subject).filter(|row| !row.gone.is_empty()).cloned() {
            row.gone.clear();
            self.put(subject, row);
        }
    }
}

impl Default for Moves {
    fn default() -> Self {
        Self::new()
    }
}

impl MoveRow {
    /// After a move: what is known of those before it stays so.
    fn after(
        known: Option<&Self>,
        epoch: u64,
        (former, lives): (RegionNumber, RegionNumber),
        since_ms: u64,
    ) -> Self {
        let none = || (Vec::new(), Vec::new(), Vec::new());
        let (gone, asked, mut lived) =
            known.map_or_else(none, |row| (row.gone.clone(), row.asked.clone(), row.lived.clone()));
        lived.extend([former, lives]);
        lived.sort_unstable();
        lived.dedup();
        let untold = false;
        Self { epoch, lives, former, since_ms, left: None, gone, asked, lived, untold }
    }

    /// When what he left is to be deleted; `None` where nothing is.
    fn due(&self) -> Option<u64> {
        let left = self.left.as_ref().filter(|left| !left.deleted)?;
        Some(left.delete_after_ms.max(left.held.ms()))
    }
}

/// Puts it last; the oldest of too many goes.
fn remember<T>(list: &mut Vec<T>, value: T) {
    list.push(value);
    if list.len() > GONE_MAX {
        list.remove(0);
    }
}
