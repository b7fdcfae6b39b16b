//! Raw commands into a region's books, that no order knows of.

use std::sync::Arc;
use std::time::Duration;

use hansa_api::pb::order::Order;
use hansa_consensus::{Group, Machine};
use hansa_ledger::core::inventory::{Command, Inventory, Reserve, Ship, StockLine};
use hansa_ledger::core::payments::{self, Authorize, Capture, PaymentKey, Payments, Void};
use hansa_ledger::machine::{Batch, Outcomes};
use hansa_node::env::SystemClock;
use hansa_orders::provider::{Answer, Charge, Provider as _, SandboxProvider};
use hansa_types::id::{OrderId, OrderName, TransferId};
use hansa_types::region::{RegionNumber, Slot};
use hansa_types::time::LogTime;
use serde::Serialize;
use tokio::time::Instant;

use crate::rig::{HOME, Rig};

const SKU: &str = "THING";

pub struct Plant {
    inventory: Vec<Group<Inventory>>,
    payments: Vec<Group<Payments>>,
    began: LogTime,
}

/// The group that leads here and keeps what is looked for; again while nobody leads.
async fn submit<M: Machine<Outcome = Outcomes>>(
    groups: &[Group<M>],
    chosen: impl Fn(&Group<M>) -> bool,
    command: &impl Serialize,
) {
    let mut batch = Batch::default();
    batch.push(command);
    let bytes = bytes::Bytes::from(batch.finish());
    for _ in 0..400 {
        for group in groups.iter().filter(|group| chosen(group)) {
            let due = Instant::now() + Duration::from_secs(5);
            // Not the leader, or not known: the same id finds out.
            if let Ok(told) = group.submit(bytes.clone(), due).await {
                assert!(told.outcomes.iter().all(|it| it.is_success()), "{told:?}");
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nobody leads");
}

/// The region's provider, called by somebody else.
pub fn provider(rig: &Rig) -> SandboxProvider {
    let node = rig.nodes_of(HOME).next().unwrap();
    let sandbox = &node.config().orders.provider;
    let provider = SandboxProvider::open(&sandbox.journal, 0, Arc::new(SystemClock::new()));
    let provider = provider.unwrap().remembering(true);
    provider.settling(sandbox.settlement.as_deref()).unwrap()
}

async fn authorized(provider: &SandboxProvider, charge: &Charge) -> String {
    match provider.authorize(charge, "tok_approve").await {
        Ok(Answer::Authorized { reference }) => reference,
        other => panic!("{other:?}"),
    }
}

impl Plant {
    pub fn new(rig: &Rig) -> Self {
        let ledgers: Vec<_> = rig.nodes_of(HOME).map(|node| node.ledger().clone()).collect();
        let inventory: Vec<_> = ledgers.iter().flat_map(|of| of.inventory()).cloned().collect();
        let payments = ledgers.iter().flat_map(|of| of.payments()).cloned().collect();
        let times = inventory.iter().map(|group: &Group<_>| group.peek(Inventory::now));
        let began = times.max().unwrap();
        Self { inventory, payments, began }
    }

    fn now(&self) -> LogTime {
        let times = self.inventory.iter().map(|group| group.peek(Inventory::now));
        times.max().unwrap()
    }

    fn id(&self, word: &str) -> TransferId {
        TransferId::derive(self.now(), &[b"planted", word.as_bytes()])
    }

    /// An order of this region that was never placed, an hour old.
    fn nobody(&self, word: &str) -> OrderId {
        let born = LogTime(self.began.ms() - 3_600_000);
        let slot = Slot::of(word.as_bytes());
        OrderId::new(born, RegionNumber::try_from(1).unwrap(), slot, 7)
    }

    async fn stock(&self, command: &Command<'_>) {
        let keeps = |group: &Group<Inventory>| group.peek(|machine| machine.knows(SKU));
        submit(&self.inventory, keeps, command).await;
    }

    async fn reserve(&self, word: &str) -> TransferId {
        let id = self.id(word);
        let line = StockLine { line: 1, sku: SKU, warehouse: None, quantity: 2 };
        let order = self.nobody(word);
        let reserve = Reserve { id, order, ttl_ms: 600_000, lines: vec![line] };
        self.stock(&Command::Reserve(reserve)).await;
        id
    }

    pub async fn orphan_stock_hold(&self) {
        self.reserve("stock hold").await;
    }

    pub async fn shipped_by_no_order(&self) {
        let hold = self.reserve("drift").await;
        self.stock(&Command::Commit { id: self.id("drift commit"), hold }).await;
        let ship = Ship { id: self.id("drift ship"), hold, lines: Vec::new() };
        self.stock(&Command::Ship(ship)).await;
    }

    fn hold_of(&self, order: &Order) -> TransferId {
        let name: OrderName = order.name.parse().unwrap();
        let of = |machine: &Inventory| {
            let mut all = machine.reservations();
            all.find(|(_, held)| held.order == name.id).map(|(id, _)| *id)
        };
        self.inventory.iter().find_map(|group| group.peek(of)).unwrap()
    }

    /// Takes an order's committed stock away from it.
    pub async fn uncommitted(&self, order: &Order) {
        let hold = self.hold_of(order);
        self.stock(&Command::Uncommit { id: self.id("uncommit"), hold }).await;
    }

    /// Ships one unit of an order's stock, of which the order does not hear.
    pub async fn shipped_in_part(&self, order: &Order) {
        let line = StockLine { line: 1, sku: SKU, warehouse: None, quantity: 1 };
        let (id, hold) = (self.id("part"), self.hold_of(order));
        self.stock(&Command::Ship(Ship { id, hold, lines: vec![line] })).await;
    }

    async fn authorize(&self, word: &str) -> (TransferId, PaymentKey) {
        let (id, payment) = (self.id(word), self.id(&format!("{word} payment")));
        let payment = PaymentKey(u128::from_be_bytes(payment.to_bytes()));
        let authorize = Authorize {
            id,
            payment,
            order: self.nobody(word),
            amount: 1_234,
            currency: "EUR".parse().unwrap(),
            timeout_ms: 0,
        };
        self.money(&payments::Command::Authorize(authorize)).await;
        (id, payment)
    }

    async fn money(&self, command: &payments::Command) {
        let first = self.payments.iter().map(Group::id).min().unwrap();
        submit(&self.payments, |group| group.id() == first, command).await;
    }

    pub async fn orphan_money_hold(&self) {
        self.authorize("money hold").await;
    }

    pub async fn orphan_capture(&self) {
        let (hold, payment) = self.authorize("capture").await;
        let (id, remainder) = (self.id("captured"), None);
        let capture = Capture { id, hold, payment, amount: None, remainder };
        self.money(&payments::Command::Capture(capture)).await;
    }

    /// The provider took money for an order that was never placed.
    pub async fn charged_by_nobody(&self, provider: &SandboxProvider) {
        let charge = self.charge("charge");
        let reference = authorized(provider, &charge).await;
        assert_eq!(provider.capture(&charge, &reference).await, Ok(Answer::Done));
    }

    /// The provider still holds what the books gave back.
    pub async fn held_there_alone(&self, provider: &SandboxProvider) {
        let (hold, payment) = self.authorize("held there").await;
        let void = Void { id: self.id("void"), hold, payment };
        self.money(&payments::Command::Void(void)).await;
        authorized(provider, &self.charge("held there")).await;
    }

    fn charge(&self, word: &str) -> Charge {
        let key = format!("pay-{}", self.nobody(word));
        Charge { key, amount_minor: 1_234, currency: "EUR".parse().unwrap() }
    }

    /// What all books hold, once nothing is under way: followers hear a moment later.
    pub async fn settled(&self) -> Vec<(u64, i64)> {
        let mut before = self.hashes();
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = self.hashes();
            if now == before {
                return now;
            }
            before = now;
        }
    }

    fn hashes(&self) -> Vec<(u64, i64)> {
        let stock = self.inventory.iter().map(|group| {
            let stock = group.peek(|machine| machine.stock(SKU, None));
            let held = group.peek(|machine| machine.reservations().count());
            (held as u64, stock.first().map_or(0, |of| of.available))
        });
        let money = self.payments.iter().map(|group| {
            let books = group.peek(|machine| {
                let keys: Vec<_> = machine.payments().map(|(key, _)| *key).collect();
                let of = keys.iter().filter_map(|key| machine.payment(key));
                of.fold((0, 0), |sum, of| (sum.0 + of.held, sum.1 + of.refunded))
            });
            (books.0, books.1 as i64)
        });
        let mut all: Vec<_> = stock.chain(money).collect();
        all.sort_unstable();
        all
    }
}
