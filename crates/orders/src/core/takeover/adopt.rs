//! Copies become orders: in the version after the copy's, in the new epoch.
//!
//! What a copy shows are facts of one version. What ran beside them is asked of the provider again,
//! under the order's own key; money that was captured is opened in the books here by what the copy
//! says; stock that was not shipped is reserved here.

use hansa_types::id::{OrderId, TransferId};
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use super::{Birth, ORDERS_MAX, Phase, VERSION_MAX};
use crate::core::command::Refused;
use crate::core::contents::Contents;
use crate::core::effect::{Effect, Reference, Refusal, RefusalCode};
use crate::core::keys::Scope;
use crate::core::near::Near;
use crate::core::order::{
    Adoption, Done, Fork, Funds, Goal, Heard, MoneyFacts, Movement, Note, Order, Parked, ParkedWhy,
    Part, Provider, Refund, RefundCause, Reject, Stock, Why, forgotten_before, forked,
};
use crate::core::saga::{self, Now};
use crate::core::state::State;
use crate::core::subjects::{KeyOf, KeyState, Wrapped};

/// A copy as the shell read it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Candidate {
    Take(Box<Adopted>),
    Fail {
        order: OrderId,
        version: u64,
        why: NotAdopted,
    },
    /// Nobody went on with what stands here: it goes on as that.
    Again {
        order: OrderId,
    },
}

/// Why a copy cannot be adopted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum NotAdopted {
    /// The law lets this region hold too little of it.
    NotInFailoverSet,
    Unreadable,
    /// What it takes to go on belongs to another group here.
    OtherGroup,
    /// The data key that opens it never came.
    KeyMissing,
    /// Events of it wait here for an operator: what is known of it is not all.
    Parked,
    /// It was handed over, and the law kept its next owner from telling what became of it.
    Untold,
}

/// What it takes to go on with an order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Adopted {
    pub order: OrderId,
    /// It was looked for among the orders that left, too, and is none of them.
    pub looked: bool,
    /// Of the copy.
    pub version: u64,
    pub contents: Contents,
    /// The data key of a customer whom this region did not know: with each of his orders that were
    /// read together, for the first of them may not be the first to come.
    pub mint: Option<Wrapped>,
    pub facts: Facts,
}

/// What the copy's version shows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Facts {
    pub created: LogTime,
    pub standing: Standing,
    pub cancel_asked: bool,
    pub cancel_reason: String,
    pub settled: bool,
    /// The provider was asked and its answer was not known.
    pub in_doubt: bool,
    pub declined: Option<String>,
    pub authorized_minor: i64,
    pub captured_minor: i64,
    pub refunded_minor: i64,
    pub reference: Reference,
    pub refunds: Vec<Repaid>,
    pub shipments: Vec<Moved>,
    pub returns: Vec<Moved>,
    /// What the former owner knew the customer by.
    pub sealed: KeyOf,
    /// Each with the key of its body.
    pub requests: Vec<Heard>,
    /// Where this region looks for the first of them.
    pub placed_as: Option<Scope>,
}

