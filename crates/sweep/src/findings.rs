//! What was found: facts by place, bytes that nobody explains.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hansa_api::classes::{ClassSet, DataClass};
use hansa_orders::core::subjects::{KeyOf, RegionKey, SubjectId};
use hansa_orders::vault::{KeyInfo, KeyLife};
use hansa_region_router::core::policy::Policy;
use hansa_types::country::Country;
use hansa_types::id::{GroupId, OrderId, TransferId};

use crate::fact::{self, Content, Fact, Sealed, Whose};
use crate::law::Law;

/// Places that are named; more are counted.
const NAMED_MAX: usize = 1_000;
/// How the folder of a node's former life begins: kept as it is until a person deletes it.
pub const ASIDE: &str = "aside-";
/// Facts that wait to hear where somebody lives.
const WAITING_MAX: usize = 1_000_000;

/// What becomes of bytes of a place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stays {
    /// As long as the region: the archive, views.
    Kept,
    /// Until somebody deletes it: by then, says its manifest; wall clock ms.
    Backup(u64),
    /// A start would load it: the newest checkpoint, and the log behind it.
    InForce,
    /// A start would not: until checkpoints and log have moved on.
    Behind,
}

/// Where facts were found.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// Below the node's folder, or the whole path.
    pub file: Arc<str>,
    pub stays: Stays,
}

/// What is said of unlawful facts, alike in all of this.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Kind {
    place: Place,
    what: &'static str,
    residence: Option<Country>,
    class: u8,
    came: Came,
}

/// How they came here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Came {
    Never,
    /// This region served them, and the law forbids its ground since.
    Own,
    /// Lawfully, before a policy tightened.
    Before,
    /// The same, and nobody reads them without a region key: this one, or any that the vault has
    /// when nothing here says which.
    Under(Option<RegionKey>),
    /// The same, of a data key under this region key.
    Wrapped(RegionKey),
}

/// Why something is reported.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// May not be here.
    Foreign,
    /// May not be here any more, and goes by itself.
    Expiring,
}

/// A verdict, the wall clock ms when it goes, and why or when in words.
type Goes = (Verdict, u64, &'static str);

/// Facts that are reported together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    pub verdict: Verdict,
    pub file: String,
    pub what: &'static str,
    pub class: DataClass,
    /// `None` when nothing here says under which law he lives.
    pub residence: Option<Country>,
    pub count: u64,
    /// The first of them: where in the file, and whose.
    pub first: String,
    /// Wall clock ms at which the last of it cannot be read any more; 0 when no time is known.
    pub goes_ms: u64,
    /// When or why, in words.
    pub goes: &'static str,
}

/// Bytes that nobody explains.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unexplained {
    pub file: String,
    pub offset: u64,
    pub bytes: u64,
    pub why: String,
}

/// What one format came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    pub files: u64,
    pub bytes: u64,
    /// Of them, bytes that the store does not use, searched for copies of orders.
    pub unused: u64,
    pub records: u64,
}

/// A fact that waits to hear where somebody lives.
struct Waiting {
    fact: Fact,
    place: Place,
    at: String,
}

/// Everything that a sweep has found.
pub struct Findings {
    pub law: Law,
    /// Wall clock ms: what should have gone by then is there still.
    pub now_ms: u64,
    pub tallies: BTreeMap<&'static str, Tally>,
    pub unexplained: Vec<Unexplained>,
    /// More than are named.
    pub more_unexplained: u64,
    /// Facts whose country nothing on this node says, of the region's own orders.
    pub unplaced: u64,
    residence: BTreeMap<OrderId, Country>,
    customers: BTreeMap<SubjectId, Country>,
    /// The newest region key that any wrapping of a data key is under.
    wraps: BTreeMap<KeyOf, RegionKey>,
    payments: BTreeMap<u128, OrderId>,
    /// Payments by all of their ids but the time: of orders whose books name no order.
    begun: BTreeMap<TransferId, OrderId>,
    /// Orders groups that keep books of their own.
    keeps_books: BTreeSet<GroupId>,
    /// Orders groups with what only books write, and where the first of it is.
    books_heard: BTreeMap<GroupId, (Arc<str>, String)>,
    unlawful: BTreeMap<Kind, (u64, String)>,
    waiting: Vec<Waiting>,
    vault: Vec<KeyInfo>,
}

