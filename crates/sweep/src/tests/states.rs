//! States of the other machines: each is its machine's to the last byte.

use bytes::Bytes;
use hansa_consensus::inspect::{Archived, Entry};
use hansa_consensus::{Frozen as _, Machine, Record, Records};
use hansa_ledger::core::inventory::{self, CommandId, Inventory, Receive};
use hansa_ledger::core::payments::{
    self, Authorize, Capture, Chunk, PaymentKey, Payments, Recalled,
};
use hansa_ledger::machine::{Batch, CHUNKS, PAYMENTS, SPENT};
use hansa_orders::core::command::Command;
use hansa_orders::core::contents::Sealed;
use hansa_orders::core::moves;
use hansa_orders::core::subjects::{KeyOf, RegionKey, SubjectId, Wrapped};
use hansa_orders::machine::OrdersMachine;
use hansa_region_router::core::directory;
use hansa_shard::machine::{MONEY, STOCK, Shard};
use hansa_types::id::{GroupId, GroupKind, TransferId};
use hansa_types::time::LogTime;

use super::rig::{self, law, number, order};
use crate::findings::{Findings, Place, Stays};
use crate::says::{self, Hearing};

const AT: LogTime = LogTime(1_700_000_000_000);

fn entry_of(commands: Vec<Bytes>, begins: Option<Bytes>) -> Entry {
    Entry { index: 1, term: 1, at: None, commands, begins }
}

/// What a machine's log, records and state say once it has applied a command: how much of it is
/// foreign, at the least.
fn told<M: Machine>(mut machine: M, kind: GroupKind, command: Vec<u8>) -> u64 {
    let mut findings = Findings::new(law("us-east", 2));
    let place = Place { file: "x".into(), stays: Stays::Kept };
    let at = || String::new();
    let mut hearing = Hearing { findings: &mut findings, place: &place, at: &at };
    let group = GroupId::new(kind, 0);
    let mut out = Records::new();
    machine.advance(AT, &mut out);
    machine.apply(AT, &command, &mut out);
    let entry = |bytes: &[u8]| entry_of(vec![bytes.to_vec().into()], None);
    says::entry(group, &entry(&command), &mut hearing).unwrap();
    out.iter().for_each(|record| record_told(group, record, &mut hearing));
    let longer = [&command[..], &[0xff]].concat();
    let mut state = Vec::new();
    machine.freeze().write(&mut state).unwrap();
    assert!(says::state(group, &mut &state[..], &mut hearing).unwrap() > 0);
    state.push(0);
    // What is said before a tail is met counts for nothing here.
    let mut other = Findings::new(law("us-east", 2));
    let mut hearing = Hearing { findings: &mut other, place: &place, at: &at };
    assert!(says::entry(group, &entry(&longer), &mut hearing).is_err(), "a tail");
    assert!(says::state(group, &mut &state[..], &mut hearing).is_err(), "a tail");
    findings.settle();
    assert!(findings.unexplained.is_empty(), "{:?}", findings.unexplained);
    findings.found().iter().map(|found| found.count).sum()
}

/// To its last byte and no further.
fn record_told(group: GroupId, record: &Record, to: &mut Hearing<'_>) {
    let (key, value) = (record.key.clone().into(), record.value.clone().into());
    let record = Archived { number: 0, table: record.table, key, value };
    says::record(group, &record, to).unwrap();
    let longer = [&record.value[..], &[0xff]].concat().into();
    let longer = Archived { value: longer, ..record };
    assert!(says::record(group, &longer, to).is_err(), "a tail");
}

fn stock_rules() -> inventory::Settings {
    inventory::Settings {
        id_window_ms: 1_000,
        hold_ms_max: 1_000,
        default_warehouse: "main".into(),
    }
}

fn money_rules() -> payments::Settings {
    payments::Settings { id_window_ms: 1_000, evict_after_ms: 0 }
}

