//! Orders and their books in one log.
//!
//! ```text
//!           without books   with books
//! command   orders'         the same, or STOCK: u8, stock's, or MONEY: u8, money's
//! state     orders'         FORMAT: u32, orders', stock's, money's
//! begins    orders'         BEGINS: u8, (orders', stock's, money's) in postcard
//! ```
//! Each part's own state begins with its own format and ends where its reader stops: nothing stands
//! between them.

use std::io::{self, Read, Write};

use hansa_consensus::{Frozen, GENESIS_VERSION, Holds, Machine, Records, ThawError, Versions};
use hansa_ledger::core::inventory::{self, Inventory};
use hansa_ledger::core::outcome::OutcomeCode;
use hansa_ledger::core::payments::{self, Payments};
use hansa_ledger::machine::{
    CHUNKS, NOTES, Outcomes, PAYMENTS, POSTINGS, SPENT, advance_money, seal_money, seal_stock,
};
use hansa_orders::core::command::{Outcome as OrdersOutcome, VERSION};
use hansa_orders::core::lasting::{BLINDED, KEPT};
use hansa_orders::core::near::Near;
use hansa_orders::core::settings::Settings;
use hansa_orders::core::shelf;
use hansa_orders::machine::{FrozenOrders, OrdersMachine};
use hansa_types::hash::StateHash;
use hansa_types::time::LogTime;

/// In front of a command of the stock books.
pub const STOCK: u8 = 0xc1;
/// In front of a command of the money books.
pub const MONEY: u8 = 0xc2;

/// The first byte of the orders' own commands is a version or a frame.
const _: () = assert!(VERSION < BLINDED && BLINDED < KEPT && KEPT < STOCK && STOCK < MONEY);

/// No part's tables reach into the next one's.
const _: () = assert!(shelf::ORDERS < STOCK_TABLES && shelf::INDEX < STOCK_TABLES);
const _: () = assert!(shelf::SPENT < STOCK_TABLES);
const _: () = assert!(POSTINGS < STOCK_TABLES && NOTES < STOCK_TABLES);
const _: () = assert!(PAYMENTS < STOCK_TABLES && CHUNKS < STOCK_TABLES && SPENT < STOCK_TABLES);
const STOCK_TABLES: u8 = <Shard as Holds<Inventory>>::TABLES;
const MONEY_TABLES: u8 = <Shard as Holds<Payments>>::TABLES;

/// The group's version is the orders': the books have one. A release that gives them another says
/// here which they have by which version of the group, or a binary's age would decide.
const _: () = assert!(Inventory::VERSIONS.last == GENESIS_VERSION);
const _: () = assert!(Payments::VERSIONS.last == GENESIS_VERSION);

/// Format of a state with books; far from those of the orders, which count up.
const FORMAT: u32 = 0x4a01;
/// What a group with books begins with; the orders' own begins with a region's number, never 0.
const BEGINS: u8 = 0;

/// One orders group's replicated state, with the books that lie in it, if any do.
pub struct Shard {
    orders: OrdersMachine,
    books: Option<Box<Books>>,
}

pub(crate) struct Books {
    pub stock: Inventory,
    pub money: Payments,
}

/// What a command of any part came to.
pub enum Outcome {
    Orders(OrdersOutcome),
    Stock(Outcomes),
    Money(Outcomes),
}

/// The tables of all parts at one moment.
pub struct FrozenShard {
    orders: FrozenOrders,
    books: Option<(inventory::Frozen, payments::Frozen)>,
}

impl Shard {
    pub fn new(orders: Settings, books: Option<(inventory::Settings, payments::Settings)>) -> Self {
        let books = books.map(|(stock, money)| {
            Box::new(Books { stock: Inventory::new(stock), money: Payments::new(money) })
        });
        Self::of(OrdersMachine::new(orders), books)
    }

