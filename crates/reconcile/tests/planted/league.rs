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

fn one(n: u64, class: Option<Class>, told: &mut [Teller; 3], lines: &mut impl Write) {
    let is = |of: Class| class == Some(of);
    let (id, key) = (id(n), format!("pay-{}", id(n)));
    let order = Bytes::copy_from_slice(&id.to_bytes());
    let (hold, payment) = (bytes16(1, n), bytes16(2, n));
    let open = vec![pb::FactLine { line: 1, sku: "A".into(), quantity: 2 }];
    let known = !is(Class::ProviderMissingHere);
    // Half of them are shipped: nothing is held for those any more.
    let ships = n % 2 == 1 && class.is_none();
    let captured = 700;
    if known {
        let part = pb::PartFacts {
            group: 0,
            hold: hold.clone(),
            phase: pb::PartPhase::Committed.into(),
            lines: if ships { Vec::new() } else { open.clone() },
        };
        let facts = pb::OrderFacts {
            order: order.clone(),
            version: 3,
            hash: format!("{n:032x}"),
            phase: pb::OrderPhase::Confirmed.into(),
            idle: true,
            updated_ms: BEGAN + n,
            parts: vec![part],
            payment: payment.clone(),
            funds: pb::FundsPhase::Captured.into(),
            currency: "EUR".into(),
            authorized_minor: captured,
            captured_minor: captured,
            total_minor: captured,
            ..Default::default()
        };
        told[0].tell(|page| page.orders.push(facts));
    }
    let mut held = |hold: Bytes, committed: bool| {
        let (order, lines) = (order.clone(), open.clone());
        let facts = pb::StockFacts { order, hold, committed, expires_ms: 0, lines };
        told[1].tell(|page| page.stock.push(facts));
    };
    if known && !ships && !is(Class::MissingHold) {
        held(hold, !is(Class::StateDiffers));
    }
    if is(Class::OrphanHoldStock) {
        held(bytes16(9, n), true);
    }
    let mut books = |payment: Bytes, captured_minor: i64, held_minor: i64| {
        let holds = match held_minor {
            0 => Vec::new(),
            amount_minor => vec![pb::MoneyHold { hold: bytes16(3, n), amount_minor }],
        };
        let (order, currency) = (order.clone(), "EUR".to_owned());
        let facts = pb::MoneyFacts {
            order,
            payment,
            currency,
            held_minor,
            captured_minor,
            refunded_minor: 0,
            holds,
        };
        told[2].tell(|page| page.money.push(facts));
    };
    let in_books = if is(Class::AmountDiffers) { 600 } else { captured };
    if known {
        books(payment, in_books, 0);
    }
    if is(Class::OrphanHoldMoney) {
        books(bytes16(8, n), 0, 100);
    }
    if is(Class::OrphanCapture) {
        books(bytes16(8, n), 50, 0);
    }
    let mut line = |kind: &str, amount: i64, reference: &str| {
        writeln!(lines, "{key},{kind},{amount},EUR,{},{reference}", BEGAN + n).unwrap();
    };
    if !is(Class::ProviderMissingThere) {
        line("auth", captured, "ref-a");
    }
    match class {
        Some(Class::ProviderMissingThere | Class::ProviderStateDiffers) => {}
        Some(Class::ProviderAmountDiffers) => line("capture", 699, "ref-c"),
        Some(Class::OrphanCapture) => {
            line("capture", captured, "ref-c");
            line("capture", 50, "ref-d");
        }
        _ => {
            line("capture", in_books, "ref-c");
            // A call that was repeated is said twice, and counts once.
            line("capture", in_books, "ref-c");
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
