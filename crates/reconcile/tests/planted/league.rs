//! A made-up region with planted differences: facts as groups would tell them, and a statement.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use bytes::Bytes;
use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::DifferenceClass as Class;
use hansa_reconcile::drift::{self, Moved};
use hansa_reconcile::judge::{Judge, Judged};
use hansa_reconcile::merge::{self, Along, Coverage, Facts, Spool};
use hansa_reconcile::statement::{self, Mapping};
use hansa_types::id::{GroupId, GroupKind, OrderId};
use hansa_types::region::{RegionNumber, Slot};
use hansa_types::time::LogTime;

const BEGAN: u64 = 1_700_000_000_000;
const PAGE: usize = 500;
/// Classes that are planted in orders; drift is planted in SKUs.
pub const CLASSES: [Class; 10] = [
    Class::OrphanHoldStock,
    Class::OrphanHoldMoney,
    Class::OrphanCapture,
    Class::MissingHold,
    Class::AmountDiffers,
    Class::StateDiffers,
    Class::ProviderMissingThere,
    Class::ProviderMissingHere,
    Class::ProviderAmountDiffers,
    Class::ProviderStateDiffers,
];

struct Teller {
    spool: Option<Spool>,
    page: pb::FactsPage,
    records: u64,
}

impl Teller {
    fn new(kind: GroupKind) -> Self {
        let group = GroupId::new(kind, 0).number();
        let head = pb::FactsHead { group, index: 7, ..Default::default() };
        let spool = Some(Spool::begin(head).unwrap());
        Self { spool, page: pb::FactsPage::default(), records: 0 }
    }

    fn tell(&mut self, add: impl FnOnce(&mut pb::FactsPage)) {
        add(&mut self.page);
        self.records += 1;
        let in_page = self.page.orders.len() + self.page.stock.len() + self.page.money.len();
        if in_page >= PAGE {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let page = std::mem::take(&mut self.page);
        self.spool.as_mut().unwrap().page(&page).unwrap();
    }

    fn end(mut self, skus: Vec<pb::SkuFacts>) -> Facts {
        self.flush();
        let end = pb::FactsEnd { records: self.records, skus };
        self.spool.take().unwrap().end(end).unwrap()
    }
}

pub struct League {
    pub facts: Vec<Facts>,
    pub expected: BTreeMap<i32, u64>,
    pub bytes: u64,
    along: Along,
}

fn id(n: u64) -> OrderId {
    let slot = Slot::of(&n.to_le_bytes());
    OrderId::new(LogTime(BEGAN + n), RegionNumber::try_from(1).unwrap(), slot, n)
}

fn bytes16(kind: u8, n: u64) -> Bytes {
    let mut bytes = [kind; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    Bytes::copy_from_slice(&bytes)
}

/// `orders` orders with about `planted` differences, spread over all classes.
pub fn build(orders: u64, planted: u64, statement: &Path) -> League {
    let mut told = [GroupKind::Orders, GroupKind::Inventory, GroupKind::Payments].map(Teller::new);
    let mut lines = BufWriter::new(File::create(statement).unwrap());
    writeln!(lines, "key,kind,amount,currency,time,reference").unwrap();
    let mut expected = BTreeMap::new();
    let every = (orders / planted.max(1)).max(1);
    for n in 0..orders {
        let nth = n / every;
        let class =
            (n % every == 0 && nth < planted).then(|| CLASSES[nth as usize % CLASSES.len()]);
        if let Some(class) = class {
            *expected.entry(i32::from(class)).or_default() += 1;
        }
        one(n, class, &mut told, &mut lines);
    }
    // A line of each of two SKUs that left without an order.
    *expected.entry(i32::from(Class::StockDrift)).or_default() += 2;
    lines.flush().unwrap();
    drop(lines);
    let read = statement::read(statement, &Mapping::sandbox(), |_| {}).unwrap();
    let coverage = Coverage { from_ms: 0, until_ms: u64::MAX, settle_ms: 60_000 };
    let along = Along::new(read.charges, coverage).unwrap();
    let [by_orders, stock, money] = told;
    let sku = |sku: &str, shipped| pb::SkuFacts { sku: sku.into(), shipped, ..Default::default() };
    let facts = vec![
        by_orders.end(vec![sku("A", 5), sku("B", 5)]),
        stock.end(vec![sku("A", 7), sku("B", 4), sku("C", 0)]),
        money.end(Vec::new()),
    ];
    let bytes = facts.iter().map(|facts| facts.bytes).sum();
    League { facts, expected, bytes, along }
}

/// One order on every side; `class`: what is wrong with it.
struct One {
    n: u64,
    id: OrderId,
    class: Option<Class>,
}

const PRICE: i64 = 700;

fn one(n: u64, class: Option<Class>, told: &mut [Teller; 3], lines: &mut impl Write) {
    let one = One { n, id: id(n), class };
    if !one.is(Class::ProviderMissingHere) {
        told[0].tell(|page| page.orders.push(one.order()));
    }
    one.stock(&mut told[1]);
    one.money(&mut told[2]);
    one.statement(lines);
}

impl One {
    fn is(&self, of: Class) -> bool {
        self.class == Some(of)
    }

    fn id_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.id.to_bytes())
    }

