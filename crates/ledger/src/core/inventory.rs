//! Stock: a vocabulary on the kernel's books.
//!
//! A reservation is one hold per line, under ids derived from its own; committing posts them,
//! releasing voids them. What happened to a command is remembered by the command's id alone, so a
//! reservation of any size costs one id.

mod adjust;
mod buckets;
mod command;
mod facts;
mod frozen;
mod names;
mod rebook;
mod receive;
mod reserve;
mod resolve;
mod ship;
mod stock;

pub use buckets::{Bucket, Movement, SkuNo, WarehouseNo};
pub use command::{
    Adjust, Command, CommandId, Rebook, Receive, RequestKey, Reserve, Return, ReturnElsewhere,
    SetFloor, Ship, StockLine,
};
pub use facts::{Remembered, SkuTotals, StockFrozen};
pub use frozen::Frozen;
pub use stock::{Held, HeldLine, Stock};

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use hansa_pages::Table;
use hansa_types::id::{AccountId, OrderId, Sku, TransferId};
use hansa_types::limits::{LINE_QUANTITY_MAX, ORDER_LINES_MAX};
use hansa_types::seeded::{self, Bug};
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use self::names::Names;
use super::kernel::{Books, Ids, Journal, Known, Origin, Posting, Reference};
use super::outcome::{Outcome, OutcomeCode};

/// What a stock group is started with: it begins its log, so that all its replicas decide alike.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// How long command ids and request ids are remembered.
    pub id_window_ms: u64,
    /// The longest that a hold may live, however often it is extended.
    pub hold_ms_max: u64,
    /// The warehouse of lines that name none.
    pub default_warehouse: String,
}

/// The stock books of one shard.
///
/// # Invariant
/// Each live hold belongs to one line of one `Held` reservation, and the other way round.
pub struct Inventory {
    settings: Settings,
    now: LogTime,
    books: Books,
    skus: Names,
    warehouses: Names,
    reservations: Table<TransferId, Reservation>,
    done: Ids<Done>,
    requests: Table<RequestKey, TransferId>,
    /// The keys of `requests`, oldest first.
    request_order: VecDeque<(LogTime, RequestKey)>,
    journal: Journal,
    notes: Vec<Note>,
}

/// Stock that an order holds or has committed and not yet shipped.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Reservation {
    pub order: OrderId,
    pub created: LogTime,
    pub state: ReservationState,
    pub lines: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ReservationState {
    Held { expires: LogTime },
    Committed,
}

/// One line of a reservation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Line {
    pub line: u32,
    pub sku: SkuNo,
    pub warehouse: WarehouseNo,
    pub quantity: u32,
    pub shipped: u32,
}

impl Line {
    /// What is still to be shipped.
    pub fn open(&self) -> u32 {
        self.quantity - self.shipped
    }
}

impl Hash for Line {
    /// One write: the state digest hashes every line of a reservation that changes.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut bytes = [0u8; 18];
        bytes[0..4].copy_from_slice(&self.line.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.sku.0.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.warehouse.0.to_le_bytes());
        bytes[10..14].copy_from_slice(&self.quantity.to_le_bytes());
        bytes[14..18].copy_from_slice(&self.shipped.to_le_bytes());
        state.write(&bytes);
    }
}

/// What a command came to, kept as long as its id is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
struct Done {
    /// The hash of the command as it stood in the log.
    body: u128,
    kind: u8,
    code: OutcomeCode,
    line: u32,
    available: i64,
    expires: Option<LogTime>,
    /// Of a reservation that is gone: what a command on it is answered.
    spent: Option<OutcomeCode>,
}

/// Why stock was received or adjusted: for the archive.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Note {
    pub id: TransferId,
    pub at: LogTime,
    pub sku: String,
    pub warehouse: String,
    pub delta: i64,
    pub reason: String,
    pub document: String,
}

impl Inventory {
    pub fn new(settings: Settings) -> Self {
        let mut warehouses = Names::new(frozen::WAREHOUSES);
        warehouses.number_or_new(&settings.default_warehouse);
        Self {
            now: LogTime::ZERO,
            books: Books::default(),
            skus: Names::new(frozen::SKUS),
            warehouses,
            reservations: Table::new(frozen::RESERVATIONS),
            done: Ids::new(frozen::DONE, settings.id_window_ms),
            requests: Table::new(frozen::REQUESTS),
            request_order: VecDeque::new(),
            journal: Journal::default(),
            notes: Vec::new(),
            settings,
        }
    }

    /// The rules that the group began with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The time as of which everything is read.
    pub fn now(&self) -> LogTime {
        self.now
    }

    pub fn books(&self) -> &Books {
        &self.books
    }

    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    pub fn journal_mut(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// What was noted since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    pub fn reservation(&self, id: &TransferId) -> Option<&Reservation> {
        self.reservations.get(id)
    }

    /// Every open reservation, in an order that is the same on every replica.
    pub fn reservations(&self) -> impl Iterator<Item = (&TransferId, &Reservation)> {
        self.reservations.iter()
    }

