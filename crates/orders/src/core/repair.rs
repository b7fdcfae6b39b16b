//! Repairs that two people have agreed on: plans, approvals and compensating entries.
//!
//! An entry's intent is committed before anything is done, under an id that follows from its plan
//! and number, so a repeat, a crash in the middle and a new leader all do the same thing once. The
//! log, and with it the audit chain, has who, why and on which ticket.

use std::collections::{BTreeMap, BTreeSet};

use hansa_pages::Table;
use hansa_types::hash::StateHash;
use hansa_types::id::{OrderId, Sku, TransferId};
use hansa_types::money::Currency;
use hansa_types::region::RegionName;
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use super::command::{Command, Outcome, Refused};
use super::effect::Reference;
use super::state::State;
use super::takeover::{Decision, TailAction, TailRow};

/// Plans that a group remembers, and their entries; the oldest that are over make room.
const PLANS_MAX: usize = 256;
const ROWS_MAX: usize = 100_000;

/// The hash of a plan: of its header and every entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct PlanId(pub [u8; 32]);

/// One entry of a plan, from 1.
pub type EntryId = (PlanId, u32);

/// What happens to plans; commands of the shell, each on behalf of a person.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RepairStep {
    Propose {
        plan: PlanId,
        by: String,
        reason: String,
        entries: u32,
    },
    Approve {
        plan: PlanId,
        by: String,
        ticket: String,
    },
    Begin(Box<Begin>),
    /// What the leader's repairer came to.
    Ended {
        entry: EntryId,
        end: End,
    },
}

/// The intent to carry out one entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Begin {
    pub entry: EntryId,
    pub by: String,
    pub why: String,
    /// The order that it is about, and the hash of its record when that was read: `None` for an
    /// order that this group did not know.
    pub rests_on: Option<(OrderId, Option<u128>)>,
    /// It was looked for among the orders that left, too, and is none of them.
    pub looked: bool,
    pub action: Action,
}

/// One compensating entry.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Action {
    ReleaseStock {
        group: u16,
        hold: TransferId,
        committed: bool,
    },
    VoidMoney {
        books: Money,
        hold: TransferId,
    },
    RefundCapture {
        books: Money,
        amount_minor: i64,
        currency: Currency,
    },
    CancelCharge {
        key: String,
        reference: Reference,
    },
    Resume,
    Rebook {
        group: u16,
        sku: Sku,
        delta: i64,
        expected_shipped: i64,
    },
    Reship {
        peer: RegionName,
    },
    /// What becomes of an order of the unshipped tail: what the plan's two people say.
    DecideTail {
        action: TailAction,
    },
}

impl Action {
    /// Whether it is done only when the order's births come back; until then another word on the
    /// order may take its place.
    pub fn waits(&self) -> bool {
        matches!(self, Self::DecideTail { action: TailAction::Adopt })
    }
}

/// A payment's books.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Money {
    pub group: u16,
    pub payment: TransferId,
}

