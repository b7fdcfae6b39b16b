//! What this node heard from origins and operators and does not keep in the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::core::remote::{Origin, Place, Terms};

/// Orders that wait to be asked for, per origin.
const WANTS_MAX: usize = 10_000;

/// Terms that origins told, and orders to be asked for again.
#[derive(Default)]
pub struct Heard {
    terms: Mutex<BTreeMap<Place, (u64, Arc<Terms>)>>,
    wants: Mutex<BTreeMap<Place, BTreeSet<[u8; 16]>>>,
    changed: watch::Sender<u64>,
}

impl Heard {
    /// Notes what an origin says that we may hold; `false` for what it has left behind.
    pub fn note(&self, origin: Origin, terms: &Arc<Terms>) -> bool {
        let mut known = self.terms.lock();
        let newer = |(epoch, old): &(u64, Arc<Terms>)| {
            (*epoch, old.version) > (origin.epoch, terms.version)
        };
        if known.get(&origin.place()).is_some_and(newer) {
            return false;
        }
        known.insert(origin.place(), (origin.epoch, terms.clone()));
        self.changed.send_modify(|times| *times += 1);
        true
    }

    /// Whether an origin has said newer terms since, on whichever stream.
    pub fn left_behind(&self, origin: Origin, terms: &Terms) -> bool {
        let known = self.terms.lock();
        let newest = known.get(&origin.place());
        newest.is_some_and(|(epoch, now)| (*epoch, now.version) > (origin.epoch, terms.version))
    }

    /// Where streams of a region's groups have ended here since this node started.
    pub fn places_of(&self, region: RegionNumber) -> Vec<Place> {
        self.terms.lock().keys().filter(|place| place.0 == region).copied().collect()
    }

    /// The newest terms of an origin.
    pub fn terms(&self, place: Place) -> Option<Arc<Terms>> {
        self.terms.lock().get(&place).map(|(_, terms)| terms.clone())
    }

    /// Changes when an origin says something new.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Asks an order's home for it with the next answer; `false` when too many wait.
    pub fn want(&self, place: Place, order: OrderId) -> bool {
        let mut wants = self.wants.lock();
        let of = wants.entry(place).or_default();
        let room = of.len() < WANTS_MAX;
        if room {
            of.insert(order.to_bytes());
        }
        room
    }

    pub fn take_wants(&self, place: Place, max: usize) -> Vec<OrderId> {
        let mut wants = self.wants.lock();
        let Some(of) = wants.get_mut(&place) else { return Vec::new() };
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(bytes) = of.pop_first()
        {
            taken.extend(OrderId::from_bytes(bytes));
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_left_behind_by_newer_terms_of_its_origin_on_another() {
        let (heard, region) = (Heard::default(), 2_u16.try_into().unwrap());
        let origin = |epoch| Origin { region, group: 0, epoch };
        let terms = |version| Arc::new(Terms { version, ..Terms::default() });
        assert!(heard.note(origin(1), &terms(3)));
        assert!(!heard.left_behind(origin(1), &terms(3)));
        assert!(heard.note(origin(1), &terms(4)));
        assert!(heard.left_behind(origin(1), &terms(3)) && !heard.note(origin(1), &terms(3)));
        // A new epoch begins anew, whatever the one before it had said.
        assert!(heard.note(origin(2), &terms(1)));
        assert!(
            heard.left_behind(origin(1), &terms(4)) && !heard.left_behind(origin(2), &terms(1))
        );
        let elsewhere = Origin { group: 1, ..origin(1) };
        assert!(!heard.left_behind(elsewhere, &terms(0)));
    }
}