    pub fn sku_name(&self, sku: SkuNo) -> Option<&str> {
        self.skus.name(sku.0)
    }

    pub fn warehouse_name(&self, warehouse: WarehouseNo) -> Option<&str> {
        self.warehouses.name(u32::from(warehouse.0))
    }

    /// Lets time pass: due holds expire, old ids are forgotten. Comes before a time's commands.
    pub fn advance(&mut self, at: LogTime) {
        self.now = at;
        // Most orders are over sooner: a house that sells nothing any more proves nothing.
        let early = if seeded::on(Bug::ExpireEarly) { 7_000 } else { 0 };
        while let Some((_, hold)) = self.books.expire_one(at.plus_ms(early)) {
            let reservation = reservation_of(hold.reference);
            // The lines of a reservation expire at one time; the first takes it away.
            self.reservations.remove(&reservation);
            self.spend(&reservation, OutcomeCode::Expired);
        }
        self.done.advance(at);
        while let Some(&(seen, key)) = self.request_order.front() {
            if seen.plus_ms(self.settings.id_window_ms) >= at {
                break;
            }
            self.requests.remove(&key);
            self.request_order.pop_front();
        }
    }

    pub fn next_due(&self) -> Option<LogTime> {
        self.books.next_due()
    }

    /// Applies one command. `body` is the hash of the command as it stands in the log.
    ///
    /// # Outcomes
    /// Checked in the order: the command by itself, its id, then the state as each verb says.
    pub fn apply(&mut self, at: LogTime, command: &Command<'_>, body: u128) -> Outcome {
        if let Some(refusal) = refused_by_itself(command) {
            return refusal;
        }
        let id = match command.id() {
            CommandId::Given(id) => id,
            CommandId::Requested(key) => self.requested(at, key),
        };
        match self.done.look(at, id) {
            Known::TooOld => return OutcomeCode::IdTooOld.into(),
            Known::TooNew => return OutcomeCode::IdTooNew.into(),
            Known::Seen(done) => return again(done, command, body),
            Known::New => {}
        }
        let outcome = self.effect(at, id, command);
        let done = Done {
            body,
            kind: command.kind(),
            code: outcome.code,
            line: outcome.line,
            available: outcome.available,
            expires: outcome.expires,
            spent: None,
        };
        self.done.insert(id, done);
        outcome
    }

    fn effect(&mut self, at: LogTime, id: TransferId, command: &Command<'_>) -> Outcome {
        let result = match command {
            Command::Reserve(reserve) => self.reserve(at, id, reserve),
            Command::Extend { hold, ttl_ms, .. } => self.extend(at, hold, *ttl_ms),
            Command::Commit { hold, .. } => self.commit(at, id, hold),
            Command::Uncommit { hold, .. } => self.uncommit(at, id, hold),
            Command::Release { hold, .. } => self.release(hold),
            Command::Ship(ship) => self.ship(at, id, ship),
            Command::Return(returned) => self.take_back(at, id, returned, &[]),
            Command::ReturnElsewhere(ReturnElsewhere { returned, elsewhere, .. }) => {
                self.take_back(at, id, returned, elsewhere)
            }
            Command::Receive(receive) => self.receive(at, id, receive),
            Command::Adjust(adjust) => self.adjust(at, id, adjust),
            Command::SetFloor(floor) => self.set_floor(floor),
            Command::Rebook(rebook) => self.rebook(at, id, rebook),
        };
        result.unwrap_or_else(|refusal| refusal)
    }

    /// The transfer id of a request: minted when its key is seen first, then the same.
    fn requested(&mut self, at: LogTime, key: RequestKey) -> TransferId {
        if let Some(id) = self.requests.get(&key) {
            return *id;
        }
        let id = TransferId::derive(at, &[&key.0.to_le_bytes()]);
        self.requests.insert(key, id);
        self.request_order.push_back((at, key));
        id
    }

    /// Remembers how a reservation ended.
    fn spend(&mut self, reservation: &TransferId, code: OutcomeCode) {
        self.done.update(reservation, |done| done.spent = Some(code));
    }

    /// Why there is no such reservation any more.
    fn gone(&self, reservation: &TransferId) -> Outcome {
        let Known::Seen(done) = self.done.look(self.now, *reservation) else {
            return OutcomeCode::HoldNotFound.into();
        };
        let is_reserve = done.kind == RESERVE;
        match done.spent {
            Some(code) => code.into(),
            None if is_reserve => OutcomeCode::HoldNotFound.into(),
            None => OutcomeCode::NotAHold.into(),
        }
    }

    fn warehouse(&self, name: Option<&str>) -> Option<WarehouseNo> {
        let Some(name) = name else { return Some(WarehouseNo::DEFAULT) };
        let number = self.warehouses.number(name)?;
        u16::try_from(number).ok().map(WarehouseNo)
    }

    /// The account of a bucket, opened on first use.
    fn open(&mut self, bucket: Bucket, sku: SkuNo, warehouse: WarehouseNo) -> AccountId {
        let account = bucket.account(sku, warehouse);
        self.books.open(account, bucket.spec(sku));
        account
    }