impl Findings {
    pub fn new(law: Law) -> Self {
        Self {
            law,
            now_ms: 0,
            tallies: BTreeMap::new(),
            unexplained: Vec::new(),
            more_unexplained: 0,
            unplaced: 0,
            residence: BTreeMap::new(),
            customers: BTreeMap::new(),
            wraps: BTreeMap::new(),
            payments: BTreeMap::new(),
            begun: BTreeMap::new(),
            keeps_books: BTreeSet::new(),
            books_heard: BTreeMap::new(),
            unlawful: BTreeMap::new(),
            waiting: Vec::new(),
            vault: Vec::new(),
        }
    }

    pub fn tally(&mut self, format: &'static str) -> &mut Tally {
        self.tallies.entry(format).or_default()
    }

    pub fn unexplained(&mut self, file: &str, offset: u64, bytes: u64, why: impl Into<String>) {
        if self.unexplained.len() >= NAMED_MAX {
            self.more_unexplained += 1;
            return;
        }
        let (file, why) = (file.to_owned(), why.into());
        self.unexplained.push(Unexplained { file, offset, bytes, why });
    }

    /// A policy that the region went by.
    pub fn policy(&mut self, text: &str) -> Result<(), String> {
        let policy = Policy::trusted(text).map_err(|refused| refused.to_string())?;
        self.law.remember(Arc::new(policy));
        Ok(())
    }

    /// The region's keys, as its vault has them.
    pub fn vault(&mut self, keys: Vec<KeyInfo>) {
        self.vault.extend(keys);
    }

    /// That a payment is an order's.
    pub fn payment(&mut self, payment: u128, order: OrderId) {
        self.payments.insert(payment, order);
    }

    /// That an order begins with a payment of this id, whenever that was.
    pub fn begins_with(&mut self, payment: TransferId, order: OrderId) {
        self.begun.insert(payment, order);
    }

    fn payer(&self, payment: u128) -> Option<&OrderId> {
        let timeless = || TransferId::from_bytes(payment.to_be_bytes()).timeless();
        self.payments.get(&payment).or_else(|| self.begun.get(&timeless()))
    }

    /// That an orders group keeps books of its own.
    pub fn keeps_books(&mut self, group: GroupId) {
        self.keeps_books.insert(group);
    }

    /// That something of an orders group is its books', at a place; unexplained if it has none.
    pub fn books_heard(&mut self, group: GroupId, place: &Place, at: impl FnOnce() -> String) {
        self.books_heard.entry(group).or_insert_with(|| (place.file.clone(), at()));
    }

    /// That a customer lives somewhere.
    pub fn lives(&mut self, customer: SubjectId, residence: Country) {
        self.customers.insert(customer, residence);
    }

    /// That a data key lies here under a region key.
    pub fn wraps(&mut self, of: KeyOf, by: RegionKey) {
        let newest = self.wraps.entry(of).or_insert(by);
        *newest = by.max(*newest);
    }

    /// Takes a fact in; `at` says where in the file it is.
    pub fn fact(&mut self, place: &Place, fact: Fact, at: impl FnOnce() -> String) {
        if let (Whose::Order(order), Some(residence)) = (fact.whose, fact.residence) {
            self.residence.insert(order, residence);
        }
        if let (Whose::Customer(customer), Some(residence)) = (fact.whose, fact.residence) {
            self.lives(customer, residence);
        }
        match self.residence_of(&fact) {
            Some(residence) => self.judge(place, &fact, residence, at),
            None => self.wait(place, fact, at()),
        }
    }

    fn residence_of(&self, fact: &Fact) -> Option<Country> {
        let of_order = |order: &OrderId| self.residence.get(order).copied();
        fact.residence.or_else(|| match fact.whose {
            Whose::Order(order) => of_order(&order),
            Whose::Payment(payment) => of_order(self.payer(payment)?),
            Whose::Customer(customer) => self.customers.get(&customer).copied(),
            Whose::Somebody => None,
        })
    }

