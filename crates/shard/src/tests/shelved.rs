//! Orders leave a group that keeps their books: those stay as they are, and what the two sides say
//! is compared as far as it can be.

use std::collections::BTreeMap;

use hansa_consensus::{Holds, Machine, Records, inspect};
use hansa_ledger::core::invariants::of_payments;
use hansa_ledger::core::inventory::{self, Inventory, Reserve, StockLine};
use hansa_ledger::core::outcome::OutcomeCode;
use hansa_ledger::core::payments::{self, Authorize, PaymentKey, Payments, Refund, ShelvedPayment};
use hansa_ledger::machine::{self, Batch, Outcomes};
use hansa_orders::core::command::{Command, Outcome as OrdersOutcome, Refused};
use hansa_orders::core::keys::{Key, Scope};
use hansa_orders::core::order::{Funds, Note};
use hansa_orders::core::settings::Settings;
use hansa_orders::core::shelf::recall::{Recalled, Step};
use hansa_orders::core::shelf::{INDEX, ORDERS, SPENT, Shelved};
use hansa_orders::core::state::State;
use hansa_pages::Shelf;
use hansa_pages::shelf::{CHUNK, Chunk, Proof};
use hansa_types::hash::StateHash;
use hansa_types::id::{GroupKind, OrderId, TransferId};
use hansa_types::money::Currency;
use hansa_types::time::LogTime;

use super::story::{Story, money_rules, rules, stock_rules};
use super::two_ways::{Together, Way, accept, ask, carry, order_id, receive};
use super::{joint, tagged, written};
use crate::machine::{MONEY, Outcome, STOCK, Shard};

const AT: LogTime = LogTime(1_700_000_100_000);

/// A group of which orders leave; who asks for one finds it.
pub(super) struct Leaving {
    shard: Shard,
    archive: BTreeMap<(u8, Vec<u8>), Vec<u8>>,
    pub recalled: usize,
    /// Of these, that go on here once they are adopted.
    pub again: usize,
    /// Payments that came back for them.
    paid_back: usize,
}

impl Leaving {
    pub fn new(evict_after_ms: u64) -> Self {
        Self::with_payments(evict_after_ms, 0)
    }

    /// Payments leave as well, so long after their orders.
    fn with_payments(evict_after_ms: u64, payments_ms: u64) -> Self {
        let rules = Settings { evict_after_ms, ..rules() };
        let money = payments::Settings { evict_after_ms: payments_ms, ..money_rules() };
        let shard = Shard::new(rules, Some((stock_rules(), money)));
        let (archive, recalled, again, paid_back) = (BTreeMap::new(), 0, 0, 0);
        Self { shard, archive, recalled, again, paid_back }
    }

    fn agree(&self) {
        assert_eq!(self.shard.agrees(3), []);
        assert_eq!(self.shard.left_agrees(), Ok(()));
    }

    fn take(&mut self, mut out: Records) {
        let all = out.take().into_iter();
        self.archive.extend(all.map(|record| ((record.table, record.key), record.value)));
    }

    fn apply(&mut self, at: LogTime, command: &[u8]) -> Outcome {
        let mut out = Records::new();
        let outcome = self.shard.apply(at, command, &mut out);
        self.take(out);
        self.agree();
        outcome
    }

    fn shelved(&self, id: OrderId) -> Option<(Shelved, &Vec<u8>)> {
        let record = self.archive.get(&(ORDERS, id.to_bytes().to_vec()))?;
        Some((Shelved::decode(record)?, record))
    }

    /// What shows that a number is on a shelf whose chunks and spent numbers go to these tables.
    fn proof(&self, shelf: &Shelf, number: u64, (index, spent): (u8, u8)) -> Option<Proof> {
        if shelf.row(number).is_some() {
            return Some(Proof::open(number));
        }
        let key = (number / CHUNK).to_be_bytes();
        let mut tree = Chunk::decode(&key, self.archive.get(&(index, key.to_vec()))?)?.tree();
        let is_spent = |of: &u64| self.archive.contains_key(&(spent, of.to_be_bytes().into()));
        let numbers = Chunk::numbers_of(number / CHUNK);
        numbers.filter(is_spent).for_each(|number| tree.spend(number));
        tree.proof(number)
    }

