//! What commands do to keys.

use std::collections::BTreeMap;

use hansa_types::id::OrderId;
use hansa_types::time::LogTime;

use super::{
    Asked, Cause, Erase, Erased, Former, KEYS_MAX, KeyEntry, KeyOf, KeyState, KeyStep, Next,
    RegionKey, SubjectId, WRAPPED_BYTES_MAX, Wrapped,
};
use crate::core::command::{Outcome, Refused};
use crate::core::contents::Contents;
use crate::core::keys::Key;
use crate::core::order::Order;
use crate::core::state::State;
use crate::core::status::OrderStatus;

impl State {
    /// Whether a new order is sealed with the subject's living key, or brings the next one. Beside
    /// too many there is no next: first those go that a wish waits to take.
    pub(in crate::core) fn key_fits(
        &self,
        of: KeyOf,
        mint: Option<&Wrapped>,
    ) -> Result<(), Refused> {
        self.key_is(self.sealing_key(of.subject), of, mint)?;
        let room = mint.is_none() || self.subjects.has_room(of.subject);
        room.then_some(()).ok_or(Refused::KeyChanged)
    }

    /// Whether it is the key that this one is to be sealed with.
    pub(in crate::core) fn key_is(
        &self,
        next: Next,
        of: KeyOf,
        mint: Option<&Wrapped>,
    ) -> Result<(), Refused> {
        if of.subject.home != self.meta.settings.region {
            return Err(Refused::Malformed);
        }
        let fits = match (next, mint) {
            (Next::Use(generation, _), None) => generation == of.generation,
            (Next::Mint(generation, _), Some(wrapped)) => {
                generation == of.generation && self.wraps_now(wrapped)
            }
            // Another request made the key first, or it was erased meanwhile.
            (Next::Use(..), Some(_)) | (Next::Mint(..), None) => false,
        };
        fits.then_some(()).ok_or(Refused::KeyChanged)
    }

    /// A repeat of a request whose order was erased: nobody can tell its body from another.
    pub(in crate::core) fn erased_since(&self, key: Key) -> Option<Refused> {
        let row = self.keys.table.get(&key.scope)?;
        let order = row.target.order;
        match row.under.filter(|_| self.may_have_left(order)) {
            Some(under) => self.lost_with(order, under),
            None => self.erased_how(order),
        }
    }

    /// Why a request whose key was used with another body is refused.
    pub(in crate::core) fn why_other(&self, order: OrderId, key: Key) -> Refused {
        let row = self.keys.table.get(&key.scope).filter(|row| row.target.order == order);
        let lost = match self.may_have_left(order) {
            true => match row.and_then(|row| row.under) {
                Some(under) => self.lost_with(order, under),
                None => Some(Refused::Shelved),
            },
            false => self.erased_how(order),
        };
        lost.unwrap_or(Refused::RequestIdReused)
    }

    /// Why a repeat of a request about this order cannot be compared, where it cannot.
    pub fn erased_how(&self, order: OrderId) -> Option<Refused> {
        self.lost_with(order, self.contents.get(&order)?.sealed_with)
    }

    /// The same of one that was sealed with this key.
    fn lost_with(&self, order: OrderId, of: KeyOf) -> Option<Refused> {
        let moved = self.moves.is_gone(of);
        let why = if moved { Refused::Left(order) } else { Refused::Erased };
        (self.subjects.key(of) == KeyState::Erased).then_some(why)
    }

    /// Whether the order's personal block can never be opened again.
    pub fn is_erased(&self, order: OrderId) -> bool {
        let contents = self.contents.get(&order);
        contents.is_some_and(|c| self.subjects.key(c.sealed_with) == KeyState::Erased)
    }

    fn wraps_now(&self, wrapped: &Wrapped) -> bool {
        let short = wrapped.ciphertext.len() <= WRAPPED_BYTES_MAX;
        short && self.meta.wraps.is_none_or(|now| now == wrapped.by)
    }

    pub(in crate::core) fn key_step(&mut self, at: LogTime, step: KeyStep) -> Outcome {
        match step {
            KeyStep::Use { key } => match self.meta.wraps {
                // A node with an old copy of the vault must not take the group back.
                Some(now) if key < now => return Outcome::Refused(Refused::KeyChanged),
                _ => self.meta.wraps = Some(key),
            },
            KeyStep::Rewrap(keys) => self.rewrap(keys),
            KeyStep::Take(keys) => self.take_keys(keys),
            KeyStep::Forget { keys, asked, asked_ms, destroy_after_ms } => {
                for of in keys.into_iter().take(KEYS_MAX) {
                    self.forget(at, of, asked, (asked_ms, destroy_after_ms));
                }
            }
            KeyStep::Lost { key, asked_ms } => self.lost(at, key, asked_ms),
            KeyStep::Again { keys, asked_ms, destroy_after_ms } => {
                for of in keys.into_iter().take(KEYS_MAX) {
                    if matches!(self.subjects.key(of), KeyState::Living(_)) {
                        let times = (asked_ms, destroy_after_ms);
                        self.drop_with_former(at, of, Asked::UNSAID, times);
                    }
                }
            }
            KeyStep::GiveBack(mut keys) => {
                keys.truncate(KEYS_MAX);
                // A disk may have forgotten behind the last law with them in its log.
                self.meta.purges += u64::from(self.give_back(keys));
            }
            KeyStep::Told { keys, asked, asked_ms, destroy_after_ms } => {
                for of in keys.into_iter().take(KEYS_MAX) {
                    self.told(at, of, asked, (asked_ms, destroy_after_ms));
                }
            }
        }
        self.note_dropped();
        Outcome::Noted
    }

