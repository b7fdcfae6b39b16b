//! The unshipped tail: what this region did to orders after their new owner's copies were made.
//!
//! It is told from state alone: an order that was written here in an epoch that is over, in a
//! version that the new owner's adoption does not include.

use hansa_types::id::{OrderId, TransferId};
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use crate::core::command::Refused;
use crate::core::order::{Done, Note, Order, Provider, Refund, RefundCause, parted};
use crate::core::repair::{self, EntryId};
use crate::core::state::State;

/// Decisions kept.
const ROWS_MAX: usize = 100_000;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum TailAction {
    /// What was charged and is not known elsewhere is given back.
    Compensate,
    /// Nothing has to be undone.
    Discard,
    /// It goes on here as it stands, once the births are back: nobody else has gone on with it.
    Adopt,
}

/// Two people's word on one order of the tail, from the entry of a plan (`core::repair`).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Decision {
    pub order: OrderId,
    pub action: TailAction,
    /// Of the entry, and of its plan: plans are forgotten, decisions are not.
    pub reason: String,
    pub plan_reason: String,
    pub by: String,
    pub approved_by: String,
    pub ticket: String,
    pub applied_by: String,
    pub entry: EntryId,
    /// The hash of the order's record that they saw.
    pub hash: u128,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct TailRow {
    pub decision: Decision,
    pub at: LogTime,
    pub end: Option<End>,
}

/// What came of a decision.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum End {
    Done,
    Refused(String),
}

/// The refund of what is left of an order's charge: of the order, not of the decision, so it is
/// paid once however often it is decided on.
pub fn refund_id(order: OrderId) -> TransferId {
    TransferId::derive(order.born(), &[b"tail", &order.to_bytes()])
}

impl State {
    /// The version from which others went on, if the order has more of its own here: `0` for one
    /// that no new owner ever saw.
    pub fn tail_of(&self, id: OrderId, order: &Order) -> Option<u64> {
        let row = self.births.get(id.region())?;
        if self.is_own(id, order) || order.epoch >= row.epoch {
            return None;
        }
        // A copy says what its owners went on from, one after the other.
        let adopted = match self.remote.copies.get(&id) {
            Some(copy) if copy.epoch() > order.epoch => parted(&order.forks, &copy.forks),
            _ => 0,
        };
        (order.version > adopted).then_some(adopted)
    }

    /// The epoch since which nobody goes on with an order: its births are here again, all that
    /// others knew of them is adopted, and two people have decided on what was left.
    pub fn abandoned(&self, id: OrderId) -> Option<u64> {
        let (order, row) = (self.orders.get(&id)?, self.births.get(id.region())?);
        let home = row.held_by(self.meta.settings.region) && row.settled();
        let decided = self.births.tail.get(&id).is_some_and(|of| of.end == Some(End::Done));
        (home && decided && self.tail_of(id, order) == Some(0)).then_some(row.epoch)
    }

    /// Orders in the tail of a region's births, at most `max`: those to be decided on first, each
    /// part ascending.
    pub fn tail(&self, birth: RegionNumber, max: usize) -> Vec<(OrderId, u64)> {
        let ours = self.orders.iter().filter(|(id, _)| id.region() == birth);
        let mut found: Vec<(OrderId, u64)> =
            ours.filter_map(|(id, order)| Some((*id, self.tail_of(*id, order)?))).collect();
        found.sort_unstable_by_key(|(id, _)| (!self.undecided(*id), *id));
        found.truncate(max);
        found
    }

    /// Whether people can say what becomes of the tail of births that are owned here: who had them
    /// before handed them back, or all of it went to that one in plan and nobody is known to have
    /// owned them since, though the epochs that it skipped may hide one.
    pub fn tail_is_known(&self, birth: RegionNumber) -> bool {
        let Some(row) = self.births.get(birth) else { return true };
        let handed_back = row.taken.as_ref().is_none_or(|taken| taken.take.complete);
        handed_back || row.hidden.is_some_and(|from| self.left_since(birth, from))
    }

    /// Whether all that there is of a tail was written here in this epoch or later. One that is
    /// empty, as another group's may be, stays so.
    fn left_since(&self, birth: RegionNumber, from: u64) -> bool {
        let ours = self.orders.iter().filter(|(id, _)| id.region() == birth);
        let mut left = ours.filter(|(id, order)| self.tail_of(**id, order).is_some());
        left.all(|(_, order)| order.epoch >= from)
    }

    /// Whether an order of the tail is to be decided on: also anew, if what was decided cannot be
    /// done.
    pub fn undecided(&self, id: OrderId) -> bool {
        let row = self.births.tail.get(&id);
        row.is_none_or(|row| matches!(row.end, Some(End::Refused(_))))
    }

