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
            let decided = self.births.tail.get(id).is_some_and(|row| row.end == Some(End::Done));
            match self.tail_of(*id, order) {
                Some(0) if !decided => undecided = true,
                _ if found.len() < max.min(ORDERS_MAX) => found.push(left),
                _ => return (found, undecided),
            }
        }
        (found, undecided)
    }

    /// Former orders that were decided on and hold something here still, at most `max`: also once
    /// their births came back, for the decision may have come late.
    pub fn decided_leftovers(&self, birth: RegionNumber, max: usize) -> Vec<Leftover> {
        let done = self.births.tail.iter().filter(|(id, row)| {
            let former = |order| !self.is_own(**id, order);
            id.region() == birth
                && row.end == Some(End::Done)
                && self.orders.get(id).is_some_and(former)
        });
        done.filter_map(|(id, _)| self.leftover(*id)).take(max.min(ORDERS_MAX)).collect()
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
            // What callers saw of it stays: it is another region's to tell from now on.
            self.orders.update(id, |order: &mut Order| {
                for part in &mut order.parts {
                    part.stock = Stock::Gone;
                }
                if matches!(order.funds, Funds::Holding | Funds::Held | Funds::Voiding) {
                    order.funds = Funds::Void;
                }
            });
        }
        if let (Phase::Elsewhere { since, .. }, true) = (row.phase, last) {
            row.phase = Phase::Elsewhere { since, given_back: true };
            self.births.put(birth, row);
        }
        Ok(())
    }
}
