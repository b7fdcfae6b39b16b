//! Payments that leave the near books: none whose order is here, and others as from books with a
//! log of their own.

use hansa_consensus::{Holds as _, Machine, Record, Records, inspect};
use hansa_ledger::core::outcome::OutcomeCode as Code;
use hansa_ledger::core::payments::{
    self, Authorize, Capture, Looked, PaymentKey, Payments, Proof, Recalled, Refund,
};
use hansa_ledger::machine::{Batch, Outcomes, PAYMENTS};
use hansa_orders::core::order::Order;
use hansa_types::id::{GroupKind, TransferId};
use hansa_types::money::Currency;
use hansa_types::time::LogTime;

use super::story::{Story, money_rules, rules, stock_rules};
use super::two_ways::{Together, Way as _, ask, carry, order_id, receive};
use super::{tagged, written};
use crate::machine::{MONEY, Outcome, Shard};

const EVICT_MS: u64 = 3_000;
const AT: LogTime = LogTime(1_700_000_100_000);

fn leaving() -> Shard {
    let money = payments::Settings { evict_after_ms: EVICT_MS, ..money_rules() };
    Shard::new(rules(), Some((stock_rules(), money)))
}

fn money(shard: &Shard) -> &Payments {
    shard.part().unwrap()
}

/// Whether money went back to the customer in this entry.
fn gave_back(order: &Order, at: LogTime) -> bool {
    order.updated == at && order.money.refunded_minor > 0
}

/// Orders and books agree at every entry: `Together` looks.
#[test]
fn what_an_order_that_is_here_paid_stays_for_it() {
    let (mut draws, mut placed, mut asked) = (Story::new(5), 0, 0);
    let mut together = Together { shard: leaving(), entries: 0 };
    let mut late = 0;
    for step in 0..240_u32 {
        let at = draws.pass();
        together.advance(at);
        carry(&mut together, at, false);
        let sku = ["A", "B", "C"][draws.draw(3) as usize];
        let batch = receive(TransferId::derive(at, &[&step.to_le_bytes()]), sku, 3);
        together.books(at, GroupKind::Inventory, &batch);
        let command = ask(&mut draws, &mut placed, &mut asked);
        together.command(at, &command.encode());
        carry(&mut together, at, true);
        let orders = together.state().orders.iter();
        late +=
            orders.filter(|(_, of)| gave_back(of, at) && of.created.plus_ms(EVICT_MS) < at).count();
    }
    assert!(late > 20, "{late}");
    assert_eq!(money(&together.shard).shelf().next(), 0);
}

/// One log command for the money books, and the records that it leaves.
fn book(
    shard: &mut Shard,
    at: LogTime,
    commands: &[payments::Command],
) -> (Vec<Code>, Vec<Record>) {
    let (mut batch, mut out) = (Batch::default(), Records::new());
    commands.iter().for_each(|command| batch.push(command));
    shard.advance(at, &mut out);
    let outcome = shard.apply(at, &tagged(MONEY, &batch.finish()), &mut out);
    let Outcome::Money(Outcomes { outcomes, .. }) = outcome else { panic!() };
    (outcomes.iter().map(|outcome| outcome.code).collect(), out.take())
}

#[test]
fn what_no_order_here_paid_leaves_and_comes_back() {
    let mut shard = leaving();
    let (id, payment) = (TransferId::derive(AT, &[b"x"]), PaymentKey(7 << 80));
    let (order, currency) = (order_id(1), Currency::GBP);
    let authorize = Authorize { id, payment, order, amount: 50, currency, timeout_ms: 0 };
    let capture = Capture { id: id.child(1), hold: id, payment, amount: None, remainder: None };
    let charged = [payments::Command::Authorize(authorize), payments::Command::Capture(capture)];
    assert_eq!(book(&mut shard, AT, &charged).0, [Code::Applied; 2]);
    let at = AT.plus_ms(EVICT_MS);
    assert!(shard.next_due().is_some_and(|due| due >= at));
    let refund = |n, payment| Refund { id: id.child(n), payment, amount: 20 };
    let refund = |n, payment| payments::Command::Refund(refund(n, payment));
    let (codes, records) = book(&mut shard, at, &[refund(2, payment)]);
    assert_eq!(codes, [Code::Shelved]);
    let [Record { table, value: record, .. }] = &records[..] else { panic!("{records:?}") };
    assert_eq!(*table, 0x20 + PAYMENTS);

    let looked = |at| payments::Command::Looked(Looked { payment: PaymentKey(6 << 80), at });
    let stray = refund(3, PaymentKey(6 << 80));
    let (codes, _) = book(&mut shard, at, &[looked(at), stray.clone()]);
    assert_eq!(codes, [Code::Applied, Code::PaymentNotFound]);
    let other = refund(4, PaymentKey(6 << 80));
    assert_eq!(book(&mut shard, at, &[other]).0, [Code::Shelved], "the next log command");

    let state = written(&shard);
    let mut shard: Shard = inspect::machine(&mut &state[..]).unwrap();
    let recalled = Box::new(Recalled { record: record.clone(), proof: Proof::open(0) });
    let back = [payments::Command::Recall(recalled), refund(2, payment)];
    assert_eq!(book(&mut shard, at, &back).0, [Code::Applied; 2]);
    assert_eq!(money(&shard).payment(&payment).unwrap().refunded, 20);
    assert_eq!(shard.digest(), shard.digest_full());
}