    /// # Outcomes
    /// `NotSettled`: decided before, otherwise; `NotParked`: not in the tail; `NotOwner`: its owner
    /// goes on with it; `NotAdopted`: events of it wait here; `KeyChanged`: not what they saw.
    pub(in crate::core) fn decide(
        &mut self,
        at: LogTime,
        decision: Decision,
    ) -> Result<(), Refused> {
        let id = decision.order;
        let people = [&decision.by, &decision.approved_by];
        if decision.by == decision.approved_by || people.iter().any(|name| name.is_empty()) {
            return Err(Refused::Malformed);
        }
        if let Some(row) = self.births_tail(id) {
            let same = row.decision == decision;
            return if same { Ok(()) } else { Err(Refused::NotSettled) };
        }
        let Some(order) = self.orders.get(&id) else { return Err(Refused::OrderNotFound) };
        match self.tail_of(id, order) {
            None => return Err(Refused::NotParked),
            // Its owner goes on with it there.
            Some(1..) if decision.action == TailAction::Adopt => return Err(Refused::NotOwner),
            // Somebody wrote them, and so knows it: nothing is undone, and nothing gone on with.
            Some(_) if decision.action != TailAction::Discard && self.blocked(id) => {
                return Err(Refused::NotAdopted);
            }
            Some(_) => {}
        }
        // Not what they saw.
        if self.hash_of(id).is_none_or(|hash| hash.0 != decision.hash) {
            return Err(Refused::KeyChanged);
        }
        if self.births.tail.len() >= ROWS_MAX && !self.births.tail.contains(&id) {
            return Err(Refused::TooMany);
        }
        self.tail_over(at, id, "decided on anew by another plan");
        let end = (decision.action == TailAction::Discard).then_some(End::Done);
        self.births.tail.insert(id, TailRow { decision, at, end });
        self.adopt_late(id);
        Ok(())
    }

    /// A decision that is under way or done; one that was refused, or that waits for the births to
    /// come back, may be made anew.
    fn births_tail(&self, id: OrderId) -> Option<&TailRow> {
        let row = self.births.tail.get(&id)?;
        let waits = row.end.is_none() && row.decision.action == TailAction::Adopt;
        (!waits && !matches!(row.end, Some(End::Refused(_)))).then_some(row)
    }

    /// What a decision is waited for with goes on otherwise: it ends, and so does its entry.
    pub(super) fn tail_over(&mut self, at: LogTime, id: OrderId, why: &str) {
        let Some(row) = self.births.tail.remove(&id) else { return };
        if row.end.is_none() {
            let end = repair::End::Refused(why.to_owned());
            self.tail_ended(at, row.decision.entry, end);
        }
    }

    /// # Outcomes
    /// `OrderNotFound`; `NotSettled` of an earlier decision than the one that stands.
    pub(super) fn decided(
        &mut self,
        at: LogTime,
        (order, since): (OrderId, LogTime),
        end: End,
    ) -> Result<(), Refused> {
        let row = self.births.tail.get(&order).ok_or(Refused::OrderNotFound)?;
        if row.at != since {
            return Err(Refused::NotSettled);
        }
        let entry = row.decision.entry;
        // The first word stands.
        let end = self.births.tail.update(&order, |row| row.end.get_or_insert(end).clone());
        let end = match end.ok_or(Refused::OrderNotFound)? {
            End::Done => {
                self.given_back_of(at, order);
                repair::End::Done
            }
            End::Refused(why) => repair::End::Refused(why),
        };
        self.tail_ended(at, entry, end);
        Ok(())
    }

    /// What was charged for an order and is given back is in its own figures, as in the books, and
    /// whoever asks for the order is shown it.
    fn given_back_of(&mut self, at: LogTime, id: OrderId) {
        let Some(row) = self.births.tail.get(&id) else { return };
        let (action, since) = (row.decision.action, row.at);
        let former = self.orders.get(&id).is_some_and(|order| !self.is_own(id, order));
        if action != TailAction::Compensate || !former {
            return;
        }
        self.change_former(id, at, |order| {
            // What was on its way went out again first.
            for refund in &mut order.refunds {
                if refund.state == Done::Outstanding {
                    refund.state = Done::Done;
                    order.money.refunded_minor += refund.amount_minor;
                }
            }
            if order.provider != Provider::Captured && !order.provider.clear() {
                // Cancelled at the provider.
                order.provider = Provider::Void;
            }
            let left = order.money.captured_minor - order.money.refunded_minor;
            if left <= 0 {
                return;
            }
            order.money.refunded_minor += left;
            order.refunds.push(Refund {
                id: refund_id(id),
                at: since,
                amount_minor: left,
                cause: RefundCause::Asked,
                with: None,
                state: Done::Done,
                version: 0,
                note: Note::default(),
            });
        });
    }

    /// Orders of which a decision is to be carried out, and since when.
    pub fn tail_open(&self) -> impl Iterator<Item = (OrderId, LogTime)> {
        let open = self.births.tail.iter().filter(|(_, row)| {
            // What is to go on here does so when the births come back.
            row.end.is_none() && row.decision.action != TailAction::Adopt
        });
        open.map(|(id, row)| (*id, row.at))
    }
}
