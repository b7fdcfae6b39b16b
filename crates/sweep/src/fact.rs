//! What some bytes say of somebody.

use hansa_api::classes::{Allowed, ClassSet, DataClass, Lawful as _};
use hansa_api::pb::replication::OrderView;
use hansa_orders::core::subjects::{KeyOf, RegionKey, SubjectId};
use hansa_types::country::Country;
use hansa_types::id::OrderId;

/// Whose data it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Whose {
    Order(OrderId),
    Customer(SubjectId),
    /// A payment, by its key in the books.
    Payment(u128),
    /// Somebody that nothing names: a trace that has a mail address.
    Somebody,
}

/// Facts about somebody.
#[derive(Clone, Debug)]
pub struct Fact {
    pub whose: Whose,
    /// Where he lives, if the bytes say so.
    pub residence: Option<Country>,
    pub content: Content,
    /// The version of the policy under which they came here, if the bytes say so.
    pub policy: Option<u64>,
    /// Whether another region shipped it. What this region did itself is its own business, of
    /// orders too that it took over.
    pub copy: bool,
    pub sealed: Sealed,
    /// What they are, in words.
    pub what: &'static str,
}

/// What it takes to read the PERSONAL part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sealed {
    /// Nothing.
    Open,
    /// The customer's data key.
    With(KeyOf),
    /// The region key: this is a data key.
    By(RegionKey),
}

/// Which classes facts have.
#[derive(Clone, Debug)]
pub enum Content {
    /// These, whatever a law raises.
    Plain(ClassSet),
    /// An order as we keep it: a law that raises one of its fields raises it.
    Order(ClassSet),
    /// An order as the wire shows it: each field counts by itself.
    View(Box<OrderView>),
}

impl Fact {
    pub fn new(whose: Whose, classes: ClassSet, what: &'static str) -> Self {
        let content = Content::Plain(classes);
        let (copy, sealed) = (false, Sealed::Open);
        Self { whose, residence: None, content, policy: None, copy, sealed, what }
    }

    /// As another region shipped it.
    #[must_use]
    pub fn shipped(mut self) -> Self {
        self.copy = true;
        self
    }

    #[must_use]
    pub fn sealed(mut self, sealed: Sealed) -> Self {
        self.sealed = sealed;
        self
    }

    #[must_use]
    pub fn of(mut self, residence: Option<Country>) -> Self {
        self.residence = residence;
        self
    }

    #[must_use]
    pub fn under(mut self, policy: Option<u64>) -> Self {
        self.policy = policy;
        self
    }
}

/// One class.
pub fn only(class: DataClass) -> ClassSet {
    ClassSet::NONE.with(class)
}

/// The classes that the content has beyond what may be held.
pub fn beyond(content: &Content, allowed: &Allowed) -> ClassSet {
    let missing = |has: ClassSet| {
        DataClass::ALL.into_iter().filter(move |class| has.has(*class) && !allowed.has(*class))
    };
    match content {
        Content::Plain(has) => missing(*has).collect(),
        Content::Order(has) => {
            let raised = DataClass::ALL.into_iter().filter(|class| allowed.raises(*class));
            missing(raised.fold(*has, ClassSet::with)).collect()
        }
        Content::View(view) => {
            let mut lesser = view.clone();
            lesser.retain_by(allowed);
            if lesser == *view {
                return ClassSet::NONE;
            }
            // Which of them: those whose absence alone changes it.
            let shows = |class: &DataClass| {
                let mut without = view.clone();
                without.retain_by(&allowed.only(ClassSet::ALL.without(*class)));
                without != *view
            };
            DataClass::ALL.into_iter().filter(|c| !allowed.has(*c)).filter(shows).collect()
        }
    }
}

/// The classes that the content has, as no law raises any.
pub fn classes(content: &Content) -> ClassSet {
    beyond(content, &Allowed::default())
}
