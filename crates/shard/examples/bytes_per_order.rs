//! What an order that is over costs a node of a joint region: in memory, and in a checkpoint.
//!
//! `cargo run -p hansa-shard --example bytes_per_order -- [ORDERS]`
//! Orders of two lines, each of a customer of its own, go through the pure core until they are
//! COMPLETED. Then each table, and each part with its indexes, is read back by a process of its
//! own, whose resident memory it is that is told: with what the allocator takes, without what a
//! running node's heap has holes of. Ids and keys are remembered throughout, as they are within a
//! day.

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command as Child, ExitCode};

use hansa_consensus::{Frozen, Holds, Machine, Records, inspect};
use hansa_ledger::core::inventory::{self, CommandId, Inventory, Receive, Reservation};
use hansa_ledger::core::kernel::Account;
use hansa_ledger::core::payments::{self, Payment, PaymentKey, Payments};
use hansa_ledger::machine::Batch;
use hansa_ledger::wire;
use hansa_orders::carried;
use hansa_orders::core::command::{Accept, Command};
use hansa_orders::core::contents::{Contents, Line, LineKind, Sealed, Token};
use hansa_orders::core::effect::{
    Booking, Call, Reference, Report, SettleResult, StepResult, Todo,
};
use hansa_orders::core::keys::{Key, KeyRow, Scope};
use hansa_orders::core::order::{Note, Order};
use hansa_orders::core::settings::Settings;
use hansa_orders::core::status::OrderStatus;
use hansa_orders::core::subjects::{KeyOf, RegionKey, SubjectId, SubjectRow, Wrapped};
use hansa_orders::machine::OrdersMachine;
use hansa_pages::{FrozenTable, Key as TableKey, Record, Table};
use hansa_shard::machine::{MONEY, Outcome, STOCK, Shard};
use hansa_types::id::{AccountId, GroupKind, OrderId, TransferId};
use hansa_types::region::{RegionNumber, Slot};
use hansa_types::time::LogTime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const START: u64 = 1_700_000_000_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
const SKUS: u64 = 1_000;

