//! The books: the kernel by itself, and both machines as consensus runs them.

use anyhow::{Result, ensure};
use hansa_consensus::{Machine, Records};
use hansa_ledger::core::inventory::{self, CommandId, Inventory, Receive, Reserve, StockLine};
use hansa_ledger::core::kernel::{
    AccountSpec, Act, Code, Kernel, Limit, Outcome, Reference, Transfer, Unit,
};
use hansa_ledger::core::payments::{self, Authorize, Capture, PaymentKey, Payments};
use hansa_ledger::machine::Batch;
use hansa_types::id::{AccountId, OrderId, TransferId};
use hansa_types::money::Currency;
use hansa_types::region::{RegionNumber, Slot};

use crate::{Path, WINDOW_MS, at, draw};

const ACCOUNTS: u64 = 1_000;
const SKUS: usize = 1_000;
/// Transfers in a batch: half of them moves, the other half holds and their posts.
const TRANSFERS: u64 = 1_000;

pub fn transfers(times: usize) -> Result<Path> {
    let mut kernel = Kernel::new(WINDOW_MS);
    let spec = AccountSpec { unit: Unit(1), code: Code(1), limit: Limit::None };
    for n in 0..ACCOUNTS {
        kernel.books_mut().open(account(n), spec);
    }
    let mut state = 7;
    let batches: Vec<Vec<Transfer>> = (0..times).map(|n| batch(n, &mut state)).collect();
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(TRANSFERS as usize);
    Ok(Box::new(move |n| {
        kernel.advance(at(n));
        outcomes.clear();
        kernel.apply(at(n), &batches[n], &mut outcomes);
        kernel.journal_mut().seal(|_, _| ());
        ensure!(outcomes.iter().all(|outcome| *outcome == Outcome::Created), "a refusal");
        Ok(())
    }))
}

fn account(n: u64) -> AccountId {
    AccountId::from_bytes(u128::from(n + 1).to_be_bytes())
}

fn batch(n: usize, state: &mut u64) -> Vec<Transfer> {
    let mut batch = Vec::with_capacity(TRANSFERS as usize);
    for part in 0..TRANSFERS * 3 / 4 {
        let debit = draw(state) % ACCOUNTS;
        let credit = (debit + 1 + draw(state) % (ACCOUNTS - 1)) % ACCOUNTS;
        let (debit, credit) = (account(debit), account(credit));
        let id = TransferId::derive(at(n), &[&part.to_le_bytes()]);
        let mut add = |id, act| {
            let (code, reference) = (Code(1), Reference(u128::from(part)));
            batch.push(Transfer { id, act, code, reference, linked: false });
        };
        if part % 3 == 0 {
            add(id, Act::Hold { debit, credit, amount: 1, timeout_ms: Some(60_000) });
            add(id.child(1), Act::Post { hold: id, amount: None });
        } else {
            add(id, Act::Move { debit, credit, amount: 1 });
        }
    }
    batch
}

pub fn stock(times: usize) -> Result<Path> {
    let settings = inventory::Settings {
        id_window_ms: WINDOW_MS,
        hold_ms_max: WINDOW_MS,
        default_warehouse: "main".to_owned(),
    };
    let mut machine = Inventory::new(settings);
    let names: Vec<String> = (0..SKUS).map(|n| format!("SKU{n:06}")).collect();
    let received = apply(&mut machine, 0, &receipts(&names));
    ensure!(received, "stock is not received");
    let mut state = 7;
    let entries: Result<Vec<_>> = (0..times).map(|n| sale(n, &names, &mut state)).collect();
    let entries = entries?;
    Ok(Box::new(move |n| {
        ensure!(apply(&mut machine, n, &entries[n]), "a refusal");
        Ok(())
    }))
}

fn receipts(names: &[String]) -> Vec<u8> {
    let mut batch = Batch::default();
    for sku in names {
        let id = CommandId::Given(TransferId::derive(at(0), &[b"receive", sku.as_bytes()]));
        let receive = Receive { id, sku, warehouse: None, quantity: 1_000_000_000, document: "" };
        batch.push(&inventory::Command::Receive(receive));
    }
    batch.finish()
}

/// One order's stock, held and then committed.
fn sale(n: usize, names: &[String], state: &mut u64) -> Result<Vec<u8>> {
    let id = TransferId::derive(at(n), &[b"reserve"]);
    let mut line = |line: u32| {
        let sku = &names[draw(state) as usize % SKUS];
        StockLine { line, sku, warehouse: None, quantity: 1 }
    };
    let lines = vec![line(1), line(2)];
    let reserve = Reserve { id, order: order(n)?, ttl_ms: 600_000, lines };
    let mut batch = Batch::default();
    batch.push(&inventory::Command::Reserve(reserve));
    batch.push(&inventory::Command::Commit { id: id.child(1), hold: id });
    Ok(batch.finish())
}

pub fn money(times: usize) -> Result<Path> {
    let mut machine =
        Payments::new(payments::Settings { id_window_ms: WINDOW_MS, evict_after_ms: 0 });
    let entries: Result<Vec<_>> = (0..times).map(charge).collect();
    let entries = entries?;
    Ok(Box::new(move |n| {
        ensure!(apply(&mut machine, n, &entries[n]), "a refusal");
        Ok(())
    }))
}

/// One order's money, held and then captured.
fn charge(n: usize) -> Result<Vec<u8>> {
    let id = TransferId::derive(at(n), &[b"hold"]);
    let payment = PaymentKey(1 << 100 | n as u128);
    let authorize = Authorize {
        id,
        payment,
        order: order(n)?,
        amount: 1_000,
        currency: Currency::GBP,
        timeout_ms: 600_000,
    };
    let capture = Capture { id: id.child(1), hold: id, payment, amount: None, remainder: None };
    let mut batch = Batch::default();
    batch.push(&payments::Command::Authorize(authorize));
    batch.push(&payments::Command::Capture(capture));
    Ok(batch.finish())
}

pub fn order(n: usize) -> Result<OrderId> {
    let slot = Slot::of(&n.to_le_bytes());
    Ok(OrderId::new(at(n), RegionNumber::try_from(1)?, slot, n as u64))
}

/// One entry, with the records that it leaves for the archive; whether all of it was done.
fn apply<M>(machine: &mut M, n: usize, entry: &[u8]) -> bool
where
    M: Machine<Outcome = hansa_ledger::machine::Outcomes>,
{
    let mut records = Records::new();
    machine.advance(at(n), &mut records);
    let applied = machine.apply(at(n), entry, &mut records);
    records.take();
    applied.outcomes.iter().all(|outcome| outcome.is_success())
}
