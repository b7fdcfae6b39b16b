//! What a region may know of whose orders: the policy as replication uses it.

use std::collections::BTreeMap;
use std::sync::Arc;

use hansa_api::classes::{Allowed, ClassSet, DataClass};
use hansa_api::pb::replication as wire;
use hansa_region_router::core::directory::Snapshot;
use hansa_types::country::Country;
use hansa_types::region::RegionName;

use crate::core::remote::{Held, Terms};

/// Under one version of the policy, for one region.
#[derive(Debug, Default)]
pub struct Law {
    pub terms: Terms,
    pub(super) allowed: BTreeMap<Country, Allowed>,
}

impl Law {
    /// What `region` may hold.
    pub fn of(now: &Snapshot, region: &RegionName) -> Arc<Self> {
        let policy = &now.policy;
        let mut law = Self::default();
        law.terms.version = policy.version();
        for country in Country::all() {
            let Some(jurisdiction) = policy.of_country(country) else { continue };
            let allowed = policy.allowed(jurisdiction, region);
            if allowed.classes() == ClassSet::NONE {
                continue;
            }
            let raised: Vec<String> = DataClass::ALL
                .iter()
                .flat_map(|class| jurisdiction.raised.fields(*class).map(move |f| (class, f)))
                .map(|(class, field)| format!("{class:?} {field}\n"))
                .collect();
            let held = Held { classes: bits(allowed.classes()), raised: hash(&raised.concat()) };
            law.terms.of.push((country, held));
            law.allowed.insert(country, allowed);
        }
        Arc::new(law)
    }

    /// What of a resident's data; nothing for a country that is not placed.
    pub fn allowed(&self, residence: Country) -> Option<&Allowed> {
        self.allowed.get(&residence)
    }
}

pub fn bits(classes: ClassSet) -> u8 {
    let bit = |(n, class): (usize, &DataClass)| u8::from(classes.has(*class)) << n;
    DataClass::ALL.iter().enumerate().map(bit).sum()
}

pub fn classes(bits: u8) -> ClassSet {
    let all = DataClass::ALL.iter().enumerate();
    all.filter(|(n, _)| bits >> n & 1 != 0).map(|(_, class)| *class).collect()
}

fn hash(text: &str) -> u32 {
    if text.is_empty() {
        return 0;
    }
    let hash = blake3::hash(text.as_bytes());
    let mut first = [0; 4];
    first.copy_from_slice(&hash.as_bytes()[..4]);
    u32::from_le_bytes(first).max(1)
}

pub fn terms_to_wire(terms: &Terms) -> wire::ViewTerms {
    let term = |(country, held): &(Country, Held)| wire::ViewTerm {
        country: country.to_string(),
        classes: u32::from(held.classes),
        raised: held.raised,
    };
    wire::ViewTerms { version: terms.version, terms: terms.of.iter().map(term).collect() }
}

/// `None` for terms that are not well formed.
pub fn terms_from_wire(terms: &wire::ViewTerms) -> Option<Terms> {
    let term = |term: &wire::ViewTerm| {
        let classes = u8::try_from(term.classes).ok()?;
        Some((term.country.parse().ok()?, Held { classes, raised: term.raised }))
    };
    let of: Vec<(Country, Held)> = terms.terms.iter().map(term).collect::<Option<_>>()?;
    let ascending = of.windows(2).all(|pair| pair[0].0 < pair[1].0);
    ascending.then_some(Terms { version: terms.version, of })
}
