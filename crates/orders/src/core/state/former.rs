//! Records of orders that were this group's, once their births have moved.

use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;

use super::{Meta, State, publish, tell};
use crate::core::command::Refused;
use crate::core::contents::Contents;
use crate::core::near::Near;
use crate::core::order::Order;
use crate::core::saga::Now;
use crate::core::takeover::Phase;

impl State {
    /// Whether nobody goes on with an order, and nobody is about to: its births are here again, and
    /// who owned them in between never knew it. It stands as people have decided, or left it.
    pub fn rests(&self, id: OrderId) -> bool {
        let here = self.meta.settings.region;
        let back = self.births.get(id.region()).is_some_and(|row| row.held_by(here));
        let former = || self.orders.get(&id).is_some_and(|order| !self.is_own(id, order));
        back && former()
            && !self.remote.copies.contains(&id)
            && !self.blocked(id)
            && !self.goes_on_here(id)
    }

    /// Whether nothing is known here of an order with these births: they are another region's, or
    /// the directory has given them to this one and the group has not taken them over yet. Where
    /// the directory says otherwise, whoever asks about a copy is answered.
    pub fn looks_elsewhere(&self, birth: RegionNumber, owner: Option<RegionNumber>) -> bool {
        let here = self.meta.settings.region;
        match self.births.get(birth) {
            Some(row) => matches!(row.phase, Phase::Elsewhere { .. }),
            None => birth != here && owner == Some(here),
        }
    }

    /// Why an order is not this group's to show or change, whatever is known of it here: its births
    /// are another region's, or it is to be adopted first. Whoever asks was sent here by a
    /// directory that has the births here: one that is ahead of this node's, if this group never
    /// had them, or if it never heard that others did, whose copy is here.
    pub fn withheld(&self, id: OrderId) -> Option<Refused> {
        let here = self.meta.settings.region;
        let elsewhere = self.looks_elsewhere(id.region(), Some(here));
        let unheard = || self.births.get(id.region()).is_none() && self.remote.copies.contains(&id);
        (elsewhere || self.waits(id) || unheard()).then_some(Refused::NotOwner)
    }

    /// Why an order that is not known here is not shown, to who was sent here.
    pub fn why_unknown(&self, id: OrderId) -> Refused {
        let known = self.births.failed.contains(&id) || self.blocked(id);
        self.withheld(id).unwrap_or(match known {
            true => Refused::NotAdopted,
            false => Refused::OrderNotFound,
        })
    }

    /// Changes the record of a former order. What shows of it is an event, for whoever asks here:
    /// it is shipped to nobody.
    pub(in crate::core) fn change_former(
        &mut self,
        id: OrderId,
        at: LogTime,
        how: impl FnOnce(&mut Order),
    ) {
        self.unready(id);
        let Meta { settings, seq, .. } = &mut self.meta;
        let Some(contents) = self.contents.get(&id) else { return };
        let told = self.orders.update(&id, |order: &mut Order| {
            let old = order.last_seq;
            how(order);
            publish(order, contents, at, seq, settings.history_max);
            (old, order.last_seq)
        });
        if let Some((old, new)) = told {
            self.by_seq.remove(&old);
            self.by_seq.insert(new, id);
        }
        self.ready_again(id);
    }

    /// A former order goes on in a new epoch as it stands, once `how` has looked at it: in a
    /// version of its own, which tells everybody.
    pub(in crate::core) fn go_on(
        &mut self,
        id: OrderId,
        at: LogTime,
        epoch: u64,
        how: impl FnOnce(&mut Order, &Contents, &mut Now<'_>),
    ) -> bool {
        self.unready(id);
        let Meta { settings, seq, next_work, .. } = &mut self.meta;
        let Some(contents) = self.contents.get(&id) else { return false };
        let old = self.orders.update(&id, |order| {
            let old = order.last_seq;
            order.epoch = epoch;
            how(order, contents, &mut Now { at, id, settings, next_work, near: Near::none() });
            // Whoever does the steps has passed the numbers that they had.
            for work in &mut order.work {
                *next_work += 1;
                work.no = *next_work;
            }
            let face = order.face(contents);
            tell(order, face, at, seq, settings.history_max);
            old
        });
        let Some(old) = old else { return false };
        let Some(order) = self.orders.get(&id) else { return false };
        self.by_seq.remove(&old);
        self.by_seq.insert(order.last_seq, id);
        self.work.extend(order.work.iter().map(|work| (work.no, id)));
        self.timers.extend(order.wake.map(|at| (at, id)));
        if order.parked.is_none() {
            self.parked.remove(&id);
        }
        self.ready_again(id);
        true
    }

    /// Takes the record of a former order away, whose copy comes back as an order.
    pub(in crate::core) fn forget_former(&mut self, id: OrderId) {
        let Some((old, _)) = self.take_away(id) else { return };
        self.meta.superseded += old.version - old.base();
    }
}
