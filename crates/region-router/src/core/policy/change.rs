//! What another policy would change, for whom.

use std::collections::BTreeSet;

use hansa_api::classes::DataClass;
use hansa_types::country::Country;
use hansa_types::region::RegionName;

use super::{JurisdictionName, Policy};

/// What changes for one class of data of the residents of some countries, alike for all of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub countries: Vec<Country>,
    pub class: DataClass,
    pub from: Placement,
    pub to: Placement,
}

/// Where a policy lets a class of a resident's data lie.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Placement {
    /// `None` when no rule places him.
    pub jurisdiction: Option<JurisdictionName>,
    /// `None` when he is not served.
    pub home: Option<RegionName>,
    pub store: BTreeSet<RegionName>,
    pub failover: BTreeSet<RegionName>,
    pub transit: bool,
    /// Fields that count as this class.
    pub raised: BTreeSet<String>,
}

/// What `to` changes against `from`, by class and country; countries of one change together.
pub fn changes(from: &Policy, to: &Policy) -> Vec<Change> {
    let mut found: Vec<Change> = Vec::new();
    for class in DataClass::ALL {
        for country in Country::all() {
            let (was, is) = (placement(from, country, class), placement(to, country, class));
            if was == is {
                continue;
            }
            let same = |c: &&mut Change| c.class == class && c.from == was && c.to == is;
            match found.iter_mut().find(same) {
                Some(change) => change.countries.push(country),
                None => {
                    let countries = vec![country];
                    found.push(Change { countries, class, from: was, to: is });
                }
            }
        }
    }
    found
}

/// Whether any country's residents live elsewhere under `to`, whatever regions there are.
pub fn homes_moved(from: &Policy, to: &Policy) -> bool {
    let homes = |policy: &Policy, country| {
        policy.of_country(country).map(|law| law.homes().to_vec()).unwrap_or_default()
    };
    Country::all().any(|country| homes(from, country) != homes(to, country))
}

fn placement(policy: &Policy, country: Country, class: DataClass) -> Placement {
    let Some(law) = policy.of_country(country) else { return Placement::default() };
    let rule = law.rule(class);
    let lawful = policy.regions().into_iter().filter(|r| policy.may_store(law, class, r));
    Placement {
        jurisdiction: Some(law.name.clone()),
        home: law.homes().first().cloned(),
        store: lawful.cloned().collect(),
        failover: rule.into_iter().flat_map(|rule| rule.failover.iter().cloned()).collect(),
        transit: rule.is_some_and(|rule| rule.transit),
        raised: law.raised.fields(class).collect(),
    }
}
