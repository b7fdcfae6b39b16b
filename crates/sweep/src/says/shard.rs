//! An orders group, with the books that may lie in it.

use std::io::Read;

use hansa_consensus::inspect::{self, Archived};
use hansa_consensus::{Holds, ThawError};
use hansa_ledger::core::inventory::Inventory;
use hansa_ledger::core::payments::Payments;
use hansa_shard::machine::{MONEY, STOCK, Shard};

use super::{Hearing, inventory, orders, payments};

pub fn command(bytes: &[u8], to: &mut Hearing<'_>) -> Result<(), String> {
    match bytes.split_first() {
        Some((&STOCK, rest)) => inventory::command(rest),
        Some((&MONEY, rest)) => payments::command(rest, to),
        _ => orders::command(bytes, to),
    }
}

pub fn record(record: &Archived, to: &mut Hearing<'_>) -> Result<(), String> {
    let (stock, money) = (<Shard as Holds<Inventory>>::TABLES, <Shard as Holds<Payments>>::TABLES);
    let of_part = |tables| Archived { table: record.table - tables, ..record.clone() };
    match record.table {
        table if table >= money => payments::record(&of_part(money), to),
        table if table >= stock => inventory::record(&of_part(stock)),
        _ => Err("a record of orders, which have none".into()),
    }
}

pub fn state(from: &mut dyn Read, to: &mut Hearing<'_>) -> Result<u64, ThawError> {
    let shard = inspect::machine::<Shard>(from)?;
    let mut records = orders::facts(shard.orders(), to)?;
    if let Some(stock) = shard.part() {
        records += inventory::facts(stock);
    }
    if let Some(money) = shard.part() {
        records += payments::facts(money, to);
    }
    Ok(records)
}
