//! The bridge to consensus: log bytes in, outcomes and archive records out.
//!
//! A log command is one version byte and then commands in postcard, back to back: a whole batch of
//! a caller is one log command, decoded without copying its text.

use std::io;

use hansa_consensus::{Frozen, Machine, Records, ThawError};
use hansa_pages::ReadError;
use hansa_types::hash::StateHash;
use hansa_types::id::OrderId;
use hansa_types::time::LogTime;
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_128;

use crate::core::kernel::{Journal, Posting};
use crate::core::outcome::{Outcome, OutcomeCode};
use crate::core::payments::Gone;
use crate::core::{inventory, payments};

/// The version of the log format that this code writes. All that were ever written are read.
pub const FORMAT: u8 = 1;

/// Archive table of postings: key = number of the first (8 bytes, big-endian), value = postcard
/// `Vec<Posting>`, those of one apply.
pub const POSTINGS: u8 = 1;
/// Archive table of notes: key = transfer id, value = postcard `inventory::Note`.
pub const NOTES: u8 = 2;
/// Archive table of payments that left: key = order (16 bytes) and payment (16 bytes), value =
/// [`payments::ShelvedPayment`]; the newest version is the one that counts.
pub const PAYMENTS: u8 = 3;
/// Archive table of the shelf's chunks that closed: key and value are [`payments::Chunk`]'s.
pub const CHUNKS: u8 = 4;
/// Archive table of what was taken out of them: key = number (8 bytes, big-endian), no value.
pub const SPENT: u8 = 5;

/// What a log command came to: one outcome per command, and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcomes {
    pub at: LogTime,
    pub outcomes: Vec<Outcome>,
}

/// Writes a batch in the log format.
pub struct Batch {
    bytes: Vec<u8>,
}

impl Default for Batch {
    fn default() -> Self {
        Self { bytes: vec![FORMAT] }
    }
}

impl Batch {
    /// Adds a command: an [`inventory::Command`] or a [`payments::Command`], by the group's kind.
    pub fn push(&mut self, command: &impl Serialize) {
        let bytes = std::mem::take(&mut self.bytes);
        match postcard::to_extend(command, bytes) {
            Ok(bytes) => self.bytes = bytes,
            Err(error) => unreachable!("plain values always encode: {error}"),
        }
    }

    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

impl Machine for inventory::Inventory {
    type Outcome = Outcomes;
    type Frozen = inventory::Frozen;

    fn beginning(&self) -> Option<Vec<u8>> {
        Some(encode(self.settings()))
    }

    fn begin(beginning: &[u8]) -> Option<Self> {
        whole(beginning).map(Self::new)
    }

    fn advance(&mut self, at: LogTime, _out: &mut Records) {
        Self::advance(self, at);
    }

    fn apply(&mut self, at: LogTime, command: &[u8], out: &mut Records) -> Outcomes {
        let outcomes = each(command, |rest| {
            let (command, after) = postcard::take_from_bytes(rest).ok()?;
            let body = xxh3_128(&rest[..rest.len() - after.len()]);
            Some((Self::apply(self, at, &command, body), after))
        });
        seal_stock(self, out);
        Outcomes { at, outcomes }
    }

    fn next_due(&self) -> Option<LogTime> {
        Self::next_due(self)
    }

    fn freeze(&self) -> inventory::Frozen {
        Self::freeze(self)
    }

    fn thaw(from: &mut dyn io::Read) -> Result<Self, ThawError> {
        read_version(STOCK_FORMAT, from)?;
        Self::read(from).map_err(damaged)
    }

    fn digest(&self) -> StateHash {
        Self::digest(self)
    }

    fn digest_full(&self) -> StateHash {
        self.recompute_digest()
    }
}

impl Frozen for inventory::Frozen {
    fn write(&self, to: &mut dyn io::Write) -> io::Result<()> {
        to.write_all(&STOCK_FORMAT.to_le_bytes())?;
        Self::write(self, to)
    }

    fn digest_full(&self) -> StateHash {
        self.recompute_digest()
    }
}

impl Machine for payments::Payments {
    type Outcome = Outcomes;
    type Frozen = payments::Frozen;

    fn beginning(&self) -> Option<Vec<u8>> {
        Some(encode(self.settings()))
    }

    fn begin(beginning: &[u8]) -> Option<Self> {
        whole(beginning).map(Self::new)
    }

    fn advance(&mut self, at: LogTime, out: &mut Records) {
        advance_money(self, at, |_| false, out);
    }

