//! Births of which events wait here for an operator: their orders are not gone on with from less.

use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;

use super::{NotAdopted, Phase};
use crate::core::state::State;

impl State {
    /// Whether events of the order wait for an operator, which whoever goes on with it must know.
    pub fn blocked(&self, id: OrderId) -> bool {
        let epoch = self.remote.copies.get(&id).map_or(0, |copy| copy.epoch());
        let waiting = self.remote.parked.get(&id).map_or(&[][..], Vec::as_slice);
        waiting.iter().any(|of| of.event.epoch(of.origin) >= epoch)
    }

    /// Who handed an order's births over to this region without having gone on with it itself,
    /// though a copy is here: what two people undid of it meanwhile is not known here.
    pub fn passed_over(&self, id: OrderId) -> Option<RegionNumber> {
        let taken = self.births.get(id.region())?.taken.as_ref()?;
        let before = self.remote.copies.get(&id)?.epoch() < taken.floor;
        (before && taken.take.complete).then_some(taken.take.from)
    }

    /// Noted as not adopted, unless it is this group's own by now.
    pub(super) fn not_adopted(&mut self, birth: RegionNumber, id: OrderId, why: NotAdopted) {
        let floor = self.births.get(birth).map_or(0, |row| row.floor);
        let taken = self.orders.get(&id).is_some_and(|order| order.epoch >= floor);
        if id.region() == birth && !taken {
            self.births.failed.insert(id, why);
        }
    }

    /// An operator let go what waited of an order: it may be adopted now.
    pub(in crate::core) fn look_again(&mut self, id: OrderId) {
        let parked = self.births.failed.get(&id) == Some(&NotAdopted::Parked);
        let Some(mut row) = self.births.get(id.region()).cloned() else { return };
        if !parked || self.blocked(id) || !matches!(row.phase, Phase::Owned | Phase::Adopting) {
            return;
        }
        self.births.failed.remove(&id);
        row.phase = Phase::Adopting;
        self.births.put(id.region(), row);
    }
}