fn received() -> Vec<u8> {
    let mut batch = Batch::default();
    batch.push(&inventory::Command::Receive(Receive {
        id: CommandId::Given(TransferId::derive(AT, &[b"x"])),
        sku: "A",
        warehouse: None,
        quantity: 5,
        document: "d",
    }));
    batch.finish()
}

/// Money of a region's order, held and captured.
fn charged(region: u16) -> Vec<u8> {
    let mut batch = Batch::default();
    charge(region, 7 << 80, &mut batch);
    batch.finish()
}

fn charge(region: u16, payment: u128, batch: &mut Batch) {
    let (hold, payment) = (TransferId::derive(AT, &[&payment.to_be_bytes()]), PaymentKey(payment));
    batch.push(&payments::Command::Authorize(Authorize {
        id: hold,
        payment,
        order: order(region, 1),
        amount: 5,
        currency: "USD".parse().unwrap(),
        timeout_ms: 0,
    }));
    let capture = Capture { id: hold.child(1), hold, payment, amount: None, remainder: None };
    batch.push(&payments::Command::Capture(capture));
}

/// An orders group that keeps its books.
fn shard() -> Shard {
    Shard::new(rig::rules(2), Some((stock_rules(), money_rules())))
}

#[test]
fn stock_is_nobodys() {
    assert_eq!(told(Inventory::new(stock_rules()), GroupKind::Inventory, received()), 0);
    let command = [&[STOCK], &received()[..]].concat();
    assert_eq!(told(shard(), GroupKind::Orders, command), 0);
}

#[test]
fn money_of_another_regions_order_is_foreign_in_log_records_and_state() {
    for (region, leaks) in [(2, 0), (1, 4)] {
        let books = Payments::new(money_rules());
        assert_eq!(told(books, GroupKind::Payments, charged(region)), leaks);
        let command = [&[MONEY], &charged(region)[..]].concat();
        assert_eq!(told(shard(), GroupKind::Orders, command), leaks, "in the orders' log as well");
    }
}

/// A chunk of payments that left, and one that came back out of it.
#[test]
fn money_of_another_regions_order_is_foreign_on_the_shelf() {
    for (region, leaks) in [(2, 0), (1, 256)] {
        let mut books = Payments::new(payments::Settings { evict_after_ms: 1, ..money_rules() });
        let (mut batch, mut out) = (Batch::default(), Records::new());
        (1..=256).for_each(|n| charge(region, n << 80, &mut batch));
        books.advance(AT);
        Machine::apply(&mut books, AT, &batch.finish(), &mut Records::new());
        Machine::advance(&mut books, LogTime(AT.ms() + 1), &mut out);
        let records: Vec<Record> = out.iter().cloned().collect();
        let of = |table| records.iter().filter(move |record| record.table == table);
        let chunk = of(CHUNKS).next().unwrap();
        let tree = Chunk::decode(&chunk.key, &chunk.value).unwrap().tree();
        let (record, proof) = (of(PAYMENTS).next().unwrap().value.clone(), tree.proof(0).unwrap());
        let mut batch = Batch::default();
        batch.push(&payments::Command::Recall(Box::new(Recalled { record, proof })));
        let recall = batch.finish();
        Machine::apply(&mut books, AT, &recall, &mut out);
        assert_eq!(out.iter().last().map(|record| record.table), Some(SPENT));
        let mut findings = Findings::new(law("us-east", 2));
        let place = Place { file: "x".into(), stays: Stays::Kept };
        let mut hearing = Hearing { findings: &mut findings, place: &place, at: &String::new };
        let group = GroupId::new(GroupKind::Payments, 0);
        out.iter().for_each(|record| record_told(group, record, &mut hearing));
        let entry = entry_of(vec![recall.into()], None);
        says::entry(group, &entry, &mut hearing).unwrap();
        findings.settle();
        assert!(findings.unexplained.is_empty(), "{:?}", findings.unexplained);
        let found: u64 = findings.found().iter().map(|found| found.count).sum();
        assert_eq!(found, 2 * leaks + u64::from(leaks > 0), "each record, each row, the recall");
    }
}