    fn recalled(&self, id: OrderId) -> Option<Command> {
        let (Shelved { number, .. }, record) = self.shelved(id)?;
        let proof = self.proof(&self.state().shelf.records, number, (INDEX, SPENT))?;
        let record = record.clone().into();
        Some(Command::Shelf(Step::Recall(vec![Recalled { order: id, record, proof }])))
    }

    /// The payment of an order that left, if that has left the books, too.
    fn payment_back(&self, id: OrderId) -> Option<Vec<u8>> {
        let payment = self.shelved(id)?.0.order.money.payment?;
        let money: &Payments = self.shard.part()?;
        if money.payment(&PaymentKey(u128::from_be_bytes(payment.to_bytes()))).is_some() {
            return None;
        }
        let tables = <Shard as Holds<Payments>>::TABLES;
        let place = [id.to_bytes(), payment.to_bytes()].concat();
        let record = self.archive.get(&(tables + machine::PAYMENTS, place))?.clone();
        let number = ShelvedPayment::decode(&record)?.number;
        let tables = (tables + machine::CHUNKS, tables + machine::SPENT);
        let proof = self.proof(money.shelf(), number, tables)?;
        let mut batch = Batch::default();
        batch.push(&payments::Command::Recall(Box::new(payments::Recalled { record, proof })));
        Some(tagged(MONEY, &batch.finish()))
    }
}

impl Way for Leaving {
    fn advance(&mut self, at: LogTime) {
        let mut out = Records::new();
        self.shard.advance(at, &mut out);
        self.take(out);
        self.agree();
    }

    fn command(&mut self, at: LogTime, command: &[u8]) {
        let away = Outcome::Orders(OrdersOutcome::Refused(Refused::Shelved));
        if !same(&self.apply(at, command), &away) {
            return;
        }
        let id = match Command::decode(command) {
            Some(
                Command::Cancel { order, .. }
                | Command::Ship { order, .. }
                | Command::Return { order, .. }
                | Command::Refund { order, .. },
            ) => order,
            other => panic!("{other:?}"),
        };
        // It never was, or the archive lacks it.
        let Some(recall) = self.recalled(id) else {
            return assert!(!self.archive.contains_key(&(ORDERS, id.to_bytes().into())));
        };
        if let Some(payment) = self.payment_back(id) {
            // Not before its payment.
            let changed = Outcome::Orders(OrdersOutcome::Refused(Refused::ShelfChanged));
            let captured = self.shelved(id).unwrap().0.order.funds == Funds::Captured;
            if captured {
                assert!(same(&self.apply(at, &recall.encode()), &changed));
            }
            let Outcome::Money(outcomes) = self.apply(at, &payment) else { panic!() };
            assert_eq!(outcomes.outcomes[0].code, OutcomeCode::Applied);
            self.paid_back += usize::from(captured);
        }
        let recall = recall.encode();
        assert!(same(&self.apply(at, &recall), &Outcome::Orders(OrdersOutcome::Noted)));
        self.recalled += 1;
        self.again += usize::from(self.state().is_ready(id));
        self.apply(at, command);
    }

    fn books(&mut self, at: LogTime, kind: GroupKind, batch: &[u8]) -> Outcomes {
        let tag = if kind == GroupKind::Inventory { STOCK } else { MONEY };
        match self.apply(at, &tagged(tag, batch)) {
            Outcome::Stock(outcomes) | Outcome::Money(outcomes) => outcomes,
            Outcome::Orders(outcome) => panic!("{outcome:?}"),
        }
    }

    fn state(&self) -> &State {
        &self.shard.orders().state
    }
}

fn same(one: &Outcome, other: &Outcome) -> bool {
    match (one, other) {
        (Outcome::Orders(one), Outcome::Orders(other)) => one == other,
        _ => false,
    }
}

