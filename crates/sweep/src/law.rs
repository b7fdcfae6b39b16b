//! Whether a fact may be here. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use hansa_api::classes::{Allowed, ClassSet, DataClass};
use hansa_region_router::core::policy::Policy;
use hansa_types::country::Country;
use hansa_types::region::{RegionName, RegionNumber};

use crate::fact::{Fact, Whose, beyond};

/// The policy in force at a region, and those before it that are known.
#[derive(Clone)]
pub struct Law {
    pub here: RegionName,
    pub number: RegionNumber,
    pub now: Arc<Policy>,
    former: BTreeMap<u64, Arc<Policy>>,
}

impl Law {
    pub fn new(here: RegionName, number: RegionNumber, now: Arc<Policy>) -> Self {
        Self { here, number, now, former: BTreeMap::new() }
    }

    /// Remembers a policy that was in force before: what came under it is no leak.
    pub fn remember(&mut self, policy: Arc<Policy>) {
        if policy.version() < self.now.version() {
            self.former.insert(policy.version(), policy);
        }
    }

    /// Whether the region itself took it in, rather than having a copy of it.
    pub fn own(&self, whose: Whose) -> bool {
        match whose {
            Whose::Order(order) => order.region() == self.number,
            Whose::Customer(subject) => subject.home == self.number,
            Whose::Payment(_) | Whose::Somebody => false,
        }
    }

    /// Whether the region holds it as whoever serves it does: it took it in, or took it over.
    pub fn serves(&self, whose: Whose, copy: bool) -> bool {
        self.own(whose) || !copy && matches!(whose, Whose::Order(_))
    }

    /// What of a content is not allowed now.
    pub fn unlawful(&self, whose: Whose, fact: &Fact, residence: Country) -> ClassSet {
        beyond(&fact.content, &self.allowed(&self.now, whose, fact.copy, residence))
    }

    /// Whether it was lawful when it came: under the policy that the bytes name, or, where they
    /// name none, under one that was in force before.
    pub fn was_lawful(&self, whose: Whose, fact: &Fact, residence: Country) -> bool {
        let lawful = |policy: &Arc<Policy>| {
            let allowed = self.allowed(policy, whose, fact.copy, residence);
            beyond(&fact.content, &allowed) == ClassSet::NONE
        };
        match fact.policy {
            // What came under the present policy never was.
            Some(version) => self.former.get(&version).is_some_and(lawful),
            None => self.former.values().any(lawful),
        }
    }

    /// What this region may hold of a resident's data. Of what it served, or could serve, all that
    /// may be stored; of what is a copy, what the failover set allows.
    fn allowed(&self, policy: &Policy, whose: Whose, copy: bool, residence: Country) -> Allowed {
        let Some(origin) = policy.of_country(residence) else { return Allowed::default() };
        if self.serves(whose, copy) || origin.homes().contains(&self.here) {
            let may = |class: &DataClass| policy.may_store(origin, *class, &self.here);
            let classes: ClassSet = DataClass::ALL.into_iter().filter(may).collect();
            return Allowed::new(classes, &origin.raised);
        }
        policy.allowed(origin, &self.here)
    }
}
