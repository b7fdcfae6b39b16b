//! What someone may hold: a set of classes, and the fields that a policy counts as another class.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::{ClassSet, DataClass, TABLE, row_of};

/// Fields that a policy counts as a stricter class than their annotation says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raised(BTreeMap<usize, DataClass>);

/// Why a field cannot be raised. Checked in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotRaised {
    #[error("there is no such field; write hansa.order.v1.Order.total")]
    NoSuchField,
    #[error("only what orders and payments say can be raised")]
    NoFact,
    #[error("a copy cannot be kept without it")]
    Needed,
    #[error("OPERATIONAL is the lowest class")]
    ToOperational,
    #[error("the field is {0:?} already")]
    Already(DataClass),
    #[error("the field is raised twice")]
    Twice,
}

/// Whose fields a policy may raise: the facts about an order.
const FACTS: [&str; 2] = ["hansa.order.v1.", "hansa.payment.v1."];

/// What a copy is found, ordered and judged by.
const NEEDED: [&str; 4] = [
    "hansa.order.v1.Order.home_region",
    "hansa.order.v1.Order.name",
    "hansa.order.v1.Order.residence_country",
    "hansa.order.v1.Order.version",
];

impl Raised {
    /// Counts a field, by its full name (`hansa.order.v1.Order.total`), as `class` from now on.
    ///
    /// # Errors
    /// See [`NotRaised`].
    pub fn raise(&mut self, field: &str, class: DataClass) -> Result<(), NotRaised> {
        let (message, name) = field.rsplit_once('.').ok_or(NotRaised::NoSuchField)?;
        let row = row_of(message, name).ok_or(NotRaised::NoSuchField)?;
        if !FACTS.iter().any(|package| message.starts_with(package)) {
            return Err(NotRaised::NoFact);
        }
        if NEEDED.contains(&field) {
            return Err(NotRaised::Needed);
        }
        if class == DataClass::Operational {
            return Err(NotRaised::ToOperational);
        }
        if TABLE[row].2 != DataClass::Operational {
            return Err(NotRaised::Already(TABLE[row].2));
        }
        if self.0.contains_key(&row) {
            return Err(NotRaised::Twice);
        }
        self.0.insert(row, class);
        Ok(())
    }

    /// The fields that count as `class`, by full name, in order.
    pub fn fields(&self, class: DataClass) -> impl Iterator<Item = String> + '_ {
        let of = self.0.iter().filter(move |(_, raised)| **raised == class);
        of.map(|(row, _)| format!("{}.{}", TABLE[*row].0, TABLE[*row].1))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What someone may hold; nothing by default. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    classes: ClassSet,
    raised: Option<Arc<Raised>>,
}

impl From<ClassSet> for Allowed {
    fn from(classes: ClassSet) -> Self {
        Self { classes, raised: None }
    }
}

impl Allowed {
    /// These classes, with fields counted as a policy raises them.
    pub fn new(classes: ClassSet, raised: &Arc<Raised>) -> Self {
        Self { classes, raised: (!raised.is_empty()).then(|| raised.clone()) }
    }

    pub fn classes(&self) -> ClassSet {
        self.classes
    }

    /// The same for these classes only.
    #[must_use]
    pub fn only(&self, classes: ClassSet) -> Self {
        Self { classes, raised: self.raised.clone() }
    }

    pub fn has(&self, class: DataClass) -> bool {
        self.classes.has(class)
    }

    /// Whether some field counts as this class here that does not elsewhere.
    pub fn raises(&self, class: DataClass) -> bool {
        self.raised.as_ref().is_some_and(|raised| raised.0.values().any(|to| *to == class))
    }

    /// Whether the field in this row of the table, annotated with `class`, may be held.
    pub(super) fn keeps(&self, row: usize, class: DataClass) -> bool {
        let raised = self.raised.as_ref().and_then(|raised| raised.0.get(&row));
        self.classes.has(*raised.unwrap_or(&class))
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::super::Lawful as _;
    use super::*;
    use crate::pb::Money;
    use crate::pb::order::{Order, OrderLine};

    const TOTAL: &str = "hansa.order.v1.Order.total";
    const PRICE: &str = "hansa.order.v1.OrderLine.unit_price";

    fn money() -> Option<Money> {
        Some(Money { currency_code: "INR".into(), units: 7, nanos: 0 })
    }

    fn order() -> Order {
        let line = OrderLine { sku: "A".into(), unit_price: money(), ..OrderLine::default() };
        let placed_time = Some(Timestamp::default());
        Order { total: money(), lines: vec![line], placed_time, ..Order::default() }
    }

    #[test]
    fn a_raised_field_is_kept_only_where_its_raised_class_is_at_any_depth() {
        let mut raised = Raised::default();
        raised.raise(TOTAL, DataClass::Financial).unwrap();
        raised.raise(PRICE, DataClass::Personal).unwrap();
        let raised = Arc::new(raised);
        let operational = ClassSet::NONE.with(DataClass::Operational);
        let kept = |classes: ClassSet| {
            let mut kept = order();
            kept.retain(Allowed::new(classes, &raised));
            assert_eq!(kept.lines[0].sku, "A");
            assert!(kept.placed_time.is_some());
            (kept.total.is_some(), kept.lines[0].unit_price.is_some())
        };
        assert_eq!(kept(operational), (false, false));
        assert_eq!(kept(operational.with(DataClass::Financial)), (true, false));
        assert_eq!(kept(operational.with(DataClass::Personal)), (false, true));
        assert_eq!(kept(ClassSet::ALL), (true, true));
        let mut plain = order();
        plain.retain(operational);
        assert!(plain.total.is_some(), "without a policy the annotation counts");
    }

    #[test]
    fn what_cannot_be_raised_is_refused_with_the_reason() {
        let mut raised = Raised::default();
        let mut raise = |field: &str, class| raised.raise(field, class);
        for unknown in ["", "total", "order.total", "hansa.order.v1.Order.totl", "a.b.c"] {
            assert_eq!(raise(unknown, DataClass::Financial), Err(NotRaised::NoSuchField));
        }
        let envelope = "hansa.replication.v1.Envelope.sequence";
        assert_eq!(raise(envelope, DataClass::Financial), Err(NotRaised::NoFact));
        let needed = "hansa.order.v1.Order.name";
        assert_eq!(raise(needed, DataClass::Personal), Err(NotRaised::Needed));
        assert_eq!(raise(TOTAL, DataClass::Operational), Err(NotRaised::ToOperational));
        let token = "hansa.order.v1.PlaceOrderRequest.payment_token";
        let already = Err(NotRaised::Already(DataClass::Financial));
        assert_eq!(raise(token, DataClass::Personal), already, "one secret is not another");
        assert_eq!(raise(TOTAL, DataClass::Financial), Ok(()));
        assert_eq!(raise(TOTAL, DataClass::Personal), Err(NotRaised::Twice));
        assert_eq!(raised.fields(DataClass::Financial).collect::<Vec<_>>(), [TOTAL]);
    }
}