/// All that either has is the same; how many orders left.
fn equal(leaving: &Leaving, stays: &Together) -> usize {
    let stock = |shard: &Shard| Machine::digest(Holds::<Inventory>::part(shard).unwrap());
    let money = |shard: &Shard| Machine::digest(Holds::<Payments>::part(shard).unwrap());
    assert_eq!(stock(&leaving.shard), stock(&stays.shard));
    let paid: &Payments = leaving.shard.part().unwrap();
    match paid.settings().evict_after_ms {
        0 => assert_eq!(money(&leaving.shard), money(&stays.shard)),
        _ => paid_alike(leaving, stays),
    }
    let state = leaving.state();
    let (mut orders, mut left) = (state.orders.digest(), 0);
    for (id, _) in stays.state().orders.iter().filter(|(id, _)| !state.orders.contains(id)) {
        let (shelved, _) = leaving.shelved(*id).unwrap();
        orders.add(StateHash::of_record("orders", id, &shelved.order));
        left += 1;
    }
    assert_eq!(orders, stays.state().orders.digest());
    left
}

/// Each payment is here, or in the archive as it is where none ever leaves.
fn paid_alike(leaving: &Leaving, stays: &Together) {
    let [here, all] = [&leaving.shard, &stays.shard].map(|of| Holds::<Payments>::part(of).unwrap());
    assert_eq!(of_payments(here), []);
    for (key, payment) in all.payments() {
        if let Some(books) = here.payment(key) {
            assert_eq!(Some(books), all.payment(key));
            continue;
        }
        let place = [payment.order.to_bytes(), key.to_bytes()].concat();
        let table = <Shard as Holds<Payments>>::TABLES + machine::PAYMENTS;
        let shelved = ShelvedPayment::decode(&leaving.archive[&(table, place)]).unwrap();
        assert_eq!(Some(&shelved.account), all.kernel().books().account(&key.account()));
    }
}

/// Orders that left, and that came back; of these, payments that did.
fn story(seed: u64, payments_ms: u64) -> (usize, usize, usize) {
    let mut stays = Together { shard: joint(), entries: 0 };
    let evict_after_ms = [1, 1_000, 30_000][seed as usize % 3];
    let mut leaving = Leaving::with_payments(evict_after_ms, payments_ms);
    let (mut draws, mut placed, mut asked, mut left) = (Story::new(seed), 0, 0, 0);
    for step in 0..160_u32 {
        let (at, speaks) = (draws.pass(), step == 159 || draws.draw(2) == 0);
        let sku = ["A", "B", "C"][draws.draw(3) as usize];
        let batch = receive(TransferId::derive(at, &[&step.to_le_bytes()]), sku, draws.draw(4));
        let command = match draws.draw(5) {
            0 => None,
            _ => Some(ask(&mut draws, &mut placed, &mut asked)),
        };
        for way in [&mut stays as &mut dyn Way, &mut leaving] {
            way.advance(at);
            carry(way, at, false);
            match &command {
                Some(command) => way.command(at, &command.encode()),
                None => drop(way.books(at, GroupKind::Inventory, &batch)),
            }
            carry(way, at, speaks);
        }
        left = equal(&leaving, &stays);
        if step % 16 == 0 {
            leaving.shard = inspect::machine(&mut &written(&leaving.shard)[..]).unwrap();
        }
    }
    (left, leaving.recalled, leaving.paid_back)
}

#[test]
fn books_are_the_same_whether_orders_leave_or_stay() {
    let told: Vec<_> = (1..=24).map(|seed| story(seed, 0)).collect();
    let left: usize = told.iter().map(|(left, ..)| left).sum();
    let recalled: usize = told.iter().map(|(_, recalled, _)| recalled).sum();
    assert!(left > 200 && recalled > 100, "{left} left, {recalled} came back");
}

#[test]
fn an_order_and_its_payment_leave_and_come_back_together() {
    let told: Vec<_> = (1..=24).map(|seed| story(seed, 1_000)).collect();
    let recalled: usize = told.iter().map(|(_, recalled, _)| recalled).sum();
    let paid: usize = told.iter().map(|(_, _, paid)| paid).sum();
    assert!(recalled > 100 && paid > 50, "{recalled} came back, {paid} with their payments");
}

