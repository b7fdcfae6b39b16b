//! An orders group, with the books that may lie in it.

use std::io::Read;

use hansa_consensus::inspect::{self, Archived};
use hansa_consensus::{Holds, Machine as _, ThawError};
use hansa_ledger::core::inventory::Inventory;
use hansa_ledger::core::payments::Payments;
use hansa_shard::machine::{MONEY, STOCK, Shard};
use hansa_types::id::GroupId;

use super::{Hearing, inventory, orders, payments};

/// Whether what a group begins with has books.
pub fn beginning(group: GroupId, begins: &[u8], to: &mut Hearing<'_>) {
    if Shard::begin(begins).is_some_and(|shard| shard.keeps_books()) {
        to.findings.keeps_books(group);
    }
}

pub fn command(group: GroupId, bytes: &[u8], to: &mut Hearing<'_>) -> Result<(), String> {
    match bytes.split_first() {
        Some((&STOCK, rest)) => {
            to.books(group);
            inventory::command(rest)
        }
        Some((&MONEY, rest)) => {
            to.books(group);
            payments::command(rest, to)
        }
        _ => orders::command(bytes, to),
    }
}

pub fn record(group: GroupId, record: &Archived, to: &mut Hearing<'_>) -> Result<(), String> {
    let (stock, money) = (<Shard as Holds<Inventory>>::TABLES, <Shard as Holds<Payments>>::TABLES);
    let of_part = |tables| Archived { table: record.table - tables, ..record.clone() };
    if record.table < stock {
        return Err("a record of orders, which have none".into());
    }
    to.books(group);
    match record.table < money {
        true => inventory::record(&of_part(stock)),
        false => payments::record(&of_part(money), to),
    }
}

pub fn state(group: GroupId, from: &mut dyn Read, to: &mut Hearing<'_>) -> Result<u64, ThawError> {
    let shard = inspect::machine::<Shard>(from)?;
    let mut records = orders::facts(shard.orders(), to)?;
    if shard.keeps_books() {
        to.findings.keeps_books(group);
    }
    if let Some(stock) = shard.part() {
        records += inventory::facts(stock);
    }
    if let Some(money) = shard.part() {
        records += payments::facts(money, to);
    }
    Ok(records)
}