    /// What an account still has to give, for an outcome.
    fn left(&self, account: &AccountId) -> i64 {
        let left = self.books.account(account).and_then(|account| account.debitable());
        i64::try_from(left.unwrap_or(0).max(0)).unwrap_or(i64::MAX)
    }

    fn post(&mut self, moved: Moved, amount: u64, origin: Origin) {
        let Moved { id, at, debit, credit, movement, reference } = moved;
        let code = movement.code();
        self.journal.post(Posting { id, at, debit, credit, amount, code, reference, origin });
    }
}

/// What a posting says besides the amount.
struct Moved {
    id: TransferId,
    at: LogTime,
    debit: AccountId,
    credit: AccountId,
    movement: Movement,
    reference: Reference,
}

const RESERVE: u8 = 1;

/// Units that one command may bring in or take out: far enough below what a counter holds that what
/// moves inside can never overflow one.
const QUANTITY_MAX: u64 = LINE_QUANTITY_MAX as u64 * 1_000;

fn reference_of(id: TransferId) -> Reference {
    Reference(u128::from_be_bytes(id.to_bytes()))
}

fn reservation_of(reference: Reference) -> TransferId {
    TransferId::from_bytes(reference.0.to_be_bytes())
}

fn order_reference(order: OrderId) -> Reference {
    Reference(order.into())
}

/// The answer to a command whose id was seen.
fn again(done: &Done, command: &Command<'_>, body: u128) -> Outcome {
    if done.kind != command.kind() {
        return Outcome::differs("command");
    }
    if done.body != body {
        return Outcome::differs("body");
    }
    let code = match done.code {
        OutcomeCode::Applied => OutcomeCode::Exists,
        failure => failure,
    };
    let Done { line, available, expires, .. } = *done;
    Outcome { line, available, expires, ..Outcome::of(code) }
}

/// A refusal that needs no state to be seen; such a command leaves no trace.
fn refused_by_itself(command: &Command<'_>) -> Option<Outcome> {
    match command {
        Command::Reserve(Reserve { ttl_ms, lines, .. }) => {
            if *ttl_ms == 0 || lines.is_empty() {
                return Some(OutcomeCode::AmountInvalid.into());
            }
            refused_lines(lines)
        }
        Command::Return(Return { lines, .. }) if lines.is_empty() => {
            Some(OutcomeCode::AmountInvalid.into())
        }
        Command::Ship(Ship { lines, .. }) | Command::Return(Return { lines, .. }) => {
            refused_lines(lines)
        }
        Command::ReturnElsewhere(ReturnElsewhere { returned, elsewhere, .. }) => {
            refused_elsewhere(&returned.lines, elsewhere)
        }
        Command::Receive(Receive { quantity, .. }) if !(1..=QUANTITY_MAX).contains(quantity) => {
            Some(OutcomeCode::AmountInvalid.into())
        }
        Command::Adjust(Adjust { delta, .. })
            if !(1..=QUANTITY_MAX).contains(&delta.unsigned_abs()) =>
        {
            Some(OutcomeCode::AmountInvalid.into())
        }
        Command::Rebook(Rebook { delta, .. })
            if !(1..=QUANTITY_MAX).contains(&delta.unsigned_abs()) =>
        {
            Some(OutcomeCode::AmountInvalid.into())
        }
        Command::Extend { ttl_ms: 0, .. } => Some(OutcomeCode::AmountInvalid.into()),
        Command::Extend { .. }
        | Command::Commit { .. }
        | Command::Uncommit { .. }
        | Command::Release { .. }
        | Command::Receive(_)
        | Command::Adjust(_)
        | Command::SetFloor(_)
        | Command::Rebook(_) => None,
    }
}

/// Line numbers ascend strictly: each line's transfer id is derived from its number.
fn refused_lines(lines: &[StockLine<'_>]) -> Option<Outcome> {
    if lines.len() > ORDER_LINES_MAX || lines.windows(2).any(|pair| pair[0].line >= pair[1].line) {
        return Some(OutcomeCode::Malformed.into());
    }
    let bad = lines.iter().find(|line| line.quantity == 0 || line.quantity > LINE_QUANTITY_MAX)?;
    Some(Outcome::of(OutcomeCode::AmountInvalid).at_line(bad.line))
}

/// As of a return, and no more of a line from elsewhere than comes back of it.
fn refused_elsewhere(lines: &[StockLine<'_>], elsewhere: &[u32]) -> Option<Outcome> {
    if lines.is_empty() {
        return Some(OutcomeCode::AmountInvalid.into());
    }
    let named = |sku: &str| sku.parse::<Sku>().is_ok_and(|known| known.as_str() == sku);
    let fits = |(line, units): (&StockLine<'_>, &u32)| *units <= line.quantity && named(line.sku);
    if elsewhere.len() != lines.len() || !lines.iter().zip(elsewhere).all(fits) {
        return Some(OutcomeCode::Malformed.into());
    }
    refused_lines(lines)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