    /// Whether there was any of them.
    pub(in crate::core) fn give_back(&mut self, keys: Vec<KeyOf>) -> bool {
        let (here, mut any) = (self.meta.settings.region, false);
        for of in keys.into_iter().filter(|of| of.subject.home != here) {
            any |= self.subjects.give_back(of);
        }
        self.note_dropped();
        any
    }

    /// What was dropped stays known when its row is gone.
    fn note_dropped(&mut self) {
        self.meta.erased_under = self.meta.erased_under.max(self.subjects.erased_under());
    }

    /// An erased key, or one that nothing here uses, lies in the log under this region key now: it
    /// gives way as if it had wrapped the key when that was erased.
    pub(in crate::core) fn logged(&mut self, wrapped: &Wrapped) {
        self.meta.erased_under = self.meta.erased_under.max(Some(wrapped.by));
    }

    /// Late and repeated ones fall through: each names the generation that it wraps.
    fn rewrap(&mut self, keys: Vec<KeyEntry>) {
        for KeyEntry { of, wrapped } in keys.into_iter().take(KEYS_MAX) {
            match self.subjects.key(of) {
                KeyState::Living(_) if self.wraps_now(&wrapped) => self.subjects.put(of, wrapped),
                // Given back while it was wrapped anew: it is in the log all the same.
                KeyState::Erased | KeyState::Unknown => self.logged(&wrapped),
                KeyState::Living(_) => {}
            }
        }
    }

    fn take_keys(&mut self, keys: Vec<KeyEntry>) {
        for KeyEntry { of, wrapped } in keys.into_iter().take(KEYS_MAX) {
            let foreign = of.subject.home != self.meta.settings.region;
            // What was erased here is older than what its home has erased: it stays so.
            match self.subjects.key(of) {
                KeyState::Unknown if foreign && self.wraps_now(&wrapped) => {
                    self.subjects.put_copy(of, wrapped);
                }
                KeyState::Erased => self.logged(&wrapped),
                KeyState::Living(_) | KeyState::Unknown => {}
            }
        }
    }

    fn forget(&mut self, at: LogTime, of: KeyOf, asked: Asked, times: (u64, u64)) {
        let foreign = of.subject.home != self.meta.settings.region;
        if foreign && self.subjects.key(of) != KeyState::Erased {
            self.drop_subject(at, of, asked, times, Vec::new());
        }
    }

    /// Only for a key that the group does not use: a vault cannot have destroyed that. Another
    /// home's may live there still, and come again.
    fn lost(&mut self, at: LogTime, key: RegionKey, asked_ms: u64) {
        if self.meta.wraps.is_none_or(|now| key >= now) {
            return;
        }
        for of in self.subjects.under(key, KEYS_MAX) {
            match of.subject.home == self.meta.settings.region {
                true => {
                    let times = (asked_ms, asked_ms);
                    self.drop_subject(at, of, Asked::UNSAID, times, Vec::new());
                }
                false => {
                    self.subjects.give_back(of);
                }
            }
        }
    }

    pub(in crate::core) fn erase(&mut self, at: LogTime, erase: Erase) -> Outcome {
        let Erase { subject, request, asked_ms, destroy_after_ms } = erase;
        // A repeat must not take the key that a later order began.
        if let Some(answer) = self.erased_before(subject, request) {
            return answer;
        }
        let open = |id: &OrderId| self.is_open(*id) || self.waits_elsewhere(*id);
        if let Some(open) = self.subjects.orders_of(subject).find(open) {
            return Outcome::Refused(Refused::OrderOpen(open));
        }
        let Some(row) = self.subjects.table.get(&subject).cloned() else {
            return Outcome::Refused(Refused::SubjectNotFound);
        };
        self.moves.erased(subject);
        let of = KeyOf { subject, generation: row.generation };
        // What he left was deleted, and nobody had asked to forget him: this is the first wish.
        let last = newest(&row.erased).filter(|last| last.cause != Cause::Left);
        if let Some(last) = last.filter(|_| row.key.is_none()) {
            // Another request has erased it: that one's receipt holds.
            return Outcome::Erased(Box::new(last.clone()), true);
        }
        let asked = Asked { request, cause: Cause::Erased };
        self.drop_with_former(at, of, asked, (asked_ms, destroy_after_ms));
        match self.subjects.table.get(&subject).and_then(|row| row.erased.last()) {
            Some(erased) => Outcome::Erased(Box::new(erased.clone()), false),
            None => Outcome::Refused(Refused::SubjectNotFound),
        }
    }