    fn of(mut orders: OrdersMachine, books: Option<Box<Books>>) -> Self {
        orders.state.keeps_books = books.is_some();
        Self { orders, books }
    }

    /// Whether stock and money of the group's index lie in it.
    pub fn keeps_books(&self) -> bool {
        self.books.is_some()
    }

    pub fn orders(&self) -> &OrdersMachine {
        &self.orders
    }

    pub(crate) fn books(&self) -> Option<&Books> {
        self.books.as_deref()
    }
}

impl Holds<OrdersMachine> for Shard {
    const TAG: Option<u8> = None;
    const TABLES: u8 = 0;

    fn part(&self) -> Option<&OrdersMachine> {
        Some(&self.orders)
    }

    fn outcome(of: Outcome) -> Option<OrdersOutcome> {
        match of {
            Outcome::Orders(outcome) => Some(outcome),
            Outcome::Stock(_) | Outcome::Money(_) => None,
        }
    }
}

impl Holds<Inventory> for Shard {
    const TAG: Option<u8> = Some(STOCK);
    const TABLES: u8 = 0x10;

    fn part(&self) -> Option<&Inventory> {
        self.books.as_ref().map(|books| &books.stock)
    }

    fn outcome(of: Outcome) -> Option<Outcomes> {
        match of {
            Outcome::Stock(outcomes) => Some(outcomes),
            Outcome::Orders(_) | Outcome::Money(_) => None,
        }
    }
}

impl Holds<Payments> for Shard {
    const TAG: Option<u8> = Some(MONEY);
    const TABLES: u8 = 0x20;

    fn part(&self) -> Option<&Payments> {
        self.books.as_ref().map(|books| &books.money)
    }

    fn outcome(of: Outcome) -> Option<Outcomes> {
        match of {
            Outcome::Money(outcomes) => Some(outcomes),
            Outcome::Orders(_) | Outcome::Stock(_) => None,
        }
    }
}

impl Machine for Shard {
    type Outcome = Outcome;
    type Frozen = FrozenShard;

    const VERSIONS: Versions = OrdersMachine::VERSIONS;

    fn set_version(&mut self, version: u32) {
        self.orders.set_version(version);
    }

    fn beginning(&self) -> Option<Vec<u8>> {
        let orders = self.orders.beginning()?;
        let Some(books) = &self.books else { return Some(orders) };
        let all = (orders, books.stock.beginning()?, books.money.beginning()?);
        postcard::to_extend(&all, vec![BEGINS]).ok()
    }

    fn begin(beginning: &[u8]) -> Option<Self> {
        let Some((&BEGINS, all)) = beginning.split_first() else {
            return Some(Self::of(OrdersMachine::begin(beginning)?, None));
        };
        let (all, rest) = postcard::take_from_bytes::<(&[u8], &[u8], &[u8])>(all).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let (orders, stock, money) = all;
        let books = Books { stock: Inventory::begin(stock)?, money: Payments::begin(money)? };
        Some(Self::of(OrdersMachine::begin(orders)?, Some(Box::new(books))))
    }

    fn same_parts(&self, other: &Self) -> bool {
        self.keeps_books() == other.keeps_books()
    }

    fn advance(&mut self, at: LogTime, out: &mut Records) {
        if let Some(Books { stock, money }) = self.books.as_deref_mut() {
            out.of_part(STOCK_TABLES, |out| Machine::advance(stock, at, out));
            // What an order does in near books reads no archive: its payment stays as long as it.
            let stays = |order| self.orders.state.orders.contains(&order);
            out.of_part(MONEY_TABLES, |out| advance_money(money, at, stays, out));
        }
        self.orders.advance(at, out);
    }

