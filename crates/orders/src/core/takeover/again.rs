//! Orders that only their former owner knows, and that it goes on with when their births come back:
//! two people decided so, nobody here had heard that the births were another's for a while, or who
//! had them in between was lost before it had told anything of them.

use hansa_types::id::{OrderId, TransferId};
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;

use super::adopt::to_reserve;
use super::{Birth, Phase, TailAction};
use crate::core::contents::Contents;
use crate::core::effect::Effect;
use crate::core::order::{Funds, Goal, Order, Provider, Stock};
use crate::core::repair;
use crate::core::saga::{self, Now};
use crate::core::state::State;

impl State {
    /// Orders of these births that go on here as they stand, in order of why: nobody else has
    /// gone on with them, and nothing that they hold was given back.
    pub(super) fn to_own_again(&self, birth: RegionNumber) -> impl Iterator<Item = OrderId> {
        let decided = self.births.tail.iter().map(|(id, _)| *id);
        let here = self.meta.settings.region;
        let unheard = |row: &&Birth| self.never_went(row) || row.handed.is_some();
        let row = self.births.get(birth).filter(|row| row.held_by(here)).filter(unheard);
        // Cheap to say of most that there are.
        let former = move |(id, order): &(&OrderId, &Order)| {
            id.region() == birth && row.is_some_and(|row| order.epoch < row.floor)
        };
        let orders = self.orders.iter().filter(former).map(|(id, _)| *id);
        let kept = orders.filter(|id| !self.births.tail.contains(id));
        let ids = decided.chain(kept);
        ids.filter(move |id| id.region() == birth && self.goes_on_here(*id))
    }

    /// Notes how many there are to go on with.
    pub(super) fn count(&mut self, birth: RegionNumber) {
        let copies = self.remote.copies.iter().filter(|(id, _)| id.region() == birth).count();
        let again = self.to_own_again(birth).filter(|id| !self.remote.copies.contains(id)).count();
        let Some(mut row) = self.births.get(birth).cloned() else { return };
        if let Some(taken) = &mut row.taken {
            taken.total = (copies + again) as u64;
        }
        self.births.put(birth, row);
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
        let decided = self.births.tail.contains(&id);
        !decided && floor.zip(epoch).is_some_and(|(floor, epoch)| epoch >= floor)
    }

    /// Whether this group handed an order over to who was lost before a word of it came back: what
    /// it was then is the newest that is known of it. What became of it since is in the tail of who
    /// was lost, as with an order of which there is an old copy.
    pub fn was_handed(&self, id: OrderId) -> bool {
        let here = self.meta.settings.region;
        let row = self.births.get(id.region()).filter(|row| row.held_by(here));
        let from = row.and_then(|row| row.handed);
        let epoch = self.orders.get(&id).map(|order| order.epoch);
        let decided = self.births.tail.contains(&id) || self.births.failed.contains(&id);
        !decided && from.zip(epoch).is_some_and(|(from, epoch)| epoch >= from)
    }

    /// Whether this order is one of them.
    pub fn goes_on_here(&self, id: OrderId) -> bool {
        let row = self.births.tail.get(&id).filter(|row| row.end.is_none());
        let adopts = row.is_some_and(|row| row.decision.action == TailAction::Adopt);
        let goes_on = adopts || self.stayed(id) || self.was_handed(id);
        goes_on && self.is_left(id) && !self.blocked(id)
    }

    /// Whether it is one that waits in this version.
    pub(super) fn stands_at(&self, id: OrderId, version: u64) -> bool {
        let order = self.orders.get(&id).filter(|_| self.goes_on_here(id));
        self.waits(id) && order.is_some_and(|order| order.version == version)
    }

    /// Whether this order is still to be adopted, from its copy or as it stands.
    pub fn waits(&self, id: OrderId) -> bool {
        self.births.get(id.region()).is_some_and(|row| {
            let taken = self.orders.get(&id).is_some_and(|order| order.epoch >= row.floor);
            let known = self.remote.copies.contains(&id) || self.goes_on_here(id);
            row.phase == Phase::Adopting && !taken && known
        })
    }

    /// Decided, or brought back from where orders leave for, once the births are back and settled:
    /// they are looked through again.
    pub(in crate::core) fn adopt_late(&mut self, id: OrderId) {
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
        if id.region() != birth || !self.goes_on_here(id) {
            return false;
        }
        let here = self.meta.settings.region;
        let how = |order: &mut Order, contents: &Contents, now: &mut Now<'_>| {
            order.fork(epoch, here);
            come_back(order, contents, now);
        };
        if !self.go_on(id, at, epoch, how) {
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

/// What it holds here is its own still. What was given back, or ran out meanwhile, is reserved
/// anew, as for a copy; and who had it since may have asked for its charge. What was asked of the
/// books so long ago that it has run out there, answered or not, is asked for as another one: a
/// repeat would come too late.
fn come_back(order: &mut Order, contents: &Contents, now: &mut Now<'_>) {
    // How far its last leg came is known first.
    if order.goal != Goal::Confirm || order.outstanding(Effect::Settle) {
        return;
    }
    if !order.settled {
        order.began = now.at;
    }
    let (at, settings) = (now.at, now.settings);
    let over = |id: TransferId, ttl_ms: u64| id.at().plus_ms(ttl_ms) <= at;
    for n in 0..order.parts.len() {
        let nothing = match order.parts[n].stock {
            Stock::Gone => true,
            Stock::Held { until } => until <= at,
            Stock::Reserving => over(order.parts[n].hold, settings.hold_ttl_ms),
            _ => false,
        };
        if nothing {
            let of = n as u8;
            let again = |effect| effect == Effect::Reserve(of) || effect == Effect::Extend(of);
            order.work.retain(|work| !again(work.effect));
            order.parts[n].stock = to_reserve(order, contents, order.parts[n].group);
        }
    }
    let held = matches!(order.funds, Funds::Holding | Funds::Held);
    let open = held && !order.settled && order.provider != Provider::Captured;
    let ran_out = order.money.hold.is_some_and(|hold| over(hold, settings.funds_ttl_ms));
    if order.funds == Funds::Void || (open && ran_out) {
        order.work.retain(|work| work.effect != Effect::HoldFunds);
        order.money.payment = Some(now.mint(order, "payment", 0));
        order.money.hold = Some(now.mint(order, "hold", 0));
        order.funds = Funds::Holding;
        now.push(order, Effect::HoldFunds);
    }
    saga::drive(order, contents, now);
}
