//! What former orders still hold in this region's books, once another region has them.

use hansa_types::id::{OrderId, TransferId};
use hansa_types::region::RegionNumber;

use super::{End, ORDERS_MAX, Phase};
use crate::core::command::Refused;
use crate::core::order::{Funds, Order, Stock};
use crate::core::state::State;

/// What one former order may still hold here. The new owner reserves its own stock and opens its
/// own books, so this is nobody's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leftover {
    pub order: OrderId,
    /// Inventory group and hold.
    pub stock: Vec<(u16, TransferId)>,
    /// Payments group, payment and hold.
    pub funds: Option<(u16, TransferId, TransferId)>,
}

impl State {
    /// Former orders that hold something here, at most `max`; and whether others do that wait for
    /// a decision, for nobody else may know of them.
    pub fn leftovers(&self, birth: RegionNumber, max: usize) -> (Vec<Leftover>, bool) {
        let former =
            |(id, order): &(&OrderId, &Order)| id.region() == birth && !self.is_own(**id, order);
        let (mut found, mut undecided) = (Vec::new(), false);
        for (id, order) in self.orders.iter().filter(former) {
            let Some(left) = self.leftover(*id) else { continue };
            // Soon adopted from what others went on with, whatever that is.
            let goes = self.waits(*id) && !self.goes_on_here(*id);
            match self.tail_of(*id, order) {
                Some(0) if !goes && !self.is_done(*id) => undecided = true,
                _ if found.len() < max.min(ORDERS_MAX) => found.push(left),
                _ => return (found, undecided),
            }
        }
        (found, undecided)
    }

    /// Former orders that hold something here still though nobody looks for them any more, at most
    /// `max`: that were decided on late, or that cannot be adopted from what others went on with.
    pub fn late_leftovers(&self, birth: RegionNumber, max: usize) -> Vec<Leftover> {
        let former = |id: &OrderId| self.former(*id).filter(|_| id.region() == birth);
        let decided = self.births.tail.iter().map(|(id, _)| *id);
        let decided = decided.filter(|id| self.is_done(*id) && former(id).is_some());
        let failed = self.births.failed.iter().map(|(id, _)| *id);
        let failed = failed.filter(|id| {
            let known = former(id).is_some_and(|order| self.tail_of(*id, order) != Some(0));
            known && !self.is_done(*id)
        });
        let left = decided.chain(failed).filter_map(|id| self.leftover(id));
        left.take(max.min(ORDERS_MAX)).collect()
    }

    /// Whether this group's former record of an order holds something here still.
    pub(super) fn still_holds(&self, id: OrderId) -> bool {
        self.former(id).is_some() && self.leftover(id).is_some()
    }

    fn former(&self, id: OrderId) -> Option<&Order> {
        self.orders.get(&id).filter(|order| !self.is_own(id, order))
    }

    /// Whether what was decided on it is done.
    fn is_done(&self, id: OrderId) -> bool {
        self.births.tail.get(&id).is_some_and(|row| row.end == Some(End::Done))
    }

    /// Whether former orders hold something here with which somebody else is known to go on: their
    /// copies would be adopted beside it.
    pub(super) fn gives_back(&self, birth: RegionNumber) -> bool {
        let phase = self.births.get(birth).map(|row| row.phase);
        let holds = matches!(phase, Some(Phase::Elsewhere { given_back: false, .. }));
        holds && !self.leftovers(birth, 1).0.is_empty()
    }

    fn leftover(&self, id: OrderId) -> Option<Leftover> {
        let (order, contents) = (self.orders.get(&id)?, self.contents.get(&id)?);
        let holds =
            |stock: &Stock| !matches!(stock, Stock::Gone | Stock::Refused(_) | Stock::Unallocated);
        let stock: Vec<_> = order
            .parts
            .iter()
            .filter(|part| holds(&part.stock))
            .map(|part| (part.group, part.hold))
            .collect();
        let held = matches!(order.funds, Funds::Holding | Funds::Held | Funds::Voiding);
        let funds = order.money.payment.zip(order.money.hold).filter(|_| held);
        let funds = funds.map(|(payment, hold)| (contents.payment_group, payment, hold));
        (!stock.is_empty() || funds.is_some()).then_some(Leftover { order: id, stock, funds })
    }

    pub(super) fn given_back(
        &mut self,
        birth: RegionNumber,
        epoch: u64,
        orders: &[OrderId],
        last: bool,
    ) -> Result<(), Refused> {
        let Some(mut row) = self.births.get(birth).filter(|row| row.epoch == epoch).cloned() else {
            return Err(Refused::NotOwner);
        };
        let former = |id: &&OrderId| {
            let order = self.orders.get(id);
            id.region() == birth && order.is_some_and(|order| !self.is_own(**id, order))
        };
        let former: Vec<OrderId> = orders.iter().take(ORDERS_MAX).filter(former).copied().collect();
        for id in &former {
            self.unready(*id);
            // What callers saw of it stays: it is another region's to tell from now on.
            self.orders.update(id, |order: &mut Order| {
                for part in &mut order.parts {
                    part.stock = Stock::Gone;
                }
                if matches!(order.funds, Funds::Holding | Funds::Held | Funds::Voiding) {
                    order.funds = Funds::Void;
                }
            });
            self.ready_again(*id);
        }
        if let (Phase::Elsewhere { since, .. }, true) = (row.phase, last) {
            row.phase = Phase::Elsewhere { since, given_back: true };
            self.births.put(birth, row);
        }
        Ok(())
    }
}
