//! Repairs in the books: only of the order that the entry names, once, whoever leads.

use std::time::Duration;

use bytes::Bytes;
use hansa_api::convert::id::{order_to_bytes, transfer_to_bytes};
use hansa_consensus::testing::soon;
use hansa_types::id::{OrderId, TransferId};
use hansa_types::region::{RegionNumber, Slot};
use hansa_types::time::LogTime;
use tokio::time::{Instant, sleep};

use super::rig::Rig;
use crate::core::command::{Command, Outcome};
use crate::core::effect::Reference;
use crate::core::order::provider_key;
use crate::core::repair::{
    Action, Answer, Begin, End, EntryId, Money, PlanId, RepairRow, RepairStep,
};

const PLAN: PlanId = PlanId([7; 32]);

/// An order that nobody placed, long ago.
fn nobody(n: u64) -> OrderId {
    OrderId::new(LogTime(1), RegionNumber::try_from(1).unwrap(), Slot::of(b"x"), n)
}

fn transfer(n: u8) -> TransferId {
    TransferId::from_bytes([n; 16])
}

fn bytes(id: TransferId) -> Bytes {
    transfer_to_bytes(id)
}

/// The answer of whoever leads.
async fn step(rig: &Rig, step: RepairStep) -> Answer {
    let end = soon();
    loop {
        let hosted = rig.leader().await.orders.shell().groups.values().next().unwrap().clone();
        let due = Instant::now() + Duration::from_secs(2);
        match hosted.submit(&Command::Repair(step.clone()), due).await {
            Ok(Outcome::Repair(answer)) => return *answer,
            Ok(other) => panic!("{other:?}"),
            Err(failure) => assert!(Instant::now() < end, "{failure}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

async fn approved(rig: &Rig, entries: u32) {
    let (by, reason) = ("planner".into(), "a test".into());
    step(rig, RepairStep::Propose { plan: PLAN, by, reason, entries }).await;
    let (by, ticket) = ("approver".into(), "OPS-1".into());
    step(rig, RepairStep::Approve { plan: PLAN, by, ticket }).await;
}

async fn begin(rig: &Rig, number: u32, order: OrderId, action: Action) -> RepairRow {
    let (entry, by, why) = ((PLAN, number), "planner".into(), "a test".into());
    let (rests_on, looked) = (Some((order, None)), false);
    let begin = Begin { entry, by, why, rests_on, looked, action };
    match step(rig, RepairStep::Begin(Box::new(begin))).await {
        Answer::Repair(row) => row,
        other => panic!("{other:?}"),
    }
}

async fn row(rig: &Rig, entry: EntryId) -> RepairRow {
    let end = soon();
    loop {
        let hosted = rig.leader().await.orders.shell().groups.values().next().unwrap().clone();
        let row = hosted.group.peek(|m| m.state.repairs.rows.get(&entry).cloned());
        if let Some(row) = row.filter(|row| row.ended.is_some()) {
            return row;
        }
        assert!(Instant::now() < end, "entry {} does not end", entry.1);
        sleep(Duration::from_millis(10)).await;
    }
}

async fn ended(rig: &Rig, number: u32, order: OrderId, action: Action) -> End {
    begin(rig, number, order, action).await;
    row(rig, (PLAN, number)).await.ended.unwrap().1
}

/// A hold of stock, one of money, and a payment that was captured; all of one order.
fn plant(rig: &Rig, order: OrderId, stock: TransferId, money: TransferId, payment: TransferId) {
    let mut books = rig.books.0.lock();
    for hold in [stock, money] {
        books.holds.insert(bytes(hold), (Vec::new(), "held"));
        books.orders.insert(bytes(hold), order_to_bytes(order));
    }
    books.payments.insert(bytes(payment), order_to_bytes(order));
    books.captured.insert(bytes(payment), 500);
}

/// What is held, and what was refunded.
fn books(rig: &Rig) -> (usize, i64) {
    let books = rig.books.0.lock();
    (books.held(), books.refunded)
}

fn all(stock: TransferId, hold: TransferId, payment: TransferId) -> [Action; 3] {
    let (books, currency) = (Money { group: 0, payment }, "GBP".parse().unwrap());
    [
        Action::ReleaseStock { group: 0, hold: stock, committed: false },
        Action::VoidMoney { books, hold },
        Action::RefundCapture { books, amount_minor: 500, currency },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_another_orders_in_the_books_is_not_touched() {
    let rig = Rig::start(1).await;
    let (owner, stranger) = (nobody(1), nobody(2));
    let (stock, money, payment) = (transfer(1), transfer(2), transfer(3));
    plant(&rig, owner, stock, money, payment);
    approved(&rig, 9).await;
    for (number, action) in (1..).zip(all(stock, money, payment)) {
        let end = ended(&rig, number, stranger, action).await;
        let End::Stale(why) = end else { panic!("{end:?}") };
        assert!(why.contains("another order"), "{why}");
    }
    assert_eq!(books(&rig), (2, 0));
    for (number, action) in (4..).zip(all(stock, money, payment)) {
        assert_eq!(ended(&rig, number, owner, action).await, End::Done);
    }
    assert_eq!(books(&rig), (0, 500));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_stand_any_more_is_stale_and_a_charge_of_nobody_is_refused() {
    let rig = Rig::start(1).await;
    let (owner, payment) = (nobody(1), transfer(3));
    plant(&rig, owner, transfer(1), transfer(2), payment);
    approved(&rig, 9).await;
    let [_, _, refund] = all(transfer(1), transfer(2), payment);
    assert_eq!(ended(&rig, 1, owner, refund.clone()).await, End::Done);
    let again = ended(&rig, 2, owner, refund).await;
    assert!(matches!(&again, End::Stale(why) if why.contains("given back")), "{again:?}");
    let [_, _, unknown] = all(transfer(1), transfer(2), transfer(9));
    assert!(matches!(ended(&rig, 3, owner, unknown).await, End::Stale(_)));
    let (key, reference) = (provider_key(owner), Reference(String::new()));
    let cancel = ended(&rig, 4, owner, Action::CancelCharge { key, reference }).await;
    assert!(matches!(&cancel, End::Refused(why) if why.contains("no such charge")), "{cancel:?}");
    assert_eq!(rig.books.0.lock().refunded, 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_that_fall_in_the_middle_of_repairs_do_each_of_them_once() {
    const ENTRIES: u8 = 24;
    let mut rig = Rig::start(3).await;
    approved(&rig, u32::from(ENTRIES)).await;
    let entry = |n: u8| {
        let (order, payment) = (nobody(u64::from(n)), transfer(100 + n));
        let [release, _, refund] = all(transfer(n), transfer(50 + n), payment);
        (order, if n.is_multiple_of(2) { release } else { refund })
    };
    for n in 1..=ENTRIES {
        plant(&rig, nobody(u64::from(n)), transfer(n), transfer(50 + n), transfer(100 + n));
        let (order, action) = entry(n);
        begin(&rig, u32::from(n), order, action).await;
        if n == ENTRIES / 2 {
            // Some are done, some have been booked and not reported, some are not begun.
            let leader = rig.leader_now().unwrap_or_else(|| rig.cluster.ids()[0]);
            rig.kill(leader).await;
        }
    }
    let mut first = Vec::new();
    for n in 1..=ENTRIES {
        let row = row(&rig, (PLAN, u32::from(n))).await;
        assert_eq!(row.ended.as_ref().map(|(_, end)| end), Some(&End::Done), "entry {n}");
        first.push(row);
    }
    let refunds: Vec<usize> = rig.books.0.lock().refunds.values().map(Vec::len).collect();
    assert_eq!(refunds, vec![1; usize::from(ENTRIES / 2)]);
    let commands = rig.books.0.lock().commands;
    // The same said again, to whoever leads: nothing is done, and the first word stands.
    for (n, row) in (1..=ENTRIES).zip(&first) {
        let (order, action) = entry(n);
        assert_eq!(&begin(&rig, u32::from(n), order, action).await, row);
    }
    assert_eq!(rig.books.0.lock().commands, commands);
}