    /// Whose it is, as far as is known by now.
    fn owner(&self, whose: Whose) -> Whose {
        match whose {
            Whose::Payment(payment) => {
                self.payer(payment).map_or(whose, |order| Whose::Order(*order))
            }
            other => other,
        }
    }

    fn judge(
        &mut self,
        place: &Place,
        fact: &Fact,
        residence: Country,
        at: impl FnOnce() -> String,
    ) {
        let whose = self.owner(fact.whose);
        let beyond = self.law.unlawful(whose, fact, residence);
        if beyond == ClassSet::NONE {
            return;
        }
        let came = match self.law.was_lawful(whose, fact, residence) {
            true => self.before(fact.sealed, self.law.serves(whose, fact.copy)),
            false => Came::Never,
        };
        self.add(place, fact, Some(residence), beyond, came, at);
    }

    fn before(&self, sealed: Sealed, own: bool) -> Came {
        match sealed {
            Sealed::By(key) => Came::Wrapped(key),
            Sealed::With(of) => Came::Under(self.wraps.get(&of).copied()),
            Sealed::Open if own => Came::Own,
            Sealed::Open => Came::Before,
        }
    }

    fn add(
        &mut self,
        place: &Place,
        fact: &Fact,
        residence: Option<Country>,
        beyond: ClassSet,
        came: Came,
        at: impl FnOnce() -> String,
    ) {
        let named = format!("{}: {}", at(), name(fact.whose));
        for (class, known) in (0..).zip(DataClass::ALL) {
            if beyond.has(known) {
                let what = fact.what;
                let kind = Kind { place: place.clone(), what, residence, class, came };
                let found = self.unlawful.entry(kind).or_insert_with(|| (0, named.clone()));
                found.0 += 1;
            }
        }
    }

    fn wait(&mut self, place: &Place, fact: Fact, at: String) {
        let has = fact::classes(&fact.content);
        // Ids and times of somebody unknown are no secret of his.
        if has == fact::only(DataClass::Operational) || has == ClassSet::NONE {
            return;
        }
        if self.waiting.len() >= WAITING_MAX {
            self.unexplained(&place.file, 0, 0, "too many records of people who live nowhere");
            return;
        }
        self.waiting.push(Waiting { fact, place: place.clone(), at });
    }

    /// Everything was read: what waits is judged by what is known now.
    pub fn settle(&mut self) {
        for (group, (file, at)) in std::mem::take(&mut self.books_heard) {
            if !self.keeps_books.contains(&group) {
                let why = format!("{at}: of books, and {group} keeps none");
                self.unexplained(&file, 0, 0, why);
            }
        }
        for Waiting { fact, place, at } in std::mem::take(&mut self.waiting) {
            if let Some(residence) = self.residence_of(&fact) {
                self.judge(&place, &fact, residence, || at);
                continue;
            }
            // Of its own people a region may lack the country on one node: their orders are on
            // another. Of anybody else that is no excuse.
            if self.law.own(self.owner(fact.whose)) {
                self.unplaced += 1;
                continue;
            }
            let has = fact::classes(&fact.content).without(DataClass::Operational);
            // What lasts of a copy does not say where its customer lives: once that is purged a
            // data key is all that is left, and it goes with its region key.
            let came = match fact.sealed {
                Sealed::By(_) => self.before(fact.sealed, false),
                Sealed::With(_) | Sealed::Open => Came::Never,
            };
            self.add(&place, &fact, None, has, came, || at);
        }
    }

    /// What may not be here, worst first.
    pub fn found(&self) -> Vec<Found> {
        let mut found: Vec<Found> = self
            .unlawful
            .iter()
            .filter_map(|(kind, (count, first))| self.report(kind, *count, first))
            .collect();
        found.sort_by(|a, b| (a.verdict, &a.file, a.what).cmp(&(b.verdict, &b.file, b.what)));
        found.truncate(NAMED_MAX);
        found
    }

