//! How fast the pure half is: transfers per second through the kernel, orders per second through
//! the stock machine with its log format. One thread, no disk, no network.
//!
//! `cargo run --release -p hansa-ledger --example kernel_bench [scale]`; 1 is the default, 0.01
//! suits an instruction counter. Time is the thread's own: a busy machine disturbs it less.

use std::time::{Duration, Instant};

use hansa_consensus::{Machine, Records};
use hansa_ledger::core::inventory::{
    self, Command, CommandId, Inventory, Receive, Reserve, StockLine,
};
use hansa_ledger::core::kernel::{
    AccountSpec, Act, Code, Kernel, Limit, Outcome, Reference, Transfer, Unit,
};
use hansa_ledger::machine::Batch;
use hansa_types::id::{AccountId, OrderId, TransferId};
use hansa_types::region::{RegionNumber, Slot};
use hansa_types::time::LogTime;

const START: u64 = 1_700_000_000_000;
const ACCOUNTS: u64 = 10_000;
const SKUS: u64 = 10_000;
const WINDOW_MS: u64 = 24 * 60 * 60 * 1_000;

fn main() {
    let scale: f64 = std::env::args().nth(1).and_then(|it| it.parse().ok()).unwrap_or(1.0);
    let count = |full: u64| (full as f64 * scale) as u64;
    transfers("moves", count(2_000_000), |debit, credit, _| {
        vec![Act::Move { debit, credit, amount: 1 }]
    });
    transfers("hold + post", count(1_000_000), |debit, credit, id| {
        let hold = Act::Hold { debit, credit, amount: 1, timeout_ms: Some(60_000) };
        vec![hold, Act::Post { hold: id, amount: None }]
    });
    orders("reserve", count(500_000), false);
    orders("reserve + commit + ship", count(300_000), true);
}

/// What this thread has used of a processor, where Linux tells; else the time that passed.
struct Watch {
    began: Instant,
    used: Option<Duration>,
}

impl Watch {
    fn start() -> Self {
        Self { began: Instant::now(), used: used() }
    }

    fn read(&self) -> Duration {
        match (self.used, used()) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => self.began.elapsed(),
        }
    }
}

fn used() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = text.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

/// A cheap pseudo-random sequence: the same in every run.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

fn account(n: u64) -> AccountId {
    AccountId::from_bytes(u128::from(n + 1).to_be_bytes())
}

fn transfers(name: &str, count: u64, acts: impl Fn(AccountId, AccountId, TransferId) -> Vec<Act>) {
    let mut kernel = Kernel::new(WINDOW_MS);
    let spec = AccountSpec { unit: Unit(1), code: Code(1), limit: Limit::None };
    for n in 0..ACCOUNTS {
        kernel.books_mut().open(account(n), spec);
    }
    let (mut state, mut n) = (7, 0u64);
    let mut batches = Vec::new();
    while n < count {
        let mut batch = Vec::with_capacity(8_190);
        while batch.len() < 8_189 && n < count {
            let (debit, credit) = (next(&mut state) % ACCOUNTS, next(&mut state) % ACCOUNTS);
            let credit = if credit == debit { (credit + 1) % ACCOUNTS } else { credit };
            let hold = TransferId::derive(LogTime(START + n / 500), &[&n.to_le_bytes()]);
            let acts = acts(account(debit), account(credit), hold);
            for (part, act) in acts.into_iter().enumerate() {
                let id = if part == 0 { hold } else { hold.child(1) };
                let (code, reference) = (Code(1), Reference(u128::from(n)));
                batch.push(Transfer { id, act, code, reference, linked: false });
                n += 1;
            }
        }
        batches.push(batch);
    }
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(8_192);
    let begin = Watch::start();
    for (n, batch) in batches.iter().enumerate() {
        let at = LogTime(START + n as u64);
        kernel.advance(at);
        outcomes.clear();
        kernel.apply(at, batch, &mut outcomes);
        kernel.journal_mut().seal(|_, _| ());
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Created));
    }
    report(name, "transfers", n, begin);
}

fn orders(name: &str, count: u64, all: bool) {
    let mut machine = Inventory::new(inventory::Settings {
        id_window_ms: WINDOW_MS,
        hold_ms_max: WINDOW_MS,
        default_warehouse: "main".to_owned(),
    });
    let names: Vec<String> = (0..SKUS).map(|n| format!("SKU{n:06}")).collect();
    let mut records = Records::new();
    let mut receipts = Batch::default();
    for (n, sku) in names.iter().enumerate() {
        let id = TransferId::derive(LogTime(START), &[b"receive", &n.to_le_bytes()]);
        let (id, quantity) = (CommandId::Given(id), 1_000_000_000);
        receipts.push(&Command::Receive(Receive {
            id,
            sku,
            warehouse: None,
            quantity,
            document: "",
        }));
    }
    Machine::advance(&mut machine, LogTime(START), &mut records);
    Machine::apply(&mut machine, LogTime(START), &receipts.finish(), &mut records);
    let mut state = 7;
    let batches: Vec<_> = (0..count.div_ceil(256))
        .map(|batch| {
            let first = batch * 256;
            orders_batch(first..count.min(first + 256), &names, &mut state, all)
        })
        .collect();
    let begin = Watch::start();
    for (n, batch) in batches.iter().enumerate() {
        let at = LogTime(START + n as u64 * 10);
        Machine::advance(&mut machine, at, &mut records);
        let applied = Machine::apply(&mut machine, at, batch, &mut records);
        assert!(applied.outcomes.iter().all(|outcome| outcome.is_success()));
        records.take();
    }
    report(name, "orders of 2 lines", count, begin);
}

fn orders_batch(
    orders: std::ops::Range<u64>,
    names: &[String],
    state: &mut u64,
    all: bool,
) -> Vec<u8> {
    let Ok(region) = RegionNumber::try_from(1) else { return Vec::new() };
    let mut batch = Batch::default();
    for n in orders {
        let id = TransferId::derive(LogTime(START + n / 25), &[&n.to_le_bytes()]);
        let mut line = |line: u32| {
            let sku = &names[(next(state) % SKUS) as usize];
            StockLine { line, sku, warehouse: None, quantity: 1 }
        };
        let lines = vec![line(1), line(2)];
        let order = OrderId::new(LogTime(START), region, Slot::of(b"x"), n);
        batch.push(&Command::Reserve(Reserve { id, order, ttl_ms: 600_000, lines }));
        if all {
            let (commit, ship) = (id.child(1_001), id.child(1_002));
            batch.push(&Command::Commit { id: commit, hold: id });
            batch.push(&Command::Ship(inventory::Ship { id: ship, hold: id, lines: Vec::new() }));
        }
    }
    batch.finish()
}

fn report(name: &str, of: &str, count: u64, begin: Watch) {
    let took = begin.read();
    let rate = count as f64 / took.as_secs_f64();
    let each = took.as_nanos() as f64 / count as f64;
    println!("{name:<28} {rate:>12.0} {of}/s  {each:>8.0} ns each");
}