/// What is unexplained where an orders group has a command and a record of stock, and this state
/// and this beginning.
fn unexplained(state: Option<Shard>, begins: Option<Shard>) -> usize {
    let mut findings = Findings::new(law("us-east", 2));
    let place = Place { file: "x".into(), stays: Stays::Kept };
    let mut hearing = Hearing { findings: &mut findings, place: &place, at: &String::new };
    let group = GroupId::new(GroupKind::Orders, 0);
    let command = [&[STOCK], &received()[..]].concat();
    let (mut out, mut joint) = (Records::new(), shard());
    joint.apply(AT, &command, &mut out);
    says::entry(group, &entry_of(vec![command.into()], None), &mut hearing).unwrap();
    for record in out.take() {
        let (key, value) = (record.key.into(), record.value.into());
        let record = Archived { number: 0, table: record.table, key, value };
        says::record(group, &record, &mut hearing).unwrap();
    }
    if let Some(begins) = begins.and_then(|machine| machine.beginning()) {
        says::entry(group, &entry_of(Vec::new(), Some(begins.into())), &mut hearing).unwrap();
    }
    if let Some(machine) = state {
        let mut state = Vec::new();
        machine.freeze().write(&mut state).unwrap();
        says::state(group, &mut &state[..], &mut hearing).unwrap();
    }
    findings.settle();
    findings.unexplained.len()
}

#[test]
fn what_is_of_books_in_a_group_that_keeps_none_is_unexplained() {
    let alone = || Shard::new(rig::rules(2), None);
    assert_eq!(unexplained(Some(shard()), None), 0);
    assert_eq!(unexplained(None, Some(shard())), 0, "no checkpoint yet: as it began");
    assert_eq!(unexplained(Some(alone()), None), 1, "once for each group");
    assert_eq!(unexplained(None, Some(alone())), 1);
    assert_eq!(unexplained(None, None), 1);
}

#[test]
fn what_is_in_no_table_of_an_orders_groups_parts_is_no_record() {
    let mut findings = Findings::new(law("us-east", 2));
    let place = Place { file: "x".into(), stays: Stays::Kept };
    let mut hearing = Hearing { findings: &mut findings, place: &place, at: &String::new };
    for table in [0, 1, 0x10, 0x13, 0x20, 0x22, 0xff] {
        let (key, value) = (vec![0; 8].into(), vec![0].into());
        let record = Archived { number: 0, table, key, value };
        let group = GroupId::new(GroupKind::Orders, 0);
        assert!(says::record(group, &record, &mut hearing).is_err(), "table {table}");
    }
}

#[test]
fn what_somebody_brought_along_is_foreign_where_his_law_does_not_have_it_kept() {
    for (residence, leaks) in [("US", 0), ("DE", 4)] {
        let personal = Sealed { nonce: [1; 12], ciphertext: vec![1; 40].into() };
        let of = KeyOf { subject: SubjectId { home: number(2), hash: 7 }, generation: 1 };
        let by = RegionKey::new(1, 7);
        let mint = Some(Wrapped { by, nonce: [2; 12], ciphertext: vec![2; 80].into() });
        let blocks = vec![(order(2, 1), residence.parse().unwrap(), personal)];
        let keep = moves::Keep { of, mint, blocks, from: number(1), dead: 0 };
        let keep = Command::Moves(moves::Step::Keep(Box::new(keep)));
        let machine = OrdersMachine::new(rig::rules(2));
        // The block and the key that opens it, in log and state.
        assert_eq!(told(machine, GroupKind::Orders, keep.encode()), leaks, "{residence}");
    }
}

#[test]
fn the_directory_is_nobodys_and_tells_which_laws_there_were() {
    let genesis = directory::Genesis {
        here: number(2),
        policy: rig::POLICY.to_owned(),
        regions: Vec::new(),
        groups: Vec::new(),
    };
    let command = directory::Command::Bootstrap(Box::new(genesis)).encode().unwrap();
    assert_eq!(told(directory::State::default(), GroupKind::Directory, command.to_vec()), 0);
}