type Done<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match &args[..] {
        [] => measure(100_000),
        [part, file] => read_back(part, Path::new(file)),
        [orders, ..] => orders.parse().map_err(Into::into).and_then(measure),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// What is read back by itself, by the name that its table has in the digest.
const PARTS: [&str; 11] = [
    "orders",
    "contents",
    "keys",
    "subjects",
    "all of orders",
    "payments",
    "accounts",
    "all of money",
    "reservations",
    "all of stock",
    "all",
];

fn measure(orders: u64) -> Done<()> {
    let before = resident()?;
    let mut group = Group::new()?;
    group.receive()?;
    for n in 0..orders {
        group.complete(n)?;
    }
    let live = resident()? - before;
    let folder = std::env::temp_dir().join(format!("bytes_per_order.{}", std::process::id()));
    fs::create_dir(&folder)?;
    group.write(&folder)?;
    println!("{orders} orders: {} B each while the machine lives", live / orders);
    println!("| part | memory | checkpoint |\n|---|---|---|");
    for part in PARTS {
        let file = folder.join(part);
        let run = Child::new(std::env::current_exe()?).arg(part).arg(&file).output()?;
        let bytes: u64 = String::from_utf8(run.stdout)?.trim().parse()?;
        println!("| {part} | {} B | {} B |", bytes / orders, fs::metadata(file)?.len() / orders);
    }
    fs::remove_dir_all(folder)?;
    Ok(())
}

/// Bytes of memory that this process has.
fn resident() -> Done<u64> {
    let pages = fs::read_to_string("/proc/self/statm")?;
    let pages = pages.split_whitespace().nth(1).ok_or("no resident memory")?;
    Ok(pages.parse::<u64>()? * 4_096)
}

/// Reads one part, and says how much memory that took.
fn read_back(part: &str, file: &Path) -> Done<()> {
    let mut from = BufReader::new(File::open(file)?);
    let before = resident()?;
    let from = &mut from;
    match part {
        "orders" => keep(Table::<OrderId, Order>::read("orders", from)?),
        "contents" => keep(Table::<OrderId, Contents>::read("contents", from)?),
        "keys" => keep(Table::<Scope, KeyRow>::read("keys", from)?),
        "subjects" => keep(Table::<SubjectId, SubjectRow>::read("subjects", from)?),
        "payments" => keep(Table::<PaymentKey, Payment>::read("payments", from)?),
        "accounts" => keep(Table::<AccountId, Account>::read("accounts", from)?),
        "reservations" => keep(Table::<TransferId, Reservation>::read("reservations", from)?),
        "all of orders" => thaw::<OrdersMachine>(from)?,
        "all of money" => thaw::<Payments>(from)?,
        "all of stock" => thaw::<Inventory>(from)?,
        _ => thaw::<Shard>(from)?,
    }
    println!("{}", resident()? - before);
    Ok(())
}

fn thaw<M: Machine>(from: &mut dyn Read) -> Done<()> {
    keep(inspect::machine::<M>(from).map_err(|why| format!("{why:?}"))?);
    Ok(())
}

/// Memory is looked at with it there.
fn keep<T>(value: T) {
    std::mem::forget(value);
}

struct Group {
    shard: Shard,
    /// The last step that the leader took up.
    cursor: u64,
    at: LogTime,
}

impl Group {
    fn new() -> Done<Self> {
        let stock = inventory::Settings {
            id_window_ms: DAY_MS,
            hold_ms_max: DAY_MS,
            default_warehouse: "main".to_owned(),
        };
        let money = payments::Settings { id_window_ms: DAY_MS, evict_after_ms: 0 };
        let shard = Shard::new(settings(RegionNumber::try_from(1)?), Some((stock, money)));
        Ok(Self { shard, cursor: 0, at: LogTime(START) })
    }

    fn apply(&mut self, command: &[u8]) -> Outcome {
        let mut records = Records::new();
        self.shard.advance(self.at, &mut records);
        self.shard.apply(self.at, command, &mut records)
    }

    fn receive(&mut self) -> Done<()> {
        let mut batch = Batch::default();
        for n in 0..SKUS {
            let (sku, id) = (&sku(n), TransferId::derive(self.at, &[&n.to_le_bytes()]));
            let id = CommandId::Given(id);
            let (warehouse, quantity, document) = (None, 1_000_000_000, "");
            let receive = Receive { id, sku, warehouse, quantity, document };
            batch.push(&inventory::Command::Receive(receive));
        }
        match self.apply(&[&[STOCK], &batch.finish()[..]].concat()) {
            Outcome::Stock(of) if of.outcomes.iter().all(|of| of.is_success()) => Ok(()),
            _ => Err("stock is not received".into()),
        }
    }

    /// One order: placed, carried until nothing is due, shipped, and carried again.
    fn complete(&mut self, n: u64) -> Done<()> {
        self.at = LogTime(START + n / 4);
        let order = order(n)?;
        self.apply(&accept(n)?);
        self.carry()?;
        let key = Key { scope: Scope(u128::from(n) << 64 | 1), body: u128::from(n) };
        let ship = Command::Ship { order, key, lines: Vec::new(), note: Note::default() };
        self.apply(&ship.encode());
        self.carry()?;
        let state = &self.shard.orders().state;
        let known = state.orders.get(&order).zip(state.contents.get(&order));
        match known.map(|(order, contents)| order.order_status(contents)) {
            Some(OrderStatus::Completed) => Ok(()),
            other => Err(format!("order {n} is {other:?}").into()),
        }
    }

    fn carry(&mut self) -> Done<()> {
        loop {
            let due = self.shard.orders().state.due(self.cursor, 8);
            let Some(last) = due.last() else { return Ok(()) };
            self.cursor = last.no;
            let mut reports = Vec::new();
            for call in &due {
                let result = self.answer(call)?;
                reports.push(Report { order: call.order, no: call.no, result });
            }
            self.apply(&Command::Report(reports).encode());
        }
    }

    fn answer(&mut self, call: &Call) -> Done<StepResult> {
        Ok(match &call.todo {
            Todo::Book(booking) => self.book(call.order, booking)?,
            Todo::Authorize { .. } => StepResult::Authorized(Reference("ch_0123456789".to_owned())),
            Todo::Settle(settle) => {
                let mut committed = 0;
                for (part, of) in settle.parts.iter().zip(&settle.commits) {
                    self.book(call.order, &Booking::Stock(of.clone()))?;
                    committed |= 1 << part;
                }
                let near = settle.capture.as_ref().is_some_and(|capture| capture.near);
                let (captured, booked) = (settle.capture.is_some(), !near);
                if let Some(capture) = settle.capture.as_ref().filter(|_| !near) {
                    self.book(call.order, &capture.booking())?;
                }
                StepResult::Settled(SettleResult { committed, captured, booked, refusal: None })
            }
            other => return Err(format!("a step that no good order takes: {other:?}").into()),
        })
    }

    /// As a lane does.
    fn book(&mut self, order: OrderId, booking: &Booking) -> Done<StepResult> {
        let (kind, _) = booking.group();
        let tag = if kind == GroupKind::Inventory { STOCK } else { MONEY };
        let command = carried::booking(order, booking);
        let batch = wire::encode(std::slice::from_ref(&command), kind);
        let batch = batch.map_err(|_| "a booking that does not encode")?;
        match self.apply(&[&[tag], &batch[..]].concat()) {
            Outcome::Stock(of) | Outcome::Money(of) => {
                Ok(carried::result(&wire::outcome(&of.outcomes[0], &command)))
            }
            Outcome::Orders(_) => Err("an answer of the orders".into()),
        }
    }

    fn write(&self, folder: &Path) -> Done<()> {
        let state = &self.shard.orders().state;
        table(folder.join("orders"), &state.orders.freeze())?;
        table(folder.join("contents"), &state.contents.freeze())?;
        table(folder.join("keys"), &state.keys.table.freeze())?;
        table(folder.join("subjects"), &state.subjects.table.freeze())?;
        let stock: &Inventory = self.shard.part().ok_or("no stock")?;
        let money: &Payments = self.shard.part().ok_or("no money")?;
        table(folder.join("payments"), &money.freeze_money().payments)?;
        table(folder.join("accounts"), &money.freeze_money().accounts)?;
        table(folder.join("reservations"), &stock.freeze_stock().reservations)?;
        whole(folder.join("all of orders"), self.shard.orders())?;
        whole(folder.join("all of money"), money)?;
        whole(folder.join("all of stock"), stock)?;
        whole(folder.join("all"), &self.shard)
    }
}

fn table<K: TableKey, V: Record>(file: PathBuf, table: &FrozenTable<K, V>) -> Done<()> {
    let mut state = Vec::new();
    table.write(&mut state)?;
    Ok(File::create(file)?.write_all(&state)?)
}

fn whole<M: Machine>(file: PathBuf, machine: &M) -> Done<()> {
    let mut state = Vec::new();
    machine.freeze().write(&mut state)?;
    Ok(File::create(file)?.write_all(&state)?)
}

fn settings(region: RegionNumber) -> Settings {
    Settings {
        region,
        index: 0,
        groups: 1,
        epoch: 1,
        hold_ttl_ms: 60_000,
        hold_cap_ms: 300_000,
        settle_ms: 30_000,
        funds_ttl_ms: DAY_MS,
        park_after_ms: 3_600_000,
        key_ttl_ms: DAY_MS,
        history_max: 64,
        evict_after_ms: 0,
    }
}

fn order(n: u64) -> Done<OrderId> {
    let slot = Slot::of(&n.to_le_bytes());
    Ok(OrderId::new(LogTime(START + n / 4), RegionNumber::try_from(1)?, slot, n))
}

fn sku(n: u64) -> String {
    format!("SKU{:04}", n % SKUS)
}

/// What a gateway's request becomes: two lines, and a block of personal data.
fn accept(n: u64) -> Done<Vec<u8>> {
    let hash = u128::from(n + 1);
    let subject = SubjectId { home: RegionNumber::try_from(1)?, hash };
    let contents = Contents {
        caller: "storefront".to_owned(),
        sealed_with: KeyOf { subject, generation: 1 },
        guest: false,
        residence: "GB".parse()?,
        request: format!("request-{n:08}").parse()?,
        currency: "GBP".parse()?,
        lines: vec![line(&sku(n), 2, 255)?, line(&sku(n + 7), 6, 339)?],
        total_minor: 2 * 255 + 6 * 339,
        token: Token("tok_approve".to_owned()),
        personal: Some(Sealed { nonce: [1; 12], ciphertext: vec![2; 160].into() }),
        payment_group: 0,
        reference: format!("invoice-{n:08}"),
        placed_ms: Some(START),
    };
    let mint = Wrapped { by: RegionKey(1 << 48), nonce: [3; 12], ciphertext: vec![4; 80].into() };
    let key = Key { scope: Scope(hash << 64), body: hash };
    let accept = Accept { order: order(n)?, key, epoch: 1, contents, mint: Some(mint) };
    let command = Box::new(Command::Accept(Box::new(accept)));
    Ok(Command::UnderPolicy { version: 1, command: Some(command) }.encode())
}

fn line(sku: &str, quantity: u32, price_minor: i64) -> Done<Line> {
    Ok(Line {
        kind: LineKind::Stock,
        sku: Some(sku.parse()?),
        description: "WHITE METAL LANTERN".to_owned(),
        quantity,
        price_minor,
        stock_group: Some(0),
    })
}