/// How far a step was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Stepped {
    Done,
    UnderWay,
    Refused,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Standing {
    Open,
    Rejected(Reject, Refusal),
    Cancelled,
    Parked(ParkedWhy, String),
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Moved {
    pub id: TransferId,
    pub lines: Vec<(u16, u32)>,
    pub note: Note,
    pub state: Stepped,
    /// The region whose books were asked, and of a return what other books had shipped.
    pub booked: Option<RegionNumber>,
    pub elsewhere: Vec<(u16, u32)>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Repaid {
    pub id: TransferId,
    pub amount_minor: i64,
    pub with: Option<TransferId>,
    pub cause: RefundCause,
    pub state: Stepped,
}

impl State {
    /// Copies that wait to be adopted, at most `max`; those that cannot be are left out.
    pub fn waiting(&self, birth: RegionNumber, max: usize) -> Vec<OrderId> {
        self.waiters(birth).take(max).collect()
    }

    fn waiters(&self, birth: RegionNumber) -> impl Iterator<Item = OrderId> {
        let row = self.births.get(birth).filter(|row| row.phase == Phase::Adopting);
        row.into_iter().flat_map(move |row| {
            let waits = move |id: &OrderId| {
                let held = self.births.failed.contains(id);
                let taken = self.orders.get(id).is_some_and(|order| order.epoch >= row.floor);
                id.region() == birth && !held && !taken
            };
            // Of some there is nothing but what waits for an operator.
            let parked = self.remote.parked.iter().map(|(id, _)| *id);
            let parked = parked.filter(|id| !self.remote.copies.contains(id) && self.blocked(*id));
            let again = self.to_own_again(birth).filter(|id| !self.births.failed.contains(id));
            self.remote.ids().chain(parked).filter(waits).chain(again)
        })
    }

    /// Those of them that nothing keeps from being adopted: what their former records hold here
    /// has been given back.
    pub fn ready(&self, birth: RegionNumber, max: usize) -> Vec<OrderId> {
        self.waiters(birth).filter(|id| !self.kept_back(*id)).take(max).collect()
    }

    /// Whether an order waits for nothing but to be adopted.
    pub fn is_ready(&self, id: OrderId) -> bool {
        self.waits(id) && !self.kept_back(id)
    }

    /// Whether what others went on with waits until what this group held for it is given back.
    fn kept_back(&self, id: OrderId) -> bool {
        self.still_holds(id) && !self.blocked(id) && !self.goes_on_here(id)
    }

    pub(super) fn adopt(
        &mut self,
        at: LogTime,
        (birth, epoch): (RegionNumber, u64),
        candidates: Vec<Candidate>,
        mut near: Near<'_>,
    ) -> Result<u32, Refused> {
        let adopting = |row: &&Birth| row.phase == Phase::Adopting && row.epoch == epoch;
        let Some(mut row) = self.births.get(birth).filter(adopting).cloned() else {
            return Err(Refused::NotOwner);
        };
        let (mut adopted, mut lacks) = (0, false);
        for candidate in candidates.into_iter().take(ORDERS_MAX) {
            match candidate {
                Candidate::Take(one) if self.blocked(one.order) => {
                    self.not_adopted(birth, one.order, NotAdopted::Parked);
                    lacks = true;
                }
                Candidate::Fail { order, why: NotAdopted::Parked, .. } if self.blocked(order) => {
                    self.not_adopted(birth, order, NotAdopted::Parked);
                    lacks = true;
                }
                // It would be here twice: one that left is brought back first.
                Candidate::Take(one) if !one.looked && self.may_have_left(one.order) => {}
                Candidate::Take(one) if one.order.region() == birth => {
                    adopted += u32::from(self.adopt_one(at, epoch, *one, near.lend()));
                }
                Candidate::Fail { order, version, why }
                    if self.copy_at(order, version) || self.stands_at(order, version) =>
                {
                    self.births.failed.insert(order, why);
                    lacks = true;
                }
                Candidate::Again { order } => {
                    adopted += u32::from(self.own_again(at, birth, order));
                }
                // Another copy came meanwhile, or somebody asked for this order first.
                Candidate::Take(_) | Candidate::Fail { .. } => {}
            }
        }
        if let Some(taken) = &mut row.taken {
            taken.done += u64::from(adopted);
            // Nor did the requests of what is left out come along, however it was handed over.
            if lacks {
                row.doubt = Some(taken.doubt(self.meta.settings.key_ttl_ms).and(row.doubt));
            }
        }
        self.births.put(birth, row);
        Ok(adopted)
    }

    fn copy_at(&self, order: OrderId, version: u64) -> bool {
        let copy = self.remote.copies.get(&order);
        self.waits(order) && copy.is_some_and(|copy| copy.version == version)
    }

    fn adopt_one(&mut self, at: LogTime, epoch: u64, one: Adopted, near: Near<'_>) -> bool {
        let Adopted { order: id, looked: _, version, contents, mint, mut facts } = one;
        let settings = self.meta.settings.clone();
        let mine = id.slot().get() % settings.groups.max(1) == settings.index;
        if !mine || !self.copy_at(id, version) || contents.groups().len() > 64 {
            return false;
        }
        // What it holds would be nobody's.
        if self.still_holds(id) {
            return false;
        }
        if version > VERSION_MAX || !facts.sound(&contents) {
            return false;
        }
        // Sealed anew for this region's customer; his key may have changed since that was done.
        let ours = contents.sealed_with.subject.home == settings.region;
        // Who was forgotten here, or had left, has no key to fit: there is nothing to open.
        let gone = mint.is_none()
            && contents.personal.is_none()
            && !matches!(self.subjects.key(contents.sealed_with), KeyState::Living(_));
        // What came with an order before this one.
        let here = |mint: &Wrapped| {
            self.subjects.key(contents.sealed_with) == KeyState::Living(mint.clone())
        };
        let mint = mint.filter(|mint| ours && !here(mint));
        let next = self.adopting_key(contents.sealed_with.subject, facts.created.ms());
        if ours && !gone && self.key_is(next, contents.sealed_with, mint.as_ref()).is_err() {
            return false;
        }
        if let Some(wrapped) = mint {
            self.meta.wraps.get_or_insert(wrapped.by);
            self.subjects.put(contents.sealed_with, wrapped);
        }
        self.count_beside((at, epoch), id, &mut facts);
        let copy = self.remote.copies.get(&id);
        let (ended, before) =
            copy.map(|copy| (copy.epoch(), copy.forks.clone())).unwrap_or_default();
        let fork = Fork { epoch, owner: settings.region, version, restored: false };
        let forks = forked(before, fork);
        let forgot = forgotten_before(&facts.requests);
        let adoption = Adoption { version, ended, sealed: facts.sealed, forgot };
        let order = self.begun((id, at), &contents, near, |now| {
            order(&facts, &contents, (epoch, adoption, forks), now)
        });
        self.heard_alone(id, &facts);
        if contents.personal.is_none() {
            self.keep_own(id, contents.sealed_with);
        }
        self.forget_former(id);
        // What was decided on it was of an earlier loss.
        self.tail_over(at, id, "its owner had gone on with it, and so it goes on from there");
        self.insert(at, id, contents, order);
        self.remote.drop_copy(id);
        self.births.failed.remove(&id);
        self.remember_requests(at, id, &facts);
        true
    }
}

/// The order as it goes on here, with its first steps.
fn order(
    facts: &Facts,
    contents: &Contents,
    (epoch, adoption, forks): (u64, Adoption, Vec<Fork>),
    now: &mut Now<'_>,
) -> Order {
    let goal = goal(facts, now.at);
    let mut order = Order {
        created: facts.created,
        updated: now.at,
        settled: facts.settled || facts.captured_minor > 0,
        goal,
        parts: Vec::new(),
        funds: Funds::NotNeeded,
        provider: Provider::NotNeeded,
        money: MoneyFacts {
            authorized_minor: facts.authorized_minor,
            captured_minor: facts.captured_minor,
            refunded_minor: facts.refunded_minor,
            reference: facts.reference.clone(),
            ..MoneyFacts::default()
        },
        shipments: movements(&facts.shipments, contents, adoption.version, now.at),
        returns: movements(&facts.returns, contents, adoption.version, now.at),
        refunds: facts.refunds.iter().map(|of| refund(of, adoption.version, now.at)).collect(),
        parked: None,
        cancel_reason: facts.cancel_reason.clone(),
        work: Vec::new(),
        wake: None,
        attempt: saga::attempts_before(epoch),
        version: adoption.version,
        last_seq: 0,
        history: Vec::new(),
        requests: facts.requests.clone(),
        began: now.at,
        epoch,
        adopted: Some(adoption),
        forks,
    };
    if let Standing::Parked(why, detail) = &facts.standing {
        order.parked = Some(Parked { at: now.at, why: *why, detail: detail.clone() });
    }
    parts(&mut order, contents, now);
    money(&mut order, facts, contents, now);
    saga::drive(&mut order, contents, now);
    order
}

fn goal(facts: &Facts, at: LogTime) -> Goal {
    let why = match &facts.standing {
        Standing::Rejected(reject, refusal) => Why::Rejected(*reject, refusal.clone()),
        Standing::Cancelled => Why::Cancelled,
        Standing::Open | Standing::Parked(..) if facts.cancel_asked => Why::Cancelled,
        Standing::Open | Standing::Parked(..) => return Goal::Confirm,
    };
    Goal::Undo { why, since: at }
}

/// Nothing is held here. Where all was shipped nothing has to be.
fn parts(order: &mut Order, contents: &Contents, now: &mut Now<'_>) {
    for (n, group) in contents.groups().into_iter().enumerate() {
        let stock = match &order.goal {
            Goal::Undo { .. } => Stock::Gone,
            Goal::Confirm => to_reserve(order, contents, group),
        };
        let hold = now.mint(order, "adopted", n as u16);
        order.parts.push(Part { group, hold, step: hold, stock });
    }
}

/// What has to be reserved of a part of which nothing is held: nothing where all was shipped.
pub(super) fn to_reserve(order: &Order, contents: &Contents, group: u16) -> Stock {
    let mut lines = contents.of_group(group);
    match lines.all(|(place, line)| Order::moved(&order.shipments, place) >= line.quantity) {
        true => Stock::Committed,
        false => Stock::Unallocated,
    }
}

fn money(order: &mut Order, facts: &Facts, contents: &Contents, now: &mut Now<'_>) {
    if contents.total_minor == 0 {
        return;
    }
    order.money.payment = Some(now.mint(order, "payment", 0));
    if facts.captured_minor > 0 {
        (order.funds, order.provider) = (Funds::Opening, Provider::Captured);
        order.money.step = Some(now.mint(order, "opening", 0));
        now.push(order, Effect::Open);
        return;
    }
    let undone = matches!(facts.standing, Standing::Rejected(..) | Standing::Cancelled);
    match order.goal {
        Goal::Confirm => {
            order.funds = Funds::Holding;
            order.money.hold = Some(now.mint(order, "hold", 0));
            now.push(order, Effect::HoldFunds);
            let known = facts.authorized_minor == contents.total_minor && !facts.in_doubt;
            order.provider = match known && facts.reference != Reference::default() {
                true => Provider::Authorized,
                // Asked again by the same key: whatever it did then, it says now.
                false => Provider::Untouched,
            };
        }
        Goal::Undo { .. } if undone && !facts.in_doubt => {
            order.funds = Funds::Void;
            order.provider = match &facts.declined {
                Some(why) => Provider::Declined(why.clone()),
                None => Provider::Void,
            };
        }
        Goal::Undo { .. } => {
            order.funds = Funds::Void;
            let settle = Some(now.at.plus_ms(now.settings.settle_ms));
            order.provider = Provider::Cancelling { settle };
            now.push(order, Effect::CancelPayment);
        }
    }
}

fn movements(moved: &[Moved], contents: &Contents, version: u64, at: LogTime) -> Vec<Movement> {
    let group = |lines: &[(u16, u32)]| {
        let first = lines.first().and_then(|(place, _)| contents.lines.get(usize::from(*place)));
        first.and_then(|line| line.stock_group).unwrap_or(0)
    };
    let movement = |one: &Moved| Movement {
        id: one.id,
        group: group(&one.lines),
        at,
        lines: one.lines.clone(),
        // What is recorded as moved has moved: only the former books were asked to follow.
        state: if one.state == Stepped::Refused { refused() } else { Done::Done },
        version,
        note: one.note.clone(),
        // What was under way may be in those books, or not.
        booked: one.booked.filter(|_| one.state == Stepped::Done),
        elsewhere: one.elsewhere.clone(),
    };
    moved.iter().map(movement).collect()
}

/// One that was under way goes out again under its own id: the provider pays it once.
fn refund(repaid: &Repaid, version: u64, at: LogTime) -> Refund {
    let Repaid { id, amount_minor, with, cause, state } = *repaid;
    let (state, version) = match state {
        Stepped::Done => (Done::Done, version),
        Stepped::UnderWay => (Done::Outstanding, 0),
        Stepped::Refused => (refused(), 0),
    };
    Refund { id, at, amount_minor, cause, with, state, version, note: Note::default() }
}

fn refused() -> Done {
    Done::Refused(Refusal::new(RefusalCode::Other, "refused by the former owner"))
}
