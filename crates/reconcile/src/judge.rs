//! One order on every side, and what differs.
//!
//! The order is the intent: what it says is what the books must hold, and what the books have
//! taken the provider must have. An order with a step under way is not judged: it is looked at
//! again ([`Judged::Moving`]).

mod money;
mod provider;
mod stock;

use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::{DifferenceClass as Class, FactSide, FoundDifference, OrderPhase};
use hansa_types::id::OrderId;

use crate::statement::Charge;

/// What all sides say of one order. Sides come with where they were read.
#[derive(Clone, Debug, Default)]
pub struct Case {
    pub order: Option<(Source, pb::OrderFacts)>,
    pub stock: Vec<(Source, pb::StockFacts)>,
    pub money: Vec<(Source, pb::MoneyFacts)>,
    pub charge: Option<Charge>,
    /// Whether the statement covers this order's time; `None` without a statement.
    pub covered: Option<bool>,
}

/// Index into the run's heads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Source(pub usize);

/// What came of a case.
#[derive(Clone, PartialEq, Debug)]
pub enum Judged {
    /// Every side says the same.
    Agrees,
    /// A step is under way: nothing can be said yet.
    Moving,
    Differs(Vec<FoundDifference>),
}

/// Judges cases, with the words for evidence.
pub struct Judge<'a> {
    pub heads: &'a [pb::FactsHead],
    pub region: &'a str,
    /// The number of that region: an order of another is named by its id alone.
    pub number: Option<u16>,
}

impl Judge<'_> {
    pub fn judge(&self, id: Option<OrderId>, case: &Case) -> Judged {
        if case.order.as_ref().is_some_and(|(_, order)| !order.idle) {
            return Judged::Moving;
        }
        let found = Found { judge: self, id, case };
        let mut differences = Vec::new();
        stock::compare(&found, &mut differences);
        money::compare(&found, &mut differences);
        provider::compare(&found, &mut differences);
        match differences.is_empty() {
            true => Judged::Agrees,
            false => Judged::Differs(differences),
        }
    }
}

/// One case as it is being looked at.
struct Found<'a> {
    judge: &'a Judge<'a>,
    id: Option<OrderId>,
    case: &'a Case,
}

impl Found<'_> {
    fn order(&self) -> Option<&pb::OrderFacts> {
        self.case.order.as_ref().map(|(_, order)| order)
    }

    fn parked(&self) -> bool {
        self.order().is_some_and(|order| order.parked)
    }

    /// Nothing may be held or taken for it any more.
    fn over(&self) -> bool {
        self.order().is_none_or(|order| order.phase() == OrderPhase::Undone)
    }

    fn side(&self, source: Option<Source>, says: String) -> Option<FactSide> {
        let head = source.and_then(|Source(n)| self.judge.heads.get(n));
        Some(match head {
            Some(head) => FactSide {
                source: group_name(head.group),
                group: head.group,
                index: head.index,
                state_hash: head.state_hash.clone(),
                says,
            },
            None => FactSide { source: "provider".to_owned(), says, ..FactSide::default() },
        })
    }

    /// What the order's group says of it.
    fn by_order(&self, says: String) -> Option<FactSide> {
        let says = match self.order() {
            Some(order) => format!("{}: {says}", phase(order)),
            None => "no such order".to_owned(),
        };
        let source = self.case.order.as_ref().map(|(source, _)| *source);
        match source {
            Some(source) => self.side(Some(source), says),
            None => Some(FactSide { source: "orders".to_owned(), says, ..FactSide::default() }),
        }
    }

    fn difference(
        &self,
        class: Class,
        subject: String,
        left: Option<FactSide>,
        right: Option<FactSide>,
    ) -> FoundDifference {
        let order = self.order();
        let ours = |id: &OrderId| self.judge.number == Some(id.region().get());
        FoundDifference {
            class: class.into(),
            order: self.id.filter(ours).map_or_else(String::new, |id| {
                format!("regions/{}/orders/{id}", self.judge.region)
            }),
            order_id: self.id.map(hansa_api::convert::id::order_to_bytes).unwrap_or_default(),
            subject,
            order_hash: order.map(|order| order.hash.clone()).unwrap_or_default(),
            order_version: order.map_or(0, |order| order.version),
            left,
            right,
            ..FoundDifference::default()
        }
    }
}

fn phase(order: &pb::OrderFacts) -> String {
    let name = order.phase().as_str_name();
    let name = name.strip_prefix("ORDER_PHASE_").unwrap_or(name).to_lowercase();
    match order.parked {
        true => format!("{name}, parked"),
        false => name,
    }
}

/// `orders-0`, as people call a group.
pub fn group_name(number: u32) -> String {
    let group = hansa_types::id::GroupId::from_number(number);
    group.map_or_else(|| number.to_string(), |group| group.to_string())
}

/// 16 bytes of an id as people write it.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
