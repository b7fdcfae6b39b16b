//! What the law takes back: copies become less, or go.

use std::collections::BTreeSet;

use bytes::Bytes;
use hansa_types::country::Country;
use hansa_types::id::OrderId;
use serde::{Deserialize, Serialize};

use super::{Held, Kind, Origin, Place, Remote, Shown, Terms};
use crate::core::subjects::KeyOf;

/// What lacks the raised fields of two laws is like neither of them.
const MIXED: u32 = u32::MAX;

/// A copy as it may be kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reduced {
    pub order: OrderId,
    /// The copy that was reduced: another one has come meanwhile if this does not fit.
    pub version: u64,
    /// The terms that it was made under then: under later ones it is another, too.
    pub from: u64,
    pub terms: u64,
    pub allowed: Held,
    /// `None` where nothing may be kept.
    pub view: Option<Bytes>,
}

/// A reduction, and the keys that go with what it takes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reduction {
    pub of: Reduced,
    /// Not the copy: the order's waiting events from there, of that country's residents.
    pub waiting: Option<(Place, Option<Country>)>,
    /// Given back if anything was taken.
    pub keys: Vec<KeyOf>,
}

/// What copies of whom are no longer what their origin believes.
type Lowered = BTreeSet<(Place, Country, Held)>;

impl Held {
    /// Only what the other side's terms allow as well.
    #[must_use]
    pub fn within(self, told: &Terms, residence: Option<Country>) -> Self {
        Self { classes: self.classes & told.of(residence).classes, raised: self.raised }
    }

    /// Whether this may show what `was` did not.
    #[must_use]
    pub fn wider_than(self, was: Self) -> bool {
        self.classes & !was.classes != 0 || (self.raised != was.raised && self.classes != 0)
    }

    /// Whether content made like this holds more than may be held.
    pub fn exceeded_by(self, shown: Shown) -> bool {
        shown.classes & !self.classes != 0 || shown.raised != self.raised
    }
}

impl Terms {
    fn lower(&mut self, of: Country, allowed: Held) {
        let Ok(at) = self.of.binary_search_by_key(&of, |(country, _)| *country) else { return };
        let held = &mut self.of[at].1;
        let raised = match held.raised {
            same if same == allowed.raised => same,
            // Nothing was raised: what is raised now is all that is missing.
            0 => allowed.raised,
            _ => MIXED,
        };
        *held = Held { classes: held.classes & allowed.classes, raised };
        if held.classes == 0 {
            self.of.remove(at);
        }
    }
}

impl Remote {
    /// Applied again or late it does nothing. Copies that lost something are no longer what their
    /// origin believes: it ships them again once the law lets it. Whether anything was taken.
    pub fn purge(&mut self, reduced: Vec<Reduced>) -> bool {
        let (mut lowered, mut any) = (Lowered::new(), false);
        for reduced in reduced {
            any |= self.strip_parked(reduced.order, reduced.allowed, |_| true);
            any |= self.reduce_copy(reduced, &mut lowered);
        }
        self.lower(&lowered);
        any
    }

    /// The same; the keys of what was taken, `None` if nothing was.
    pub fn reduce(&mut self, reductions: Vec<Reduction>) -> Option<Vec<KeyOf>> {
        let (mut lowered, mut unused, mut any) = (Lowered::new(), Vec::new(), false);
        for Reduction { of, waiting, keys } in reductions {
            let done = match waiting {
                Some(from) => self.strip_parked(of.order, of.allowed, |parked| {
                    from == (parked.origin.place(), parked.event.shown.residence)
                }),
                None => self.reduce_copy(of, &mut lowered),
            };
            if done {
                unused.extend(keys);
            }
            any |= done;
        }
        self.lower(&lowered);
        any.then_some(unused)
    }

    /// Whether it took effect.
    fn reduce_copy(&mut self, reduced: Reduced, lowered: &mut Lowered) -> bool {
        let Reduced { order, version, from, terms, allowed, view } = reduced;
        let Some(mut copy) = self.copies.get(&order).cloned() else { return false };
        let computed_from = (copy.version, copy.shown.terms) == (version, from);
        if !computed_from || !allowed.exceeded_by(copy.shown) {
            return false;
        }
        if view.as_ref() != Some(&copy.view) {
            let of = copy.shown.residence;
            lowered.extend(of.map(|of| (copy.origin.place(), of, allowed)));
        }
        let Some(view) = view else {
            self.drop_copy(order);
            return true;
        };
        // Even with the same bytes: home never made them by what is shown from now on.
        copy.shown.reduced = true;
        copy.view = view;
        copy.shown.classes &= allowed.classes;
        copy.shown.raised = allowed.raised;
        copy.shown.terms = copy.shown.terms.max(terms);
        self.put(order, copy);
        true
    }

    /// What was said to be held is held no more.
    fn lower(&mut self, lowered: &Lowered) {
        let origins: Vec<Origin> = self.views.iter().map(|(origin, _)| *origin).collect();
        for origin in origins {
            let here = || lowered.iter().filter(|(place, ..)| *place == origin.place());
            if here().next().is_none() {
                continue;
            }
            let Some(mut views) = self.views.get(&origin).cloned() else { continue };
            views.lowered += 1;
            views.sweep = None;
            for (_, country, allowed) in here() {
                views.held.lower(*country, *allowed);
            }
            self.views.insert(origin, views);
        }
    }

    /// Everybody of whom there is content here: copies, or events that wait.
    pub fn places(&self) -> Vec<Place> {
        let mut places: Vec<Place> = self.kinds.keys().map(|(place, ..)| *place).collect();
        places.dedup();
        places
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