    /// Whoever owned his orders before knew him by another key, which opens the same. What he left
    /// is deleted by itself: another home's key is a copy, which that home may use today. It goes
    /// back once nothing here needs it.
    pub(in crate::core) fn drop_with_former(
        &mut self,
        at: LogTime,
        of: KeyOf,
        asked: Asked,
        times: (u64, u64),
    ) {
        let also = match asked.cause {
            Cause::Left => Vec::new(),
            Cause::Erased | Cause::Unsaid => self.former_keys(of),
        };
        self.drop_subject(at, of, asked, times, also.clone());
        for former in also {
            self.forget(at, former.of, asked, times);
        }
    }

    /// What opened his orders where they were taken over from; of those that are sealed up to this
    /// generation of his.
    fn former_keys(&self, his: KeyOf) -> Vec<Former> {
        let here = self.meta.settings.region;
        let mut newest: BTreeMap<SubjectId, Former> = BTreeMap::new();
        for id in self.sealed_upto(his) {
            let Some(order) = self.orders.get(&id).filter(|order| self.is_own(id, order)) else {
                continue;
            };
            let sealed = order.adopted.map(|adoption| adoption.sealed);
            let heard = order.requests.iter().filter_map(|heard| heard.under);
            for of in sealed.into_iter().chain(heard).filter(|of| of.subject.home != here) {
                let former = newest.entry(of.subject).or_insert(Former { of, birth: id.region() });
                former.of = former.of.max(of);
            }
        }
        newest.into_values().collect()
    }

    /// His orders that this key of his sealed, or one before it.
    pub(super) fn sealed_upto(&self, of: KeyOf) -> impl Iterator<Item = OrderId> {
        let upto = move |id: &OrderId| {
            let contents = self.contents.get(id);
            contents.is_some_and(|contents| contents.sealed_with.generation <= of.generation)
        };
        self.subjects.orders_of(of.subject).filter(upto)
    }

    /// Drops the subject's keys up to this one, and says so: to peers as well if it is an own one.
    fn drop_subject(
        &mut self,
        at: LogTime,
        of: KeyOf,
        Asked { request, cause }: Asked,
        (asked_ms, destroy_after_ms): (u64, u64),
        also: Vec<Former>,
    ) {
        let KeyOf { subject, generation } = of;
        let own = subject.home == self.meta.settings.region;
        if own {
            self.meta.seq += 1;
            self.meta.erasures += 1;
        }
        // Those that went with an earlier key have a receipt already.
        let opens = |id: &OrderId| {
            let with = self.contents.get(id).map(|contents| contents.sealed_with);
            with.is_some_and(|with| {
                with == of || matches!(self.subjects.key(with), KeyState::Living(_))
            })
        };
        let orders = self.sealed_upto(of).filter(|id| own && opens(id)).count();
        let left = self.subjects.left_upto(of).filter(|left| {
            let with = KeyOf { subject, generation: left.generation };
            own && (with == of || matches!(self.subjects.key(with), KeyState::Living(_)))
        });
        let left = left.fold(0, |sum: u32, left| sum.saturating_add(left.orders));
        let orders = u32::try_from(orders).unwrap_or(u32::MAX).saturating_add(left);
        let keys = also.iter().map(|former| former.of).chain([of]);
        let under = keys.filter_map(|of| self.subjects.under_of(of));
        // What he left before is in logs and backups under the region key that wrapped it then.
        let row = self.subjects.table.get(&subject);
        let left = row.and_then(|row| newest(&row.erased));
        let left = left.filter(|left| left.cause == Cause::Left && cause == Cause::Erased);
        let under = under.chain(left.map(|left| left.under)).max();
        let erased = Erased {
            generation,
            request,
            cause,
            at,
            seq: if own { self.meta.seq } else { 0 },
            under: under.unwrap_or(RegionKey(0)),
            asked_ms,
            destroy_after_ms,
            orders,
            also,
        };
        self.subjects.drop_key(subject, erased);
        self.moves.drop_kept(KeyOf { subject, generation });
        self.note_dropped();
    }

    /// Whether somebody may still need to know who ordered: to ship, to ask, to give back. Of an
    /// order that moved away its owner asks that, with a key of his own.
    pub fn is_open(&self, id: OrderId) -> bool {
        let (Some(order), Some(contents)) = (self.orders.get(&id), self.contents.get(&id)) else {
            return false;
        };
        self.is_own(id, order) && (!order.closed() || under_way(order, contents))
    }
}

/// The tombstone of the newest generation; of several, the last that was written.
pub(super) fn newest(erased: &[Erased]) -> Option<&Erased> {
    erased.iter().max_by_key(|erased| erased.generation)
}

pub(in crate::core) fn under_way(order: &Order, contents: &Contents) -> bool {
    match order.order_status(contents) {
        OrderStatus::Pending | OrderStatus::Parked => true,
        // Without goods to ship, confirmed is as far as an order goes.
        OrderStatus::Confirmed => contents.stock_units() > 0,
        OrderStatus::Completed | OrderStatus::Rejected | OrderStatus::Cancelled => false,
    }
}
