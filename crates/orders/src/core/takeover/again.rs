//! Orders that only their former owner knows, and that it goes on with when their births come back:
//! two people decided so, or nobody here had heard that the births were another's for a while.

use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;

use super::{Birth, Phase, TailAction};
use crate::core::repair;
use crate::core::state::State;

impl State {
    /// Orders of these births that go on here as they stand, in order of why: nobody else has
    /// gone on with them, and nothing that they hold was given back.
    pub(super) fn to_own_again(&self, birth: RegionNumber) -> impl Iterator<Item = OrderId> {
        let decided = self.births.tail.iter().map(|(id, _)| *id);
        let unheard = self.births.get(birth).is_some_and(|row| self.never_went(row));
        let orders = self.orders.iter().filter(move |_| unheard).map(|(id, _)| *id);
        let kept = orders.filter(|id| !self.births.tail.contains(id));
        let ids = decided.chain(kept);
        ids.filter(move |id| id.region() == birth && self.goes_on_here(*id))
    }

    /// Whether they were taken over by who had owned them all along, for all that it had heard.
    fn never_went(&self, row: &Birth) -> bool {
        let here = self.meta.settings.region;
        row.held_by(here) && row.taken.as_ref().is_some_and(|taken| taken.take.from == here)
    }

    /// Whether an order was this group's own until a take-over of which it had not seen the births
    /// go.
    fn stayed(&self, id: OrderId) -> bool {
        let row = self.births.get(id.region()).filter(|row| self.never_went(row));
        let floor = row.and_then(|row| row.taken.as_ref()).map(|taken| taken.floor);
        let epoch = self.orders.get(&id).map(|order| order.epoch);
        floor.zip(epoch).is_some_and(|(floor, epoch)| epoch >= floor)
    }

    /// Whether this order is one of them.
    pub fn goes_on_here(&self, id: OrderId) -> bool {
        let row = self.births.tail.get(&id).filter(|row| row.end.is_none());
        let adopts = row.is_some_and(|row| row.decision.action == TailAction::Adopt);
        (adopts || self.stayed(id)) && self.is_left(id) && !self.blocked(id)
    }

    /// Whether this order is still to be adopted, from its copy or as it stands.
    pub fn waits(&self, id: OrderId) -> bool {
        self.births.get(id.region()).is_some_and(|row| {
            let taken = self.orders.get(&id).is_some_and(|order| order.epoch >= row.floor);
            let known = self.remote.copies.contains(&id) || self.goes_on_here(id);
            row.phase == Phase::Adopting && !taken && known
        })
    }

    /// Decided once the births are back and settled: they are looked through again.
    pub(super) fn adopt_late(&mut self, id: OrderId) {
        let owned = |row: &&Birth| row.phase == Phase::Owned;
        let Some(row) = self.births.get(id.region()).filter(owned).cloned() else { return };
        if self.goes_on_here(id) {
            self.births.put(id.region(), Birth { phase: Phase::Adopting, ..row });
        }
    }

    /// Whether the order is a former one here, and nobody's copy says that it went on elsewhere.
    fn is_left(&self, id: OrderId) -> bool {
        self.orders.get(&id).is_some_and(|order| {
            let copy = self.remote.copies.get(&id);
            !self.is_own(id, order) && copy.is_none_or(|copy| copy.epoch() <= order.epoch)
        })
    }

    /// The order as it stands here is this group's own again, in a version of the new epoch.
    pub(super) fn own_again(&mut self, at: LogTime, birth: RegionNumber, id: OrderId) -> bool {
        let adopting = |row: &&Birth| row.phase == Phase::Adopting;
        let Some(epoch) = self.births.get(birth).filter(adopting).map(|row| row.epoch) else {
            return false;
        };
        if id.region() != birth || !self.goes_on_here(id) || !self.go_on(id, at, epoch) {
            return false;
        }
        self.remote.drop_copy(id);
        self.births.failed.remove(&id);
        // In another loss it is decided on anew.
        if let Some(row) = self.births.tail.remove(&id) {
            self.tail_ended(at, row.decision.entry, repair::End::Done);
        }
        true
    }
}
