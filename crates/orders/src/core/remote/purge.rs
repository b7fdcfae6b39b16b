//! What the law takes back: copies become less, or go.

use bytes::Bytes;
use hansa_types::country::Country;
use hansa_types::id::OrderId;
use serde::{Deserialize, Serialize};

use super::{Copy, Held, Kind, Place, Remote, Shown, Terms};

/// A copy as it may be kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reduced {
    pub order: OrderId,
    /// The copy that was reduced: another one has come meanwhile if this does not fit.
    pub version: u64,
    pub terms: u64,
    pub allowed: Held,
    /// `None` where nothing may be kept.
    pub view: Option<Bytes>,
}

impl Held {
    /// Only what the other side's terms allow as well.
    #[must_use]
    pub fn within(self, told: &Terms, residence: Option<Country>) -> Self {
        Self { classes: self.classes & told.of(residence).classes, raised: self.raised }
    }

    /// Whether content made like this holds more than may be held.
    pub fn exceeded_by(self, shown: Shown) -> bool {
        shown.classes & !self.classes != 0 || shown.raised != self.raised
    }
}

impl Remote {
    /// Applied again or late it does nothing.
    pub fn purge(&mut self, reduced: Vec<Reduced>) {
        for Reduced { order, version, terms, allowed, view } in reduced {
            self.strip_parked(order, allowed);
            let Some(copy) = self.copies.get(&order) else { continue };
            if copy.version != version || !allowed.exceeded_by(copy.shown) {
                continue;
            }
            let Some(view) = view else {
                self.drop_copy(order);
                continue;
            };
            let mut copy: Copy = copy.clone();
            copy.view = view;
            copy.shown.classes &= allowed.classes;
            copy.shown.raised = allowed.raised;
            copy.shown.terms = copy.shown.terms.max(terms);
            self.put(order, copy);
        }
    }

    /// Everybody whose copies are here.
    pub fn places(&self) -> Vec<Place> {
        self.trees.keys().copied().collect()
    }

    /// How many contents of a place are kept that show more than `allowed` says of their kind.
    pub fn excess(&self, of: Place, allowed: impl Fn(Option<Country>) -> Held) -> u64 {
        let over = |((_, residence, classes, raised), _): &(&Kind, &u64)| {
            let shown = Shown { classes: *classes, raised: *raised, ..Shown::default() };
            allowed(*residence).exceeded_by(shown)
        };
        let of_place = (of, None, 0, 0)..;
        let of_place = self.kinds.range(of_place).take_while(|((place, ..), _)| *place == of);
        of_place.filter(over).map(|(_, count)| count).sum()
    }
}
