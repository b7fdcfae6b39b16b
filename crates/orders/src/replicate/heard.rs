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
    terms: Mutex<BTreeMap<Place, Told>>,
    wants: Mutex<BTreeMap<Place, BTreeSet<[u8; 16]>>>,
    changed: watch::Sender<u64>,
}

/// What an origin told a leader. It counts as long as that one is in office: whoever leads after it
/// is told anew, and who leads no more hears nothing of what the origin says since.
struct Told {
    /// The office, which is a term of the group in which the stream ends.
    office: u64,
    epoch: u64,
    terms: Arc<Terms>,
}

impl Told {
    fn newer_than(&self, office: u64, origin: Origin, terms: &Terms) -> bool {
        let (now, then) = (self.terms.version, terms.version);
        (self.office, self.epoch, now) > (office, origin.epoch, then)
    }
}

impl Heard {
    /// Notes what an origin says that we may hold; `false` for what it has left behind.
    pub fn note(&self, office: u64, origin: Origin, terms: &Arc<Terms>) -> bool {
        let mut known = self.terms.lock();
        let before = known.get(&origin.place());
        if before.is_some_and(|before| before.newer_than(office, origin, terms)) {
            return false;
        }
        let told = Told { office, epoch: origin.epoch, terms: terms.clone() };
        known.insert(origin.place(), told);
        self.changed.send_modify(|times| *times += 1);
        true
    }

    /// Whether an origin has said newer terms since, on whichever stream.
    pub fn left_behind(&self, office: u64, origin: Origin, terms: &Terms) -> bool {
        let known = self.terms.lock();
        known.get(&origin.place()).is_some_and(|told| told.newer_than(office, origin, terms))
    }

    /// Where streams of a region's groups have ended here since this node started.
    pub fn places_of(&self, region: RegionNumber) -> Vec<Place> {
        self.terms.lock().keys().filter(|place| place.0 == region).copied().collect()
    }

    /// The newest terms that an origin told in this office, for who holds one.
    pub fn terms(&self, office: Option<u64>, place: Place) -> Option<Arc<Terms>> {
        let known = self.terms.lock();
        let told = known.get(&place).filter(|told| office == Some(told.office));
        told.map(|told| told.terms.clone())
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
        assert!(heard.note(7, origin(1), &terms(3)));
        assert!(!heard.left_behind(7, origin(1), &terms(3)));
        assert!(heard.note(7, origin(1), &terms(4)));
        assert!(heard.left_behind(7, origin(1), &terms(3)));
        assert!(!heard.note(7, origin(1), &terms(3)));
        // A new epoch begins anew, whatever the one before it had said.
        assert!(heard.note(7, origin(2), &terms(1)));
        assert!(heard.left_behind(7, origin(1), &terms(4)));
        assert!(!heard.left_behind(7, origin(2), &terms(1)));
        let elsewhere = Origin { group: 1, ..origin(1) };
        assert!(!heard.left_behind(7, elsewhere, &terms(0)));
    }

    #[test]
    fn what_was_heard_in_a_former_office_counts_no_more() {
        let (heard, region) = (Heard::default(), 2_u16.try_into().unwrap());
        let origin = Origin { region, group: 0, epoch: 1 };
        let terms = |version| Arc::new(Terms { version, ..Terms::default() });
        let known = |office| heard.terms(office, origin.place()).map(|terms| terms.version);
        assert!(heard.note(7, origin, &terms(4)));
        assert_eq!(known(Some(7)), Some(4));
        assert_eq!(known(None), None, "who leads no more");
        assert_eq!(known(Some(9)), None, "who leads again, and was told nothing yet");
        // A stream that the former office left says nothing in the new one; the new one's counts,
        // be the origin's leader behind or not.
        assert!(heard.note(7, origin, &terms(5)));
        assert_eq!(known(Some(9)), None);
        assert!(heard.note(9, origin, &terms(4)));
        assert!(!heard.note(7, origin, &terms(6)) && heard.left_behind(7, origin, &terms(6)));
        assert_eq!(known(Some(9)), Some(4));
    }
}