/// Order 1 was shipped and has left; its payment.
fn one_that_left() -> (Leaving, PaymentKey) {
    let mut leaving = Leaving::new(1_000);
    leaving.advance(AT);
    leaving.books(AT, GroupKind::Inventory, &receive(id("r"), "A", 9));
    let Command::Accept(mut accept) = accept(&mut Story::new(1), 1) else { panic!() };
    accept.contents.reference = String::new();
    accept.contents.lines.truncate(1);
    let line = &mut accept.contents.lines[0];
    (line.sku, line.quantity, line.price_minor) = (Some("A".parse().unwrap()), 2, 100);
    accept.contents.total_minor = 200;
    leaving.command(AT, &Command::Accept(accept).encode());
    carry(&mut leaving, AT, true);
    let payment = leaving.state().orders.get(&order_id(1)).unwrap().money.payment.unwrap();
    let key = Key { body: 9, scope: Scope(9) };
    let (order, lines, note) = (order_id(1), Vec::new(), Note::default());
    let ship = Command::Ship { order, key, lines, note };
    leaving.command(AT, &ship.encode());
    carry(&mut leaving, AT, true);
    leaving.advance(AT.plus_ms(999));
    assert_eq!(leaving.state().orders.len(), 1);
    leaving.advance(AT.plus_ms(1_000));
    assert_eq!(leaving.state().orders.len(), 0);
    (leaving, PaymentKey(u128::from_be_bytes(payment.to_bytes())))
}

fn id(what: &str) -> TransferId {
    TransferId::derive(AT, &[what.as_bytes()])
}

/// Behind the orders' back.
fn apply(leaving: &mut Leaving, tag: u8, batch: Batch) {
    leaving.shard.apply(AT.plus_ms(1_000), &tagged(tag, &batch.finish()), &mut Records::new());
}

#[test]
fn what_books_do_for_an_order_that_left_is_told() {
    let order = order_id(1);
    let (mut leaving, payment) = one_that_left();
    let mut batch = Batch::default();
    batch.push(&payments::Command::Refund(Refund { id: id("b"), payment, amount: 20 }));
    apply(&mut leaving, MONEY, batch);
    assert_eq!(leaving.shard.agrees(9), [], "no order says what it had");
    assert!(leaving.shard.left_agrees().is_err());

    let (mut leaving, _) = one_that_left();
    let mut batch = Batch::default();
    let lines = vec![StockLine { line: 1, sku: "A", warehouse: None, quantity: 1 }];
    let (hold, ttl_ms) = (id("s"), 60_000);
    batch.push(&inventory::Command::Reserve(Reserve { id: hold, order, ttl_ms, lines }));
    apply(&mut leaving, STOCK, batch);
    let told = leaving.shard.agrees(9);
    assert_eq!(told.iter().map(|of| (of.number, of.order)).collect::<Vec<_>>(), [(6, order)]);

    let (mut leaving, payment) = one_that_left();
    let mut batch = Batch::default();
    let (amount, timeout_ms, currency) = (5, 60_000, Currency::GBP);
    let hold = Authorize { id: id("h"), payment, order, amount, currency, timeout_ms };
    batch.push(&payments::Command::Authorize(hold));
    apply(&mut leaving, MONEY, batch);
    let told = leaving.shard.agrees(9);
    assert_eq!(told.iter().map(|of| (of.number, of.order)).collect::<Vec<_>>(), [(5, order)]);
}

/// An order that came back from books that changed meanwhile is compared by itself.
#[test]
fn what_came_back_is_compared_again() {
    let (mut leaving, payment) = one_that_left();
    let mut batch = Batch::default();
    batch.push(&payments::Command::Refund(Refund { id: id("b"), payment, amount: 20 }));
    apply(&mut leaving, MONEY, batch);
    let recall = leaving.recalled(order_id(1)).unwrap().encode();
    leaving.shard.apply(AT.plus_ms(1_000), &recall, &mut Records::new());
    assert_eq!(leaving.shard.left_agrees(), Ok(()));
    let told = leaving.shard.agrees(9);
    assert_eq!(told.iter().map(|of| (of.number, of.order)).collect::<Vec<_>>(), [(5, order_id(1))]);
}
