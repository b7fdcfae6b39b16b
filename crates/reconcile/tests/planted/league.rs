//! A made-up region with planted differences: facts as its groups would tell them, a statement, and
//! what the comparison with a peer would list. Everything of an order follows from its number.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use bytes::Bytes;
use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::DifferenceClass as Class;
use hansa_types::id::{GroupId, GroupKind, OrderId};
use hansa_types::region::{RegionNumber, Slot};
use hansa_types::time::LogTime;

pub const REGION: &str = "eu-west";
pub const PEER: &str = "us-east";
/// The groups of the region, one of each kind.
pub const GROUPS: [GroupKind; 3] = [GroupKind::Orders, GroupKind::Inventory, GroupKind::Payments];
const BEGAN: u64 = 1_700_000_000_000;
const PAGE: usize = 500;
/// All that a run can find. `UNSHIPPED_TAIL` comes from `region tail plan`, never from a run.
pub const CLASSES: [Class; 15] = [
    Class::OrphanHoldStock,
    Class::OrphanHoldMoney,
    Class::OrphanCapture,
    Class::MissingHold,
    Class::AmountDiffers,
    Class::StateDiffers,
    Class::StockDrift,
    Class::ProviderMissingThere,
    Class::ProviderMissingHere,
    Class::ProviderAmountDiffers,
    Class::ProviderStateDiffers,
    Class::CopyMissing,
    Class::CopyExtra,
    Class::CopyStale,
    Class::CopyConflicting,
];

/// One difference: its class, the order (none for units of a SKU), and the hold, payment, charge,
/// SKU or peer that it is about.
pub type Key = (String, String, String);

/// `orders` orders of which every so many has one difference, the classes in turn.
#[derive(Clone, Copy)]
pub struct Region {
    pub orders: u64,
    pub planted: u64,
}

fn id(n: u64) -> OrderId {
    let slot = Slot::of(&n.to_le_bytes());
    OrderId::new(LogTime(BEGAN + n), RegionNumber::try_from(1).unwrap(), slot, n)
}

fn name(n: u64) -> String {
    format!("regions/{REGION}/orders/{}", id(n))
}

fn sku(n: u64) -> String {
    format!("DRIFT-{n}")
}

