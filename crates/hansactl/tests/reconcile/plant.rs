//! Raw commands into a region's books, that no order knows of.

use std::time::Duration;

use hansa_api::pb::order::Order;
use hansa_consensus::{Group, Machine};
use hansa_ledger::core::inventory::{Command, Inventory, Reserve, Ship, StockLine};
use hansa_ledger::core::payments::{self, Authorize, Capture, PaymentKey, Payments};
use hansa_ledger::machine::{Batch, Outcomes};
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

impl Plant {
    pub fn new(rig: &Rig) -> Self {
        let ledgers: Vec<_> = rig.nodes_of(HOME).map(|node| node.ledger().clone()).collect();
        let inventory = ledgers.iter().flat_map(|of| of.inventory()).cloned().collect();
        let payments = ledgers.iter().flat_map(|of| of.payments()).cloned().collect();
        Self { inventory, payments }
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
        let born = LogTime(self.now().ms() - 3_600_000);
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

    /// Takes an order's committed stock away from it.
    pub async fn uncommitted(&self, order: &Order) {
        let name: OrderName = order.name.parse().unwrap();
        let of = |machine: &Inventory| {
            let mut all = machine.reservations();
            all.find(|(_, held)| held.order == name.id).map(|(id, _)| *id)
        };
        let hold = self.inventory.iter().find_map(|group| group.peek(of)).unwrap();
        self.stock(&Command::Uncommit { id: self.id("uncommit"), hold }).await;
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

    /// The provider's key of an order that was never placed, and when it was born.
    pub fn charge_of_nobody(&self) -> (String, u64) {
        let order = self.nobody("charge");
        (format!("pay-{order}"), order.born().ms())
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