    /// `None` for what nobody can read any more.
    fn report(&self, kind: &Kind, count: u64, first: &str) -> Option<Found> {
        let class = DataClass::ALL[usize::from(kind.class)];
        let (verdict, goes_ms, mut goes) = self.goes(kind)?;
        if verdict == Verdict::Foreign && kind.place.file.starts_with(ASIDE) {
            goes = "until the folder of this node's former life, which was put aside, is deleted";
        }
        Some(Found {
            verdict,
            file: kind.place.file.to_string(),
            what: kind.what,
            class,
            residence: kind.residence,
            count,
            first: first.to_owned(),
            goes_ms,
            goes,
        })
    }

    /// When something that was lawful once goes; `None` once it is gone. What never goes by itself
    /// is foreign.
    fn goes(&self, kind: &Kind) -> Option<Goes> {
        let goes = match (kind.came, kind.place.stays) {
            (Came::Never, _) => return Some((Verdict::Foreign, 0, "was never lawful here")),
            (Came::Under(key), _) => self.opens(key)?,
            (Came::Wrapped(key), stays) => match (self.opens(Some(key))?, stays) {
                // What lives is wrapped anew with the next region key.
                ((Verdict::Foreign, ..), Stays::InForce) => (
                    Verdict::Foreign,
                    0,
                    "until it is given back and a checkpoint without it is written, and the region \
                     key is rotated after that",
                ),
                (goes, _) => goes,
            },
            (Came::Own, _) => (
                Verdict::Foreign,
                0,
                "this region served it: no purge takes that; move its customers, or give the \
                 region up",
            ),
            (Came::Before, Stays::Behind) => {
                (Verdict::Expiring, 0, "with the next checkpoint and its part of the log")
            }
            (Came::Before, Stays::InForce) => {
                (Verdict::Foreign, 0, "until it is purged and a checkpoint without it is written")
            }
            (Came::Before, Stays::Kept | Stays::Backup(_)) => {
                (Verdict::Foreign, 0, "in plain, in what is never rewritten")
            }
        };
        Some(match kind.place.stays {
            Stays::Backup(until) if goes.0 == Verdict::Foreign => match self.now_ms <= until {
                true => (Verdict::Expiring, until, "this backup is deleted, by its manifest"),
                false => (Verdict::Foreign, until, "this backup was to be gone: backup prune"),
            },
            _ => goes,
        })
    }

    /// What is under this region key, or under whatever the vault has had.
    fn opens(&self, key: Option<RegionKey>) -> Option<Goes> {
        // A vault lists its oldest destroyed keys no more.
        let oldest = self.vault.iter().map(|info| info.key).min();
        let mut destroyed = key.zip(oldest).is_some_and(|(key, oldest)| key < oldest);
        let (mut retired, mut active) = (None, false);
        for info in self.vault.iter().filter(|info| key.is_none_or(|key| info.key == key)) {
            match info.state {
                // Which key it was is not said: the newest seals only what is here lawfully.
                KeyLife::Active => active |= key.is_some(),
                KeyLife::Retired { destroy_after_ms, .. } => {
                    retired = retired.max(Some(destroy_after_ms));
                }
                KeyLife::Destroyed { .. } => destroyed = true,
            }
        }
        match retired.filter(|_| !active) {
            Some(at) => Some((Verdict::Expiring, at, "its region key is destroyed")),
            None if destroyed && !active => None,
            None => {
                Some((Verdict::Foreign, 0, "until the region key is rotated: hansactl key rotate"))
            }
        }
    }

    /// Whether nothing was found that must not be.
    pub fn clean(&self) -> bool {
        let foreign = self.found().iter().any(|found| found.verdict == Verdict::Foreign);
        !foreign && self.unexplained.is_empty()
    }
}

fn name(whose: Whose) -> String {
    match whose {
        Whose::Order(order) => format!("order {order} of region {}", order.region()),
        Whose::Customer(customer) => {
            format!("customer {:08x}… of region {}", customer.hash >> 96, customer.home)
        }
        Whose::Payment(payment) => format!("payment {payment:032x}"),
        Whose::Somebody => "somebody".to_owned(),
    }
}

/// Whether a content has nothing of a class.
pub fn is_empty(content: &Content) -> bool {
    fact::classes(content) == ClassSet::NONE
}