/// What became of an entry.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum End {
    Done,
    /// What it rests on is no longer so: nothing was done.
    Stale(String),
    /// Books or provider will never do it.
    Refused(String),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct PlanRow {
    pub by: String,
    pub reason: String,
    pub at: LogTime,
    pub entries: u32,
    pub approved: Option<Approved>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Approved {
    pub by: String,
    pub ticket: String,
    pub at: LogTime,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct RepairRow {
    pub order: Option<OrderId>,
    pub action: Action,
    pub by: String,
    pub why: String,
    pub begun: LogTime,
    pub ended: Option<(LogTime, End)>,
}

/// Why a step changed nothing. Checked in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    NoSuchPlan,
    /// Who made a plan cannot approve it.
    SamePerson,
    /// Approved already, on another word.
    AlreadyApproved,
    NotApproved,
    NoSuchEntry,
    /// Another entry about the same order is under way.
    Busy,
    /// Nothing that is over is left to forget.
    Full,
    /// Its order may have left: the shell looks, and brings it back first.
    Shelved,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    Plan(PlanRow),
    Repair(RepairRow),
    Refused(Why),
}

/// Plans and entries of one group.
pub struct Repairs {
    pub plans: Table<PlanId, PlanRow>,
    pub rows: Table<EntryId, RepairRow>,
    /// Entries that are intended and not done.
    open: BTreeSet<EntryId>,
    /// Orders that an open entry is about.
    busy: BTreeMap<OrderId, EntryId>,
}

impl Repairs {
    pub fn new() -> Self {
        Self::rebuild(Table::new("plans"), Table::new("repairs"))
    }

    pub fn rebuild(plans: Table<PlanId, PlanRow>, rows: Table<EntryId, RepairRow>) -> Self {
        let (mut open, mut busy) = (BTreeSet::new(), BTreeMap::new());
        for (id, row) in rows.iter().filter(|(_, row)| row.ended.is_none()) {
            open.insert(*id);
            busy.extend(row.order.filter(|_| !row.action.waits()).map(|order| (order, *id)));
        }
        Self { plans, rows, open, busy }
    }

    pub fn digest(&self) -> StateHash {
        let mut sum = self.plans.digest();
        sum.add(self.rows.digest());
        sum
    }

    pub fn digest_full(&self) -> StateHash {
        let mut sum = self.plans.recompute_digest();
        sum.add(self.rows.recompute_digest());
        sum
    }

    /// Entries whose intent is committed and that nobody has reported done, in order. What was
    /// decided on the tail is carried out by who follows the births.
    pub fn open(&self) -> impl Iterator<Item = (EntryId, &RepairRow)> {
        let all = self.open.iter().filter_map(|id| Some((*id, self.rows.get(id)?)));
        all.filter(|(_, row)| !matches!(row.action, Action::DecideTail { .. }))
    }

    /// Whether somebody is at work on an order.
    pub(super) fn is_busy(&self, order: OrderId) -> bool {
        self.busy.contains_key(&order)
    }

    fn propose(&mut self, at: LogTime, plan: PlanId, row: PlanRow) -> Answer {
        if let Some(known) = self.plans.get(&plan) {
            return Answer::Plan(known.clone());
        }
        while self.plans.len() >= PLANS_MAX || self.rows.len() + row.entries as usize > ROWS_MAX {
            let Some(oldest) = self.oldest_over() else { return Answer::Refused(Why::Full) };
            self.forget(oldest);
        }
        let row = PlanRow { at, ..row };
        self.plans.insert(plan, row.clone());
        Answer::Plan(row)
    }

    /// The oldest plan of which nothing is under way.
    fn oldest_over(&self) -> Option<PlanId> {
        let idle = |id: &PlanId| self.open.range((*id, 0)..=(*id, u32::MAX)).next().is_none();
        let over = self.plans.iter().filter(|(id, _)| idle(id));
        over.map(|(id, row)| (row.at, *id)).min().map(|(_, id)| id)
    }

    fn forget(&mut self, plan: PlanId) {
        let entries = self.plans.remove(&plan).map_or(0, |row| row.entries);
        for number in 1..=entries {
            self.rows.remove(&(plan, number));
        }
    }

    fn approve(&mut self, plan: PlanId, approved: Approved) -> Answer {
        let Some(row) = self.plans.get(&plan) else { return Answer::Refused(Why::NoSuchPlan) };
        if row.by == approved.by {
            return Answer::Refused(Why::SamePerson);
        }
        match &row.approved {
            Some(before) if (&before.by, &before.ticket) == (&approved.by, &approved.ticket) => {}
            Some(_) => return Answer::Refused(Why::AlreadyApproved),
            None => {
                self.plans.update(&plan, |row| row.approved = Some(approved));
            }
        }
        self.plans.get(&plan).map_or(Answer::Refused(Why::NoSuchPlan), |r| Answer::Plan(r.clone()))
    }

    fn may_begin(&self, begin: &Begin) -> Result<(), Why> {
        let (plan, number) = begin.entry;
        let row = self.plans.get(&plan).ok_or(Why::NoSuchPlan)?;
        if row.approved.is_none() {
            return Err(Why::NotApproved);
        }
        if !(1..=row.entries).contains(&number) {
            return Err(Why::NoSuchEntry);
        }
        match begin.rests_on {
            Some((order, _)) if self.busy.contains_key(&order) => Err(Why::Busy),
            _ => Ok(()),
        }
    }

    fn end(&mut self, at: LogTime, id: EntryId, end: End) {
        let row = self.rows.update(&id, |row| {
            // The first word stands: a second repairer reports the same thing done.
            row.ended.get_or_insert((at, end));
            row.order
        });
        self.open.remove(&id);
        // Said twice, it comes when another entry may be at work on the order.
        if let Some(Some(order)) = row
            && self.busy.get(&order) == Some(&id)
        {
            self.busy.remove(&order);
        }
    }
}

impl Default for Repairs {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    pub(super) fn repair_step(&mut self, at: LogTime, step: RepairStep) -> Outcome {
        let answer = match step {
            RepairStep::Propose { plan, by, reason, entries } => {
                let row = PlanRow { by, reason, at, entries, approved: None };
                self.repairs.propose(at, plan, row)
            }
            RepairStep::Approve { plan, by, ticket } => {
                self.repairs.approve(plan, Approved { by, ticket, at })
            }
            RepairStep::Begin(begin) => self.begin_repair(at, *begin),
            RepairStep::Ended { entry, end } => {
                self.repairs.end(at, entry, end);
                return Outcome::Noted;
            }
        };
        Outcome::Repair(Box::new(answer))
    }

    fn begin_repair(&mut self, at: LogTime, begin: Begin) -> Answer {
        if let Some(row) = self.repairs.rows.get(&begin.entry) {
            return Answer::Repair(row.clone());
        }
        if let Err(why) = self.repairs.may_begin(&begin) {
            return Answer::Refused(why);
        }
        let away = |(order, _): (OrderId, _)| !begin.looked && self.may_have_left(order);
        if begin.rests_on.is_some_and(away) {
            return Answer::Refused(Why::Shelved);
        }
        let stale = begin.rests_on.and_then(|(order, hash)| self.changed(order, hash));
        let Begin { entry, by, why, rests_on, looked: _, action } = begin;
        let order = rests_on.map(|(order, _)| order);
        // No other group or provider has a part in some: they are done here.
        let ended = match (stale, order, &action) {
            (Some(why), ..) => Some(End::Stale(why)),
            (None, Some(order), Action::Resume) => {
                Some(match self.apply(at, Command::Resume { order }) {
                    Outcome::Noted => End::Done,
                    _ => End::Refused("the order is not parked".to_owned()),
                })
            }
            (None, _, Action::DecideTail { action }) => {
                self.decided_by(at, (entry, &by), (rests_on, *action, &why))
            }
            (None, ..) => None,
        };
        let waits = action.waits();
        let row = RepairRow { order, action, by, why, begun: at, ended: None };
        self.repairs.rows.insert(entry, row);
        self.repairs.open.insert(entry);
        self.repairs.busy.extend(order.filter(|_| !waits).map(|order| (order, entry)));
        if let Some(end) = ended {
            self.repairs.end(at, entry, end);
        }
        match self.repairs.rows.get(&entry) {
            Some(row) => Answer::Repair(row.clone()),
            None => Answer::Refused(Why::NoSuchEntry),
        }
    }

    /// What two people agreed on for an order of the tail becomes a decision; `None`: it is to be
    /// carried out.
    fn decided_by(
        &mut self,
        at: LogTime,
        (entry, applied_by): (EntryId, &str),
        (rests_on, action, why): (Option<(OrderId, Option<u128>)>, TailAction, &str),
    ) -> Option<End> {
        let plan = self.repairs.plans.get(&entry.0).cloned();
        let agreed = plan.and_then(|plan| Some((plan.approved.clone()?, plan)));
        let Some(((approved, plan), (order, Some(hash)))) = agreed.zip(rests_on) else {
            return Some(End::Refused("not about an order as it was listed".to_owned()));
        };
        let since = |row: &TailRow| approved.at < row.at;
        if self.births.tail.get(&order).is_some_and(since) {
            let why = "decided before, after this plan was approved: plan it anew";
            return Some(End::Stale(why.to_owned()));
        }
        let decision = Decision {
            order,
            action,
            reason: why.to_owned(),
            plan_reason: plan.reason,
            by: plan.by,
            approved_by: approved.by,
            ticket: approved.ticket,
            applied_by: applied_by.to_owned(),
            entry,
            hash,
        };
        if let Err(why) = self.decide(at, decision) {
            return Some(not_decided(why));
        }
        let open = self.births.tail.get(&order).is_some_and(|row| row.end.is_none());
        (!open).then_some(End::Done)
    }

    /// What an entry decided on the tail is done, or cannot be.
    pub(in crate::core) fn tail_ended(&mut self, at: LogTime, entry: EntryId, end: End) {
        self.repairs.end(at, entry, end);
    }

    /// The hash of an order's whole record.
    pub fn hash_of(&self, order: OrderId) -> Option<StateHash> {
        self.orders.get(&order).map(|record| StateHash::of_record("orders", &order, record))
    }

    /// What has changed about an order since it had this hash, if anything has.
    fn changed(&self, order: OrderId, expected: Option<u128>) -> Option<String> {
        let now = self.hash_of(order).map(|hash| hash.0);
        let what = match (expected, now) {
            (None, None) => return None,
            (Some(then), Some(now)) if then == now => return None,
            (None, Some(_)) => "the order exists by now",
            (Some(_), None) => "the order is gone",
            (Some(_), Some(_)) => "the order has changed",
        };
        Some(what.to_owned())
    }
}

fn not_decided(why: Refused) -> End {
    let text = match why {
        Refused::NotSettled => "decided before, otherwise",
        Refused::NotOwner => "its owner went on with the order: it cannot go on here as well",
        Refused::TooMany => "too many decisions are kept",
        Refused::NotAdopted => "events of it wait here for an operator: see to those first",
        Refused::OrderNotFound | Refused::NotParked => {
            return End::Stale("the order is not in the tail".to_owned());
        }
        _ => "not a decision of two people on what was listed",
    };
    End::Refused(text.to_owned())
}