    /// Half of those that are sound are shipped: nothing is held for them any more.
    fn open(&self) -> Vec<pb::FactLine> {
        match self.n % 2 == 1 && self.class.is_none() {
            true => Vec::new(),
            false => vec![pb::FactLine { line: 1, sku: "A".into(), quantity: 2 }],
        }
    }

    fn order(&self) -> pb::OrderFacts {
        let part = pb::PartFacts {
            group: 0,
            hold: bytes16(1, self.n),
            phase: pb::PartPhase::Committed.into(),
            lines: self.open(),
        };
        pb::OrderFacts {
            order: self.id_bytes(),
            version: 3,
            hash: format!("{:032x}", self.n),
            phase: pb::OrderPhase::Confirmed.into(),
            idle: true,
            updated_ms: BEGAN + self.n,
            parts: vec![part],
            payment: bytes16(2, self.n),
            funds: pb::FundsPhase::Captured.into(),
            currency: "EUR".into(),
            authorized_minor: PRICE,
            captured_minor: PRICE,
            total_minor: PRICE,
            ..Default::default()
        }
    }

    fn stock(&self, to: &mut Teller) {
        let mut held = |hold: Bytes, committed: bool| {
            let (order, lines) = (self.id_bytes(), self.open());
            let facts = pb::StockFacts { order, hold, committed, expires_ms: 0, lines };
            to.tell(|page| page.stock.push(facts));
        };
        let holds = !self.open().is_empty() && !self.is(Class::ProviderMissingHere);
        if holds && !self.is(Class::MissingHold) {
            held(bytes16(1, self.n), !self.is(Class::StateDiffers));
        }
        if self.is(Class::OrphanHoldStock) {
            held(bytes16(9, self.n), true);
        }
    }

    fn captured(&self) -> i64 {
        if self.is(Class::AmountDiffers) { 600 } else { PRICE }
    }

    fn money(&self, to: &mut Teller) {
        let mut books = |payment: Bytes, captured_minor: i64, held_minor: i64| {
            let hold = pb::MoneyHold { hold: bytes16(3, self.n), amount_minor: held_minor };
            let facts = pb::MoneyFacts {
                order: self.id_bytes(),
                payment,
                currency: "EUR".into(),
                held_minor,
                captured_minor,
                refunded_minor: 0,
                holds: if held_minor > 0 { vec![hold] } else { Vec::new() },
            };
            to.tell(|page| page.money.push(facts));
        };
        if !self.is(Class::ProviderMissingHere) {
            books(bytes16(2, self.n), self.captured(), 0);
        }
        match self.class {
            Some(Class::OrphanHoldMoney) => books(bytes16(8, self.n), 0, 100),
            Some(Class::OrphanCapture) => books(bytes16(8, self.n), 50, 0),
            _ => {}
        }
    }

    fn statement(&self, lines: &mut impl Write) {
        let (key, ms) = (format!("pay-{}", self.id), BEGAN + self.n);
        let mut line = |kind: &str, amount: i64, reference: &str| {
            writeln!(lines, "{key},{kind},{amount},EUR,{ms},{reference}").unwrap();
        };
        if !self.is(Class::ProviderMissingThere) {
            line("auth", PRICE, "ref-a");
        }
        match self.class {
            Some(Class::ProviderMissingThere | Class::ProviderStateDiffers) => {}
            Some(Class::ProviderAmountDiffers) => line("capture", 699, "ref-c"),
            Some(Class::OrphanCapture) => {
                line("capture", PRICE, "ref-c");
                line("capture", 50, "ref-d");
            }
            _ => {
                line("capture", self.captured(), "ref-c");
                // A call that was repeated is said twice, and counts once.
                line("capture", self.captured(), "ref-c");
            }
        }
    }
}

impl League {
    /// The same with a statement that covers these times only.
    #[allow(dead_code, reason = "the example covers all")]
    pub fn covering(mut self, from_ms: u64, until_ms: u64) -> Self {
        self.along.coverage = Coverage { from_ms, until_ms, settle_ms: 0 };
        self
    }

    /// What a run finds, counted by class.
    pub fn found(mut self) -> BTreeMap<i32, u64> {
        let heads: Vec<pb::FactsHead> = self.facts.iter().map(|of| of.head.clone()).collect();
        let judge = Judge { heads: &heads, region: "eu-west", number: Some(1) };
        let mut found = BTreeMap::new();
        let mut moved = Moved::default();
        moved.add(&self.facts[0].skus);
        let books = vec![(self.facts[1].head.clone(), self.facts[1].skus.clone())];
        for difference in drift::compare(&moved, &books) {
            *found.entry(difference.class).or_default() += 1;
        }
        merge::walk(&mut self.facts, Some(&mut self.along), |id, case| {
            match judge.judge(id, &case) {
                Judged::Agrees => {}
                Judged::Moving => panic!("{id:?} moves"),
                Judged::Differs(all) => {
                    for difference in all {
                        *found.entry(difference.class).or_default() += 1;
                    }
                }
            }
        })
        .unwrap();
        found
    }
}