fn bytes16(kind: u8, n: u64) -> Bytes {
    let mut bytes = [kind; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    Bytes::copy_from_slice(&bytes)
}

fn hex16(kind: u8, n: u64) -> String {
    hansa_reconcile::judge::hex(&bytes16(kind, n))
}

#[allow(dead_code, reason = "a run tells its differences as JSON")]
pub fn key(found: &pb::FoundDifference) -> Key {
    (found.class().as_str_name().to_owned(), found.order.clone(), found.subject.clone())
}

/// What a difference of this class in order `n` is called.
fn expected(n: u64, class: Class) -> Key {
    let subject = match class {
        Class::OrphanHoldStock => hex16(9, n),
        Class::MissingHold | Class::StateDiffers => hex16(1, n),
        Class::OrphanHoldMoney => format!("{}/{}", hex16(8, n), hex16(3, n)),
        Class::OrphanCapture => hex16(8, n),
        Class::AmountDiffers => hex16(2, n),
        Class::StockDrift => sku(n),
        _ if is_of_copies(class) => PEER.to_owned(),
        _ => format!("pay-{}", id(n)),
    };
    let order = if class == Class::StockDrift { String::new() } else { name(n) };
    (class.as_str_name().to_owned(), order, subject)
}

fn is_of_copies(class: Class) -> bool {
    matches!(
        class,
        Class::CopyMissing | Class::CopyExtra | Class::CopyStale | Class::CopyConflicting
    )
}

impl Region {
    fn class_of(&self, n: u64) -> Option<Class> {
        let every = (self.orders / self.planted.max(1)).max(1);
        let nth = n / every;
        let planted = n.is_multiple_of(every) && nth < self.planted;
        planted.then(|| CLASSES[nth as usize % CLASSES.len()])
    }

    fn planted(&self) -> impl Iterator<Item = (u64, Class)> {
        (0..self.orders).filter_map(|n| Some((n, self.class_of(n)?)))
    }

    fn one(&self, n: u64) -> One {
        One { n, id: id(n), class: self.class_of(n) }
    }

    /// Exactly what a run is to find.
    pub fn expected(&self) -> BTreeSet<Key> {
        self.planted().map(|(n, class)| expected(n, class)).collect()
    }

    /// What a group tells: of these orders, of all when there are none.
    pub fn tell(
        &self,
        kind: GroupKind,
        only: &[Bytes],
        mut page: impl FnMut(pb::FactsPage),
    ) -> u64 {
        let mut teller = Teller { page: pb::FactsPage::default(), records: 0, to: &mut page };
        let numbers = only.iter().map(number);
        match only.is_empty() {
            true => (0..self.orders).for_each(|n| self.one(n).tell(kind, &mut teller)),
            false => numbers.for_each(|n| self.one(n).tell(kind, &mut teller)),
        }
        teller.flush();
        teller.records
    }

    /// A group's sums: units of some SKUs left without an order.
    pub fn skus(&self, kind: GroupKind) -> Vec<pb::SkuFacts> {
        let facts = |sku: String, shipped| pb::SkuFacts { sku, shipped, ..Default::default() };
        let drifts = self.planted().filter(|(_, class)| *class == Class::StockDrift);
        let drifts: Vec<String> = drifts.map(|(n, _)| sku(n)).collect();
        match kind {
            GroupKind::Orders => drifts.into_iter().map(|sku| facts(sku, 5)).collect(),
            GroupKind::Inventory => {
                let sound = std::iter::once(facts("A".to_owned(), 0));
                sound.chain(drifts.into_iter().map(|sku| facts(sku, 7))).collect()
            }
            GroupKind::Payments | GroupKind::Directory => Vec::new(),
        }
    }

    /// As the running comparison lists them; it is shown by itself, between two regions.
    #[allow(dead_code, reason = "a run alone asks for copies")]
    pub fn copies(&self) -> Vec<pb::ReplicaDifference> {
        let listed = self.planted().filter_map(|(n, class)| {
            use pb::ReplicaDifferenceKind as Kind;
            let (kind, home_version, copy_version) = match class {
                Class::CopyMissing => (Kind::Missing, 3, 0),
                Class::CopyExtra => (Kind::Extra, 0, 3),
                Class::CopyStale => (Kind::Stale, 3, 2),
                Class::CopyConflicting => (Kind::Conflicting, 3, 3),
                _ => return None,
            };
            Some(pb::ReplicaDifference {
                order: name(n),
                peer: PEER.to_owned(),
                kind: kind.into(),
                home_version,
                copy_version,
                group: GroupId::new(GroupKind::Orders, 0).number(),
                ..Default::default()
            })
        });
        listed.collect()
    }

    /// Writes what the provider says, movements in the order of their times.
    pub fn write_statement(&self, file: &Path) {
        let mut lines = BufWriter::new(File::create(file).unwrap());
        writeln!(lines, "key,kind,amount,currency,time,reference").unwrap();
        (0..self.orders).for_each(|n| self.one(n).statement(&mut lines));
        lines.flush().unwrap();
    }
}

/// The number of an order that was born in its millisecond.
fn number(order: &Bytes) -> u64 {
    let id = hansa_api::convert::id::order_from_bytes(order).unwrap();
    id.born().ms() - BEGAN
}

struct Teller<'a> {
    page: pb::FactsPage,
    records: u64,
    to: &'a mut dyn FnMut(pb::FactsPage),
}

impl Teller<'_> {
    fn add(&mut self, add: impl FnOnce(&mut pb::FactsPage)) {
        add(&mut self.page);
        self.records += 1;
        let in_page = self.page.orders.len() + self.page.stock.len() + self.page.money.len();
        if in_page >= PAGE {
            self.flush();
        }
    }

    fn flush(&mut self) {
        (self.to)(std::mem::take(&mut self.page));
    }
}

/// One order on every side; `class`: what is wrong with it.
struct One {
    n: u64,
    id: OrderId,
    class: Option<Class>,
}

const PRICE: i64 = 700;

impl One {
    fn tell(&self, kind: GroupKind, to: &mut Teller<'_>) {
        match kind {
            // The peer alone knows it.
            _ if self.is(Class::CopyExtra) => {}
            GroupKind::Orders if self.is(Class::ProviderMissingHere) => {}
            GroupKind::Orders => to.add(|page| page.orders.push(self.order())),
            GroupKind::Inventory => self.stock(to),
            GroupKind::Payments => self.money(to),
            GroupKind::Directory => {}
        }
    }

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

    fn stock(&self, to: &mut Teller<'_>) {
        let mut held = |hold: Bytes, committed: bool| {
            let (order, lines) = (self.id_bytes(), self.open());
            let facts = pb::StockFacts { order, hold, committed, expires_ms: 0, lines };
            to.add(|page| page.stock.push(facts));
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

    fn money(&self, to: &mut Teller<'_>) {
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
            to.add(|page| page.money.push(facts));
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
        if self.is(Class::CopyExtra) {
            return;
        }
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