    fn apply(&mut self, at: LogTime, command: &[u8], out: &mut Records) -> Outcomes {
        let outcomes = each(command, |rest| {
            let (command, after) = postcard::take_from_bytes(rest).ok()?;
            Some((Self::apply(self, at, &command), after))
        });
        self.forget_looked();
        seal_money(self, out);
        Outcomes { at, outcomes }
    }

    fn next_due(&self) -> Option<LogTime> {
        Self::next_due(self)
    }

    fn freeze(&self) -> payments::Frozen {
        Self::freeze(self)
    }

    fn thaw(from: &mut dyn io::Read) -> Result<Self, ThawError> {
        read_version(MONEY_FORMAT, from)?;
        Self::read(from).map_err(damaged)
    }

    fn digest(&self) -> StateHash {
        Self::digest(self)
    }

    fn digest_full(&self) -> StateHash {
        self.recompute_digest()
    }
}

impl Frozen for payments::Frozen {
    fn write(&self, to: &mut dyn io::Write) -> io::Result<()> {
        to.write_all(&MONEY_FORMAT.to_le_bytes())?;
        Self::write(self, to)
    }

    fn digest_full(&self) -> StateHash {
        self.recompute_digest()
    }
}

/// The version of a stock checkpoint's body: 2 knew no goods that came back from elsewhere.
const STOCK_FORMAT: u32 = 3;
/// The version of a money checkpoint's body. 1 knew no payments that began elsewhere; 3 none that
/// leave.
const MONEY_FORMAT: u32 = 4;

/// Applies the commands of a batch one by one.
///
/// A batch that does not decode ends with `Malformed`: what came before stands, and every replica
/// stops at the same byte.
fn each<'a>(
    command: &'a [u8],
    mut apply: impl FnMut(&'a [u8]) -> Option<(Outcome, &'a [u8])>,
) -> Vec<Outcome> {
    let Some((&FORMAT, mut rest)) = command.split_first() else {
        return vec![OutcomeCode::Malformed.into()];
    };
    let mut outcomes = Vec::new();
    while !rest.is_empty() {
        let Some((outcome, after)) = apply(rest) else {
            outcomes.push(OutcomeCode::Malformed.into());
            break;
        };
        outcomes.push(outcome);
        rest = after;
    }
    outcomes
}

/// A command that is in no log by itself, but follows from one that is; [`seal_stock`] comes after
/// the last of them. Sent by itself, before or after, it is the same command.
pub fn book_stock(
    stock: &mut inventory::Inventory,
    at: LogTime,
    command: &inventory::Command<'_>,
) -> Outcome {
    stock.apply(at, command, xxh3_128(&encode(command)))
}

/// Archives what was posted and noted since the last time.
pub fn seal_stock(stock: &mut inventory::Inventory, out: &mut Records) {
    seal(stock.journal_mut(), out);
    for note in stock.take_notes() {
        out.archive(NOTES, &note.id.to_bytes(), encode(&note));
    }
}

/// Lets time pass for money: holds expire, and payments leave that are over, but for those whose
/// order `stays` in the same log.
pub fn advance_money(
    money: &mut payments::Payments,
    at: LogTime,
    stays: impl Fn(OrderId) -> bool,
    out: &mut Records,
) {
    money.advance(at);
    money.leave(at, stays);
    seal_money(money, out);
}

/// Archives what was posted since the last time, and what left.
pub fn seal_money(money: &mut payments::Payments, out: &mut Records) {
    seal(money.journal_mut(), out);
    for gone in money.take_gone() {
        match gone {
            Gone::Payment { place, record } => out.archive(PAYMENTS, &place, record),
            Gone::Chunk(chunk) => out.archive(CHUNKS, &chunk.key(), chunk.encode()),
            Gone::Spent(number) => out.archive(SPENT, &number.to_be_bytes(), Vec::new()),
        }
    }
}

fn seal(journal: &mut Journal, out: &mut Records) {
    journal.seal(|first, postings: &[Posting]| {
        out.archive(POSTINGS, &first.to_be_bytes(), encode(postings));
    });
}

/// What [`encode`] made these bytes of, if nothing follows it.
fn whole<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}

fn encode(value: &(impl Serialize + ?Sized)) -> Vec<u8> {
    match postcard::to_allocvec(value) {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("plain values always encode: {error}"),
    }
}

fn read_version(format: u32, from: &mut dyn io::Read) -> Result<(), ThawError> {
    let mut version = [0; 4];
    from.read_exact(&mut version)?;
    match u32::from_le_bytes(version) {
        version if version == format => Ok(()),
        other => Err(ThawError::Version(other)),
    }
}

fn damaged(error: ReadError) -> ThawError {
    match error {
        ReadError::Io(error) => ThawError::Io(error),
        other => ThawError::Damaged(other.to_string()),
    }
}