    fn apply(&mut self, at: LogTime, command: &[u8], out: &mut Records) -> Outcome {
        match (command.split_first(), self.books.as_deref_mut()) {
            (Some((&STOCK, rest)), Some(Books { stock, .. })) => Outcome::Stock(
                out.of_part(STOCK_TABLES, |out| Machine::apply(stock, at, rest, out)),
            ),
            (Some((&MONEY, rest)), Some(Books { money, .. })) => Outcome::Money(
                out.of_part(MONEY_TABLES, |out| Machine::apply(money, at, rest, out)),
            ),
            (Some((&STOCK, _)), None) => Outcome::Stock(malformed(at)),
            (Some((&MONEY, _)), None) => Outcome::Money(malformed(at)),
            (_, Some(books)) => {
                let outcome = self.orders.apply_with(at, command, Near::new(books), out);
                out.of_part(STOCK_TABLES, |out| seal_stock(&mut books.stock, out));
                out.of_part(MONEY_TABLES, |out| seal_money(&mut books.money, out));
                Outcome::Orders(outcome)
            }
            (_, None) => Outcome::Orders(self.orders.apply(at, command, out)),
        }
    }

    fn lasting(command: &[u8]) -> Option<Vec<u8>> {
        // The books' commands last as they are: they hold nothing personal.
        OrdersMachine::lasting(command)
    }

    fn next_due(&self) -> Option<LogTime> {
        let books = self.books.as_deref();
        let stock = books.and_then(|books| Machine::next_due(&books.stock));
        let money = books.and_then(|books| Machine::next_due(&books.money));
        [self.orders.next_due(), stock, money].into_iter().flatten().min()
    }

    fn freeze(&self) -> FrozenShard {
        let books = self.books.as_deref();
        FrozenShard {
            orders: self.orders.freeze(),
            books: books
                .map(|Books { stock, money }| (Machine::freeze(stock), Machine::freeze(money))),
        }
    }

    fn thaw(from: &mut dyn Read) -> Result<Self, ThawError> {
        let mut format = [0; 4];
        from.read_exact(&mut format)?;
        if u32::from_le_bytes(format) != FORMAT {
            let orders = OrdersMachine::thaw(&mut (&format[..]).chain(from))?;
            return Ok(Self::of(orders, None));
        }
        let orders = OrdersMachine::thaw(from)?;
        let books = Books { stock: Inventory::thaw(from)?, money: Payments::thaw(from)? };
        Ok(Self::of(orders, Some(Box::new(books))))
    }

    fn digest(&self) -> StateHash {
        let books = self.books.as_deref();
        let books =
            books.map(|Books { stock, money }| (Machine::digest(stock), Machine::digest(money)));
        whole(self.orders.digest(), books)
    }

    fn digest_full(&self) -> StateHash {
        let books = self.books.as_deref();
        let books = books.map(|Books { stock, money }| {
            (Machine::digest_full(stock), Machine::digest_full(money))
        });
        whole(self.orders.digest_full(), books)
    }
}

impl Frozen for FrozenShard {
    fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let Some((stock, money)) = &self.books else { return self.orders.write(to) };
        to.write_all(&FORMAT.to_le_bytes())?;
        self.orders.write(to)?;
        Frozen::write(stock, to)?;
        Frozen::write(money, to)
    }

    fn digest_full(&self) -> StateHash {
        let books = self.books.as_ref();
        let books =
            books.map(|(stock, money)| (Frozen::digest_full(stock), Frozen::digest_full(money)));
        whole(self.orders.digest_full(), books)
    }
}

/// What comes of a command for books that are not here.
fn malformed(at: LogTime) -> Outcomes {
    Outcomes { at, outcomes: vec![OutcomeCode::Malformed.into()] }
}

/// The hash of the whole. A plain sum could not tell the two books' tables apart.
pub(crate) fn whole(orders: StateHash, books: Option<(StateHash, StateHash)>) -> StateHash {
    let mut sum = orders;
    if let Some((stock, money)) = books {
        sum.add(StateHash::of_record("stock", &STOCK, &stock));
        sum.add(StateHash::of_record("money", &MONEY, &money));
    }
    sum
}
